import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { startTestServer } from '../testing/server.ts';

const server = await startTestServer({ flags: { 'secure-port': '6443', 'anonymous-auth': 'false' } });
after(() => server.stop());

const get = (path: string, accept?: string): ReturnType<typeof server.request> =>
  server.request(`GET ${path}`, { headers: accept === undefined ? {} : { accept } });
const structured = (as: string, version: string, type = 'application/json'): string =>
  `${type};v=${version};g=config.k8s.io;as=${as}`;

test('statusz and flagz are texts for people', async () => {
  const status = await get('/statusz', 'text/plain');
  assert.deepEqual([status.status, status.headers['content-type']], [200, 'text/plain; charset=utf-8']);
  assert.match(
    status.text,
    /^\napiserver statusz\nWarning: .*\n\nStarted: .*\nUp: \d+ hr \d\d min \d\d sec\nGo version: node v.*\nBinary version: 1\.36\..*\nEmulation version: 1\.36\nPaths: \/flagz \/healthz \/livez \/metrics \/readyz \/statusz \/version\n$/,
  );
  assert.match(
    (await get('/flagz')).text,
    /^\napiserver flagz\nWarning: .*\nanonymous-auth: false\nsecure-port: 6443\n$/,
  );
});

test('they are objects for programs, which name a version', async () => {
  const accept = structured('Flagz', 'v1beta1');
  const { headers, body } = await get('/flagz', accept);
  assert.equal(headers['content-type'], 'application/json;g=config.k8s.io;v=v1beta1;as=Flagz');
  assert.deepEqual(body, {
    kind: 'Flagz',
    apiVersion: 'config.k8s.io/v1beta1',
    metadata: { name: 'apiserver' },
    flags: { 'anonymous-auth': 'false', 'secure-port': '6443' },
  });
  const old = await get('/statusz', structured('Statusz', 'v1alpha1', 'application/yaml'));
  assert.match(old.text, /^kind: Statusz\napiVersion: config\.k8s\.io\/v1alpha1/);
  assert.match(old.headers['warning']!, /This version of the statusz endpoint is deprecated/);
  for (const refused of [
    'application/json',
    structured('Flagz', 'v9'),
    structured('Statusz', 'v1beta1'),
    'text/html',
  ]) {
    const answer = await get('/flagz', refused);
    assert.deepEqual(
      [answer.status, answer.body.message],
      [406, 'only the following media types are accepted: application/json, application/yaml, text/plain'],
      refused,
    );
  }
});

test('without known flags there is no page of them; profiling can be off', async () => {
  const bare = await startTestServer({ profiling: false });
  try {
    for (const path of ['/flagz', '/debug/pprof/', '/debug/pprof/profile'])
      assert.equal((await bare.request(`GET ${path}`)).status, 404, path);
  } finally {
    await bare.stop();
  }
});

test("profiles are taken in pprof's format, one at a time; what only Go has is refused by name", async () => {
  assert.deepEqual(
    [(await get('/debug/pprof')).headers['location'], (await get('/debug/pprof/')).headers['content-type']],
    ['/debug/pprof/', 'text/html; charset=utf-8'],
  );
  const refused = await get('/debug/pprof/goroutine');
  assert.deepEqual(
    [refused.status, refused.text],
    [
      501,
      'There is no goroutine profile: this server runs on Node.js, where only Go has one. There are: profile, heap, allocs.\n',
    ],
  );
  for (const [name, type] of [
    ['profile', 'nanoseconds'],
    ['heap', 'inuse_space'],
    ['allocs', 'alloc_space'],
  ] as const) {
    // What is sampled is a matter of luck: until the work beside it is there.
    for (let text = ''; !text.includes('z-pages.test.ts');) {
      const taking = get(`/debug/pprof/${name}?seconds=0.3`);
      assert.equal(
        (await get('/debug/pprof/profile?seconds=0.3')).status,
        500,
        'a second one at the same time',
      );
      const kept: object[] = [];
      const work = setInterval(
        () =>
          void kept.push(
            Array.from({ length: 5000 }, (_, index) => ({ index, text: JSON.stringify(index) })),
          ),
        10,
      );
      const { status, bytes } = await taking;
      clearInterval(work);
      text = gunzipSync(bytes).toString('latin1');
      assert.equal(status, 200);
      assert.ok(text.includes(type), name);
    }
  }
});
