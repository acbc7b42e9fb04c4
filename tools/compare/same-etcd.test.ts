/**
 * Upstream's API server and Capstan's on one real etcd: each reads, and rewrites, what the other wrote, for every kind, encrypted and not.
 * UPSTREAM_KUBE_APISERVER=/path/to/kube-apiserver (1.36); skipped without it.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { CodecStore } from '#apiserver/storagecodec/codec-store.ts';
import { createEncryption } from '#apiserver/encryption/encryption.ts';
import { startTestServer, type TestServer } from '#apiserver/testing/server.ts';
import type { KubeObject } from '#machinery/object.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { openEtcdStore } from '#storage/drivers/etcd/etcd-store.ts';
import { freePorts, startEtcd, unpackedEtcd35, type TestEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import { allBases } from './objects/bases.ts';
import { collectionPath } from './paths.ts';

const program = process.env['UPSTREAM_KUBE_APISERVER'];
const etcdProgram = unpackedEtcd35();
const NAMESPACE = 'same';
const KEY = Buffer.alloc(32, 7).toString('base64');
const ENCRYPTION = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{aesgcm: {keys: [{name: a, secret: ${KEY}}]}}, {identity: {}}]
- resources: [configmaps]
  providers: [{aescbc: {keys: [{name: b, secret: ${KEY}}]}}, {identity: {}}]
- resources: [pods, deployments.apps]
  providers: [{secretbox: {keys: [{name: c, secret: ${KEY}}]}}, {identity: {}}]
`;

/** What differs whatever the store: see "Known difference" in docs/designs/0001. */
const KNOWN = /: null → undefined$|deviceClassName: "" → undefined$/;

interface Answer {
  readonly status: number;
  // oxlint-disable-next-line no-explicit-any
  readonly body: any;
  readonly text: string;
}
type Ask = (target: string, body?: unknown, contentType?: string) => Promise<Answer>;

describe(
  'one etcd, two API servers',
  { skip: program && etcdProgram ? false : 'UPSTREAM_KUBE_APISERVER is not set' },
  () => {
    let dir: string;
    let etcd: TestEtcd;
    let upstream: ChildProcess;
    let capstan: TestServer;
    let askUpstream: Ask;
    let askCapstan: Ask;

    before(async () => {
      dir = mkdtempSync(join(tmpdir(), 'capstan-same-etcd-'));
      writeFileSync(join(dir, 'encryption.yaml'), ENCRYPTION);
      etcd = await startEtcd(etcdProgram!);
      const [port] = await freePorts();
      upstream = startUpstream({ dir, etcd, port: port! });
      askUpstream = (target, body, contentType) => askTls(port!, { target, body, contentType });
      while ((await askUpstream('GET /readyz').catch(() => undefined))?.status !== 200)
        await new Promise((resolve) => setTimeout(resolve, 200));
      const encryption = await createEncryption({
        file: join(dir, 'encryption.yaml'),
        reload: false,
        clock: realClock,
        log: silentLogger,
      });
      const store = await openEtcdStore({ ...etcd.options, keyPrefix: '/registry', replaces: '/registry' });
      capstan = await startTestServer({
        store: new CodecStore(encryption.wrap(store)),
        isEnabled: () => true,
      });
      askCapstan = async (target, body, contentType = 'application/json') =>
        capstan.request(target, { body, headers: { 'content-type': contentType } });
      await askUpstream('POST /api/v1/namespaces', { metadata: { name: NAMESPACE } });
      await askUpstream(`POST /api/v1/namespaces/${NAMESPACE}/serviceaccounts`, {
        metadata: { name: 'default' },
      });
    });
    after(async () => {
      await capstan?.stop();
      upstream?.kill('SIGKILL');
      await etcd?.close();
      rmSync(dir, { recursive: true, force: true });
    });

    for (const writer of ['upstream', 'capstan'] as const)
      test(`what ${writer} wrote the other reads and rewrites`, { timeout: 300_000 }, async () => {
        const [write, other] = writer === 'upstream' ? [askUpstream, askCapstan] : [askCapstan, askUpstream];
        let count = 0;
        for (const path of await createAll(write, writer === 'upstream' ? 'u' : 'c')) {
          const patch = { metadata: { labels: { crossed: 'yes' } } };
          const patched = await other(`PATCH ${path}`, patch, 'application/merge-patch+json');
          // Behind a feature gate there.
          if (/could not find the requested resource|404 page not found/.test(patched.text)) continue;
          assert.equal(patched.status, 200, `${path}: ${patched.text}`);
          await agree(path);
          count++;
        }
        assert.ok(count > 150, `${count} objects`);
      });

    test('secrets, maps, pods and deployments are encrypted by both', async () => {
      for (const [resource, prefix] of [
        ['secrets', 'k8s:enc:aesgcm:v1:a:'],
        ['configmaps', 'k8s:enc:aescbc:v1:b:'],
        ['pods', 'k8s:enc:secretbox:v1:c:'],
        ['deployments', 'k8s:enc:secretbox:v1:c:'],
      ])
        for (const name of ['ul', 'cl']) {
          const json = etcd.ctl('get', `/registry/${resource}/${NAMESPACE}/${name}`, '-w', 'json');
          const stored = Buffer.from(JSON.parse(json).kvs[0].value, 'base64').toString('latin1');
          assert.ok(stored.startsWith(prefix!), `${resource}/${name}: ${stored.slice(0, 30)}`);
        }
    });

    test('no node port is given twice, though both servers give them', async () => {
      const ports = new Set<number>();
      for (let i = 0; i < 20; i++) {
        const ask = i % 2 ? askUpstream : askCapstan;
        const spec = { type: 'NodePort', ports: [{ port: 80 }] };
        const body = { metadata: { name: `port-${i}` }, spec };
        const made = await ask('POST /api/v1/namespaces/default/services', body);
        assert.equal(made.status, 201, made.text);
        ports.add(made.body.spec.ports[0].nodePort);
      }
      assert.equal(ports.size, 20);
      const range = etcd.ctl('get', '/registry/ranges/servicenodeports', '-w', 'json');
      assert.ok(Buffer.from(JSON.parse(range).kvs[0].value, 'base64').toString('latin1').startsWith('k8s\0'));
    });

    /** Paths of what was created. */
    async function createAll(write: Ask, prefix: string): Promise<string[]> {
      const paths: string[] = [];
      for (const { facts, object } of allBases({ name: `${prefix}l`, namespace: NAMESPACE })) {
        if (!facts.verbs.includes('get') || !facts.verbs.includes('create')) continue;
        const collection = collectionPath(facts, NAMESPACE);
        const { status } = await write(`POST ${collection}`, object);
        if (status === 201) paths.push(`${collection}/${encodeURIComponent(object.metadata?.name ?? '')}`);
      }
      return paths;
    }

    async function agree(path: string): Promise<void> {
      // Controllers of either server may write between the two reads.
      for (let attempt = 1; ; attempt++) {
        const [one, two] = await Promise.all([askUpstream(`GET ${path}`), askCapstan(`GET ${path}`)]);
        const found = differences(one.body as KubeObject, two.body as KubeObject).filter(
          (line) => !KNOWN.test(line),
        );
        if (found.length === 0) return;
        if (attempt === 5) assert.deepEqual(found, [], path);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  },
);

function differences(a: unknown, b: unknown, path = ''): string[] {
  if (JSON.stringify(a) === JSON.stringify(b)) return [];
  if (typeof a !== 'object' || typeof b !== 'object' || !a || !b)
    return [`${path}: ${JSON.stringify(a)} → ${JSON.stringify(b)}`];
  const [one, two] = [a as Record<string, unknown>, b as Record<string, unknown>];
  return [...new Set([...Object.keys(one), ...Object.keys(two)])].flatMap((key) =>
    differences(one[key], two[key], `${path}.${key}`),
  );
}

function startUpstream({ dir, etcd, port }: { dir: string; etcd: TestEtcd; port: number }): ChildProcess {
  const file = (name: string): string => join(dir, name);
  execFileSync('openssl', ['genrsa', '-out', file('sa.key'), '2048'], { stdio: 'ignore' });
  writeFileSync(file('tokens.csv'), 'admin,admin,admin,"system:masters"\n');
  const { endpoints, caFile, certFile, keyFile } = etcd.options;
  const flags = {
    'etcd-servers': endpoints.join(','),
    'etcd-cafile': caFile,
    'etcd-certfile': certFile,
    'etcd-keyfile': keyFile,
    'secure-port': port,
    'bind-address': '127.0.0.1',
    'advertise-address': '192.0.2.7',
    'cert-dir': file('certificates'),
    'authorization-mode': 'RBAC',
    'token-auth-file': file('tokens.csv'),
    'encryption-provider-config': file('encryption.yaml'),
    'service-account-issuer': 'https://kubernetes.default.svc',
    'service-account-key-file': file('sa.key'),
    'service-account-signing-key-file': file('sa.key'),
    'service-cluster-ip-range': '10.96.0.0/16',
    'runtime-config': 'api/all=true',
    'allow-privileged': true,
  };
  return spawn(
    program!,
    Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    { stdio: 'ignore' },
  );
}

function askTls(
  port: number,
  {
    target,
    body,
    contentType = 'application/json',
  }: { target: string; body?: unknown; contentType?: string | undefined },
): Promise<Answer> {
  const [method, path] = target.split(' ');
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        // Its certificate is of its own making.
        rejectUnauthorized: false,
        headers: { authorization: 'Bearer admin', 'content-type': contentType },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => {
          const text = Buffer.concat(parts).toString();
          resolve({
            status: response.statusCode ?? 0,
            text,
            body: text.startsWith('{') ? JSON.parse(text) : undefined,
          });
        });
      },
    );
    asked.on('error', reject);
    asked.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
