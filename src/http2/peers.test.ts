/** Foreign clients over TLS: python3-h2, which checks what the server sends against the RFC, and nghttp2's nghttp and h2load. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import type { Http2Handler } from './exchange.ts';
import { startHttp2Server, type TestHttp2Server } from './testing/server.ts';

const run = promisify(execFile);
/** Debian's, for which the package is made; not whatever python3 comes first. */
const PYTHON = '/usr/bin/python3';
const NGHTTP = '/usr/bin/nghttp';
const H2LOAD = '/usr/bin/h2load';
const missing = (present: boolean, what: string): string | false =>
  present ? false : `${what} is not installed`;
const withoutPython = missing(
  existsSync(PYTHON) && spawnSync(PYTHON, ['-c', 'import h2']).status === 0,
  'python3-h2',
);
const withoutNghttp2 = missing(existsSync(NGHTTP) && existsSync(H2LOAD), 'nghttp2-client');
const OPTIONS = { maxBuffer: 2 ** 26, timeout: 60_000 };

const handler: Http2Handler = async (request) => {
  const body = await answerTo(request);
  return { status: 200, headers: { 'content-type': 'application/octet-stream' }, body };
};

async function answerTo(request: Parameters<Http2Handler>[0]): Promise<Buffer> {
  switch (request.path) {
    case '/hello':
      return Buffer.from('hello');
    case '/big':
      return Buffer.alloc(3_000_000, 'b');
    case '/medium':
      return Buffer.alloc(20_000, 'm');
    case '/fields':
      return Buffer.from(JSON.stringify(request.headers));
    case '/hold':
      return new Promise(() => {});
    default:
      return request.body(8_000_000);
  }
}

const directory = mkdtempSync(join(tmpdir(), 'http2-peers-'));
let server: TestHttp2Server;
let origin: string;

before(async () => {
  const [cert, key] = [join(directory, 'cert.pem'), join(directory, 'key.pem')];
  const certificate =
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=127.0.0.1';
  await run('openssl', [...certificate.split(' '), '-keyout', key, '-out', cert]);
  server = await startHttp2Server(handler, () => ({ maxHeaderBytes: 64 * 1024 }), {
    cert: readFileSync(cert),
    key: readFileSync(key),
  });
  origin = `https://127.0.0.1:${server.port}`;
});
after(() => {
  server.close();
  rmSync(directory, { recursive: true, force: true });
});

test('python3-h2 finds no fault with any exchange', { skip: withoutPython }, async () => {
  const script = join(import.meta.dirname, 'testdata/h2_client.py');
  const { stdout } = await run(PYTHON, [script, String(server.port)], OPTIONS);
  assert.deepEqual(JSON.parse(stdout), {
    get: 'hello',
    head: ['200', '3000000', 0],
    big: 3_000_000,
    post: true,
    padded: true,
    trailers: 'before',
    continue: ['100', 'wanted'],
    many: 50,
    fields: ['secret', 9000, '127.0.0.1'],
    'after reset': '200',
    'without a table': '200',
    'small windows': 20_000,
  });
});

test(
  'nghttp: CONTINUATION, padding, trailers, priorities, Expect, small windows',
  { skip: withoutNghttp2 },
  async () => {
    const file = join(directory, 'body');
    writeFileSync(file, 'x'.repeat(300_000));
    const nghttp = (...words: string[]): Promise<string> =>
      run(NGHTTP, ['--no-verify-peer', ...words], OPTIONS).then(({ stdout }) => stdout);
    const echo = `${origin}/echo`;
    assert.equal(await nghttp(`${origin}/hello`), 'hello');
    assert.equal((await nghttp('-d', file, echo)).length, 300_000);
    assert.equal((await nghttp('-d', file, '--padding=200', '--trailer=x-trailer: x', echo)).length, 300_000);
    assert.equal((await nghttp('-d', file, '--expect-continue', echo)).length, 300_000);
    assert.equal(
      (await nghttp('--continuation', '-H', `x-long: ${'y'.repeat(20_000)}`, `${origin}/big`)).length,
      3_000_000,
    );
    assert.equal(
      (await nghttp('--window-bits=10', '--weight=256', '--no-dep', `${origin}/medium`)).length,
      20_000,
    );
    assert.equal((await nghttp('--header-table-size=0', '-m', '30', `${origin}/hello`)).length, 150);
  },
);

test('h2load: many streams on many connections, none fails', { skip: withoutNghttp2 }, async () => {
  const load = async (...words: string[]): Promise<string> => (await run(H2LOAD, words, OPTIONS)).stdout;
  assert.match(
    await load('-n', '4000', '-c', '8', '-m', '40', `${origin}/hello`),
    /status codes: 4000 2xx, 0 3xx, 0 4xx, 0 5xx/,
  );
  assert.match(
    await load('-n', '100', '-c', '4', '-m', '10', '-w', '14', '-W', '15', `${origin}/big`),
    /status codes: 100 2xx/,
  );
});
