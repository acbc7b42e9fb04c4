/** Every component as a process of its own, meeting the others only at the API through kubeconfigs; and taking over from one that was killed. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { deployments, leases, nodes, pods } from '#client/refs.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import { freePort, runCommand, until } from './cluster.ts';
import { withoutPorts } from './quiet-ports.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');

interface Part {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output(): string;
}

describe('components as separate processes', () => {
  let dir: string;
  let api: Client;
  const parts: Part[] = [];

  function start(...words: string[]): Part {
    const child = spawn(CAPSTAN, withoutPorts(words), { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (piece: string) => {
        text = (text + piece).slice(-20_000);
      });
    const part = {
      child,
      ended: new Promise<number | null>((done) => child.once('exit', done)),
      output: () => text,
    };
    parts.push(part);
    return part;
  }
  const kubeconfig = (name: string): string => join(dir, 'kubeconfigs', `${name}.kubeconfig`);

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-parts-'));
    const port = await freePort();
    const server = start('apiserver', '--data-dir', dir, '--secure-port', String(port));
    await until(`the API server (${server.output()})`, () => existsSync(kubeconfig('scheduler')));
    api = createClient(createKubeconfigTransport({ path: join(dir, 'admin.kubeconfig') }), {
      userAgent: 'test',
    });
    await until('the API', async () => (await api.list(nodes)).items.length === 0);
  });

  after(async () => {
    await api?.close();
    for (const { child } of parts) child.kill('SIGKILL');
    await Promise.all(parts.map((part) => part.ended));
    await rm(dir, { recursive: true, force: true });
  });

  it('a Deployment becomes ready', { timeout: 60_000 }, async () => {
    start('controller-manager', '--kubeconfig', kubeconfig('controller-manager'));
    start('scheduler', '--kubeconfig', kubeconfig('scheduler'), '--identity', 'first');
    start('node', '--runtime', 'simulated', '--nodes', '2', '--kubeconfig', join(dir, 'admin.kubeconfig'));
    await api.create(deployments, {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'web', namespace: 'default' },
      spec: {
        replicas: 3,
        selector: { matchLabels: { app: 'web' } },
        template: {
          metadata: { labels: { app: 'web' } },
          spec: { containers: [{ name: 'web', image: 'web:1' }] },
        },
      },
    });
    await until(
      'three ready replicas',
      async () =>
        (await api.get(deployments, { name: 'web', namespace: 'default' })).status?.readyReplicas === 3,
    );
  });

  it('another scheduler takes over from one that was killed', { timeout: 90_000 }, async () => {
    const lease = async (): Promise<string | undefined> =>
      (await api.get(leases, { name: 'kube-scheduler', namespace: 'kube-system' })).spec?.holderIdentity;
    assert.equal(await lease(), 'first');
    start('scheduler', '--kubeconfig', kubeconfig('scheduler'), '--identity', 'second');
    parts.find((part) => part.child.spawnargs.includes('first'))?.child.kill('SIGKILL');
    await until('the second scheduler to lead', async () => (await lease()) === 'second');
    await api.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'late', namespace: 'default' },
      spec: { containers: [{ name: 'main', image: 'late:1' }] },
    });
    await until(
      'a pod scheduled by it',
      async () => (await api.get(pods, { name: 'late', namespace: 'default' })).status?.phase === 'Running',
    );
  });

  it('says what is wrong in one sentence, while the API server runs', { timeout: 60_000 }, async () => {
    const refused = async (words: readonly string[], says: RegExp): Promise<void> => {
      const { code, stderr } = await runCommand([CAPSTAN, ...words]);
      assert.equal(code, 1, stderr);
      const sentence = stderr.split('\n').filter((line) => line.startsWith('capstan: '));
      assert.equal(sentence.length, 1, stderr);
      assert.match(sentence[0] ?? '', says);
    };
    const good = await readFile(kubeconfig('scheduler'), 'utf8');
    const port = new URL(/server: "([^"]+)"/.exec(good)?.[1] ?? '').port;
    const other = await ensurePki({
      dir: join(dir, 'other'),
      nowMs: Date.now(),
      apiServer: { hostName: 'localhost', serviceIP: '10.96.0.1', bindAddresses: [] },
    });
    const base64 = (text: string): string => Buffer.from(text).toString('base64');
    await writeFile(
      join(dir, 'untrusted'),
      good.replace(
        /certificate-authority-data: .*/,
        `certificate-authority-data: ${base64(other.ca.certificatePem)}`,
      ),
    );
    await writeFile(
      join(dir, 'foreign'),
      good
        .replace(
          /client-certificate-data: .*/,
          `client-certificate-data: ${base64(other.clients.scheduler.certificatePem)}`,
        )
        .replace(/client-key-data: .*/, `client-key-data: ${base64(other.clients.scheduler.keyPem)}`),
    );
    await refused(
      ['scheduler', '--kubeconfig', join(dir, 'untrusted')],
      /certificate of https:.* was not accepted/,
    );
    await refused(['scheduler', '--kubeconfig', join(dir, 'foreign')], /does not accept the credentials/);
    await refused(
      ['scheduler', '--kubeconfig', kubeconfig('scheduler'), '--context', 'none'],
      /no context "none"/,
    );
    await refused(
      ['scheduler', '--kubeconfig', kubeconfig('scheduler'), '--leader-elect=maybe'],
      /--leader-elect is "maybe"/,
    );
    await refused(
      [
        'controller-manager',
        '--kubeconfig',
        kubeconfig('controller-manager'),
        '--controllers',
        '*,-nonsense',
      ],
      /"nonsense" is not in the list of known controllers/,
    );
    await refused(
      [
        'controller-manager',
        '--kubeconfig',
        kubeconfig('controller-manager'),
        '--cluster-signing-key-file',
        '/x',
      ],
      /go together/,
    );
    await refused(
      ['dns', '--kubeconfig', kubeconfig('dns'), '--listen', 'localhost:53'],
      /--listen is "localhost:53"/,
    );
    await refused(['apiserver', '--data-dir', dir], /already run by process \d+/);
    await refused(
      ['apiserver', '--data-dir', join(dir, 'second'), '--secure-port', port],
      /the program .* \(process \d+\) listens there; choose another with --secure-port/,
    );
    await refused(
      ['apiserver', '--storage', 'memory'],
      /--tls-cert-file, --tls-private-key-file, --client-ca-file, --service-account-signing-key-file/,
    );
    await refused(
      ['apiserver', '--etcd-servers=127.0.0.1:2379'],
      /--etcd-servers has "127.0.0.1:2379"; each should be like https/,
    );
    await refused(
      [
        'apiserver',
        '--data-dir',
        join(dir, 'third'),
        '--secure-port',
        String(await freePort()),
        '--authorization-mode',
        'ABAC',
      ],
      /authorization-mode ABAC's authorization policy file not passed/,
    );
  });

  it('stops cleanly on SIGTERM', { timeout: 60_000 }, async () => {
    for (const part of parts.toReversed()) {
      if (part.child.exitCode !== null || part.child.signalCode !== null) continue;
      part.child.kill('SIGTERM');
      assert.equal(await part.ended, 0, part.output());
    }
  });

  it('an API server whose store is gone makes no new one', { timeout: 60_000 }, async () => {
    const refused = async (says: RegExp): Promise<void> => {
      const { code, stderr } = await runCommand([CAPSTAN, 'apiserver', '--data-dir', dir]);
      assert.equal(code, 1);
      assert.match(stderr, says);
    };
    await rename(join(dir, 'store'), join(dir, 'elsewhere'));
    await refused(/Cannot open store .*: store\.mdb is missing, though this cluster has run before/);
    await rm(join(dir, 'store'), { recursive: true });
    await rename(join(dir, 'capstan.json'), join(dir, 'kept'));
    await refused(/capstan\.json is missing, but .*admin\.kubeconfig says that there was a cluster/);
    await rename(join(dir, 'kept'), join(dir, 'capstan.json'));
    await rename(join(dir, 'elsewhere'), join(dir, 'store'));
  });

  it('an API server whose directory is removed under it says so and stops', { timeout: 60_000 }, async () => {
    const own = join(dir, 'removed');
    const part = start('apiserver', '--data-dir', own, '--secure-port', String(await freePort()));
    await until(`the API server (${part.output()})`, () => part.output().includes('ready'));
    await rm(own, { recursive: true, force: true });
    assert.equal(await part.ended, 1);
    assert.match(
      part.output(),
      /\ncapstan: The cluster in .* stops, since its files were removed or moved while it ran/,
    );
  });

  it('says what is wrong in one sentence', { timeout: 60_000 }, async () => {
    const missing = await runCommand([CAPSTAN, 'scheduler', '--kubeconfig', '/does/not/exist']);
    assert.equal(missing.code, 1);
    assert.match(missing.stderr, /\/does\/not\/exist/);
    const nobody = await runCommand([
      CAPSTAN,
      'scheduler',
      '--kubeconfig',
      kubeconfig('scheduler'),
      '--api-timeout-seconds',
      '1',
    ]);
    assert.equal(nobody.code, 1);
    assert.match(nobody.stderr, /127\.0\.0\.1/);
    const unknown = await runCommand([CAPSTAN, 'apiserver', '--etcd-servers', 'x']);
    assert.notEqual(unknown.code, 0);
  });
});
