/** One machine's part of a changed configuration, on its files alone: no supervisor runs. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { defaultCluster } from '#deploy/config/defaults.ts';
import {
  apiServerService,
  nodeService,
  proxyService,
  schedulerService,
} from '#deploy/machine/component-services.ts';
import { ENCRYPTION_FILE, ENCRYPTION_FLAG, managedEncryptionPath } from '#deploy/machine/encryption-file.ts';
import { interceptFiles } from '#stdx/testing/faulty-files.ts';
import { renderShared } from './documents.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import { machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { runUpgradeNode } from '../upgrade/node.ts';
import { configureMachine } from './here.ts';

let paths: MachinePaths;
const print = (): void => {};
const cluster = defaultCluster({}, { kubernetesVersion: 'v1.36.0' });
const kubelet = { staticPodPath: '/own', authentication: { x509: { clientCAFile: '/own/ca.crt' } } };

beforeEach(() => {
  paths = machinePaths({ rootfs: mkdtempSync(join(tmpdir(), 'capstan-configure-')) });
  const local = { advertiseAddress: '10.0.0.1', bindPort: 6443 };
  const of = { paths, cluster, nodeName: 'm1' };
  machineFile(paths).update((record) => ({
    ...record,
    role: 'control-plane',
    nodeName: 'm1',
    ...local,
    services: [
      apiServerService({ paths, cluster, local, startSeconds: 7 }),
      schedulerService({ paths, cluster }),
      nodeService({ ...of, kubelet, runtime: 'cri' }),
      proxyService({ ...of, clusterID: 'id' }),
    ],
  }));
  mkdirSync(paths.kubelet, { recursive: true });
  writeFileSync(paths.kubeletConfig, document('KubeletConfiguration', kubelet));
});
afterEach(() => rmSync(paths.rootfs, { recursive: true, force: true }));

const VERSIONS = {
  ClusterConfiguration: 'kubeadm.k8s.io/v1beta4',
  KubeletConfiguration: 'kubelet.config.k8s.io/v1beta1',
};
const document = (kind: keyof typeof VERSIONS, fields: object): string =>
  `${JSON.stringify({ apiVersion: VERSIONS[kind], kind, ...fields })}\n`;
const configure = (...documents: string[]): Promise<void> =>
  configureMachine({ rootfs: paths.rootfs, content: documents.join('---\n') }, print);
const record = (): MachineRecord => machineFile(paths).read();
const find = (name: string): ServiceSpec => record().services.find((service) => service.name === name)!;
const words = (name: string): readonly string[] => {
  const { run } = find(name);
  return 'capstan' in run ? run.capstan : [];
};

test('new flags, the same program and health, also after a rollback of an upgrade', async () => {
  const step = (name: 'control-plane' | 'rollback'): Promise<void> =>
    runUpgradeNode({ rootfs: paths.rootfs, step: name }, print);
  await step('control-plane');
  const content = document('ClusterConfiguration', {
    apiServer: { extraArgs: [{ name: 'goaway-chance', value: '0.01' }] },
  });
  await configure(content);
  assert.ok(words('apiserver').includes('--goaway-chance=0.01'));
  assert.equal(find('apiserver').checkout, PROGRAM_DIR);
  assert.equal(find('apiserver').health?.startSeconds, 7);
  const text = readFileSync(paths.machineFile, 'utf8');
  await configure(content);
  assert.equal(readFileSync(paths.machineFile, 'utf8'), text);
  await step('rollback');
  assert.ok(words('apiserver').includes('--goaway-chance=0.01'));
});

test('killed, and a full disk, at each of its changes: old or new, and the next run ends it', async () => {
  const encryption = (name: string): string =>
    renderShared({
      cluster: defaultCluster(
        {
          apiServer: {
            extraArgs: [
              { name: 'goaway-chance', value: '0.01' },
              { name: ENCRYPTION_FLAG, value: managedEncryptionPath(cluster.certificatesDir) },
            ],
          },
        },
        { kubernetesVersion: 'v1.36.0' },
      ),
      kubelet: Object.assign({ maxPods: name === 'key1' ? 50 : 60 }, kubelet),
      encryption: `${JSON.stringify({ apiVersion: 'apiserver.config.k8s.io/v1', kind: 'EncryptionConfiguration', resources: [{ resources: ['secrets'], providers: [{ aesgcm: { keys: [{ name, secret: 'c2VjcmV0IGlzIHNlY3VyZQ==' }] } }] }] })}\n`,
    });
  const file = join(paths.pki, ENCRYPTION_FILE);
  const state = (): readonly string[] =>
    [file, paths.kubeletConfig, paths.machineFile].map((path) => readFileSync(path, 'utf8'));
  const run = (name: string): Promise<void> =>
    configureMachine({ rootfs: paths.rootfs, content: encryption(name) }, print);
  const states = { old: [] as readonly string[], new: [] as readonly string[] };
  await run('key2');
  states.new = state();
  await run('key1');
  states.old = state();
  for (const isFull of [false, true]) {
    const known = new Set<string>();
    for (let isHit = true; isHit;) {
      isHit = false;
      const end = interceptFiles({
        root: paths.rootfs,
        before(change) {
          if (/ machine\.lock|^(?:fsync|unlink) /.test(change) || (!isHit && known.has(change))) return;
          if (isFull && !/^(?:open|write) /.test(change)) return;
          known.add(change);
          isHit = true;
          throw isFull ? Object.assign(new Error('no space left'), { code: 'ENOSPC' }) : new Error('killed');
        },
      });
      const error = await run('key2').catch((problem: Error) => problem);
      end();
      if (isHit)
        assert.match(
          String(error),
          isFull ? /^UserError: The disk that holds .* is full/ : /killed/,
          [...known].at(-1),
        );
      else assert.equal(error, undefined);
      for (const [index, text] of state().entries())
        assert.ok([states.old[index], states.new[index]].includes(text) || index === 2, text);
      record();
      await run('key2');
      assert.deepEqual(state(), states.new);
      assert.deepEqual(
        readdirSync(paths.pki).filter((name) => name.endsWith('.tmp')),
        [],
      );
      await run('key1');
    }
    assert.ok(known.size >= (isFull ? 6 : 9), [...known].join());
  }
});

test('a larger range of pods: every service that has it', async () => {
  const before = find('node');
  await configure(document('ClusterConfiguration', { networking: { podSubnet: '10.244.0.0/15' } }));
  for (const name of ['node', 'proxy']) assert.ok(words(name).includes('--cluster-cidr=10.244.0.0/15'), name);
  assert.equal(record().networking?.podSubnet, '10.244.0.0/15');
  assert.deepEqual(find('node').env, before.env, 'the kubelet has no new file');
});

test("settings of kubelets: the machine's own paths stay, and the agent starts again", async () => {
  const shared = { staticPodPath: '/shared', maxPods: 50, serverTLSBootstrap: false };
  const documents = [document('ClusterConfiguration', {}), document('KubeletConfiguration', shared)];
  await configure(...documents);
  const text = readFileSync(paths.kubeletConfig, 'utf8');
  assert.match(text, /^staticPodPath: \/own$/m);
  assert.match(text, /^maxPods: 50$/m);
  assert.match(text, /clientCAFile: \/own\/ca\.crt$/m);
  assert.ok(words('node').includes('--rotate-server-certificates=false'));
  const { env } = find('node');
  assert.match(Object.values(env ?? {}).join(), /^[0-9a-f]{64}$/);
  await configure(...documents);
  assert.deepEqual(find('node').env, env);
  await configure(document('ClusterConfiguration', {}), document('KubeletConfiguration', {}));
  assert.notDeepEqual(find('node').env, env);
  assert.doesNotMatch(readFileSync(paths.kubeletConfig, 'utf8'), /maxPods/);
});
