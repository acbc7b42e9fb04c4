import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { decode, encode, Tagged } from 'cborg';
import { decodeCbor, encodeCbor } from '#machinery/codec/cbor.ts';
import type { ResponseSink } from './request.ts';
import { ADMIN, startTestServer, type TestResponse, type TestServer } from '../testing/server.ts';

let server: TestServer;
let without: TestServer;
before(async () => {
  server = await startTestServer({ cbor: true });
  without = await startTestServer();
});
after(async () => {
  await server.stop();
  await without.stop();
});

const CBOR = { accept: 'application/cbor', 'content-type': 'application/cbor' };
const bodyOf = (value: unknown): Buffer => Buffer.from(encode(value));
// oxlint-disable-next-line no-explicit-any
const read = ({ bytes }: TestResponse): any => {
  assert.deepEqual([...bytes.subarray(0, 3)], [0xd9, 0xd9, 0xf7]);
  return decode(bytes.subarray(3), { tags: { 22: (content) => new Tagged(22, content()) } });
};

test('objects go in and come out; bytes are bytes', async () => {
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 's' },
    data: { key: new Tagged(22, Buffer.from([1, 2, 255])) },
    immutable: true,
  };
  const created = await server.request('POST /api/v1/namespaces/default/secrets', {
    headers: CBOR,
    body: bodyOf(secret),
  });
  assert.equal(created.status, 201, created.text);
  assert.equal(created.headers['content-type'], 'application/cbor');
  const object = read(created);
  assert.deepEqual([object.kind, object.metadata.name, object.immutable], ['Secret', 's', true]);
  assert.ok(object.data.key instanceof Tagged);
  assert.deepEqual([...object.data.key.value], [1, 2, 255]);
  const asJson = await server.request('GET /api/v1/namespaces/default/secrets/s');
  assert.equal(asJson.body.data.key, Buffer.from([1, 2, 255]).toString('base64'));
  const list = read(await server.request('GET /api/v1/namespaces/default/secrets', { headers: CBOR }));
  assert.deepEqual(
    [list.kind, list.items.length, [...list.items[0].data.key.value]],
    ['SecretList', 1, [1, 2, 255]],
  );
});

test('texts may come as byte strings, as upstream writes them', async () => {
  const bytes = (text: string): Buffer => Buffer.from(text);
  const map = new Map<unknown, unknown>([
    [bytes('apiVersion'), bytes('v1')],
    [bytes('kind'), bytes('ConfigMap')],
    [bytes('metadata'), new Map([[bytes('name'), bytes('b')]])],
    [bytes('data'), new Map([[bytes('k'), bytes('jürgen')]])],
  ]);
  const created = await server.request('POST /api/v1/namespaces/default/configmaps', {
    headers: CBOR,
    body: bodyOf(new Tagged(55_799, map)),
  });
  assert.equal(created.status, 201, created.text);
  assert.equal(read(created).data.k, 'jürgen');
});

test('apply, tables, metadata and errors', async () => {
  const config = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' }, data: { a: 'b' } };
  const applied = await server.request('PATCH /api/v1/namespaces/default/configmaps/applied?fieldManager=t', {
    headers: { ...CBOR, 'content-type': 'application/apply-patch+cbor' },
    body: bodyOf(config),
  });
  assert.equal(applied.status, 201, applied.text);
  assert.equal(read(applied).metadata.managedFields[0].manager, 't');
  const table = await server.request('GET /api/v1/namespaces/default/configmaps', {
    headers: { accept: 'application/cbor;as=Table;v=v1;g=meta.k8s.io' },
  });
  assert.equal(read(table).kind, 'Table');
  const metadata = await server.request('GET /api/v1/namespaces/default/configmaps/applied', {
    headers: { accept: 'application/cbor;as=PartialObjectMetadata;v=v1;g=meta.k8s.io' },
  });
  assert.deepEqual(Object.keys(read(metadata)).sort(), ['apiVersion', 'kind', 'metadata']);
  const missing = await server.request('GET /api/v1/namespaces/default/configmaps/none', { headers: CBOR });
  assert.deepEqual(
    [missing.status, missing.headers['content-type'], read(missing).reason],
    [404, 'application/cbor', 'NotFound'],
  );
});

test('a watch is a sequence of items', async () => {
  const items: { type: string; object: { metadata: { name: string } } }[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const closers: (() => void)[] = [];
  const sink: ResponseSink = {
    write: (chunk) => {
      for (let rest: Uint8Array = chunk; rest.length > 0;) {
        const end = itemEnd(rest);
        items.push(decode(rest.subarray(0, end)) as (typeof items)[number]);
        rest = rest.subarray(end);
      }
      if (items.length >= 3) resolve();
      return true;
    },
    drained: () => Promise.resolve(),
    bufferedBytes: 0,
    end: () => {},
    closed: false,
    onClose: (callback) => void closers.push(callback),
  };
  const response = await server.server.handler({
    method: 'GET',
    path: '/api/v1/namespaces/default/configmaps',
    query: 'watch=true',
    headers: { accept: 'application/cbor-seq,application/cbor' },
    body: () => Promise.resolve(Buffer.alloc(0)),
    onAbort: () => {},
    remoteAddress: '',
    user: ADMIN,
  });
  assert.equal(response.headers['content-type'], 'application/cbor-seq');
  assert.ok(typeof response.body === 'function');
  response.body(sink);
  await server.request('POST /api/v1/namespaces/default/configmaps', {
    headers: CBOR,
    body: bodyOf({ metadata: { name: 'watched' } }),
  });
  await promise;
  for (const close of closers) close();
  assert.deepEqual(
    items.map(({ type, object }) => `${type} ${object.metadata.name}`),
    ['ADDED applied', 'ADDED b', 'ADDED watched'],
  );
});

test('what is no CBOR, or goes too deep, is 400', async () => {
  let deep = encode('x');
  for (let i = 0; i < 5000; i++) deep = Buffer.concat([Buffer.from([0x81]), deep]) as unknown as typeof deep;
  const bad: Buffer[] = [
    Buffer.from([0xff]),
    Buffer.from([0xbf, 0xff]),
    Buffer.from([0xa2, 0x61, 0x61, 0x01, 0x61, 0x61, 0x02]),
    Buffer.from(deep),
    Buffer.from([0xa1, 0x01, 0x02]),
    Buffer.from([0xf7]),
    Buffer.from([0xf9, 0x7e, 0x00]),
    Buffer.from('{"a":1}'),
  ];
  for (const body of bad) {
    const { status } = await server.request('POST /api/v1/namespaces/default/configmaps', {
      headers: { 'content-type': 'application/cbor' },
      body,
    });
    assert.equal(status, 400, body.toString('hex').slice(0, 40));
  }
});

test('JSON data survives both ways', () => {
  const value = {
    a: [1, -1, 1.5, 1e300, 2 ** 53 - 1, '', 'ü', true, null, { '': [] }],
    ['__proto__']: { b: 1 },
  };
  const back = decodeCbor(encodeCbor(value, undefined));
  assert.equal(JSON.stringify(back, Object.keys), JSON.stringify(value, Object.keys));
});

test('switched off, it is refused as upstream refuses it', async () => {
  const headers = { 'content-type': 'application/cbor' };
  assert.equal(
    (await without.request('POST /api/v1/namespaces/default/configmaps', { headers, body: bodyOf({}) }))
      .status,
    415,
  );
  assert.equal(
    (
      await without.request('PATCH /api/v1/namespaces/default/configmaps/x?fieldManager=t', {
        headers: { 'content-type': 'application/apply-patch+cbor' },
        body: bodyOf({}),
      })
    ).status,
    415,
  );
  assert.equal(
    (
      await without.request('GET /api/v1/namespaces/default/configmaps', {
        headers: { accept: 'application/cbor' },
      })
    ).status,
    406,
  );
});

/** Where the first item ends: the shortest part that is one. */
function itemEnd(bytes: Uint8Array): number {
  for (let end = 1; end <= bytes.length; end++) {
    try {
      decode(bytes.subarray(0, end));
      return end;
    } catch {
      // Longer, then.
    }
  }
  throw new Error('no item');
}
