/** `capstan access` against a real server: who is named, and why. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import * as refs from '#api/refs.ts';
import { renderKubeconfig } from '#deploy/pki/kubeconfig.ts';
import { issueCertificate } from '#pki/certificate.ts';
import type { ResourceRef } from '#client/client.ts';
import { capstan, freePort, type CommandResult } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';

const VERSION = 'rbac.authorization.k8s.io/v1';
const GROUP = 'rbac.authorization.k8s.io';

let api: TestApi;
let dir: string;
before(async () => {
  const port = await freePort();
  api = await startTestApi({ port });
  dir = mkdtempSync(join(tmpdir(), 'capstan-access-'));
  const kubeconfig = (name: string, certificate: { certificatePem: string; keyPem: string }): void =>
    writeFileSync(
      join(dir, name),
      renderKubeconfig({
        server: `https://127.0.0.1:${port}`,
        caPem: api.pki.ca.certificatePem,
        clusterName: 'c',
        userName: name,
        credentials: { certificate },
      }),
      { mode: 0o600 },
    );
  kubeconfig('admin', api.pki.clients.admin);
  kubeconfig(
    'joe',
    issueCertificate(api.pki.ca, {
      subject: { commonName: 'joe' },
      usages: ['clientAuth'],
      nowMs: Date.now(),
      lifetimeMs: 3_600_000,
    }),
  );
  const create = (ref: unknown, object: object): Promise<unknown> =>
    api.api.create(ref as ResourceRef, object as never);
  for (const name of ['blue', 'red'])
    await create(refs.namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  const bind = (
    name: string,
    namespace: string,
    role: string,
    subjects: readonly object[],
    kind = 'ClusterRole',
  ): Promise<unknown> =>
    create(refs.roleBindings, {
      apiVersion: VERSION,
      kind: 'RoleBinding',
      metadata: { name, namespace },
      roleRef: { apiGroup: GROUP, kind, name: role },
      subjects,
    });
  await bind('viewers', 'blue', 'view', [{ kind: 'Group', apiGroup: GROUP, name: 'devs' }]);
  await create(refs.roles, {
    apiVersion: VERSION,
    kind: 'Role',
    metadata: { name: 'one', namespace: 'red' },
    rules: [{ apiGroups: [''], resources: ['secrets'], resourceNames: ['only'], verbs: ['get'] }],
  });
  await bind(
    'one',
    'red',
    'one',
    [
      { kind: 'User', apiGroup: GROUP, name: 'jane' },
      { kind: 'ServiceAccount', name: 'bot', namespace: 'blue' },
    ],
    'Role',
  );
  await bind('broken', 'red', 'gone', [{ kind: 'User', apiGroup: GROUP, name: 'jane' }]);
});
after(async () => {
  rmSync(dir, { recursive: true, force: true });
  await api.stop();
});

const access = (words: string, as = 'admin'): Promise<CommandResult> =>
  capstan(['access', ...words.split(' '), '--kubeconfig', join(dir, as)]);

describe('who-can', () => {
  const cases: readonly (readonly [words: string, says: readonly RegExp[]])[] = [
    [
      'who-can get pods -n blue',
      [
        /^RBAC lets these get pods in namespace "blue":$/m,
        /^ {2}Group devs +RoleBinding viewers in namespace blue +ClusterRole view \(gathered from system:aggregate-to-view\) +get,list,watch .*pods.* of core$/m,
        /Group kubeadm:cluster-admins +ClusterRoleBinding kubeadm:cluster-admins/,
        /^Also: members of group system:masters may do everything/m,
        /^Also: kubelets .* by the Node authorizer/m,
        /^Not shown: what ABAC/m,
      ],
    ],
    ['who-can get po --subresource log -n blue', [/get pods\/log in namespace "blue"/, /Group devs/]],
    [
      'who-can get secrets/only -n red',
      [
        /User jane +RoleBinding one in namespace red +Role one +get secrets of core, named only$/m,
        /ServiceAccount blue\/bot/,
      ],
    ],
    ['who-can get /metrics --non-resource', [/^RBAC lets these get path \/metrics:$/m]],
    [
      'who-can delete deployments.apps -A',
      [/delete deployments of apps in all namespaces/, /ServiceAccount kube-system\//],
    ],
    ['who-can frob nodes', [/frob nodes at cluster scope/]],
    ['who-can get gadgets', [/^The server has no resource "gadgets"; rules may name it all the same\.$/m]],
  ];
  for (const [words, says] of cases) {
    test(words, async () => {
      const { code, stdout, stderr } = await access(words);
      assert.equal(code, 0, stderr);
      for (const pattern of says) assert.match(stdout, pattern);
    });
  }
  test('others are left out', async () => {
    const { stdout } = await access('who-can get secrets/other -n red');
    assert.doesNotMatch(stdout, /jane|blue\/bot/);
    assert.doesNotMatch((await access('who-can delete pods -n blue')).stdout, /devs/);
  });
});

describe('explain', () => {
  const cases: readonly (readonly [words: string, code: number, says: readonly RegExp[]])[] = [
    [
      'explain jane get pods -n blue --group devs',
      0,
      [
        /^yes: User jane may get pods in namespace "blue"$/m,
        /^ {2}rule +get,list,watch /m,
        /^ {4}of +ClusterRole view \(gathered from system:aggregate-to-view\)$/m,
        /^ {4}bound by +RoleBinding viewers in namespace blue to Group devs$/m,
        /^ {2}server +allows it: RBAC: allowed by RoleBinding "viewers\/blue"/m,
      ],
    ],
    [
      'explain jane delete pods -n blue --group devs',
      1,
      [
        /^no: User jane may not delete pods in namespace "blue"$/m,
        /no rule of any role bound/,
        /nearest +may get it$/m,
        /nearest +may list it$/m,
      ],
    ],
    [
      'explain jane get pods -n red --group devs',
      1,
      [
        /nearest +may get it in namespace "blue"$/m,
        /missing +RoleBinding "broken" names ClusterRole "gone", which does not exist/,
      ],
    ],
    ['explain jane get secrets -n red', 1, [/nearest +may get the one named "only"$/m]],
    [
      'explain system:serviceaccount:blue:bot get secrets/only -n red',
      0,
      [
        /groups +system:serviceaccounts, system:serviceaccounts:blue, system:authenticated/,
        /to ServiceAccount blue\/bot/,
      ],
    ],
    [
      'explain root delete nodes --group system:masters',
      0,
      [
        /also +is in group system:masters, which may do everything/,
        /ClusterRoleBinding cluster-admin to Group system:masters/,
      ],
    ],
    [
      'explain system:node:n1 get nodes/n1 --group system:nodes',
      0,
      [/also +kubelets/, /server +allows it$/m],
    ],
    [
      'explain system:node:n1 get nodes/n2 --group system:nodes',
      1,
      [/cannot read 'n2', only its own Node object/],
    ],
    [
      'explain system:anonymous get /version',
      0,
      [/groups +system:unauthenticated$/m, /ClusterRole system:public-info-viewer/],
    ],
  ];
  for (const [words, expected, says] of cases) {
    test(words, async () => {
      const { code, stdout, stderr } = await access(words);
      assert.equal(code, expected, stdout + stderr);
      for (const pattern of says) assert.match(stdout, pattern);
    });
  }
  test('as JSON', async () => {
    const { stdout } = await access('explain jane get pods -n blue --group devs --json');
    const { allowed, permits } = JSON.parse(stdout) as {
      allowed: boolean;
      permits: { binding: { name: string } }[];
    };
    assert.deepEqual([allowed, permits.map(({ binding }) => binding.name)], [true, ['viewers']]);
  });
});

describe('one sentence for what cannot be answered', () => {
  const cases: readonly (readonly [words: string, as: string, says: RegExp])[] = [
    ['who-can get metrics --non-resource', 'admin', /"metrics" is no path; one begins with \//],
    ['who-can get pods', 'joe', /The user of the kubeconfig may not read what this needs: .*forbidden/],
    ['who-can get pods', 'nobody', /Cannot read kubeconfig/],
  ];
  for (const [words, as, says] of cases) {
    test(`${as}: ${words}`, async () => {
      const { code, stderr } = await access(words, as);
      assert.equal(code, 1);
      assert.match(stderr, says);
      assert.equal(stderr.trim().split('\n').length, 1, stderr);
    });
  }
});
