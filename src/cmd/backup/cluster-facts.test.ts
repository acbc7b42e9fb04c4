/** What a backup says about its cluster: ranges, encryption at rest, the kind of its nodes. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { dataDir, prepareDataDir, readSettings } from '#deploy/data-dir.ts';
import { ClusterFacts } from './cluster-facts.ts';
import { encryptionIn, writeMissing } from './restored-files.ts';

const root = temporaryDir();
after(() => root.remove());

const CONFIGURATION = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
controlPlaneEndpoint: api.example.org:6443
networking: { podSubnet: 10.50.0.0/16, serviceSubnet: 10.60.0.0/16, dnsDomain: example.org }
apiServer: { extraArgs: [{ name: encryption-provider-config, value: /etc/kubernetes/pki/encryption-config.yaml }] }
`;
const KUBELET = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
staticPodPath: /old/manifests
maxPods: 77
authentication: { x509: { clientCAFile: /old/ca.crt }, anonymous: { enabled: false } }
`;

function factsOf(runtimeVersion: string): ClusterFacts {
  const facts = new ClusterFacts();
  const see = (key: string, object: object): void =>
    facts.see({ key: `/registry/${key}`, value: Buffer.from(JSON.stringify(object)) });
  see('configmaps/kube-system/kubeadm-config', { data: { ClusterConfiguration: CONFIGURATION } });
  see('configmaps/kube-system/kubelet-config', { data: { kubelet: KUBELET } });
  see('minions/a', { status: { nodeInfo: { containerRuntimeVersion: 'simulated://1.0.0' } } });
  see('minions/b', { status: { nodeInfo: { containerRuntimeVersion: runtimeVersion } } });
  return facts;
}

const file = (path: string, text: string): { path: string; mode: number; content: Buffer } => ({
  path,
  mode: 0o600,
  content: Buffer.from(text),
});

test('settings of a data directory come from the configuration of init', () => {
  const facts = factsOf('simulated://1.0.0');
  const dir = dataDir(join(root.path, 'fresh'));
  prepareDataDir(dir);
  const identityFile = join(root.path, 'identity');
  writeFileSync(identityFile, "# opens this cluster's backups: …\nAGE-SECRET-KEY-1\n");
  const files = [
    file('pki/ca.crt', 'authority'),
    file('pki/encryption-config.yaml', 'keys'),
    file('machine.json', '{}'),
  ];
  assert.equal(encryptionIn(files, facts)?.content.toString(), 'keys');
  writeMissing(dir, { files, facts, identityFile });
  const settings = readSettings(dir);
  assert.equal(settings?.podCIDR, '10.50.0.0/16');
  assert.equal(settings?.serviceCIDR, '10.60.0.0/16');
  assert.equal(settings?.runtime, 'simulated');
  assert.deepEqual(settings?.apiServerArgs, [
    `encryption-provider-config=${join(dir.pki, 'encryption-config.yaml')}`,
  ]);
  assert.equal(readFileSync(join(dir.pki, 'ca.crt'), 'utf8'), 'authority');
  assert.ok(!existsSync(join(dir.path, 'machine.json')));
  assert.ok(existsSync(join(dir.pki, 'backup-identity.txt')));
});

test('a key of people is not left on the machine', () => {
  const dir = dataDir(join(root.path, 'people'));
  prepareDataDir(dir);
  const identityFile = join(root.path, 'mine');
  writeFileSync(identityFile, '# public key: age1…\nAGE-SECRET-KEY-1\n');
  writeMissing(dir, { files: [], facts: new ClusterFacts(), identityFile });
  assert.ok(!existsSync(join(dir.pki, 'backup-identity.txt')));
  rmSync(identityFile);
});

test('the configuration of kubelets, without paths of the old machine', () => {
  const facts = factsOf('containerd://2.0.0');
  assert.equal(facts.runtime, 'cri');
  const kubelet = facts.kubelet();
  assert.match(JSON.stringify(kubelet), /"maxPods":77/);
  assert.ok(!JSON.stringify(kubelet).includes('/old/'));
  assert.equal(facts.configuration().controlPlaneEndpoint, 'api.example.org:6443');
});
