/** Checks of the kernel on machines made of files. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import type { Check } from '../check.ts';
import {
  appArmor,
  cgroupControllers,
  kernelConfig,
  kernelModules,
  kernelSettings,
  kernelVersion,
  seccomp,
} from './kernel.ts';
import { gatherOutcomes } from './report.ts';

const RELEASE = '6.1.0-test';
const dirs: string[] = [];
after(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true });
});

function machine(files: Readonly<Record<string, string | Buffer>>): {
  readonly root: string;
  readonly kernelRelease: string;
} {
  const root = mkdtempSync(join(tmpdir(), 'capstan-kernel-'));
  dirs.push(root);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  return { root, kernelRelease: RELEASE };
}

/** 'status: problems' */
async function seen(check: Check): Promise<string> {
  const [outcome] = await gatherOutcomes([check]);
  return `${outcome!.status}: ${outcome!.problems.map(({ problem, remedy }) => `${problem} → ${remedy}`).join('; ')}`;
}

const OPTIONS =
  'NAMESPACES NET_NS PID_NS IPC_NS UTS_NS CGROUPS CGROUP_BPF CGROUP_CPUACCT CGROUP_DEVICE CGROUP_FREEZER CGROUP_PIDS CGROUP_SCHED CPUSETS MEMCG FAIR_GROUP_SCHED INET PROC_FS OVERLAY_FS BRIDGE VETH NF_TABLES NF_CONNTRACK NF_NAT NFT_NAT NFT_MASQ CFS_BANDWIDTH CGROUP_HUGETLB SECCOMP_FILTER BRIDGE_NETFILTER VXLAN WIREGUARD IPV6'.split(
    ' ',
  );

function configOf(options: readonly string[]): string {
  return `# Linux\n${options.map((name, index) => `CONFIG_${name}=${index % 2 === 0 ? 'y' : 'm'}`).join('\n')}\n`;
}

test('versions', async () => {
  for (const kernelRelease of ['6.1.0-30-amd64', '5.15.0', '5.10.1'])
    assert.equal(await seen(kernelVersion({ kernelRelease })), 'ok: ');
  assert.match(
    await seen(kernelVersion({ kernelRelease: '5.4.0' })),
    /^warning: the kernel is 5\.4\.0, and should be/,
  );
  assert.match(await seen(kernelVersion({ kernelRelease: '4.19.0' })), /^error: .* → install a newer kernel/);
});

test('options, compressed or beside the kernel', async () => {
  const whole = configOf(OPTIONS);
  assert.equal(await seen(kernelConfig(machine({ 'proc/config.gz': gzipSync(whole) }))), 'ok: ');
  assert.equal(await seen(kernelConfig(machine({ [`boot/config-${RELEASE}`]: whole }))), 'ok: ');
  const without = configOf(OPTIONS.filter((name) => name !== 'MEMCG' && name !== 'VXLAN'));
  assert.match(
    await seen(kernelConfig(machine({ [`boot/config-${RELEASE}`]: without }))),
    /^error: .*without CONFIG_MEMCG → .*; .*without CONFIG_VXLAN: nodes of other networks/,
  );
  assert.match(await seen(kernelConfig(machine({ x: '' }))), /^warning: the configuration .* was not found/);
});

test('modules: loaded, built in, or there to be loaded', async () => {
  const lib = `lib/modules/${RELEASE}`;
  const files = {
    'sys/module/overlay/refcnt': '0',
    'sys/module/br_netfilter/refcnt': '0',
    [`${lib}/modules.builtin`]: 'kernel/net/netfilter/nf_tables.ko\nkernel/net/bridge/bridge.ko\n',
    [`${lib}/modules.dep`]: 'kernel/drivers/net/veth.ko.xz:\nkernel/drivers/net/vxlan/vxlan.ko: x\n',
  };
  assert.match(
    await seen(kernelModules(machine(files))),
    /^warning: the kernel module wireguard is not there → /,
  );
  const built = { ...files, [`boot/config-${RELEASE}`]: '\nCONFIG_WIREGUARD=y\n' };
  assert.equal(await seen(kernelModules(machine(built))), 'ok: ');
  assert.match(await seen(kernelModules(machine({ x: '' }))), /^error: the kernel module overlay/);
});

test('controllers, settings and security modules', async () => {
  const controllers = (text: string) =>
    seen(cgroupControllers(machine({ 'sys/fs/cgroup/cgroup.controllers': text })));
  assert.equal(await controllers('cpuset cpu io memory hugetlb pids rdma\n'), 'ok: ');
  assert.match(
    await controllers('cpuset cpu io hugetlb pids'),
    /^error: .*memory is not there → .*cgroup_enable=memory/,
  );
  assert.match(await controllers('cpuset cpu memory pids hugetlb'), /^warning: .*controller io/);
  const settings = (instances: string) =>
    seen(kernelSettings(machine({ 'proc/sys/fs/inotify/max_user_instances': instances })));
  assert.equal(await settings('8192\n'), 'ok: ');
  assert.match(await settings('128\n'), /^warning: fs\.inotify\.max_user_instances is 128.* → sysctl -w/);
  assert.match(await seen(seccomp(machine({ x: '' }))), /^warning: .*seccomp/);
  const on = { 'sys/module/apparmor/parameters/enabled': 'Y\n' };
  assert.match(
    await seen(appArmor(machine(on))),
    /^warning: AppArmor is on, and its parser is not installed/,
  );
  assert.equal(await seen(appArmor(machine({ ...on, 'sbin/apparmor_parser': '' }))), 'ok: ');
});
