/** One request must not stop the cluster: structured bombs of every kind against a whole API server, each bounded in the turn it holds and the processor it takes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BOMBS, TENANT, type Bomb } from './fuzz/bombs.ts';
import { measure, type Measured } from './fuzz/processor-time.ts';
import type { FuzzRequest } from './fuzz/requests.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

/** Of one turn of the event loop, and of all that a request causes. */
const MAX_TURN_MS = 200,
  MAX_TOTAL_MS = 2000;
/** Compiling and collecting garbage are told from the request's own work by asking again. */
const ATTEMPTS = 4;

let api: TestApi;

before(async () => {
  api = await startTestApi({ serving: { isEnabled: () => true, cbor: true } });
  await create('/api/v1/namespaces', { metadata: { name: 'default' } });
  await create('/api/v1/namespaces/default/serviceaccounts', { metadata: { name: 'default' } });
  await create('/api/v1/namespaces/default/configmaps', { metadata: { name: 'kept' }, data: {} });
  await create('/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles', {
    metadata: { name: 'writer' },
    rules: [
      { verbs: ['create'], apiGroups: ['rbac.authorization.k8s.io'], resources: ['roles'] },
      ...Array.from({ length: 200 }, (_, i) => ({
        verbs: ['v1', `v${i}`],
        apiGroups: [`g${i}`, 'g7'],
        resources: [`r${i}`, '*/log'],
      })),
    ],
  });
  await create('/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings', {
    metadata: { name: 'writer' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'writer' },
    subjects: [TENANT.name, 'nobody'].map((name) => ({
      apiGroup: 'rbac.authorization.k8s.io',
      kind: 'User',
      name,
    })),
  });
});
after(() => api.stop());

async function create(path: string, object: object): Promise<void> {
  const { status } = await send({
    method: 'POST',
    path,
    query: '',
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(JSON.stringify(object)),
    user: { name: 'admin', groups: ['system:masters'] },
  });
  assert.ok(status === 201 || status === 409, path);
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

async function send({ body, ...request }: FuzzRequest): Promise<Answer> {
  const { status, body: answered } = await api.server.handler({
    ...request,
    remoteAddress: '127.0.0.1',
    onAbort: () => {},
    body: () => Promise.resolve(body),
  });
  assert.ok(typeof answered !== 'function', 'a stream');
  const bytes = Buffer.isBuffer(answered) ? answered : Buffer.concat(answered as Buffer[]);
  return { status, text: bytes.toString('utf8', 0, 500) };
}

/** The cheapest of some attempts. */
async function cost(request: FuzzRequest): Promise<Measured<Answer>> {
  let best = await measure(() => send(request));
  for (let attempt = 1; attempt < ATTEMPTS && isTooDear(best); attempt++) {
    const next = await measure(() => send(request));
    if (next.longestTurnMs < best.longestTurnMs) best = next;
  }
  return best;
}

function isTooDear({ longestTurnMs, totalMs }: Measured<Answer>): boolean {
  return longestTurnMs > MAX_TURN_MS || totalMs > MAX_TOTAL_MS;
}

async function explode({ status, request }: Bomb): Promise<void> {
  const { longestTurnMs, totalMs, result } = await cost(request());
  assert.equal(result.status, status, result.text);
  assert.ok(longestTurnMs <= MAX_TURN_MS, `one turn took ${longestTurnMs.toFixed(0)} ms`);
  assert.ok(totalMs <= MAX_TOTAL_MS, `the request took ${totalMs.toFixed(0)} ms of processor time`);
}

for (const bomb of BOMBS) test(bomb.name, () => explode(bomb));
