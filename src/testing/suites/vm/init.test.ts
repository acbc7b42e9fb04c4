/**
 * `capstan init` on a real Debian machine: a control plane with etcd of Debian's package as a service of systemd, a Deployment, reboots and power cuts while
 * writing. One machine for all tests, which follow one another; in the end nothing is left over.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'node:test';
import { buildBusyboxImage, BUSYBOX } from '../../busybox.ts';
import {
  CAPSTAN,
  ClusterInMachine,
  DEPLOYMENT,
  HOST_PORT_POD,
  leftOnMachine,
  READY_TIMEOUT_MS,
  SERVICE,
} from './cluster-in-machine.ts';
import { VirtualMachine } from './virtual-machine.ts';

const INIT_TIMEOUT_MS = 900_000;
const NODE_DIR = '/var/lib/capstan/node';
/** Pods of everybody run on the only machine there is, which is slow in emulation. */
const CONFIG = `
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration: {taints: []}
timeouts: {controlPlaneComponentHealthCheck: 14m0s}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
`;
const INIT = `${CAPSTAN} init --config /root/init.yaml`;
const SEPARATE_UNITS = [
  'capstan.target',
  ...['certificates', 'balancer', 'etcd', 'apiserver', 'controller-manager', 'scheduler', 'node', 'proxy']
    .concat('dns')
    .map((part) => `capstan-${part}.service`),
];
/** Takes its time to end, and writes down that it could. */
const GRACEFUL_POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'graceful', namespace: 'default' },
  spec: {
    terminationGracePeriodSeconds: 25,
    volumes: [{ name: 'out', hostPath: { path: '/var/graceful', type: 'DirectoryOrCreate' } }],
    containers: [
      {
        name: 'main',
        image: BUSYBOX,
        command: [
          'sh',
          '-c',
          'trap "sleep 4; date >> /out/ended; exit 0" TERM; while true; do sleep 1; done',
        ],
        volumeMounts: [{ name: 'out', mountPath: '/out' }],
      },
    ],
  },
};

let vm: VirtualMachine;
let cluster: ClusterInMachine;
let units: readonly string[] = ['capstan.service'];
/** The test that failed: those after it would wait for what will not come. */
let failed: string | undefined;

function report(what: string, sinceMs: number): void {
  console.log(`vm: ${what}: ${((performance.now() - sinceMs) / 1000).toFixed(0)} s`);
}

async function endedGracefully(): Promise<number> {
  return Number(await vm.must('cat /var/graceful/ended 2>/dev/null | wc -l'));
}

async function socket(): Promise<string> {
  return vm.must('ls /run/capstan/*/containerd.sock');
}

describe('a control plane of init on Debian with systemd', { timeout: 10_000_000 }, () => {
  before(async () => {
    const image = await buildBusyboxImage();
    vm = await VirtualMachine.create({ 'busybox.tar': image.path });
    rmSync(dirname(image.path), { recursive: true });
    await vm.boot();
    await vm.must(`systemctl is-system-running --wait || true; printf '${CONFIG}' > /root/init.yaml`);
    cluster = new ClusterInMachine({
      vm,
      kubeconfig: '/etc/kubernetes/admin.conf',
      units: () => units,
    });
  });

  beforeEach(() => assert.equal(failed, undefined, 'an earlier test failed'));
  afterEach((test) => {
    // Node's types do not have it yet.
    if (!(test as { readonly passed?: boolean }).passed) failed ??= test.name;
  });
  after(async () => {
    await vm?.remove();
  });

  it("says which unit holds etcd's port: Debian starts its etcd when it is installed", async () => {
    await vm.must('systemctl start etcd', READY_TIMEOUT_MS);
    const { code, stderr } = await vm.run(INIT, INIT_TIMEOUT_MS);
    assert.equal(code, 1);
    assert.match(
      stderr,
      /port 2379 is in use by the program etcd \(process \d+\).* systemctl disable --now etcd\.service/,
    );
    await vm.must('systemctl disable --now etcd');
  });

  it('is set up from a fresh clone', async () => {
    const begin = performance.now();
    const output = await vm.must(`${INIT} 2>&1`, INIT_TIMEOUT_MS);
    report('init', begin);
    assert.match(output, /Your Kubernetes control-plane has initialized successfully!/);
    assert.equal(await vm.must('systemctl is-enabled capstan.service'), 'enabled');
    await cluster.logIn();
  });

  it('runs a Deployment behind a Service', async () => {
    await vm.until(
      'the Node to be Ready',
      async () =>
        (await cluster.get('/api/v1/nodes')).items[0]?.status.conditions?.some(
          ({ type, status }: { readonly type: string; readonly status: string }) =>
            type === 'Ready' && status === 'True',
        ),
      READY_TIMEOUT_MS,
    );
    await vm.must(`${CAPSTAN} image load --data-dir ${NODE_DIR} /srv/busybox.tar`);
    await cluster.create('/apis/apps/v1/namespaces/default/deployments', DEPLOYMENT);
    await cluster.create('/api/v1/namespaces/default/services', SERVICE);
    await cluster.create('/api/v1/namespaces/default/pods', HOST_PORT_POD);
    await cluster.create('/api/v1/namespaces/default/pods', GRACEFUL_POD);
    await cluster.everythingWorks();
    console.log(
      `vm: memory of capstan.slice: ${await vm.must('systemctl show -p MemoryCurrent capstan.service')}`,
    );
  });

  it('comes back after a reboot, with everything; its pods had their grace period', async () => {
    await cluster.writeSome('before-reboot');
    const before = await endedGracefully();
    const begin = performance.now();
    await vm.reboot();
    report('from the reboot to a login', begin);
    await cluster.everythingWorks();
    report('from the reboot to a working Deployment', begin);
    await cluster.nothingIsLost();
    assert.equal(await endedGracefully(), before + 1);
  });

  it('loses nothing that it acknowledged in a power cut, and starts again by itself', async () => {
    await cluster.cutWhileWriting('cut', 20);
    const begin = performance.now();
    await cluster.everythingWorks();
    report('from the login after a power cut to a working Deployment', begin);
    await cluster.nothingIsLost();
    await cluster.nothingOfEarlierBoots(await socket());
  });

  it('runs each service as a unit of its own, from --separate-units on', async () => {
    await vm.must(`${INIT.replace(' init ', ' init phase kubelet-start ')} --separate-units 2>&1`, 300_000);
    units = SEPARATE_UNITS;
    await cluster.everythingWorks();
    for (const unit of SEPARATE_UNITS)
      assert.equal(await vm.must(`systemctl is-enabled ${unit}`), 'enabled', unit);
    const listed = await vm.must("systemctl list-units --all --no-legend --plain 'capstan*' | cut -d' ' -f1");
    assert.ok(!listed.split('\n').includes('capstan.service'), listed);
    await vm.until(
      'every service to run',
      async () => (await vm.run(`${CAPSTAN} status`)).code === 0,
      180_000,
    );
    const used = await vm.must(
      `for unit in ${SEPARATE_UNITS.slice(1).join(' ')}; do echo $unit $(($(systemctl show -p MemoryCurrent --value $unit) / 1048576)) MB; done`,
    );
    console.log(`vm: memory of the separate units:\n${used}`);
  });

  it('starts one again that is killed, and leaves the others alone', async () => {
    const others = SEPARATE_UNITS.filter((unit) => unit.endsWith('.service') && !unit.includes('scheduler'));
    const pids = (): Promise<string> => vm.must(`systemctl show -p MainPID --value ${others.join(' ')}`);
    const before = await pids();
    const shims = await vm.must('pidof containerd-shim-runc-v2');
    const restarts = async (): Promise<number> =>
      Number(await vm.must('systemctl show -p NRestarts --value capstan-scheduler.service'));
    const count = await restarts();
    await vm.must('systemctl kill -s KILL capstan-scheduler.service');
    await vm.until('the scheduler to be started again', async () => (await restarts()) > count, 120_000);
    const server = await vm.must("pgrep -f '[m]ain.ts apiserver'");
    await vm.must(`kill -KILL ${server}`);
    await vm.until(
      'another API server',
      async () => !['', server].includes((await vm.run("pgrep -f '[m]ain.ts apiserver'")).stdout.trim()),
      120_000,
    );
    await cluster.everythingWorks();
    assert.equal(await pids(), before);
    assert.equal(await vm.must('pidof containerd-shim-runc-v2'), shims);
  });

  it('comes back after a reboot, each service as its unit', async () => {
    await cluster.writeSome('separate');
    const before = await endedGracefully();
    await vm.reboot();
    await cluster.everythingWorks();
    assert.equal(await endedGracefully(), before + 1);
  });

  it('comes back after a power cut while writing, each service as its unit', async () => {
    await cluster.cutWhileWriting('separate-cut', 20);
    await cluster.everythingWorks();
    await cluster.nothingIsLost();
    await cluster.nothingOfEarlierBoots(await socket());
  });

  it('leaves nothing on the machine when it is reset', async () => {
    await vm.must(`${CAPSTAN} reset --force 2>&1`, 300_000);
    // Empty directories stay, as with kubeadm: they may be mount points.
    const left = await leftOnMachine(vm, [
      "find /var/lib/capstan /var/lib/etcd /var/lib/kubelet /etc/kubernetes -type f -not -name 'machine.lock*'",
    ]);
    assert.equal(left, '');
  });
});
