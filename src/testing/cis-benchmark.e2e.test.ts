/** What docs/cis-benchmark.md says of a cluster as `up` makes it, looked at on the real program: files, ports, TLS, endpoints, tokens. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { join, relative, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { connect, type ConnectionOptions } from 'node:tls';
import { capstan, testCluster, type TestCluster } from './cluster.ts';

const PAGE = readFileSync(resolve(import.meta.dirname, '../../docs/cis-benchmark.md'), 'utf8');

describe('a cluster as it comes', () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await testCluster({ runtime: 'simulated', nodes: 1 });
    await cluster.up();
  });
  after(() => cluster?.delete());

  function status(
    path: string,
    { method = 'GET', token }: { readonly method?: string; readonly token?: string } = {},
  ): Promise<number> {
    return new Promise((done, reject) => {
      const call = httpsRequest(
        {
          host: '127.0.0.1',
          port: cluster.port,
          path,
          method,
          agent: false,
          ca: readFileSync(join(cluster.dir, 'pki/ca.crt')),
          headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        },
        (response) => {
          response.resume();
          done(response.statusCode ?? 0);
        },
      );
      call.on('error', reject);
      call.end();
    });
  }

  const spoken = (asked: ConnectionOptions): Promise<string> =>
    new Promise((done) => {
      const socket = connect(
        { host: '127.0.0.1', port: cluster.port, rejectUnauthorized: false, ...asked },
        () => {
          done(`${socket.getProtocol()} ${socket.getCipher().name}`);
          socket.destroy();
        },
      );
      socket.on('error', () => done('refused'));
    });

  it('1.1, 4.1: only its owner reads what it keeps, and only the owner changes anything', () => {
    for (const entry of readdirSync(cluster.dir, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name),
        name = relative(cluster.dir, path);
      const stat = lstatSync(path);
      if (stat.isSymbolicLink() || stat.isSocket()) continue;
      assert.equal(stat.mode & 0o022, 0, `${name} is writable by others`);
      assert.equal(stat.uid, process.getuid?.(), name);
      const content = stat.isFile() && stat.size < 1_000_000 ? readFileSync(path, 'utf8') : '';
      // What lies in the store is kept by its directory.
      if (/PRIVATE KEY|client-key-data|token:/.test(content) || name === 'store')
        assert.equal(
          stat.mode & 0o077,
          0,
          `${name} is readable by others: ${(stat.mode & 0o777).toString(8)}`,
        );
    }
    assert.equal(lstatSync(cluster.dir).mode & 0o022, 0);
  });

  it('1.2.1: the anonymous may ask whether it lives, and nothing else', async () => {
    for (const path of ['/livez', '/readyz', '/healthz', '/version'])
      assert.equal(await status(path), 200, path);
    for (const path of [
      '/api',
      '/apis',
      '/api/v1/namespaces',
      '/api/v1/secrets',
      '/metrics',
      '/openapi/v2',
      '/logs',
      '/debug/api_priority_and_fairness/dump_requests',
    ])
      assert.equal(await status(path), 403, path);
    for (const path of ['/api/v1/namespaces', '/livez'])
      assert.equal(await status(path, { token: 'wrong' }), 401, path);
  });

  it('1.2.15, 1.3.2, 1.4.1, 4.2: the anonymous take no profiles', async () => {
    for (const path of ['/debug/pprof/', '/debug/pprof/profile', '/debug/flags/v'])
      assert.ok([403, 404].includes(await status(path)), path);
  });

  it('1.2.26, 1.2.29: TLS from 1.2 on, with strong suites', async () => {
    assert.match(await spoken({}), /^TLSv1\.3 /);
    assert.match(await spoken({ maxVersion: 'TLSv1.2' }), /^TLSv1\.2 ECDHE-.*(GCM|CHACHA20)/);
    assert.equal(
      await spoken({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
      'refused',
    );
    for (const suite of [
      'AES128-SHA',
      'AES256-GCM-SHA384',
      'ECDHE-ECDSA-AES128-SHA',
      'ECDHE-RSA-AES256-SHA384',
    ])
      assert.equal(await spoken({ maxVersion: 'TLSv1.2', ciphers: `${suite}@SECLEVEL=0` }), 'refused', suite);
  });

  it('2, 3.1: no certificate is for ever, none but authorities signs, nobody shares a name', () => {
    for (const name of readdirSync(join(cluster.dir, 'pki')).filter((one) => one.endsWith('.crt'))) {
      const certificate = new X509Certificate(readFileSync(join(cluster.dir, 'pki', name)));
      const days = (certificate.validToDate.getTime() - certificate.validFromDate.getTime()) / 86_400_000;
      assert.ok(days <= (certificate.ca ? 3_660 : 397), `${name}: ${days} days`);
      assert.equal(certificate.ca, name.includes('ca.crt'), name);
    }
  });

  it('flags that would weaken it are refused by name', async () => {
    for (const [words, says] of [
      [['apiserver', '--insecure-port=8080'], /--insecure-port is refused/],
      [['apiserver', '--service-account-lookup=false'], /--service-account-lookup is refused/],
      [['apiserver', '--tls-min-version=VersionTLS10'], /not spoken any more/],
      [['apiserver', '--tls-cipher-suites=TLS_RSA_WITH_RC4_128_SHA'], /not offered/],
      [['apiserver', '--authorization-mode=AlwaysAlow'], /AlwaysAlow/],
      [['node', '--anonymous-auth=true'], /can only be false/],
      [['node', '--read-only-port=10255'], /can only be 0/],
      [['node', '--authorization-mode=AlwaysAllow'], /can only be Webhook/],
      [['node', '--tls-min-version=VersionTLS11'], /not spoken any more/],
    ] as const) {
      const { code, stderr } = await capstan([
        ...words,
        ...(words[0] === 'apiserver'
          ? ['--storage=memory', '--data-dir', join(cluster.dir, 'none')]
          : ['--data-dir', join(cluster.dir, 'no-node'), '--kubeconfig', cluster.kubeconfig]),
      ]);
      assert.equal(code, 1, words.join(' '));
      assert.match(stderr, says, words.join(' '));
    }
  });
});

it('the page speaks of every item once, in order', () => {
  const items = [...PAGE.matchAll(/^\| (\d+\.\d+\.\d+) \|/gm)].map(([, number]) => number!);
  assert.equal(new Set(items).size, items.length);
  const last = { '1.1': 21, '1.2': 30, '1.3': 7, '1.4': 2, '4.1': 10, '4.2': 13 };
  const wanted = Object.entries(last).flatMap(([section, count]) =>
    Array.from({ length: count }, (_, i) => `${section}.${i + 1}`),
  );
  assert.deepEqual(items, wanted);
});
