import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { parseFleet, readFleetFile } from './inventory.ts';

const HEAD = 'apiVersion: fleet.capstan.dev/v1alpha1\nkind: Fleet\n';
const CP = '{ name: cp-1, address: 10.0.0.1, role: control-plane }';
const fleet = (rest: string): string => `${HEAD}${rest}`;
const machines = (...lines: string[]): string => fleet(`machines: [${[CP, ...lines].join(', ')}]\n`);

test('defaults of the file, of a group and of the machine itself', () => {
  const { machines: found, config } = parseFleet(
    fleet(`
ssh: { user: admin, port: 2222, identityFile: keys/id }
groups: { gpu: { zone: b, labels: { disk: ssd, kind: gpu }, taints: [{ key: gpu, effect: NoSchedule }], ssh: { port: 22 } } }
machines:
- ${CP}
- { name: w-1, address: w1.example.org, role: worker, group: gpu, labels: { disk: nvme }, ssh: { user: root } }
cluster: { apiVersion: kubeadm.k8s.io/v1beta4, kind: ClusterConfiguration, controlPlaneEndpoint: "api:6443" }
`),
    '/etc/fleet',
  );
  assert.deepEqual(found[0]?.ssh, {
    user: 'admin',
    port: 2222,
    identityFile: '/etc/fleet/keys/id',
    hostKeys: [],
  });
  assert.deepEqual(found[1]?.labels, { disk: 'nvme', kind: 'gpu', 'topology.kubernetes.io/zone': 'b' });
  assert.deepEqual(found[1]?.ssh, {
    user: 'root',
    port: 22,
    identityFile: '/etc/fleet/keys/id',
    hostKeys: [],
  });
  assert.deepEqual(found[1]?.taints, [{ key: 'gpu', effect: 'NoSchedule' }]);
  assert.equal(found[0]?.taints, undefined);
  assert.equal(config.cluster.controlPlaneEndpoint, 'api:6443');
});

describe('refused, with the path', () => {
  const cases: readonly (readonly [content: string, says: RegExp])[] = [
    [
      fleet(`machines: [{ name: a, address: b, role: worker, colour: red }]`),
      /unknown field "machines\[0\]\.colour"/,
    ],
    [fleet('machines: []'), /^machines: Required value/],
    [machines('{ name: cp-1, address: b, role: worker }'), /machines\[1\]\.name: Duplicate value: "cp-1"/],
    [
      machines('{ name: b, address: 10.0.0.1, role: worker }'),
      /machines\[1\]\.address: Duplicate value.*that of cp-1/,
    ],
    [
      machines('{ name: b, address: "-oProxyCommand=x", role: worker }'),
      /machines\[1\]\.address: Invalid value/,
    ],
    [machines('{ name: b, address: c, role: master }'), /machines\[1\]\.role: Unsupported value: "master"/],
    [machines('{ name: worker, address: c, role: worker }'), /must not be the name of a group or a role/],
    [
      machines('{ name: b, address: c, role: worker, ssh: { user: "-x" } }'),
      /machines\[1\]\.ssh\.user: Invalid/,
    ],
    [
      machines('{ name: b, address: c, role: worker, ssh: { port: 0 } }'),
      /machines\[1\]\.ssh\.port: Invalid/,
    ],
    [
      machines('{ name: b, address: c, role: worker, ssh: { hostKeys: ["ssh-rsa A"] } }'),
      /hostKeys\[0\]: Invalid/,
    ],
    [
      machines('{ name: b, address: c, role: worker, labels: { "a b": c } }'),
      /machines\[1\]\.labels\.a b: Invalid/,
    ],
    [
      machines('{ name: b, address: c, role: worker, taints: [{ key: a, effect: Never }] }'),
      /taints\[0\]\.effect: Unsupported/,
    ],
    [
      machines('{ name: b, address: c, role: worker, group: none }'),
      /machines\[1\]\.group: Invalid value: "none"/,
    ],
    [
      machines('{ name: b, address: c, role: witness, zone: a }'),
      /machines\[1\]: Forbidden: a witness has no Node/,
    ],
    [
      fleet('machines: [{ name: a, address: b, role: worker }]'),
      /at least one machine of role "control-plane"/,
    ],
    [
      `${machines()}join: { apiVersion: kubeadm.k8s.io/v1beta4, kind: JoinConfiguration, discovery: {} }`,
      /join\.discovery: Forbidden/,
    ],
    [
      `${machines()}cluster: { apiVersion: kubeadm.k8s.io/v1beta4, kind: ClusterConfiguration, colour: red }`,
      /cluster: .*unknown field "colour"/,
    ],
    [`${machines()}runtime: docker`, /runtime: Unsupported value: "docker"/],
    [`${machines()}addons: [{ name: a }]`, /addons\[0\]: Required value: one of path and manifests/],
    [
      `${machines()}addons: [{ name: a, manifests: [{ apiVersion: v1, kind: ConfigMap, metadata: { generateName: x } }] }]`,
      /metadata\.name: Required value/,
    ],
    [`${machines()}addons: [{ name: a, path: /dev/null/x }]`, /addons\[0\]\.path: .*cannot be read: ENOTDIR/],
  ];
  for (const [content, says] of cases)
    test(says.source, () => assert.throws(() => parseFleet(content, '/'), { message: says }));
});

test('addons of a directory, a file and the inventory; kubeadm configuration of a file', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-fleet-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const map = (name: string): string => `{apiVersion: v1, kind: ConfigMap, metadata: {name: ${name}}}\n`;
  mkdirSync(join(dir, 'many/deep'), { recursive: true });
  writeFileSync(join(dir, 'many/b.yaml'), `---\n${map('b')}---\n${map('c')}`);
  writeFileSync(join(dir, 'many/deep/a.yml'), `apiVersion: v1\nkind: List\nitems: [${map('d').trim()}]\n`);
  writeFileSync(join(dir, 'many/README.md'), 'no manifest');
  writeFileSync(
    join(dir, 'kubeadm.yaml'),
    'apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: here\n',
  );
  const content = `${machines()}config: kubeadm.yaml\naddons:\n- { name: many, path: many/ }\n- { name: own, manifests: [${map('e').trim()}] }\n`;
  writeFileSync(join(dir, 'fleet.yaml'), content);
  const { addons, config } = readFleetFile(join(dir, 'fleet.yaml'));
  assert.deepEqual(
    addons?.map(({ name, objects }) => [
      name,
      objects.map(({ metadata }) => (metadata as { name: string }).name),
    ]),
    [
      ['many', ['b', 'c', 'd']],
      ['own', ['e']],
    ],
  );
  assert.equal(config.cluster.clusterName, 'here');
  writeFileSync(join(dir, 'many/z.yaml'), map('b'));
  assert.throws(() => readFleetFile(join(dir, 'fleet.yaml')), {
    name: 'UserError',
    message: /fleet\.yaml: addons\[0\]: Duplicate value: ConfigMap b\.$/,
  });
});
