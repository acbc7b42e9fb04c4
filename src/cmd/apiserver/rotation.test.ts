/** Rotation of a data directory's authorities against a running API server in this process, broken off at every line it prints and taken up again. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps, nodes, selfSubjectReviews } from '#client/refs.ts';
import { publishCertificates, renewCertificates } from '#deploy/cluster-certificates.ts';
import { dataDir, type DataDir } from '#deploy/data-dir.ts';
import { dataDirCertificates } from '#deploy/phases/certificate-files.ts';
import { inspectCertificates } from '#deploy/phases/certificates-check.ts';
import {
  abortRotation,
  describeRotation,
  rotateAuthorities,
  type RotateOptions,
} from '#deploy/phases/rotation/rotate.ts';
import { ensurePki, type PkiOptions } from '#deploy/pki/pki.ts';
import { isStatusError } from '#machinery/errors.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { freePort, until } from '#testing/cluster.ts';
import { FollowedConnection } from '../followed-connection.ts';
import { composeApiServer } from './compose.ts';
import { composeOptionsFrom, settingsFrom } from './from-flags.ts';

interface Cluster {
  readonly dir: DataDir;
  readonly options: (changes?: Partial<RotateOptions>) => Promise<RotateOptions>;
  readonly lines: string[];
  renew(): Promise<readonly string[]>;
  admin(): HttpsOptions;
}

async function cluster(t: TestContext): Promise<Cluster> {
  const dir = dataDir(mkdtempSync(join(tmpdir(), 'capstan-rotation-')));
  t.after(() => rmSync(dir.path, { recursive: true, force: true }));
  const port = await freePort();
  const pkiOptions: PkiOptions = {
    dir: dir.pki,
    apiServer: { hostName: 'box', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
    nowMs: Date.now(),
  };
  const publish = { server: `https://127.0.0.1:${port}`, simulatedNodes: true };
  const pki = await ensurePki(pkiOptions);
  await publishCertificates(dir, { ...publish, pki, nowMs: Date.now() });
  const server = await composeApiServer({
    store: createMemoryStore({}),
    ...composeOptionsFrom({}, { settings: settingsFrom({}, dir.pki), pki }),
    serviceCIDR: '10.96.0.0/16',
    listen: ['127.0.0.1'],
    port,
    advertiseAddress: '127.0.0.1',
    clock: realClock,
    log: silentLogger,
  });
  t.after(() => server.stop());
  await server.ready();
  const lines: string[] = [];
  const admin = (): HttpsOptions => resolveContext(loadKubeconfig({ path: dir.kubeconfig })).options;
  return {
    dir,
    lines,
    admin,
    renew: async () =>
      (await renewCertificates(dir, { ...publish, pki: pkiOptions, nowMs: Date.now() })).changes,
    options: async (changes) => ({
      set: await dataDirCertificates(dir.path),
      async connect() {
        const connection = admin();
        const transport = createHttpsTransport(connection);
        const api = createClient(transport, { userAgent: 'test' });
        const close = async (): Promise<void> => {
          await api.close();
          await transport.close();
        };
        return { api, connection, close };
      },
      machineName: 'box',
      ownNodes: [],
      waitMs: 20_000,
      tokenOverlapMs: 0,
      clock: realClock,
      print: (line) => void lines.push(line),
      ...changes,
    }),
  };
}

const read = ({ dir }: Cluster, file: string): string => readFileSync(join(dir.pki, file), 'utf8');
const hashes = (pem: string): string[] => certificatesIn(pem).map(publicKeyHash);

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

test(
  'broken off at every line and taken up again, with 0 failed requests all along',
  { timeout: 120_000 },
  async (t) => {
    const one = await cluster(t);
    const before = one.admin();
    const old = { ca: read(one, 'ca.crt'), proxy: read(one, 'front-proxy-ca.crt'), sa: read(one, 'sa.pub') };
    const followed = new FollowedConnection({ file: one.dir.kubeconfig, read: one.admin, log: silentLogger });
    const api = createClient(followed.open(), { userAgent: 'test' });
    const load = { made: 0, failed: [] as string[], isOver: false };
    const worker = (async () => {
      for (; !load.isOver; load.made++) {
        await api
          .list(configMaps, { namespace: 'default' })
          .catch((error) => load.failed.push(String(error)));
        if (load.made % 10 === 0) {
          const user = await whoIs(one.admin());
          if (user !== 'kubernetes-admin') load.failed.push(user);
        }
        await realClock.sleep(2);
      }
    })();

    let runs = 0;
    for (let result = ''; result !== 'done'; runs++) {
      let printed = 0;
      const options = await one.options({
        print: (line) => {
          one.lines.push(line);
          // The first run is broken off at its first line, the second at its second, and so on.
          if (++printed > runs) throw new Error('broken off');
        },
      });
      result = await rotateAuthorities(options).catch((error: Error) => {
        assert.equal(error.message, 'broken off');
        return '';
      });
      assert.deepEqual(await one.renew(), [], 'what the program renews by itself is content in each state');
    }
    load.isOver = true;
    await worker;
    await api.close();
    await followed.close();
    t.diagnostic(`${load.made} requests, ${load.failed.length} failed, ${runs} runs`);
    assert.deepEqual(load.failed, []);
    assert.ok(runs >= 3, `${runs} runs`);

    for (const [file, text] of [
      ['ca.crt', old.ca],
      ['front-proxy-ca.crt', old.proxy],
    ] as const) {
      assert.equal(hashes(read(one, file)).length, 1);
      assert.notEqual(hashes(read(one, file))[0], hashes(text)[0]);
    }
    assert.notEqual(read(one, 'sa.pub'), old.sa);
    assert.equal(existsSync(join(one.dir.pki, 'rotation')), false);
    await until(
      'the old administrator is nobody',
      async () => (await whoIs({ ...before, ca: read(one, 'ca.crt') })) === 'Unauthorized',
    );
    assert.equal(await whoIs(one.admin()), 'kubernetes-admin');
    const rows = await inspectCertificates((await one.options()).set, { nowMs: Date.now() });
    assert.deepEqual(
      rows.flatMap(({ problems }) => problems),
      [],
    );
  },
);

test('a plan is printed, and a rotation goes back before the new authorities sign', async (t) => {
  const one = await cluster(t);
  const before = read(one, 'ca.crt');
  const plan = await describeRotation(await one.options());
  assert.match(plan.join('\n'), new RegExp(`A rotation would replace:\\n  ca +${hashes(before)[0]}`));
  assert.equal(existsSync(join(one.dir.pki, 'rotation')), false);
  const admin = createHttpsTransport(one.admin());
  const api = createClient(admin, { userAgent: 'test' });
  await api.create(nodes, { metadata: { name: 'far' } });
  assert.equal(await rotateAuthorities(await one.options({ waitMs: 0 })), 'waiting');
  assert.match(one.lines.join('\n'), /waiting: node far does not report which authorities it trusts/);
  assert.equal(hashes(read(one, 'ca.crt')).length, 2);
  await abortRotation(await one.options());
  assert.equal(read(one, 'ca.crt'), before);
  await assert.rejects(abortRotation(await one.options()), /There is no rotation to abort/);
  await api.close();
  await admin.close();
});

test('a damaged record, a lost key and an unknown authority are refused', async (t) => {
  const one = await cluster(t);
  await assert.rejects(
    rotateAuthorities(await one.options({ names: ['etcd-ca'] })),
    /There is no authority "etcd-ca" here; there are ca, front-proxy-ca, sa\./,
  );
  const stop = await one.options({
    print: () => {
      throw new Error('broken off');
    },
  });
  await assert.rejects(rotateAuthorities(stop), /broken off/);
  const record = join(one.dir.pki, 'rotation/rotation.json');
  const text = readFileSync(record, 'utf8');
  writeFileSync(record, text.slice(0, 20));
  await assert.rejects(
    rotateAuthorities(await one.options()),
    /rotation\.json is damaged: it was left as it is/,
  );
  assert.equal(readFileSync(record, 'utf8'), text.slice(0, 20));
  writeFileSync(record, text.replace('"format": 1', '"format": 2'));
  await assert.rejects(rotateAuthorities(await one.options()), /written by a newer Capstan/);
  writeFileSync(record, text);
  rmSync(join(one.dir.pki, 'rotation/ca.old.crt'));
  await assert.rejects(
    rotateAuthorities(await one.options()),
    /ca\.old\.crt is missing, though the rotation has begun/,
  );
});

test('an intermediate asks for the next one, which is taken from where it was put', async (t) => {
  const one = await cluster(t);
  const certificate = new X509Certificate(read(one, 'ca.crt'));
  assert.equal(certificate.ca, true);
  rmSync(join(one.dir.pki, 'ca.key'));
  await assert.rejects(
    rotateAuthorities(await one.options({ names: ['ca'] })),
    /ca\.crt is an external authority: the next one is yours to make\. Put it to .*ca\.new\.crt/,
  );
});
