import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import type { webcrypto } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { once } from 'node:events';
import { get as httpsGet, type RequestOptions } from 'node:https';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';
import 'reflect-metadata';
import {
  BasicConstraintsExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
  type X509Certificate,
} from '@peculiar/x509';
import { issueCertificate } from '#pki/certificate.ts';
import type { ApiRequest } from './request.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
interface Keys {
  readonly publicKey: webcrypto.CryptoKey;
  readonly privateKey: webcrypto.CryptoKey;
}
interface Pair {
  readonly certificate: X509Certificate;
  readonly keys: Keys;
  readonly cert: string;
  readonly key: string;
}

async function issue(name: string, issuer?: Pair): Promise<Pair> {
  const keys = (await crypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])) as Keys;
  const common = {
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: ALGORITHM,
    serialNumber: String(Math.floor(Math.random() * 1e9) + 1),
    extensions: issuer
      ? [
          new SubjectAlternativeNameExtension([
            { type: 'ip', value: '127.0.0.1' },
            { type: 'dns', value: 'localhost' },
          ]),
        ]
      : [new BasicConstraintsExtension(true)],
  };
  const certificate = issuer
    ? await X509CertificateGenerator.create({
        ...common,
        subject: name,
        issuer: issuer.certificate.subject,
        publicKey: keys.publicKey,
        signingKey: issuer.keys.privateKey,
      })
    : await X509CertificateGenerator.createSelfSigned({ ...common, name, keys });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return {
    certificate,
    keys,
    cert: certificate.toString('pem'),
    key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
  };
}

let server: TestServer;
let port: number;
let ca: Pair, client: Pair, stranger: Pair;
let seen: ApiRequest | undefined;
before(async () => {
  ca = await issue('CN=ca');
  const leaf = await issue('CN=server', ca);
  client = await issue('CN=jane, O=devs, O=admins', ca);
  stranger = await issue('CN=jane, O=system:masters', await issue('CN=other'));
  server = await startTestServer({
    authentication: () => ({
      authenticator: {
        authenticate: (request) => {
          seen = request;
          return { user: { name: 'admin', groups: ['system:masters'] } };
        },
      },
    }),
    bootstrapObjects: true,
  });
  ({ port } = await server.server.start({
    host: '127.0.0.1',
    port: 0,
    tls: { cert: leaf.cert, key: leaf.key, clientCa: ca.cert },
  }));
  await server.server.ready();
});
after(() => server.stop());

interface Answer {
  readonly status: number;
  readonly body: string;
}

function http2Request(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: string,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    let status = 0,
      text = '';
    stream.on('response', (response) => (status = Number(response[':status'])));
    stream
      .setEncoding('utf8')
      .on('data', (chunk: string) => (text += chunk))
      .on('end', () => resolve({ status, body: text }))
      .on('error', reject);
    if (body !== undefined) stream.end(body);
  });
}

test('a long list comes whole over both protocols', async () => {
  const path = '/api/v1/namespaces/long/configmaps';
  const post = (to: string, body: object) => server.request(`POST ${to}`, { body });
  await post('/api/v1/namespaces', { kind: 'Namespace', apiVersion: 'v1', metadata: { name: 'long' } });
  for (let i = 0; i < 12; i++)
    await post(path, {
      kind: 'ConfigMap',
      apiVersion: 'v1',
      metadata: { name: `c${i}` },
      data: { big: 'x'.repeat(300_000) },
    });
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: ca.cert });
  try {
    const answers = [
      await http2Request(session, { ':path': path }),
      await http1Get(path, { headers: { connection: 'close' } }),
    ];
    for (const { body } of answers) assert.equal((JSON.parse(body) as { items: unknown[] }).items.length, 12);
    const stream = session.request({ ':path': path, 'accept-encoding': 'gzip' });
    const chunks: Buffer[] = [];
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    await once(stream, 'end');
    const zipped = Buffer.concat(chunks);
    assert.ok(zipped.length < answers[0]!.body.length / 10, `${zipped.length} bytes`);
    assert.equal(gunzipSync(zipped).toString(), answers[0]!.body);
  } finally {
    session.close();
  }
});

test('HTTP/2: bodies both ways, watches, a client certificate', async () => {
  const session = connectHttp2(`https://127.0.0.1:${port}`, {
    ca: ca.cert,
    cert: client.cert,
    key: client.key,
  });
  try {
    const made = await http2Request(
      session,
      {
        ':method': 'POST',
        ':path': '/api/v1/namespaces/default/configmaps',
        'content-type': 'application/json',
      },
      JSON.stringify({
        kind: 'ConfigMap',
        apiVersion: 'v1',
        metadata: { name: 'a' },
        data: { big: 'x'.repeat(300_000) },
      }),
    );
    assert.equal(made.status, 201, made.body);
    assert.deepEqual(
      [
        seen?.clientCertificate?.commonName,
        [...(seen?.clientCertificate?.organizations ?? [])].toSorted(),
        seen?.remoteAddress,
      ],
      ['jane', ['admins', 'devs'], '127.0.0.1'],
    );
    const list = await http2Request(session, { ':path': '/api/v1/namespaces/default/configmaps' });
    assert.equal((JSON.parse(list.body) as { items: unknown[] }).items.length, 1);
    const tooLarge = await http2Request(
      session,
      { ':method': 'POST', ':path': '/api/v1/namespaces/default/configmaps' },
      'x'.repeat(3 * 1024 * 1024 + 1),
    );
    assert.equal(tooLarge.status, 413, tooLarge.body);
    const watch = session
      .request({ ':path': '/api/v1/namespaces/default/configmaps?watch=true' })
      .setEncoding('utf8');
    const [line] = (await new Promise<string>((resolve) => watch.once('data', resolve))).split('{"kind"');
    assert.equal(line, '{"type":"ADDED","object":');
    watch.close();
    const head = await http2Request(session, { ':method': 'HEAD', ':path': '/healthz' });
    assert.deepEqual(head, { status: 200, body: '' });
  } finally {
    session.close();
  }
});

function http1Get(path: string, options: RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    httpsGet(
      {
        host: '127.0.0.1',
        port,
        path,
        ca: ca.cert,
        ALPNProtocols: ['http/1.1'],
        ...options,
      } as RequestOptions,
      (response) => {
        let body = '';
        response
          .setEncoding('utf8')
          .on('data', (chunk: string) => (body += chunk))
          .on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      },
    ).on('error', reject);
  });
}

test('HTTP/1.1 on the same port', async () => {
  const { status, body } = await http1Get('/version');
  assert.equal(status, 200);
  assert.match(body, /"minor": "36"/);
  assert.equal(seen?.clientCertificate, undefined);
});

test('a client certificate of a foreign CA is 401', async () => {
  const { status, body } = await http1Get('/version', { cert: stranger.cert, key: stranger.key });
  assert.deepEqual([status, (JSON.parse(body) as { reason: string }).reason], [401, 'Unauthorized']);
});

test("of certificates that have ended, a node's alone reaches authentication, as that, over both protocols", async () => {
  const ended = (commonName: string, organization: string): { cert: string; key: string } => {
    const { certificatePem, keyPem } = issueCertificate(
      { certificatePem: ca.cert, keyPem: ca.key },
      {
        subject: { commonName, organizations: [organization] },
        usages: ['clientAuth'],
        nowMs: Date.now() - 60_000,
        lifetimeMs: 1_000,
      },
    );
    return { cert: certificatePem, key: keyPem };
  };
  const node = ended('system:node:a', 'system:nodes');
  const session = connectHttp2(`https://127.0.0.1:${port}`, { ca: ca.cert, ...node });
  try {
    for (const ask of [
      () => http1Get('/version', node),
      () => http2Request(session, { ':path': '/version' }),
    ]) {
      assert.equal((await ask()).status, 200);
      const { expiredNode, clientCertificate, clientCertificateError } = seen!;
      assert.deepEqual(
        [expiredNode?.nodeName, clientCertificate, clientCertificateError],
        ['a', undefined, 'CERT_HAS_EXPIRED'],
      );
      seen = undefined;
    }
  } finally {
    session.close();
  }
  assert.equal((await http1Get('/version', ended('jane', 'devs'))).status, 401);
});

test('an upgrade that cannot be served is answered with a Status', async () => {
  const { status, body } = await http1Get('/api/v1/namespaces/default/pods/none/exec?command=ls', {
    headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1' },
  });
  assert.equal(status, 404);
  assert.equal((JSON.parse(body) as { message: string }).message, 'pods "none" not found');
});

test('certificates are replaced while running', async () => {
  const next = await issue('CN=renewed', ca);
  server.server.replaceCertificates({ cert: next.cert, key: next.key, clientCa: ca.cert });
  const name = await new Promise<unknown>((resolve, reject) => {
    httpsGet({ host: '127.0.0.1', port, path: '/livez', ca: ca.cert, agent: false }, (response) => {
      resolve((response.socket as import('node:tls').TLSSocket).getPeerCertificate().subject.CN);
      response.resume();
    }).on('error', reject);
  });
  assert.equal(name, 'renewed');
});

const run = promisify(execFile);

async function kubectlPath(): Promise<string | undefined> {
  for (const candidate of ['kubectl', '/usr/local/bin/kubectl']) {
    try {
      await run(candidate, ['version', '--client']);
      return candidate;
    } catch {
      // The next one.
    }
  }
  return undefined;
}

test('kubectl creates, reads, patches, scales and deletes', async (t) => {
  const kubectl = await kubectlPath();
  if (!kubectl) return t.skip('no kubectl on the PATH');
  const directory = mkdtempSync(join(tmpdir(), 'capstan-kubectl-'));
  try {
    const config = join(directory, 'config');
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    writeFileSync(
      config,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Config',
        'current-context': 'c',
        clusters: [
          {
            name: 'c',
            cluster: { server: `https://127.0.0.1:${port}`, 'certificate-authority-data': base64(ca.cert) },
          },
        ],
        users: [
          {
            name: 'u',
            user: { 'client-certificate-data': base64(client.cert), 'client-key-data': base64(client.key) },
          },
        ],
        contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
      }),
    );
    const call = async (...args: string[]): Promise<string> =>
      (await run(kubectl, [`--kubeconfig=${config}`, `--cache-dir=${directory}/cache`, ...args])).stdout;
    assert.match(
      await call('create', 'deployment', 'web', '--image=x', '--replicas=2'),
      /deployment\.apps\/web created/,
    );
    assert.match(await call('get', 'deploy', 'web'), /web\s+0\/2/);
    assert.match(await call('scale', 'deploy', 'web', '--replicas=5'), /scaled/);
    assert.match(await call('label', 'deploy', 'web', 'a=b'), /labeled/);
    assert.equal(
      await call('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas} {.metadata.labels.a}'),
      '5 b',
    );
    assert.match(await call('explain', 'pod.spec.containers'), /FIELD: containers/);
    assert.match(await call('auth', 'can-i', 'create', 'pods'), /yes/);
    assert.match(await call('delete', 'deploy', 'web'), /deleted/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('sessions are not resumed: a client certificate is verified in every handshake', async () => {
  const dial = async (version: 'TLSv1.2' | 'TLSv1.3', session?: Buffer): Promise<TLSSocket> => {
    const socket = connectTls({
      host: '127.0.0.1',
      port,
      ca: ca.cert,
      cert: client.cert,
      key: client.key,
      minVersion: version,
      maxVersion: version,
      ALPNProtocols: ['http/1.1'],
      ...(session ? { session } : {}),
    });
    await once(socket, 'secureConnect');
    return socket;
  };
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const first = await dial(version);
    let session = first.getSession();
    first.on('session', (given) => (session = given));
    // A ticket would come with the first answer.
    first.write('GET /version HTTP/1.1\r\nhost: x\r\n\r\n');
    await once(first, 'data');
    const second = await dial(version, session);
    assert.equal(second.isSessionReused(), false, version);
    first.destroy();
    second.destroy();
  }
});
