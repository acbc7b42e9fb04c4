/**
 * `capstan certs rotate-ca` on a running `capstan apiserver` and controller manager: every authority and the service account key are replaced while a client
 * makes requests all along, also where the command is killed in between. No request fails.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { connect } from 'node:tls';
import { after, before, describe, it } from 'node:test';
import { FollowedConnection } from '#cmd/followed-connection.ts';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps, nodes, selfSubjectReviews, serviceAccounts } from '#client/refs.ts';
import { AUTHORITY_REPORT, renderReport } from '#component-helpers/authority-report.ts';
import { isStatusError } from '#machinery/errors.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { silentLogger } from '#stdx/log.ts';
import { freePort, until } from './cluster.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');

describe('rotation of authorities', () => {
  let dir: string;
  let port: number;
  let followed: FollowedConnection;
  let api: Client;
  const children: ChildProcess[] = [];

  function start(...words: string[]): ChildProcess {
    const child = spawn(CAPSTAN, words, { stdio: ['ignore', 'ignore', 'inherit'] });
    children.push(child);
    return child;
  }

  const certs = (...words: string[]) =>
    spawnSync(CAPSTAN, ['certs', ...words, '--data-dir', dir], { encoding: 'utf8', timeout: 120_000 });
  const pki = (file: string): string => readFileSync(join(dir, 'pki', file), 'utf8');
  const hashes = (pem: string): string[] => certificatesIn(pem).map(publicKeyHash);
  const adminOptions = (): HttpsOptions =>
    resolveContext(loadKubeconfig({ path: join(dir, 'admin.kubeconfig') })).options;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-rotate-'));
    port = await freePort();
    start('apiserver', '--data-dir', dir, '--secure-port', String(port), '--log-level', 'error');
    const kubeconfig = join(dir, 'kubeconfigs', 'controller-manager.kubeconfig');
    await until('the kubeconfigs', () => existsSync(kubeconfig));
    start(
      'controller-manager',
      '--kubeconfig',
      kubeconfig,
      '--log-level',
      'error',
      '--secure-port',
      '0',
      '--use-service-account-credentials=true',
    );
    followed = new FollowedConnection({
      file: join(dir, 'admin.kubeconfig'),
      read: adminOptions,
      log: silentLogger,
    });
    api = createClient(followed.open(), { userAgent: 'test' });
    await until('the root CA is published', async () => (await rootCa()) !== undefined);
  });

  after(async () => {
    await api?.close();
    await followed?.close();
    for (const child of children) child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  });

  async function rootCa(): Promise<string | undefined> {
    const { items } = await api.list(configMaps, { fieldSelector: 'metadata.name=kube-root-ca.crt' });
    return items.find(({ metadata }) => metadata?.namespace === 'default')?.data?.['ca.crt'];
  }

  /** Who somebody is with these credentials; 'Unauthorized' for nobody. */
  async function whoIs(options: HttpsOptions): Promise<string> {
    const transport = createHttpsTransport(options);
    const client = createClient(transport, { userAgent: 'test' });
    try {
      const { status } = await client.create(selfSubjectReviews, {});
      return status?.userInfo?.username ?? '';
    } catch (error) {
      return isStatusError(error, 'Unauthorized') ? 'Unauthorized' : String(error);
    } finally {
      await client.close();
      await transport.close();
    }
  }

  async function token(): Promise<string> {
    const { status } = (await api.createSubresource(
      serviceAccounts,
      { namespace: 'default', name: 'default' },
      { subresource: 'token', body: { spec: {} } as never },
    )) as { readonly status?: { readonly token?: string } };
    return status?.token ?? '';
  }

  it('prints the plan without --yes and changes nothing', () => {
    const before = pki('ca.crt');
    const { status, stdout } = certs('rotate-ca');
    assert.equal(status, 0);
    assert.match(
      stdout,
      /A rotation would replace:\n {2}ca +sha256:[0-9a-f]{64}, until .*\n {2}front-proxy-ca .*\n {2}sa /,
    );
    assert.match(stdout, /Nothing was changed/);
    assert.equal(pki('ca.crt'), before);
    assert.match(
      certs('rotate-ca', 'etcd-ca').stderr,
      /There is no authority "etcd-ca" here; there are ca, front-proxy-ca, sa\./,
    );
  });

  it('goes back before the new authorities sign, and not after', async () => {
    const before = pki('ca.crt');
    const name = 'far';
    await api.create(nodes, { metadata: { name } });
    const { status, stdout } = certs('rotate-ca', '--yes', '--wait', '0s');
    assert.equal(status, 3);
    assert.match(stdout, /waiting: node far does not report which authorities it trusts/);
    assert.deepEqual(hashes(pki('ca.crt')).length, 2);
    assert.equal(certs('rotate-ca', '--abort', '--yes').status, 0);
    assert.equal(pki('ca.crt'), before);
    assert.equal(existsSync(join(dir, 'pki/rotation')), false);
    assert.match(certs('rotate-ca', '--abort', '--yes').stderr, /There is no rotation to abort/);
    await api.delete(nodes, { name });
  });

  it(
    'replaces everything under load with 0 failed requests, though it is killed in between',
    { timeout: 180_000 },
    async () => {
      const oldAdmin = adminOptions();
      const oldCa = pki('ca.crt');
      const oldToken = await token();
      const bearer = (value: string): HttpsOptions => ({
        server: `https://127.0.0.1:${port}`,
        ca: pki('ca.crt'),
        token: value,
      });
      assert.equal(await whoIs(bearer(oldToken)), 'system:serviceaccount:default:default');
      await api.create(nodes, { metadata: { name: 'far' } });
      const report = (text: string) =>
        api.patch(
          nodes,
          { name: 'far' },
          { type: 'merge', patch: { metadata: { annotations: { [AUTHORITY_REPORT]: text } } } },
        );

      const load = { made: 0, failed: [] as string[], isOver: false };
      const workers = Array.from({ length: 4 }, async (_, worker) => {
        while (!load.isOver) {
          load.made++;
          const name = `load-${worker}-${load.made}`;
          const work =
            load.made % 5 === 0
              ? api.create(configMaps, { metadata: { namespace: 'default', name } })
              : api.list(configMaps, { namespace: 'default', limit: 5 });
          await work.catch((error: unknown) => load.failed.push(String(error)));
          // A connection of its own, with the credentials that the file holds now.
          if (load.made % 20 === 0) {
            const user = await whoIs(adminOptions());
            if (user !== 'kubernetes-admin') load.failed.push(`new connection: ${user}`);
          }
        }
      });

      // Killed as soon as its record is there: the next run takes it up.
      const killed = spawn(CAPSTAN, ['certs', 'rotate-ca', '--yes', '--data-dir', dir], { stdio: 'ignore' });
      await until('it has begun', () => existsSync(join(dir, 'pki/rotation/rotation.json')));
      killed.kill('SIGKILL');
      await new Promise((done) => killed.once('exit', done));

      const words = ['rotate-ca', '--yes', '--token-overlap', '1s', '--data-dir', dir];
      const run = (wait: string): Promise<{ readonly status: number | null; readonly text: string }> =>
        new Promise((done) => {
          const child = spawn(CAPSTAN, ['certs', ...words, '--wait', wait], {
            stdio: ['ignore', 'pipe', 'inherit'],
          });
          let text = '';
          child.stdout.setEncoding('utf8').on('data', (piece: string) => (text += piece));
          child.once('exit', (status) => done({ status, text }));
        });
      const first = await run('15s');
      assert.equal(first.status, 3, first.text);
      assert.match(first.text, /waiting: node far does not report which authorities it trusts/);
      const both = pki('ca.crt');
      assert.equal(hashes(both)[0], hashes(oldCa)[0]);
      await report(renderReport({ trusted: hashes(both), used: hashes(oldCa) }));
      const second = await run('15s');
      assert.equal(second.status, 3, second.text);
      assert.match(second.text, /phase issue/);
      assert.match(second.text, /waiting: node far still uses a certificate of the old authority/);
      assert.match(certs('rotate-ca', '--abort', '--yes').stderr, /the new authorities sign already/);
      // The old are good until the end.
      assert.equal(await whoIs({ ...oldAdmin, ca: both }), 'kubernetes-admin');
      await report(renderReport({ trusted: hashes(both), used: hashes(both).slice(1) }));
      const last = await run('60s');
      assert.equal(last.status, 0, last.text);
      assert.match(last.text, /done: the old authorities are trusted no more/);

      await until(
        'the API server has dropped the old',
        async () => (await whoIs({ ...oldAdmin, ca: pki('ca.crt') })) === 'Unauthorized',
      );
      await until('the root CA of pods is the new one', async () => (await rootCa()) === pki('ca.crt'));
      load.isOver = true;
      await Promise.all(workers);
      console.log(`${load.made} requests, ${load.failed.length} failed`);
      assert.deepEqual(load.failed, []);
      assert.ok(load.made > 200, `only ${load.made} requests were made`);

      assert.deepEqual(hashes(pki('ca.crt')), hashes(both).slice(1));
      assert.equal(existsSync(join(dir, 'pki/rotation')), false);
      assert.equal(await whoIs(bearer(oldToken)), 'Unauthorized');
      assert.equal(await whoIs(bearer(await token())), 'system:serviceaccount:default:default');
      const shown = await serving(port);
      assert.equal(shown.verify(new X509Certificate(pki('ca.crt')).publicKey), true);
      assert.equal(certs('check').status, 0, certs('check').stdout);
      // What is made at the next look or start is content with it.
      assert.equal(certs('rotate-ca').status, 0);
    },
  );
});

function serving(port: number): Promise<X509Certificate> {
  return new Promise((done, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false }, () => {
      done(socket.getPeerX509Certificate()!);
      socket.destroy();
    });
    socket.on('error', reject);
  });
}
