/**
 * What consoles (Headlamp, Lens, k9s and the like) ask of a cluster when they open it, as a viewer with a token: discovery in both forms, what
 * they may, tables, metrics, and watches of many kinds, in streams and over WebSockets as a browser's.
 */
import assert from 'node:assert/strict';
import { request } from 'node:https';
import { after, before, describe, it } from 'node:test';
import { WebSocket } from 'ws';
import { clusterRoleBindings, configMaps, serviceAccounts } from '#client/refs.ts';
import { until } from './cluster.ts';
import { startSimulatedCluster, type SimulatedCluster } from './simulated-cluster.ts';

interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: any;
}

const TABLE = 'application/json;as=Table;g=meta.k8s.io;v=v1';
const AGGREGATED = 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList';

describe('consoles', () => {
  let cluster: SimulatedCluster;
  let token = '';

  const ask = (
    method: string,
    path: string,
    { accept = 'application/json', body }: { readonly accept?: string; readonly body?: object } = {},
  ): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const outgoing = request(
        `${cluster.url}${path}`,
        {
          method,
          ca: cluster.pki.ca.certificatePem,
          headers: {
            authorization: `Bearer ${token}`,
            accept,
            ...(body ? { 'content-type': 'application/json' } : {}),
          },
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () => {
            const text = Buffer.concat(parts).toString();
            const contentType = response.headers['content-type'] ?? '';
            resolve({
              status: response.statusCode ?? 0,
              contentType,
              body: contentType.startsWith('application/json') ? JSON.parse(text) : text,
            });
          });
        },
      );
      outgoing.on('error', reject);
      outgoing.end(body && JSON.stringify(body));
    });
  const open = (
    path: string,
    protocols: string[] = [],
    headers: Record<string, string> = { authorization: `Bearer ${token}` },
  ): WebSocket =>
    new WebSocket(`${cluster.url.replace('https', 'wss')}${path}`, protocols, {
      ca: cluster.pki.ca.certificatePem,
      headers,
      origin: 'https://console.example',
    });

  before(async () => {
    cluster = await startSimulatedCluster({ nodes: 1 });
    const { api } = cluster;
    await api.create(serviceAccounts, { metadata: { name: 'console', namespace: 'default' } });
    await api.create(clusterRoleBindings, {
      metadata: { name: 'console' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'view' },
      subjects: [{ kind: 'ServiceAccount', name: 'console', namespace: 'default' }],
    });
    const issued = await api.createSubresource(
      serviceAccounts,
      { name: 'console', namespace: 'default' },
      {
        subresource: 'token',
        body: {
          apiVersion: 'authentication.k8s.io/v1',
          kind: 'TokenRequest',
          spec: { audiences: [] },
        } as never,
      },
    );
    token = (issued as unknown as { status: { token: string } }).status.token;
  });
  after(async () => cluster?.stop());

  it('finds all groups, in one answer and group by group', async () => {
    const whole = await ask('GET', '/apis', { accept: `${AGGREGATED},application/json` });
    assert.equal(whole.contentType, AGGREGATED);
    const names = whole.body.items.map(
      ({ metadata }: { metadata: { name: string } }) => metadata.name,
    ) as string[];
    const plain = await ask('GET', '/apis');
    assert.equal(plain.body.kind, 'APIGroupList');
    assert.deepEqual(
      plain.body.groups.map(({ name }: { name: string }) => name),
      names,
    );
    for (const { preferredVersion } of plain.body.groups) {
      const { status, body } = await ask('GET', `/apis/${preferredVersion.groupVersion}`);
      assert.deepEqual(
        [status, body.kind, body.groupVersion],
        [200, 'APIResourceList', preferredVersion.groupVersion],
      );
    }
    assert.equal((await ask('GET', '/version')).body.major, '1');
    assert.equal((await ask('GET', '/openapi/v3')).status, 200);
  });

  it('learns what it may', async () => {
    const rules = await ask('POST', '/apis/authorization.k8s.io/v1/selfsubjectrulesreviews', {
      body: {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SelfSubjectRulesReview',
        spec: { namespace: 'default' },
      },
    });
    assert.equal(rules.status, 201);
    assert.equal(rules.body.status.incomplete, false);
    assert.ok(
      rules.body.status.resourceRules.some(
        ({ verbs, resources }: { verbs: string[]; resources: string[] }) =>
          resources.includes('pods') && verbs.includes('watch'),
      ),
    );
    assert.ok(
      rules.body.status.nonResourceRules.some(({ nonResourceURLs }: { nonResourceURLs: string[] }) =>
        nonResourceURLs.includes('/version'),
      ),
    );
    const may = async (resourceAttributes: object): Promise<boolean> =>
      (
        await ask('POST', '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews', {
          body: {
            apiVersion: 'authorization.k8s.io/v1',
            kind: 'SelfSubjectAccessReview',
            spec: { resourceAttributes },
          },
        })
      ).body.status.allowed;
    assert.deepEqual(
      [
        await may({ verb: 'list', resource: 'pods' }),
        await may({ verb: 'list', resource: 'secrets' }),
        await may({ verb: 'delete', resource: 'pods', namespace: 'default' }),
      ],
      [true, false, false],
    );
    const refused = await ask('GET', '/api/v1/secrets');
    assert.deepEqual(
      [refused.status, refused.body.reason, refused.body.message],
      [
        403,
        'Forbidden',
        'secrets is forbidden: User "system:serviceaccount:default:console" cannot list resource "secrets" in API group "" at the cluster scope',
      ],
    );
  });

  it('shows tables of every kind it may list', async () => {
    const { body } = await ask('GET', '/apis', { accept: AGGREGATED });
    const core = await ask('GET', '/api', { accept: AGGREGATED });
    let shown = 0;
    for (const { metadata = {}, versions } of [...core.body.items, ...body.items]) {
      const [{ version, resources }] = versions;
      for (const { resource, verbs } of resources) {
        if (!verbs.includes('list')) continue;
        const path = `${metadata.name ? `/apis/${metadata.name}` : '/api'}/${version}/${resource}?limit=500`;
        const answer = await ask('GET', path, { accept: `${TABLE},application/json` });
        if (answer.status === 403) continue;
        assert.deepEqual([answer.status, answer.body.kind], [200, 'Table'], path);
        assert.ok(answer.body.columnDefinitions.length > 0, path);
        shown++;
      }
    }
    assert.ok(shown > 25, `${shown} kinds`);
  });

  it('reads metrics', async () => {
    const { body } = await ask('GET', '/apis');
    assert.ok(body.groups.some(({ name }: { name: string }) => name === 'metrics.k8s.io'));
    const { status, body: list } = await ask('GET', '/apis/metrics.k8s.io/v1beta1/pods');
    assert.deepEqual([status, list.kind], [200, 'PodMetricsList'], 'view has the metrics reader');
  });

  it('watches over WebSockets, one message an event', async () => {
    const { api } = cluster;
    const namespace = 'default';
    const {
      body: { metadata },
    } = await ask('GET', `/api/v1/namespaces/${namespace}/configmaps`);
    const socket = open(
      `/api/v1/namespaces/${namespace}/configmaps?watch=1&allowWatchBookmarks=true&resourceVersion=${metadata.resourceVersion}`,
      ['base64.binary.k8s.io'],
    );
    const events: string[] = [];
    socket.on('message', (data, isBinary) => {
      const { type, object } = JSON.parse(String(data)) as {
        type: string;
        object: { metadata: { name: string } };
      };
      if (type !== 'BOOKMARK') events.push(`${type} ${object.metadata.name}${isBinary ? ' binary' : ''}`);
    });
    try {
      await new Promise((resolve, reject) => socket.on('open', resolve).on('error', reject));
      assert.equal(socket.protocol, 'base64.binary.k8s.io');
      await Promise.all(
        Array.from({ length: 20 }, (_, index) =>
          api.create(configMaps, {
            metadata: { name: `m${index}`, namespace },
            data: { text: 'line\nline' },
          }),
        ),
      );
      await api.patch(
        configMaps,
        { namespace, name: 'm0' },
        { type: 'merge', patch: { data: { text: 'other' } } },
      );
      await api.delete(configMaps, { namespace, name: 'm0' });
      await until('all events', () => events.length >= 22);
      assert.deepEqual(
        events.slice(0, 20).toSorted(),
        Array.from({ length: 20 }, (_, index) => `ADDED m${index}`).toSorted(),
      );
      assert.deepEqual(events.slice(20), ['MODIFIED m0', 'DELETED m0']);
    } finally {
      socket.terminate();
    }
  });

  it('watches over WebSockets: timeouts and refusals', async () => {
    const ended = (socket: WebSocket): Promise<{ readonly messages: any[]; readonly code: number }> =>
      new Promise((resolve, reject) => {
        const messages: any[] = [];
        socket
          .on('message', (data) => messages.push(JSON.parse(String(data))))
          .on('close', (code) => resolve({ messages, code }))
          .on('error', reject);
      });
    const timed = await ended(open('/api/v1/namespaces/kube-public/pods?watch=true&timeoutSeconds=1'));
    assert.deepEqual([timed.messages, timed.code], [[], 1000]);
    const refusal = (path: string, headers: Record<string, string>): Promise<number> =>
      new Promise((resolve, reject) => {
        open(path, [], headers)
          .on('unexpected-response', (_request, response) => {
            resolve(response.statusCode ?? 0);
            response.destroy();
          })
          .on('open', () => reject(new Error('it was let in')))
          .on('error', () => {});
      });
    assert.equal(await refusal('/api/v1/secrets?watch=1', { authorization: `Bearer ${token}` }), 403);
    assert.equal(await refusal('/api/v1/pods?watch=1', { authorization: 'Bearer wrong' }), 401);
    assert.equal(
      await refusal('/api/v1/pods?watch=1&fieldSelector=nonsense%3D1', { authorization: `Bearer ${token}` }),
      400,
    );
    assert.equal(await refusal('/api/v1/pods', { authorization: `Bearer ${token}` }), 400);
  });

  it('watches many kinds at once, as a k9s does', async () => {
    const kinds = [
      '/api/v1/pods',
      '/api/v1/services',
      '/api/v1/configmaps',
      '/api/v1/events',
      '/apis/apps/v1/deployments',
      '/apis/apps/v1/replicasets',
      '/apis/batch/v1/jobs',
      '/apis/networking.k8s.io/v1/ingresses',
    ];
    const sockets = kinds.map((path) => ({
      path,
      socket: open(
        `${path}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
      ),
    }));
    try {
      await Promise.all(
        sockets.map(
          ({ path, socket }) =>
            new Promise<void>((resolve, reject) => {
              socket.on('error', reject).on('message', (data) => {
                const { type, object } = JSON.parse(String(data)) as {
                  type: string;
                  object: { metadata: { annotations?: Record<string, string> } };
                };
                if (type === 'ERROR') reject(new Error(`${path}: ${String(data)}`));
                if (
                  type === 'BOOKMARK' &&
                  object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true'
                )
                  resolve();
              });
            }),
        ),
      );
    } finally {
      for (const { socket } of sockets) socket.terminate();
    }
  });
});
