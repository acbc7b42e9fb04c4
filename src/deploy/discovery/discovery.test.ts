import assert from 'node:assert/strict';
import { createHmac, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, it } from 'node:test';
import { makeAuthority } from '#testing/certificates.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { renderKubeconfig } from '../pki/kubeconfig.ts';
import { isSignedBy, parseBootstrapToken } from './bootstrap-token.ts';
import { discoverByFile } from './file.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { discoverByToken, serverOf } from './token.ts';

const TOKEN = 'abcdef.0123456789abcdef';
const log = createLogger({ format: 'text', level: 'error' });
const quick = { clock: realClock, log, timeoutMs: 1_500, signingTimeoutMs: 300 };

const ours = makeAuthority();
const theirs = makeAuthority();
const pin = publicKeyHash(new X509Certificate(ours.cert));

/** What the server answers next; the last one stays. */
let answers: { status: number; body: unknown; date?: Date }[] = [];
let server: Server;
let endpoint = '';
let dir = '';

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-discovery-'));
  const { cert, key } = ours.issue({ commonName: 'kube-apiserver', addresses: ['127.0.0.1'] });
  server = createServer({ cert, key }, (_, response) => {
    const [answer] = answers.length > 1 ? answers.splice(0, 1) : answers;
    response.writeHead(answer!.status, answer!.date ? { date: answer!.date.toUTCString() } : {});
    response.end(typeof answer!.body === 'string' ? answer!.body : JSON.stringify(answer!.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});
after(() => {
  server.close();
  rmSync(dir, { recursive: true });
});
afterEach(() => server.closeAllConnections());

function sign(content: string, [id, secret]: readonly string[]): string {
  const header = Buffer.from(JSON.stringify({ alg: 'HS256', kid: id })).toString('base64url');
  const signed = `${header}.${Buffer.from(content).toString('base64url')}`;
  return `${header}..${createHmac('sha256', secret!).update(signed).digest('base64url')}`;
}

function kubeconfigOf(caPem: string, token?: string): string {
  const credentials = { token: token ?? '' };
  return renderKubeconfig({
    server: 'https://api.example.org:6443',
    caPem,
    clusterName: 'kubernetes',
    userName: 'u',
    credentials,
  });
}

function infoOf({ caPem = ours.cert, token = TOKEN }: { caPem?: string; token?: string } = {}): {
  status: number;
  body: object;
} {
  const kubeconfig = kubeconfigOf(caPem);
  const parts = token.split('.');
  const data = { kubeconfig, [`jws-kubeconfig-${parts[0]}`]: sign(kubeconfig, parts) };
  return { status: 200, body: { kind: 'ConfigMap', apiVersion: 'v1', data } };
}

const discover = (more: Partial<Parameters<typeof discoverByToken>[0]> = {}) =>
  discoverByToken({ apiServerEndpoint: endpoint, token: TOKEN, caCertHashes: [pin], ...more }, quick);

it('finds the cluster by a token and a pin', async () => {
  answers = [infoOf()];
  const found = await discover();
  assert.deepEqual(found, { server: 'https://api.example.org:6443', caPem: ours.cert });
});

it('takes one of several pins, in capital letters too', async () => {
  answers = [infoOf()];
  const other = publicKeyHash(new X509Certificate(theirs.cert));
  const found = await discover({ caCertHashes: [other, pin.toUpperCase().replace('SHA256', 'sha256')] });
  assert.equal(found.caPem, ours.cert);
});

it('waits for a token that is not yet signed with', async () => {
  answers = [infoOf({ token: 'zzzzzz.0123456789abcdef' }), infoOf()];
  const found = await discoverByToken(
    { apiServerEndpoint: endpoint, token: TOKEN, caCertHashes: [pin] },
    { ...quick, signingTimeoutMs: 10_000 },
  );
  assert.equal(found.caPem, ours.cert);
});

it('does not trust an authority that somebody with the token added to the pinned one', async () => {
  const attacker = theirs.issue({ commonName: 'kube-apiserver', addresses: ['127.0.0.1'] });
  answers = [infoOf({ caPem: `${ours.cert}\n${theirs.cert}` })];
  const between = createServer(attacker, (_, response) => response.end(JSON.stringify(answers[0]!.body)));
  await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve));
  const { port } = between.address() as AddressInfo;
  try {
    await assert.rejects(
      discover({ apiServerEndpoint: `127.0.0.1:${port}` }),
      /The certificate of https:\/\/127\.0\.0\.1:\d+ was not accepted/,
    );
  } finally {
    between.closeAllConnections();
    between.close();
  }
});

it('refuses what changes between the two questions', async () => {
  answers = [infoOf(), infoOf({ caPem: `${ours.cert}${theirs.cert}` })];
  await assert.rejects(discover(), /somebody is between this machine and the cluster/);
});

it('takes any authority only where that was asked for', async () => {
  answers = [infoOf()];
  await assert.rejects(discover({ caCertHashes: [] }), /needs --discovery-token-ca-cert-hash/);
  const found = await discover({ caCertHashes: [], unsafeSkipCAVerification: true });
  assert.equal(found.caPem, ours.cert);
});

for (const { name, given, answer, sentence } of [
  {
    name: 'an expired token',
    answer: infoOf({ token: 'zzzzzz.0123456789abcdef' }),
    sentence: /The token abcdef\.… is not one of the cluster at .*, or it has expired\. Make one/,
  },
  {
    name: 'a clock a day ahead',
    answer: { ...infoOf(), date: new Date(Date.now() - 86_400_000) },
    sentence: /The clock of this machine is 86[34]\d\d s ahead of that of .*: set it/,
  },
  {
    name: 'an expired token by a clock that is behind',
    answer: { ...infoOf({ token: 'zzzzzz.0123456789abcdef' }), date: new Date(Date.now() + 3_600_000) },
    sentence: /this machine's clock is 3[56]\d\d s behind the server's/,
  },
  {
    name: 'a wrong second half of the token',
    answer: infoOf({ token: 'abcdef.0123456789abcdeX' }),
    sentence: /not signed with the token abcdef\.….*second half of the token is wrong/,
  },
  {
    name: 'a wrong hash',
    given: { caCertHashes: [`sha256:${'0'.repeat(64)}`] },
    answer: infoOf(),
    sentence: new RegExp(`authority of the cluster at .* is ${pin}, and .* of another cluster`),
  },
  {
    name: 'no cluster-info',
    answer: {
      status: 404,
      body: { kind: 'Status', code: 404, message: 'configmaps "cluster-info" not found' },
    },
    sentence: /does not show who its cluster is \(configmaps "cluster-info" not found\)/,
  },
  {
    name: 'a server that is none of Kubernetes',
    answer: { status: 200, body: '<html>' },
    sentence: /answers with HTTP 200 and no Kubernetes object.*Is https.* a control plane/,
  },
  {
    name: 'an endless answer',
    answer: { status: 200, body: 'x'.repeat(5 * 1024 * 1024) },
    sentence: /longer than 4194304 bytes/,
  },
  {
    name: 'a server that fails',
    answer: { status: 503, body: { kind: 'Status', code: 503, message: 'not yet' } },
    sentence: /cannot be reached \(not yet\)/,
  },
])
  it(`says what is wrong: ${name}`, async () => {
    answers = [answer];
    await assert.rejects(discover(given), (error: Error) => {
      assert.equal(error.name, 'UserError');
      assert.match(error.message, sentence);
      return true;
    });
  });

it('says that nobody answers, and what an endpoint should be', async () => {
  await assert.rejects(
    discover({ apiServerEndpoint: '127.0.0.1:1' }),
    /The API server https:\/\/127\.0\.0\.1:1 cannot be reached/,
  );
  for (const wrong of ['', 'host', 'http://h:1', 'h:0', 'h:99999', '::1:6443', 'h:6443/x', 'a b:1'])
    await assert.rejects(discover({ apiServerEndpoint: wrong }), /should be HOST:PORT/, wrong);
  assert.equal(serverOf('[2001:db8::1]:6443'), 'https://[2001:db8::1]:6443');
  assert.equal(serverOf('https://api.example.org:6443/'), 'https://api.example.org:6443');
});

it('does not repeat a malformed token', () => {
  assert.throws(
    () => parseBootstrapToken('abcdef.0123456789abcdeF'),
    (error: Error) => !error.message.includes('abcdeF'),
  );
});

it('knows a signature that openssl made, and only with the expected header', () => {
  const token = { id: 'abcdef', secret: '0123456789abcdef' };
  const signature = 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..3ZR7IfHD4V0NLYjj9trDyCFIZSwMzkyMpnxx9vCiSPI';
  assert.ok(isSignedBy(token, { content: 'kind: Config\n', signature }));
  assert.ok(!isSignedBy(token, { content: 'kind: Config', signature }));
  assert.ok(!isSignedBy({ ...token, id: 'other0' }, { content: 'kind: Config\n', signature }));
  for (const bad of ['', '..', signature.replace('..', '.e30.'), signature.slice(0, -1), `${signature}.`])
    assert.ok(!isSignedBy(token, { content: 'kind: Config\n', signature: bad }), bad);
});

it('takes a discovery file, with newer authorities from the cluster and its own credentials', async () => {
  const file = join(dir, 'discovery.conf');
  const text = kubeconfigOf(ours.cert, 'secret').replace('api.example.org:6443', endpoint);
  writeFileSync(file, text);
  answers = [infoOf({ caPem: `${ours.cert}${theirs.cert}` })];
  const found = await discoverByFile(file, quick);
  assert.equal(found.caPem, `${ours.cert}${theirs.cert}`);
  assert.equal(found.user?.value.token, 'secret');
  answers = [{ status: 403, body: { kind: 'Status', code: 403, message: 'forbidden' } }];
  assert.equal((await discoverByFile(file, quick)).caPem, ours.cert);
  writeFileSync(file, text.replace(/certificate-authority-data: .*/, 'certificate-authority-data: eA=='));
  await assert.rejects(discoverByFile(file, quick), /names no certificate authority/);
  await assert.rejects(discoverByFile('http://x/y', quick), /https:\/\//);
});
