/** What clients without credentials can make the API server write into its log: few lines, however often they come. */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, it } from 'node:test';
import { request } from 'node:https';
import { createLogger } from '#stdx/log.ts';
import { freePort } from './cluster.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const TIMES = 60;
const MOST_LINES = 20;
/** Not a signature of ours, and no token at all. */
const TOKENS = [
  'eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0.AAAA',
  'x'.repeat(5_000),
];

let test: TestApi;
let port: number;
const lines: string[] = [];
before(async () => {
  port = await freePort();
  test = await startTestApi({ port, log: createLogger({ write: (line) => void lines.push(line) }) });
  lines.length = 0;
});
after(() => test.stop());

function ask(options: {
  readonly path: string;
  readonly token?: string;
  readonly method?: string;
}): Promise<void> {
  return new Promise((resolve) => {
    const { path, token, method = 'GET' } = options;
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const call = request(
      { host: '127.0.0.1', port, path, method, headers, ca: test.pki.ca.certificatePem },
      (answer) => answer.resume().on('end', resolve),
    );
    call.on('error', () => resolve());
    call.end(method === 'POST' ? '{' : undefined);
  });
}

/** Not TLS, or only its beginning. */
function spoil(bytes: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.end(bytes));
    socket.on('error', () => resolve()).on('close', () => resolve());
  });
}

it('bad tokens, bad requests and bad handshakes fill no log', async () => {
  for (let i = 0; i < TIMES; i++) {
    for (const token of TOKENS) await ask({ path: '/api', token });
    await ask({ path: `/%ff/${i}` });
    await ask({ path: '/apis/authentication.k8s.io/v1/tokenreviews', method: 'POST' });
    await spoil('GET / HTTP/1.0\r\n\r\n');
    await spoil('\x16\x03\x01\x02\x00');
  }
  assert.ok(lines.length > 0, 'the first are told');
  assert.ok(lines.length <= MOST_LINES, `${lines.length} lines: ${lines.slice(0, 30).join('')}`);
  assert.ok(lines.every((line) => line.length < 1_000));
});
