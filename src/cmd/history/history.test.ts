/** `capstan history`, `history show` and `undelete` against API servers: who, when, what; after compaction, with encryption at rest, of several servers, without a change log. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { configMaps, deployments, replicaSets, secrets } from '#api/refs.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { createDirectTransport } from '#client/direct.ts';
import type { UserInfo } from '#machinery/object.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import type { ServerTransport } from './ask.ts';
import { showHistory, showRevision, type HistoryContext, type HistoryFlags } from './history.ts';
import { undelete, type UndeleteFlags } from './undelete.ts';

const ALICE: UserInfo = { name: 'alice', groups: ['system:masters', 'system:authenticated'] };
const POD = {
  metadata: { labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', image: 'example.org/c:1' }] },
};
const SPEC = { replicas: 2, selector: { matchLabels: { app: 'web' } }, template: POD };

const serverOf = ({ server }: TestApi): ServerTransport => ({
  name: 'server',
  transport: createDirectTransport(server.handler, { user: ADMIN }),
});

interface Said {
  readonly lines: string[];
  readonly warnings: string[];
}

async function saidBy(
  servers: readonly ServerTransport[],
  run: (context: HistoryContext) => Promise<void>,
): Promise<Said> {
  const said: Said = { lines: [], warnings: [] };
  await run({ servers, say: (line) => said.lines.push(line), warn: (line) => said.warnings.push(line) });
  return said;
}

const historyOf = (servers: readonly ServerTransport[], flags: Partial<HistoryFlags>): Promise<Said> =>
  saidBy(servers, (context) => showHistory({ resource: 'configmaps', ...flags }, context));

/** Without times and revisions, which differ. */
const brief = ({ lines }: Said): string[] =>
  lines.slice(1).map((line) =>
    line
      .replace(/^\d\S+\s+\d+\s+/, '')
      .replaceAll(/\s{2,}/g, ' | ')
      .trimEnd(),
  );

describe('history with a change log', () => {
  const dir = temporaryDir();
  const store: Store = createMemoryStore();
  const key = Buffer.alloc(32, 7).toString('base64');
  let server: TestApi;
  let changed: string;
  before(async () => {
    const file = join(dir.path, 'encryption.yaml');
    writeFileSync(
      file,
      JSON.stringify({
        apiVersion: 'apiserver.config.k8s.io/v1',
        kind: 'EncryptionConfiguration',
        resources: [
          {
            resources: ['secrets'],
            providers: [{ aesgcm: { keys: [{ name: 'a', secret: key }] } }, { identity: {} }],
          },
        ],
      }),
    );
    server = await startTestApi({
      store,
      settings: {
        changeLog: { dir: join(dir.path, 'log'), maxFileBytes: 2 ** 20, maxFiles: 4, maxAgeMs: 86_400_000 },
        encryption: { file, reload: false },
      },
    });
    const alice = server.clientAs(ALICE);
    await alice.create(configMaps, {
      metadata: { name: 'settings', namespace: 'default' },
      data: { a: '1' },
    } as never);
    const at = { name: 'settings', namespace: 'default' };
    await server.api.patch(configMaps, at, { type: 'merge', patch: { data: { a: '2' } } });
    changed = (await server.api.get(configMaps, at)).metadata.resourceVersion;
    await alice.delete(configMaps, at);
    await alice.create(secrets, {
      metadata: { name: 'password', namespace: 'default' },
      data: { p: 'c2VjcmV0LXdvcmQ=' },
    } as never);
    await server.api.patch(
      secrets,
      { name: 'password', namespace: 'default' },
      { type: 'merge', patch: { data: { p: 'b3RoZXItd29yZA==' } } },
    );
    // Nothing of this is in the store's own history.
    await store.compact(store.revision);
  });
  after(async () => {
    await server.stop();
    dir.remove();
  });

  test('tells who changed what, also behind the compaction of the store', async () => {
    const said = await historyOf([serverOf(server)], { name: 'settings', diff: true });
    assert.deepEqual(brief(said), [
      'configmaps default/settings | create | alice (test)',
      'configmaps default/settings | update | admin (test)',
      ' | data.a: "1" -> "2"',
      'configmaps default/settings | delete | alice (test)',
    ]);
  });

  test('--by, --since and --until select; a time without changes has none', async () => {
    const servers = [serverOf(server)];
    assert.deepEqual(brief(await historyOf(servers, { name: 'settings', by: 'admin' })), [
      'configmaps default/settings | update | admin (test)',
    ]);
    assert.equal(brief(await historyOf(servers, { since: '5m', name: 'settings' })).length, 3);
    assert.deepEqual((await historyOf(servers, { until: '5m' })).lines, ['No changes found.']);
    await assert.rejects(
      historyOf(servers, { since: 'noon' }),
      /--since is "noon"; it should be a time like 14:02/,
    );
    await assert.rejects(historyOf(servers, { resource: 'gizmos' }), /there is no resource "gizmos"/);
  });

  test('--json has the same for programs', async () => {
    const { lines } = await historyOf([serverOf(server)], { name: 'settings', json: true });
    const [first] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(
      [first?.['resource'], first?.['namespace'], first?.['name'], first?.['operation'], first?.['user']],
      ['configmaps', 'default', 'settings', 'create', 'alice'],
    );
    assert.match(String(first?.['time']), /^\d{4}-/);
  });

  test('shows an object as it was, and says when it was deleted', async () => {
    const show = (at: string): Promise<Said> =>
      saidBy([serverOf(server)], (context) => showRevision({ resource: 'cm', at }, context));
    assert.match((await show(`settings@${changed}`)).lines[0] ?? '', /data:\n +a: "2"/);
    assert.match((await show(`settings@${Number(changed) - 1}`)).lines[0] ?? '', /data:\n +a: "1"/);
    await assert.rejects(
      show('settings@99999999'),
      /did not exist at revision 99999999: it was deleted at \d+ by alice/,
    );
    await assert.rejects(show('settings@1'), /History has no cm settings at revision 1/);
  });

  test('Secrets are in the log as encrypted as in the store, can be read back, and are not shown', async () => {
    const log = join(dir.path, 'log');
    const said = await historyOf([serverOf(server)], { resource: 'secrets', name: 'password', diff: true });
    assert.deepEqual(brief(said), [
      'secrets default/password | create | alice (test)',
      'secrets default/password | update | admin (test)',
      ' | data.p: changed',
    ]);
    const { readLogFile } = await import('#history/log-files.ts');
    const values = readdirSync(log).flatMap((file) =>
      [...readLogFile(join(log, file))].flatMap(({ header, changes }) =>
        header.kind === 'changes' ? changes() : [],
      ),
    );
    const stored = values.filter(({ key: at }) => at.startsWith('/registry/secrets/default/password'));
    assert.equal(stored.length, 2);
    for (const { value } of stored) assert.match(value!.toString('latin1'), /^k8s:enc:aesgcm:v1:a:/);
    assert.equal(readFileSync(join(log, readdirSync(log)[0]!)).includes('secret-word'), false);
  });

  test('undelete writes an object again, with a new UID; a dry run only shows it', async () => {
    const flags: UndeleteFlags = { resource: 'configmaps', name: 'settings' };
    const run = (more: Partial<UndeleteFlags>): Promise<Said> =>
      saidBy([serverOf(server)], (context) =>
        undelete({ ...flags, ...more }, { ...context, api: server.api }),
      );
    const dry = await run({ dryRun: true });
    assert.match(
      dry.lines.join('\n'),
      /configmaps default\/settings {2}would be created.*\n(.*\n)* {2}\+ {3}a: "2"/,
    );
    const at = { name: 'settings', namespace: 'default' };
    await assert.rejects(server.api.get(configMaps, at), /not found/);
    await run({});
    const found = await server.api.get(configMaps, at);
    assert.deepEqual((found as { data?: unknown }).data, { a: '2' });
    await assert.rejects(run({}), /it exists, and is as it was/);
    await server.api.patch(configMaps, at, { type: 'merge', patch: { data: { a: '3' } } });
    await assert.rejects(run({}), /is not written: it exists and differs/);
    await assert.rejects(run({ name: 'never' }), /History has no deletion of configmaps never/);
  });

  test('undelete mends owners, and leaves out what was of the deletion itself', async () => {
    const { api } = server;
    const owner = await api.create(deployments, {
      metadata: { name: 'web', namespace: 'default' },
      spec: SPEC,
    } as never);
    const ownerReferences = [
      { apiVersion: 'apps/v1', kind: 'Deployment', name: 'web', uid: owner.metadata.uid, controller: true },
    ];
    await api.create(replicaSets, {
      metadata: {
        name: 'web-1',
        namespace: 'default',
        ownerReferences,
        labels: { app: 'web' },
        finalizers: ['example.org/kept'],
      },
      spec: SPEC,
    } as never);
    const at = { name: 'web-1', namespace: 'default' };
    await api.delete(replicaSets, at);
    await api.patch(replicaSets, at, { type: 'merge', patch: { metadata: { finalizers: null } } });
    await api.delete(deployments, { name: 'web', namespace: 'default' });
    const again = await api.create(deployments, {
      metadata: { name: 'web', namespace: 'default' },
      spec: SPEC,
    } as never);
    await saidBy([serverOf(server)], (context) =>
      undelete({ resource: 'rs', name: 'web-1' }, { ...context, api }),
    );
    const found = await api.get(replicaSets, at);
    assert.equal(found.metadata.deletionTimestamp, undefined);
    assert.deepEqual(found.metadata.finalizers, ['example.org/kept']);
    assert.equal(found.metadata.ownerReferences?.[0]?.uid, again.metadata.uid);
  });

  test('only who may do everything may read it', async () => {
    const bob = createDirectTransport(server.server.handler, {
      user: { name: 'bob', groups: ['system:authenticated'] },
    });
    await assert.rejects(historyOf([{ name: 'server', transport: bob }], {}), /answered 403/);
  });
});

describe('history without a change log', () => {
  test('reads the revisions of the store: times and managers, no users, and says how far it reaches', async () => {
    const server = await startTestApi();
    await server.api.create(configMaps, {
      metadata: { name: 'a', namespace: 'default' },
      data: { a: '1' },
    } as never);
    const said = await historyOf([serverOf(server)], { name: 'a', since: '1h' });
    assert.deepEqual(brief(said), ['configmaps default/a | create | unknown (test)']);
    assert.match(
      said.warnings.join('\n'),
      /History begins at .* a change log \(--change-log-path of the API server\) reaches further/,
    );
    await server.stop();
  });

  test('the user is that of the audit log, where it has the write', async () => {
    const dir = temporaryDir();
    const policyFile = join(dir.path, 'policy.yaml');
    writeFileSync(policyFile, 'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n');
    const rotation = { maxSizeBytes: 0, maxAgeMs: 0, maxBackups: 0, compress: false };
    const server = await startTestApi({
      settings: {
        audit: { policyFile, log: { path: join(dir.path, 'audit.log'), format: 'json', rotation } },
      } as never,
    });
    await server
      .clientAs(ALICE)
      .create(configMaps, { metadata: { name: 'a', namespace: 'default' }, data: { a: '1' } } as never);
    const said = await historyOf([serverOf(server)], { name: 'a' });
    assert.deepEqual(brief(said), ['configmaps default/a | create | alice (test)']);
    await server.stop();
    dir.remove();
  });
});

test('of several servers on one store each knows what it served; merged they know all', async () => {
  const dir = temporaryDir();
  const store = createMemoryStore();
  const changeLog = { maxFileBytes: 2 ** 20, maxFiles: 4, maxAgeMs: 86_400_000 };
  const open = (name: string): Promise<TestApi> =>
    startTestApi({ store, settings: { changeLog: { ...changeLog, dir: join(dir.path, name) } } });
  const [one, two] = [await open('one'), await open('two')];
  await one
    .clientAs(ALICE)
    .create(configMaps, { metadata: { name: 'a', namespace: 'default' }, data: { a: '1' } } as never);
  await two.api.create(configMaps, { metadata: { name: 'b', namespace: 'default' } } as never);
  const gone: ServerTransport = {
    name: 'https://10.0.0.9:6443',
    transport: { request: () => Promise.reject(new Error('connect ECONNREFUSED')), close: async () => {} },
  };
  const said = await historyOf([serverOf(one), serverOf(two), gone], {});
  assert.deepEqual(
    brief(said).filter((line) => /default\/[ab] /.test(line)),
    ['configmaps default/a | create | alice (test)', 'configmaps default/b | create | admin (test)'],
  );
  assert.match(said.warnings.join('\n'), /10\.0\.0\.9:6443 could not be asked: connect ECONNREFUSED/);
  await one.stop();
  await two.stop();
  dir.remove();
});
