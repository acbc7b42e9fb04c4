/** Manifests of real services, in a real directory, read as the node agent reads them. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { decodeStaticPod } from '#cmd/node/decode-static-pod.ts';
import { readManifests } from '#node/agent/static-pods/manifests.ts';
import { SANDBOX_IMAGE } from '#node/images/sandbox-image.ts';
import { defaultCluster } from '#deploy/config/defaults.ts';
import {
  apiServerService,
  controllerManagerService,
  nodeService,
  schedulerService,
} from '#deploy/machine/component-services.ts';
import { etcdService } from '#deploy/machine/etcd-service.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import { machineFile, type MachineFile, type MachineRecord } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { supervisedServices } from '#deploy/machine/static-pods.ts';

const CHOICE = { checkout: PROGRAM_DIR, node: process.execPath };
const ADDRESS = '10.0.0.1';
let rootfs: string;
let paths: MachinePaths;
let machine: MachineFile;
let services: readonly ServiceSpec[];

beforeEach(() => {
  rootfs = mkdtempSync(join(tmpdir(), 'capstan-static-pods-'));
  paths = machinePaths({ rootfs });
  machine = machineFile(paths, { choose: CHOICE });
  const cluster = defaultCluster(
    {
      apiServer: { extraArgs: [{ name: 'audit-log-path', value: join(rootfs, 'audit/audit.log') }] },
      scheduler: {
        extraVolumes: [
          { name: 'usr-0', hostPath: '/srv/a', mountPath: '/opt/a', readOnly: true },
          { name: 'own', hostPath: '/srv/usr', mountPath: '/usr', pathType: 'Directory' },
        ],
      },
    },
    { kubernetesVersion: 'v1.36.0' },
  );
  const around = { paths, cluster };
  services = [
    etcdService({
      program: '/usr/bin/etcd',
      paths,
      name: 'm1',
      address: ADDRESS,
      initialCluster: `m1=https://${ADDRESS}:2380`,
      state: 'new',
    }),
    apiServerService({ ...around, local: { advertiseAddress: ADDRESS, bindPort: 6443 }, startSeconds: 60 }),
    controllerManagerService(around),
    schedulerService(around),
    nodeService({ ...around, nodeName: 'm1', kubelet: {}, runtime: 'cri' }),
  ];
});
afterEach(() => rmSync(rootfs, { recursive: true, force: true }));

function record(change: Partial<MachineRecord> = {}): MachineRecord {
  return machine.update((before) => ({
    ...before,
    role: 'control-plane',
    nodeName: 'm1',
    advertiseAddress: ADDRESS,
    services,
    ...change,
  }));
}

async function pods(): Promise<ReadonlyMap<string, Pod>> {
  const found = await readManifests(paths.manifests, { nodeName: 'm1', decode: decodeStaticPod });
  assert.deepEqual(found.problems, []);
  return new Map(found.pods.map((pod) => [pod.metadata?.name ?? '', pod]));
}

describe('a control plane of static pods', () => {
  it('has a manifest of each component, and the supervisor the rest', async () => {
    const { services: all, staticPods } = record();
    assert.deepEqual(
      [...(await pods()).keys()],
      ['etcd-m1', 'kube-apiserver-m1', 'kube-controller-manager-m1', 'kube-scheduler-m1'],
    );
    assert.deepEqual(
      supervisedServices({ services: all, staticPods }).map(({ name }) => name),
      ['node'],
    );
  });

  it("is as kubeadm's: names, labels, priority, network, probes", async () => {
    record();
    const pod = (await pods()).get('kube-apiserver-m1')!;
    assert.deepEqual(pod.metadata?.labels, { component: 'kube-apiserver', tier: 'control-plane' });
    assert.equal(pod.metadata?.namespace, 'kube-system');
    assert.equal(pod.spec?.priorityClassName, 'system-node-critical');
    assert.equal(pod.spec?.hostNetwork, true);
    const [container] = pod.spec!.containers;
    assert.equal(container?.image, SANDBOX_IMAGE, 'what the node agent imports before its first pod');
    assert.equal(container?.imagePullPolicy, 'Never');
    assert.deepEqual(container?.livenessProbe?.httpGet, {
      host: ADDRESS,
      path: '/livez',
      port: 6443,
      scheme: 'HTTPS',
    });
    assert.equal(container?.readinessProbe?.httpGet?.path, '/readyz');
    assert.equal(
      (container?.startupProbe?.failureThreshold ?? 0) * (container?.startupProbe?.periodSeconds ?? 0),
      60,
    );
    const etcd = (await pods()).get('etcd-m1')!.spec!.containers[0]!;
    assert.deepEqual(etcd.command?.slice(0, 2), ['/usr/bin/etcd', '--name=m1']);
    assert.equal(etcd.livenessProbe?.httpGet?.port, 2381);
  });

  it('has the extra volumes of the configuration, instead of its own at the same path and names', async () => {
    record();
    const { containers, volumes = [] } = (await pods()).get('kube-scheduler-m1')!.spec!;
    const mounts = new Map(containers[0]!.volumeMounts!.map((mount) => [mount.mountPath, mount]));
    assert.deepEqual(mounts.get('/opt/a'), { name: 'usr-0', mountPath: '/opt/a', readOnly: true });
    assert.deepEqual(mounts.get('/usr'), { name: 'own', mountPath: '/usr' });
    const named = (name: string) => volumes.filter((volume) => volume.name === name);
    assert.deepEqual(named('own'), [{ name: 'own', hostPath: { path: '/srv/usr', type: 'Directory' } }]);
    assert.deepEqual(
      named('usr-0').map(({ hostPath }) => hostPath?.path),
      ['/srv/a'],
    );
    assert.equal(new Set(volumes.map(({ name }) => name)).size, volumes.length);
  });

  it('sees the program and the directories that its flags name, and writes only where it has to', async () => {
    record();
    const mounts = (name: string): Promise<Map<string, boolean>> =>
      pods().then(
        (all) =>
          new Map(
            all
              .get(name)!
              .spec!.containers[0]!.volumeMounts!.map(({ mountPath, readOnly }) => [
                mountPath,
                readOnly ?? false,
              ]),
          ),
      );
    const api = await mounts('kube-apiserver-m1');
    for (const path of ['/usr', PROGRAM_DIR]) assert.equal(api.get(path), true, path);
    // The identity of backups lies there.
    assert.equal(api.get(paths.pki), false);
    assert.equal(api.get(paths.backups), false);
    assert.equal(api.get(join(rootfs, 'audit')), false);
    const etcd = await mounts('etcd-m1');
    assert.equal(etcd.get(paths.etcdData), false);
    assert.equal(etcd.get(paths.etcdPki), true);
    assert.equal(etcd.has(PROGRAM_DIR), false);
  });

  it('has the same manifests after each change of the record, whichever program makes it', async () => {
    record();
    const before = await pods();
    machineFile(paths, { choose: { checkout: '/elsewhere', node: '/elsewhere/node' } }).update((one) => one);
    machineFile(paths).update((one) => ({ ...one, phases: { init: ['certs'] } }));
    assert.deepEqual(await pods(), before);
  });

  it('follows its services: a flag, another program, a component that goes', async () => {
    record();
    const uid = async (name: string): Promise<string | undefined> => (await pods()).get(name)?.metadata?.uid;
    const before = await uid('kube-scheduler-m1');
    const elsewhere = services.map((one) =>
      one.name === 'scheduler' ? { ...one, checkout: '/opt/new' } : one,
    );
    record({ services: elsewhere });
    assert.notEqual(await uid('kube-scheduler-m1'), before);
    const [container] = (await pods()).get('kube-scheduler-m1')!.spec!.containers;
    assert.ok(container?.command?.includes('/opt/new/src/cli/main.ts'));
    record({ services: services.filter(({ name }) => name !== 'etcd') });
    assert.equal(await uid('etcd-m1'), undefined);
  });

  it('goes back to services, and leaves what others put there', () => {
    record();
    writeFileSync(join(paths.manifests, 'mine.yaml'), 'a: 1\n');
    const { staticPods } = machineFile(paths, { choose: 'services' }).update((one) => one);
    assert.equal(staticPods, undefined);
    assert.deepEqual(readdirSync(paths.manifests), ['mine.yaml']);
  });
});

it("without it nothing is written, and another's manifest of a control plane stays", () => {
  const path = join(paths.manifests, 'kube-apiserver.yaml');
  machine = machineFile(paths);
  record();
  assert.equal(existsSync(paths.manifests), false);
  mkdirSync(paths.manifests, { recursive: true });
  writeFileSync(path, 'kind: Pod\n');
  record();
  assert.equal(readFileSync(path, 'utf8'), 'kind: Pod\n');
});
