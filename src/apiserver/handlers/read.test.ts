import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { decodeObject } from '#machinery/codec/protobuf.ts';
import { schemaForKind } from '#api/schemas.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server.stop());

const path = (namespace: string): string => `/api/v1/namespaces/${namespace}/configmaps`;
const create = async (namespace: string, name: string, extra: object = {}): Promise<string> => {
  const { body, status, text } = await server.request(`POST ${path(namespace)}`, {
    body: {
      kind: 'ConfigMap',
      apiVersion: 'v1',
      ...extra,
      metadata: { name, ...(extra as { metadata?: object }).metadata },
    },
  });
  assert.equal(status, 201, text);
  return body.metadata.resourceVersion as string;
};
const names = (body: { items: { metadata: { name: string } }[] }): string[] =>
  body.items.map(({ metadata }) => metadata.name);
const TABLE = 'application/json;as=Table;v=v1;g=meta.k8s.io';

test('pages are consistent, survive compaction by an inconsistent token, and count what is left', async () => {
  for (let i = 0; i < 10; i++) await create('pages', `c${i}`);
  const first = (await server.request(`GET ${path('pages')}?limit=4`)).body;
  assert.deepEqual(names(first), ['c0', 'c1', 'c2', 'c3']);
  assert.equal(first.metadata.remainingItemCount, 6);
  await create('pages', 'c45');
  await server.request(`DELETE ${path('pages')}/c5`);
  const second = (await server.request(`GET ${path('pages')}?limit=4&continue=${first.metadata.continue}`))
    .body;
  assert.deepEqual(names(second), ['c4', 'c5', 'c6', 'c7']);
  assert.equal(second.metadata.resourceVersion, first.metadata.resourceVersion);
  assert.equal(second.metadata.remainingItemCount, 2);
  await server.store.compact(server.store.revision);
  const gone = await server.request(`GET ${path('pages')}?limit=4&continue=${second.metadata.continue}`);
  assert.equal(gone.status, 410);
  assert.equal(gone.body.reason, 'Expired');
  assert.match(
    gone.body.message,
    /^The provided continue parameter is too old to display a consistent list result\. You can start a new list without the continue parameter, or use the continue token in this response/,
  );
  const rest = await server.request(`GET ${path('pages')}?continue=${gone.body.metadata.continue}`);
  assert.deepEqual(names(rest.body), ['c8', 'c9']);
  assert.equal((await server.request(`GET ${path('pages')}?limit=4&continue=abc`)).status, 400);
});

test('a page of a forgotten version is refused also where nothing of its kind changed since', async () => {
  for (let i = 0; i < 4; i++) await create('still', `c${i}`);
  const { metadata } = (await server.request(`GET ${path('still')}?limit=2`)).body;
  await server.request('POST /api/v1/namespaces', {
    body: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'elsewhere' } },
  });
  assert.deepEqual(
    names((await server.request(`GET ${path('still')}?limit=2&continue=${metadata.continue}`)).body),
    ['c2', 'c3'],
  );
  await server.store.compact(server.store.revision);
  const gone = await server.request(`GET ${path('still')}?limit=2&continue=${metadata.continue}`);
  assert.deepEqual([gone.status, gone.body.reason], [410, 'Expired']);
  assert.deepEqual(
    names(
      (await server.request(`GET ${path('still')}?limit=2&continue=${gone.body.metadata.continue}`)).body,
    ),
    ['c2', 'c3'],
  );
});

test('exact revisions come from history', async () => {
  const before_ = await create('exact', 'a');
  await create('exact', 'b');
  const old = await server.request(
    `GET ${path('exact')}?resourceVersion=${before_}&resourceVersionMatch=Exact`,
  );
  assert.deepEqual([names(old.body), old.body.metadata.resourceVersion], [['a'], before_]);
  assert.deepEqual(
    names(
      (
        await server.request(
          `GET ${path('exact')}?resourceVersion=${before_}&resourceVersionMatch=NotOlderThan`,
        )
      ).body,
    ),
    ['a', 'b'],
  );
  const future = await server.request(`GET ${path('exact')}?resourceVersion=999999`);
  assert.deepEqual([future.status, future.body.details.causes[0].reason], [504, 'ResourceVersionTooLarge']);
  const wrong = await server.request(`GET ${path('exact')}?resourceVersionMatch=Exact`);
  assert.equal(
    wrong.body.message,
    'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided',
  );
});

test('selectors', async () => {
  await create('select', 'a', { metadata: { labels: { app: 'x', tier: '1' } } });
  await create('select', 'b', { metadata: { labels: { app: 'y' } } });
  await create('select', 'c');
  const select = async (query: string): Promise<string[]> =>
    names((await server.request(`GET ${path('select')}?${query}`)).body);
  assert.deepEqual(await select('labelSelector=app'), ['a', 'b']);
  assert.deepEqual(await select('labelSelector=app%20in%20(x,z)'), ['a']);
  assert.deepEqual(await select('labelSelector=!app'), ['c']);
  assert.deepEqual(await select('fieldSelector=metadata.name%3Db'), ['b']);
  assert.deepEqual(await select('fieldSelector=metadata.name!%3Db'), ['a', 'c']);
  assert.deepEqual(await select('labelSelector=app&limit=1'), ['a']);
  const unknown = await server.request(`GET ${path('select')}?fieldSelector=data.x%3Dy`);
  assert.deepEqual(
    [unknown.status, unknown.body.message],
    [400, '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"'],
  );
  assert.equal((await server.request(`GET ${path('select')}?labelSelector=a%3D%3D%3Db`)).status, 400);
  assert.deepEqual(await select('fieldSelector=%3D'), ['a', 'b', 'c']);
  for (const [resource, field, message] of [
    ['api/v1/persistentvolumes', 'metadata.namespace', undefined],
    ['api/v1/nodes', 'metadata.namespace', 'field label not supported: metadata.namespace'],
    [
      'apis/apps/v1/replicasets',
      'status.replicas',
      '"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ],
    ['apis/batch/v1/jobs', 'status.failed', 'field label "status.failed" not supported for Job'],
    [
      'api/v1/componentstatuses',
      'x',
      '"x" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ],
    [
      'apis/resource.k8s.io/v1/resourceslices',
      'spec.x',
      'field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: spec.x',
    ],
  ] as const)
    assert.equal(
      (await server.request(`GET /${resource}?fieldSelector=${field}%3Dx`)).body.message,
      message,
      resource,
    );
});

test('tables, metadata, pretty and compressed bodies', async () => {
  await create('views', 'a', { data: { big: 'x'.repeat(200_000) } });
  const table = (
    await server.request(`GET ${path('views')}`, { headers: { accept: `${TABLE},application/json` } })
  ).body;
  assert.deepEqual(
    [table.kind, table.columnDefinitions[0].name, table.rows[0].cells.slice(0, 2), table.rows[0].object.kind],
    ['Table', 'Name', ['a', 1], 'PartialObjectMetadata'],
  );
  const one = (
    await server.request(`GET ${path('views')}/a?includeObject=Object`, { headers: { accept: TABLE } })
  ).body;
  assert.equal(one.rows[0].object.kind, 'ConfigMap');
  const bare = (
    await server.request(`GET ${path('views')}?includeObject=None`, { headers: { accept: TABLE } })
  ).body;
  assert.equal(bare.rows[0].object, null);
  for (const [target, as, message] of [
    [
      path('views'),
      'PartialObjectMetadata',
      'you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)',
    ],
    [
      `${path('views')}/a`,
      'PartialObjectMetadataList',
      'you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)',
    ],
  ]) {
    const refused = await server.request(`GET ${target}`, {
      headers: { accept: `application/json;as=${as};v=v1;g=meta.k8s.io` },
    });
    assert.deepEqual([refused.status, refused.body.message], [406, message]);
  }
  const nothing = async (resource: string, accept: string): Promise<Record<string, unknown>> =>
    (await server.request(`GET ${resource}?labelSelector=none`, { headers: { accept } })).body;
  assert.equal(
    (await nothing(path('views'), 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io'))[
      'items'
    ],
    null,
  );
  assert.deepEqual(
    [(await nothing(path('views'), TABLE))['rows'], (await nothing('/api/v1/limitranges', TABLE))['rows']],
    [[], null],
  );
  const metadata = (
    await server.request(`GET ${path('views')}`, {
      headers: { accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io' },
    })
  ).body;
  assert.deepEqual(
    [metadata.kind, metadata.items[0].kind, metadata.items[0].data],
    ['PartialObjectMetadataList', 'PartialObjectMetadata', undefined],
  );
  assert.match((await server.request(`GET ${path('views')}/a?pretty=true`)).text, /^\{\n {2}"apiVersion"/);
  const zipped = await server.request(`GET ${path('views')}`, { headers: { 'accept-encoding': 'gzip' } });
  assert.equal(zipped.headers['content-encoding'], 'gzip');
  assert.equal(JSON.parse(gunzipSync(zipped.bytes).toString()).items[0].metadata.name, 'a');
  const proto = await server.request(`GET ${path('views')}`, {
    headers: { accept: 'application/vnd.kubernetes.protobuf' },
  });
  assert.equal(proto.status, 200);
});

test('lists of ready parts are the same whole, in pages and compressed, and their items say no kind', async () => {
  const count = 400;
  const bodyOf = (i: number): object => ({ data: { text: `${i} `.repeat(200) } });
  await Promise.all(
    Array.from({ length: count }, (_, i) => create('ready', `c${String(i).padStart(3, '0')}`, bodyOf(i))),
  );
  const gzip = { headers: { 'accept-encoding': 'gzip' } };
  const check = async (
    query: string,
  ): Promise<{ items: { kind?: string; metadata: { name: string } }[] }> => {
    const plain = await server.request(`GET ${path('ready')}${query}`),
      zipped = await server.request(`GET ${path('ready')}${query}`, gzip);
    assert.equal(zipped.headers['content-encoding'], 'gzip');
    assert.equal(gunzipSync(zipped.bytes).toString(), plain.text);
    return plain.body;
  };
  const whole = await check('');
  assert.equal(whole.items.length, count);
  assert.ok(whole.items.every((item) => item.kind === undefined));
  const page = await check('?limit=300');
  assert.deepEqual(page.items, whole.items.slice(0, 300));
  // What changes is compressed anew, alone.
  await server.request(`DELETE ${path('ready')}/c100`);
  await server.request(`PATCH ${path('ready')}/c200`, {
    body: { data: { text: 'other' } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  const later = await check('');
  assert.deepEqual(
    names(later as never),
    names(whole as never).filter((name) => name !== 'c100'),
  );
  const one = (await server.request(`GET ${path('ready')}/c300`)).body;
  assert.deepEqual([one.kind, one.apiVersion, one.metadata.name], ['ConfigMap', 'v1', 'c300']);
});

test('protobuf lists are the JSON ones, whole, in pages, compressed, and after changes', async () => {
  for (let i = 0; i < 300; i++)
    await create('proto', `c${String(i).padStart(3, '0')}`, { data: { text: `${i} `.repeat(200) } });
  const check = async (query: string): Promise<void> => {
    const accept = 'application/vnd.kubernetes.protobuf';
    const json = (await server.request(`GET ${path('proto')}${query}`)).body;
    const plain = await server.request(`GET ${path('proto')}${query}`, { headers: { accept } }),
      zipped = await server.request(`GET ${path('proto')}${query}`, {
        headers: { accept, 'accept-encoding': 'gzip' },
      });
    assert.deepEqual([plain.headers['content-type'], zipped.headers['content-encoding']], [accept, 'gzip']);
    assert.deepEqual(gunzipSync(zipped.bytes), plain.bytes);
    const read = decodeObject(plain.bytes, { schemaFor: schemaForKind }) as unknown as {
      items: { kind?: string; apiVersion?: string }[];
    };
    assert.deepEqual(JSON.parse(JSON.stringify(read)), json);
  };
  await check('');
  await check('?limit=200');
  await server.request(`DELETE ${path('proto')}/c100`);
  await server.request(`PATCH ${path('proto')}/c200`, {
    body: { data: { text: 'other' } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  await check('');
});

test('a watch without revision begins with what exists, then follows', async () => {
  await create('follow', 'a');
  const watch = await server.watch(`${path('follow')}?watch=true`);
  assert.deepEqual([(await watch.next()).type, watch.status], ['ADDED', 200]);
  await create('follow', 'b');
  await create('elsewhere', 'c');
  await server.request(`PATCH ${path('follow')}/b`, {
    body: { data: { x: 'y' } },
    headers: { 'content-type': 'application/merge-patch+json' },
  });
  await server.request(`DELETE ${path('follow')}/b`);
  const events = [await watch.next(), await watch.next(), await watch.next()];
  assert.deepEqual(
    events.map(({ type, object }) => [type, object.metadata?.name]),
    [
      ['ADDED', 'b'],
      ['MODIFIED', 'b'],
      ['DELETED', 'b'],
    ],
  );
  assert.deepEqual(events[2]!.object['data'], { x: 'y' });
  assert.ok(
    Number(events[2]!.object.metadata?.resourceVersion) > Number(events[1]!.object.metadata?.resourceVersion),
  );
  watch.close();
  await watch.ended;
});

test('objects enter and leave a selector', async () => {
  const since = await create('enter', 'a');
  const watch = await server.watch(`${path('enter')}?watch=true&labelSelector=on&resourceVersion=${since}`);
  const patch = (labels: object): Promise<unknown> =>
    server.request(`PATCH ${path('enter')}/a`, {
      body: { metadata: { labels } },
      headers: { 'content-type': 'application/merge-patch+json' },
    });
  await patch({ on: '1' });
  await patch({ on: '2' });
  await patch({ on: null, off: '1' });
  await patch({ off: '2' });
  await patch({ on: '3' });
  const events = [await watch.next(), await watch.next(), await watch.next(), await watch.next()];
  assert.deepEqual(
    events.map(({ type }) => type),
    ['ADDED', 'MODIFIED', 'DELETED', 'ADDED'],
  );
  // What left carries its last selected state as of the change.
  assert.deepEqual(events[2]!.object.metadata?.labels, { on: '2' });
  assert.ok(
    Number(events[2]!.object.metadata?.resourceVersion) > Number(events[1]!.object.metadata?.resourceVersion),
  );
  watch.close();
});

test('a watch resumes from the window and from the log; a forgotten past is 410', async () => {
  const since = await create('resume', 'a');
  await create('resume', 'b');
  await server.request(`DELETE ${path('resume')}/a`);
  const watch = await server.watch(`${path('resume')}?watch=true&resourceVersion=${since}`);
  assert.deepEqual([(await watch.next()).type, (await watch.next()).type], ['ADDED', 'DELETED']);
  watch.close();

  // Another server over the same store has nothing in its window.
  const other = await startTestServer({ store: server.store });
  const resumed = await other.watch(`${path('resume')}?watch=true&resourceVersion=${since}`);
  assert.deepEqual(
    [(await resumed.next()).object.metadata?.name, (await resumed.next()).object.metadata?.name],
    ['b', 'a'],
  );
  resumed.close();
  await server.store.compact(server.store.revision);
  const late = await other.watch(`${path('resume')}?watch=true&resourceVersion=${since}`);
  const error = await late.next();
  assert.deepEqual([error.type, error.object['code'], error.object['reason']], ['ERROR', 410, 'Expired']);
  assert.match(String(error.object['message']), /^too old resource version: /);
  await other.server.stop();
});

test('sendInitialEvents ends its beginning with a marked bookmark', async () => {
  await create('initial', 'a');
  const watch = await server.watch(
    `${path('initial')}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`,
  );
  assert.equal((await watch.next()).type, 'ADDED');
  const bookmark = await watch.next();
  assert.deepEqual(
    [bookmark.type, bookmark.object.kind, bookmark.object.metadata?.annotations],
    ['BOOKMARK', 'ConfigMap', { 'k8s.io/initial-events-end': 'true' }],
  );
  await create('initial', 'b');
  assert.equal((await watch.next()).object.metadata?.name, 'b');
  watch.close();
  const refused = await server.request(`GET ${path('initial')}?watch=true&sendInitialEvents=true`);
  assert.equal(refused.status, 422);
  // A watch that begins anywhere is one of these, whether or not it says so; one in the oldest form is not.
  for (const [query, ends] of [
    ['configmaps?watch=true', true],
    ['configmaps?watch=true&resourceVersion=0', true],
    ['watch/configmaps?', false],
  ] as const) {
    const [prefix, rest] = query.startsWith('watch/')
      ? (['/api/v1/watch/namespaces/initial', 'configmaps?'] as const)
      : (['/api/v1/namespaces/initial', query] as const);
    const legacy = await server.watch(`${prefix}/${rest}&allowWatchBookmarks=true`);
    for (const name of ['a', 'b']) assert.equal((await legacy.next()).object.metadata?.name, name);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(
      legacy.pending.map(({ type }) => type),
      ends ? ['BOOKMARK'] : [],
      query,
    );
    legacy.close();
  }
});

test('a watch as a table sends one row a change, and columns once', async () => {
  await create('rows', 'a');
  const watch = await server.watch(`${path('rows')}?watch=true`, { headers: { accept: TABLE } });
  const first = await watch.next();
  await create('rows', 'b');
  const second = await watch.next();
  assert.equal((first.object['columnDefinitions'] as unknown[]).length > 0, true);
  assert.equal(second.object['columnDefinitions'], null);
  assert.equal((second.object['rows'] as { cells: unknown[] }[])[0]!.cells[0], 'b');
  watch.close();
});

test('watches end when the server stops; before, it may say that it will', async () => {
  const other = await startTestServer();
  const watch = await other.watch(`${path('end')}?watch=true`);
  other.server.leave();
  assert.deepEqual(
    [
      (await other.request('GET /readyz')).status,
      (await other.request('GET /livez')).status,
      (await other.request('GET /version')).status,
    ],
    [500, 200, 200],
  );
  await other.stop();
  await watch.ended;
});

test('bookmarks are of the view that the client asked for', async () => {
  const {
    metadata: { resourceVersion: latest },
  } = (await server.request(`GET ${path('bookmarks')}`)).body;
  const begin = `${path('bookmarks')}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true`;
  const bookmarkOf = async (accept: string): Promise<unknown> => {
    const watch = await server.watch(begin, { headers: { accept } });
    const { object } = await watch.next();
    watch.close();
    return object;
  };
  const metadata = { resourceVersion: latest, annotations: { 'k8s.io/initial-events-end': 'true' } };
  const partial = { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata };
  assert.deepEqual(await bookmarkOf('application/json'), { kind: 'ConfigMap', apiVersion: 'v1', metadata });
  assert.deepEqual(await bookmarkOf('application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io'), partial);
  assert.deepEqual(await bookmarkOf(TABLE), {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion: latest },
    columnDefinitions: null,
    rows: [{ cells: ['', '', '<unknown>'], object: partial }],
  });
});

test('a last bookmark comes before a watch ends', async () => {
  const clock = new FakeClock();
  const other = await startTestServer({ clock });
  const watch = await other.watch(
    `${path('cadence')}?watch=true&allowWatchBookmarks=true&timeoutSeconds=100`,
  );
  // A client without a revision is notified of the end of the initial events.
  assert.deepEqual((await watch.next()).object.metadata?.annotations, {
    'k8s.io/initial-events-end': 'true',
  });
  for (const [seconds, expected] of [
    [59, 0],
    [2, 1],
    [36, 1],
    [2, 2],
  ] as const) {
    await clock.advance(seconds * 1000);
    assert.equal(watch.pending.length, expected, `after ${seconds} s more`);
  }
  await clock.advance(2000);
  await watch.ended;
  await other.stop();
});

test('a watch from a revision that is still to come waits for what follows it', async () => {
  const latest = Number(await create('future', 'a'));
  const watch = await server.watch(`${path('future')}?watch=true&resourceVersion=${latest + 1}`);
  await create('future', 'b');
  await create('future', 'c');
  assert.equal((await watch.next()).object.metadata?.name, 'c');
  watch.close();
  const initial = await server.watch(
    `${path('future')}?watch=true&resourceVersion=${latest + 1000}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`,
  );
  const { type, object } = await initial.next();
  assert.deepEqual(
    [type, object['code'], object['message']],
    ['ERROR', 504, `Timeout: Too large resource version: ${latest + 1000}, current: ${latest + 2}`],
  );
});

test('a list of any age is whole', async () => {
  for (const name of ['a', 'b', 'c']) await create('any', name);
  const { body } = await server.request(`GET ${path('any')}?limit=2&resourceVersion=0`);
  assert.deepEqual([names(body), body.metadata.continue], [['a', 'b', 'c'], undefined]);
});

function token(rv: number, start: string): string {
  return Buffer.from(JSON.stringify({ v: 'meta.k8s.io/v1', rv, start })).toString('base64url');
}

test('the largest limit is one, and a page of a version that is still to come is none', async () => {
  for (const name of ['a', 'b']) await create('largest', name);
  assert.deepEqual(names((await server.request(`GET ${path('largest')}?limit=9223372036854775807`)).body), [
    'a',
    'b',
  ]);
  const future = await server.request(`GET ${path('largest')}?continue=${token(999_999, 'a\0')}`);
  assert.deepEqual([future.status, future.body.reason], [504, 'Timeout']);
});

test('options that cannot be read are refused in words that say why', async () => {
  const refused: readonly (readonly [query: string, status: number, message: string])[] = [
    ['limit=abc', 400, 'strconv.ParseInt: parsing "abc": invalid syntax'],
    ['timeoutSeconds=abc', 400, 'strconv.ParseInt: parsing "abc": invalid syntax'],
    [
      'resourceVersion=abc',
      400,
      'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
    ],
    [
      'limit=99999999999999999999',
      400,
      'strconv.ParseInt: parsing "99999999999999999999": value out of range',
    ],
    [
      'watch=true&resourceVersion=abc',
      400,
      'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
    ],
    [
      'continue=a.b',
      400,
      'invalid continue token: continue key is not valid: illegal base64 data at input byte 1',
    ],
    [
      'continue=bogus',
      400,
      'invalid continue token: continue key is not valid: illegal base64 data at input byte 4',
    ],
    [
      'continue=e30&resourceVersion=5',
      400,
      'invalid continue token: continue key is not valid: server does not recognize this encoded version ',
    ],
    [
      'continue=abc',
      400,
      "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value",
    ],
    [`continue=${token(-1, '../a')}`, 400, 'invalid continue token: continue key is not valid: ../a'],
    [
      `continue=${token(-1, '')}`,
      400,
      'invalid continue token: continue key is not valid: encoded start key empty (version meta.k8s.io/v1)',
    ],
    ['limit=9223372036854775808', 400, 'strconv.ParseInt: parsing "9223372036854775808": value out of range'],
    [
      'resourceVersion=18446744073709551616',
      400,
      'invalid resource version: resourceVersion: Invalid value: "18446744073709551616": strconv.ParseUint: parsing "18446744073709551616": value out of range',
    ],
    [
      'resourceVersion=abc&resourceVersionMatch=X',
      422,
      'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Unsupported value: "X": supported values: "Exact", "NotOlderThan", ""',
    ],
    [
      'continue=e30',
      400,
      'invalid continue token: continue key is not valid: server does not recognize this encoded version ',
    ],
    [
      'watch=true&continue=e30',
      422,
      'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided',
    ],
  ];
  for (const [query, status, message] of refused) {
    const answer = await server.request(`GET ${path('options')}?${query}`);
    assert.deepEqual(
      [answer.status, answer.body.message, answer.body.details?.name],
      [status, message, undefined],
      query,
    );
  }
});
