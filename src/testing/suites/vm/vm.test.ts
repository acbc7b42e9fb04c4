/**
 * A cluster on a real Debian machine: systemd, cgroup v2, reboots, power cuts, a full disk. One machine for all tests, which follow one another as an
 * operator's days do: what was acknowledged is there after each of them, everything starts again by itself, and in the end nothing is left over.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildBusyboxImage } from '../../busybox.ts';
import {
  CAPSTAN,
  ClusterInMachine,
  DEPLOYMENT,
  HOST_PORT_POD,
  leftOnMachine,
  READY_TIMEOUT_MS,
  SERVICE,
  type Json,
} from './cluster-in-machine.ts';
import { VirtualMachine } from './virtual-machine.ts';

const DIR = '/var/lib/capstan';
const UP_TIMEOUT_MS = 600_000;

let vm: VirtualMachine;
let cluster: ClusterInMachine;
let unit = '';

describe('a cluster on Debian with systemd', { timeout: 7_200_000 }, () => {
  before(async () => {
    const image = await buildBusyboxImage();
    vm = await VirtualMachine.create({ 'busybox.tar': image.path });
    rmSync(dirname(image.path), { recursive: true });
    await vm.boot();
    cluster = new ClusterInMachine({ vm, kubeconfig: `${DIR}/admin.kubeconfig`, units: () => [unit] });
  });

  after(async () => {
    await vm?.remove();
  });

  it('is started by up --service from a fresh clone', async () => {
    assert.equal(await vm.must('stat -fc %T /sys/fs/cgroup'), 'cgroup2fs');
    await vm.must('systemctl is-system-running --wait || true');
    const output = await vm.must(`${CAPSTAN} up --service --data-dir ${DIR} 2>&1`, UP_TIMEOUT_MS);
    unit = /capstan-[0-9a-f]{8}\.service/.exec(output)?.[0] ?? '';
    assert.match(output, /The cluster is ready \(.* 1 real node\)/);
    assert.equal(await vm.must(`systemctl is-enabled ${unit}`), 'enabled');
    await cluster.logIn();
  });

  it('runs a Deployment behind a Service', async () => {
    await vm.must(`${CAPSTAN} image load --data-dir ${DIR} /srv/busybox.tar`);
    await cluster.create('/apis/apps/v1/namespaces/default/deployments', DEPLOYMENT);
    await cluster.create('/api/v1/namespaces/default/services', SERVICE);
    await cluster.create('/api/v1/namespaces/default/pods', HOST_PORT_POD);
    await cluster.everythingWorks();
  });

  it("has the machine's address, and reaches cluster addresses without a default route", async () => {
    const { items } = await cluster.get('/api/v1/nodes');
    assert.deepEqual(items[0].status.addresses[0], { type: 'InternalIP', address: '10.0.2.15' });
    await vm.must('ip route delete default');
    await vm.must('curl -sf --max-time 10 http://10.96.7.7/index.html');
    await vm.must('ip route add default via 10.0.2.2');
  });

  it('keeps containers in a delegated scope, the program in its unit, both in one slice', async () => {
    const scopes = await vm.must(
      'systemctl list-units --no-legend --plain "capstan-*.scope" | cut -d" " -f1',
    );
    assert.match(scopes, /^capstan-[0-9a-f]{8}\.scope$/);
    assert.equal(await vm.must(`systemctl show -p Delegate --value ${scopes}`), 'yes');
    assert.equal(
      await vm.must(`systemctl show -p Slice --value ${scopes} ${unit} | sort -u | grep .`),
      'capstan.slice',
    );
    const cgroups = await vm.must(
      'for pid in $(pidof containerd-shim-runc-v2) $(pidof httpd busybox); do cat /proc/$pid/cgroup; done | sort -u',
    );
    for (const line of cgroups.split('\n')) assert.match(line, new RegExp(`^0::/capstan.slice/${scopes}/`));
  });

  it('restores its rules after systemctl start nftables', async () => {
    await vm.must('systemctl restart nftables');
    await cluster.everythingWorks();
    await vm.must('nft list tables | grep "inet capstan-"');
  });

  it('keeps its interfaces from a systemd-networkd that matches everything', async () => {
    await vm.must("printf '[Match]\\nName=*\\n[Network]\\nDHCP=no\\n' > /etc/systemd/network/90-all.network");
    await vm.must('networkctl reload && systemctl restart systemd-networkd && sleep 3');
    const states = await vm.must(
      "networkctl --no-legend list | grep -E 'cap-|veth' | awk '{print $5}' | sort -u",
    );
    assert.equal(states, 'unmanaged');
    await cluster.everythingWorks();
    await vm.must('rm /etc/systemd/network/90-all.network && networkctl reload');
  });

  it('tells on the Node that a firewall cuts the pods off, and that it does no longer', async () => {
    // In one transaction: the login by ssh must stay possible.
    const rules = ['ct state established,related', 'iifname lo', 'tcp dport 22'];
    const wall = rules.map((rule) => `add rule inet wall input ${rule} accept`).join('; ');
    await vm.must(
      `nft "add table inet wall; add chain inet wall input { type filter hook input priority 0; policy drop; }; ${wall}"`,
    );
    const condition = async (): Promise<Json | undefined> =>
      (await cluster.get('/api/v1/nodes')).items[0].status.conditions.find(
        ({ type }: Json) => type === 'FirewallBlocksPods',
      );
    const told = await vm.until(
      'the condition',
      async () => ((await condition())?.['status'] === 'True' ? condition() : undefined),
      180_000,
    );
    assert.match(
      told?.['message'],
      /inet wall input drops .* nft insert rule inet wall input iifname "cap-[0-9a-f]{8}" accept/,
    );
    const { items } = await cluster.get('/api/v1/events?fieldSelector=reason=FirewallBlocksPods');
    assert.ok(items.length > 0);
    await vm.must('nft delete table inet wall');
    await vm.until('the condition to end', async () => (await condition())?.['status'] === 'False', 180_000);
  });

  it('is started again by the watchdog when its event loop stands still, its containers running on', async () => {
    const pid = await vm.must(`systemctl show -p MainPID --value ${unit}`);
    const shims = await vm.must('pidof containerd-shim-runc-v2');
    await vm.must(`kill -STOP ${pid}`);
    await vm.until(
      'another process',
      async () => !['0', pid].includes(await vm.must(`systemctl show -p MainPID --value ${unit}`)),
      READY_TIMEOUT_MS,
    );
    await cluster.everythingWorks();
    assert.equal(await vm.must('pidof containerd-shim-runc-v2'), shims);
  });

  it('comes back after a reboot, with everything', async () => {
    await cluster.writeSome('before-reboot');
    await vm.reboot();
    await cluster.everythingWorks();
    await cluster.nothingIsLost();
  });

  for (const cut of [1, 2, 3])
    it(`loses nothing that it acknowledged in power cut ${cut}, and starts again by itself`, async () => {
      await cluster.cutWhileWriting(`cut-${cut}`, 20 * cut);
      await cluster.everythingWorks();
      await cluster.nothingIsLost();
    });

  it('has cleared the sandboxes and network attachments of earlier boots', async () => {
    await cluster.nothingOfEarlierBoots(await vm.must('ls /run/capstan/*/containerd.sock'));
  });

  it('refuses writes on a full disk, and takes them again when there is room', async () => {
    await vm.must(
      'mkdir /fill; for size in 2G 256M 32M 4M 512K 64K 4K; do while fallocate -l $size /fill/$size-$((n++)) 2>/dev/null; do :; done; done',
      600_000,
    );
    await cluster.writeUntil('full', 200_000, async () => {});
    await vm.must('rm -rf /fill');
    await cluster.everythingWorks();
    await cluster.nothingIsLost();
    await cluster.create('/api/v1/namespaces/default/configmaps', {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'after-full' },
    });
  });

  it('does not hold up a power-off with its program killed', async () => {
    await vm.must(`systemctl kill -s KILL ${unit}; systemctl stop ${unit}`);
    assert.notEqual(await vm.must('pidof containerd-shim-runc-v2'), '');
    const seconds = await vm.powerOff();
    console.log(`vm: power-off took ${seconds.toFixed(0)} s`);
    assert.ok(seconds < 80, `${seconds} s`);
    await vm.boot();
    await cluster.everythingWorks();
  });

  it('leaves nothing on the machine when it is deleted', async () => {
    await vm.must(`${CAPSTAN} delete --yes --data-dir ${DIR} 2>&1`, 300_000);
    const left = await leftOnMachine(vm, [`ls -d ${DIR} 2>/dev/null`]);
    assert.equal(left, '');
  });
});
