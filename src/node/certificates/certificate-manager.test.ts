/** A node's certificates over their lives, against a real API server and the cluster's own signer; time is moved by hand. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it, type TestContext } from 'node:test';
import type { Client } from '#client/client.ts';
import { certificateSigningRequests, clusterRoleBindings } from '#client/refs.ts';
import { startControllerManager } from '#cmd/controller-manager/compose.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { seededRandom } from '#stdx/random.ts';
import { startTestApi } from '#testing/start-test-api.ts';
import { CertificateFiles } from './certificate-files.ts';
import { CertificateManager, type CertificateManagerOptions } from './certificate-manager.ts';
import { KUBELET_CLIENT, KUBELET_SERVING } from './request.ts';

const MINUTE_MS = 60_000;
const CONTROLLERS = ['approving', 'signing', 'cleaner'].map(
  (what) => `certificatesigningrequest-${what}-controller`,
);
const NODE = { name: 'system:node:a', groups: ['system:nodes', 'system:authenticated'] };

interface World {
  readonly api: Client;
  readonly clock: FakeClock;
  readonly dir: string;
  manager(change?: Partial<CertificateManagerOptions>): CertificateManager;
  until<T>(what: string, check: () => T | Promise<T>): Promise<NonNullable<T>>;
}

async function world(t: TestContext): Promise<World> {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-node-'));
  const clock = new FakeClock(Date.now());
  const test = await startTestApi({ clock });
  const run = async <T>(work: Promise<T>): Promise<T> => {
    let over = false;
    const ended = work.finally(() => {
      over = true;
    });
    ended.catch(() => {});
    while (!over) await clock.advance(20);
    return ended;
  };
  const controllers = await startControllerManager({
    api: test.api,
    clock,
    log: silentLogger,
    identity: 'test',
    clusterCIDR: '10.244.0.0/16',
    caPem: test.pki.ca.certificatePem,
    signer: { certificate: test.pki.ca.certificatePem, key: test.pki.ca.keyPem },
    settings: {
      leaderElect: false,
      names: CONTROLLERS,
      controllers: { clusterSigningDurationMs: 60 * MINUTE_MS },
    },
    apiFor: (account) =>
      Promise.resolve(
        test.clientAs({
          name: `system:serviceaccount:kube-system:${account}`,
          groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated'],
        }),
      ),
  });
  await controllers.start();
  const managers: CertificateManager[] = [];
  t.after(async () => {
    await run(Promise.all(managers.map((one) => one.stop())));
    await run(controllers.stop());
    await run(test.stop());
    rmSync(dir, { recursive: true, force: true });
  });
  return {
    api: test.api,
    clock,
    dir,
    manager(change = {}) {
      const made = new CertificateManager({
        what: 'client certificate',
        kind: KUBELET_CLIENT,
        names: { nodeName: 'a' },
        files: new CertificateFiles(join(dir, 'pki'), 'kubelet-client'),
        api: test.clientAs(NODE),
        clock,
        log: silentLogger,
        random: seededRandom(1),
        ...change,
      });
      managers.push(made);
      return made;
    },
    async until(what, check) {
      const endMs = performance.now() + 20_000;
      for (;;) {
        const answer = await check();
        if (answer) return answer;
        assert.ok(performance.now() < endMs, `never came true: ${what}`);
        await clock.advance(20);
      }
    },
  };
}

it('a client certificate is got, kept, and renewed between 70 and 90 % of its life, again and again', async (t) => {
  const { clock, manager, until, dir } = await world(t);
  const used: string[] = [];
  const first = manager({ changed: ({ certificatePem }) => used.push(certificatePem) });
  await first.start();
  let current = await until('the first certificate', () => first.current);
  const leaf = new X509Certificate(current.certificatePem);
  assert.equal(leaf.subject, 'O=system:nodes\nCN=system:node:a');
  for (let round = 0; round < 3; round++) {
    const before = current,
      lifeMs = before.validToMs - clock.now();
    await clock.advance(lifeMs * 0.69);
    assert.equal(first.current, before);
    for (let ms = 0; ms < lifeMs * 0.21; ms += MINUTE_MS) await clock.advance(MINUTE_MS);
    await until('the next certificate', () => first.current !== before);
    current = first.current!;
    assert.ok(current.validFromMs > before.validFromMs && clock.now() < before.validToMs);
  }
  assert.equal(used.length, 4);
  const files = readdirSync(join(dir, 'pki'));
  assert.equal(files.length, 3, files.join());
  assert.equal(statSync(join(dir, 'pki', 'kubelet-client-current.pem')).mode & 0o777, 0o600);
  // Who starts again goes on with what is kept.
  await first.stop();
  const second = manager();
  await second.start();
  assert.equal(second.current?.certificatePem, current.certificatePem);
  await second.stop();
  // Of another node it is of no use.
  const renamed = manager({ names: { nodeName: 'b' } });
  await renamed.start();
  assert.equal(renamed.current, undefined);
  await renamed.stop();
  // A damaged one is replaced.
  writeFileSync(join(dir, 'pki', 'kubelet-client-current.pem'), 'rubbish');
  const third = manager();
  await third.start();
  await until('a good one again', () => third.current);
});

it('a serving certificate waits for approval; a denied request is made again', async (t) => {
  const { api, until, manager, dir } = await world(t);
  const serving = manager({
    what: 'serving certificate',
    kind: KUBELET_SERVING,
    names: { nodeName: 'a', dnsNames: ['a'], ipAddresses: ['10.0.0.5'] },
    files: new CertificateFiles(join(dir, 'pki'), 'kubelet-server'),
  });
  await serving.start();
  const pending = async (): Promise<string> =>
    (await until('a request', async () =>
      (await api.list(certificateSigningRequests)).items.find(({ status }) => !status?.conditions),
    ))!.metadata.name;
  const decide = async (name: string, type: string): Promise<void> => {
    const request = await api.get(certificateSigningRequests, { name });
    await api.updateSubresource(
      certificateSigningRequests,
      { ...request, status: { conditions: [{ type, status: 'True', reason: 'Test', message: 'no' }] } },
      'approval',
    );
  };
  const first = await pending();
  await decide(first, 'Denied');
  const second = await pending();
  assert.notEqual(second, first);
  assert.equal(serving.current, undefined);
  await decide(second, 'Approved');
  const { certificatePem } = await until('the certificate', () => serving.current);
  assert.equal(new X509Certificate(certificatePem).subjectAltName, 'DNS:a, IP Address:10.0.0.5');
});

it('one that ends before it could be renewed is reported', async (t) => {
  const { api, clock, manager, until } = await world(t);
  let expired = 0;
  const client = manager({
    expired: () => {
      expired++;
    },
  });
  await client.start();
  await until('the certificate', () => client.current);
  await api.delete(clusterRoleBindings, { name: 'kubeadm:node-autoapprove-certificate-rotation' });
  await clock.advance(50 * MINUTE_MS);
  assert.equal(expired, 0);
  for (let minute = 0; minute < 40 && expired === 0; minute++) await clock.advance(MINUTE_MS);
  await until('it is reported', () => expired > 0);
});
