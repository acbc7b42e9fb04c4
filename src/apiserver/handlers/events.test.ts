/** Events through the handler: one stored object under two APIs, each with its own selectors; collections deleted by them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startTestServer, type TestServer } from '../testing/server.ts';

const CORE = '/api/v1/namespaces/default/events',
  NEW = '/apis/events.k8s.io/v1/namespaces/default/events';
let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server.stop());

const event = (name: string, reason: string): object => ({
  metadata: { name, namespace: 'default' },
  involvedObject: { kind: 'Pod', namespace: 'default', name: 'p', uid: 'u' },
  reason,
  message: 'm',
  type: 'Normal',
});
const names = async (path: string): Promise<string[]> =>
  ((await server.request(`GET ${path}`)).body.items as { metadata: { name: string } }[]).map(
    ({ metadata }) => metadata.name,
  );

test('one event, two APIs, selectors of each', async () => {
  for (const [name, reason] of [
    ['a', 'Pulled'],
    ['b', 'Started'],
    ['c', 'Pulled'],
  ] as const)
    assert.equal((await server.request(`POST ${CORE}`, { body: event(name, reason) })).status, 201);
  const made = await server.request(`POST ${NEW}`, {
    body: {
      metadata: { name: 'd', namespace: 'default' },
      regarding: { kind: 'Pod', namespace: 'default', name: 'q' },
      eventTime: '2026-01-01T00:00:00.000000Z',
      action: 'Pull',
      reason: 'Pulled',
      type: 'Normal',
      note: 'n',
      reportingController: 'example.com/c',
      reportingInstance: 'c-1',
      series: { count: 2, lastObservedTime: '2026-01-01T00:00:01.000000Z' },
    },
  });
  assert.equal(made.status, 201, made.text);
  const core = (await server.request(`GET ${CORE}/d`)).body;
  assert.deepEqual(
    [core.involvedObject.name, core.message, core.reportingComponent, core.series.count],
    ['q', 'n', 'example.com/c', 2],
  );
  assert.deepEqual(await names(`${CORE}?fieldSelector=involvedObject.name%3Dp,reason%3DPulled`), ['a', 'c']);
  assert.deepEqual(await names(`${NEW}?fieldSelector=regarding.name%3Dp,reason!%3DPulled`), ['b']);
  assert.deepEqual(await names(`${CORE}?fieldSelector=source%3Dexample.com/c`), ['d']);
  for (const [path, field] of [
    [CORE, 'regarding.name'],
    [CORE, 'reportingController'],
    [NEW, 'involvedObject.name'],
    [NEW, 'source'],
  ] as const) {
    const { status, body } = await server.request(`GET ${path}?fieldSelector=${field}%3Dx`);
    assert.deepEqual([status, body.message], [400, `field label not supported: ${field}`]);
  }
});

test('a collection is deleted by its selectors', async () => {
  const deleted = await server.request(`DELETE ${NEW}?fieldSelector=reason%3DPulled,regarding.name%3Dp`);
  assert.deepEqual(
    [deleted.status, deleted.body.kind, deleted.body.apiVersion, deleted.body.items.length],
    [200, 'EventList', 'events.k8s.io/v1', 2],
  );
  assert.deepEqual(await names(CORE), ['b', 'd']);
  assert.equal((await server.request(`DELETE ${CORE}?fieldSelector=regarding.name%3Dp`)).status, 400);
});

test('a put of an event that is not there makes it; events.k8s.io/v1 changes the series alone', async () => {
  assert.equal((await server.request(`PUT ${CORE}/e`, { body: event('e', 'Pulled') })).status, 201);
  const stored = (await server.request(`GET ${NEW}/d`)).body;
  const refused = await server.request(`PUT ${NEW}/d`, { body: { ...stored, note: 'other' } });
  assert.deepEqual([refused.status, refused.body.details.causes[0].field], [422, 'message']);
  assert.equal(
    (
      await server.request(`PUT ${NEW}/d`, {
        body: { ...stored, series: { count: 3, lastObservedTime: '2026-01-01T00:00:02.000000Z' } },
      })
    ).status,
    200,
  );
});
