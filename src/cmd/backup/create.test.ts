/** `capstan backup create`, `list`, `show`, `verify` and `prune` on a data directory, and the snapshot of an API server that runs. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodeSnapshot } from '#backup/snapshot.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { createDirectTransport } from '#client/direct.ts';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { ADMIN, startTestApi } from '#testing/start-test-api.ts';
import { createBackup } from './create.ts';
import { BACKUP_PATH } from './endpoint.ts';
import { pruneOld, showBackup, showBackups, verifyBackup } from './inspect.ts';
import { makeDataDir } from './testing/data-dir.ts';

const MAPS = { group: '', version: 'v1', plural: 'configmaps', kind: 'ConfigMap', namespaced: true };

describe('of a data directory', () => {
  const root = temporaryDir();
  const dataDir = join(root.path, 'cluster');
  before(async () => {
    makeDataDir(dataDir);
    const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
    const { api, stop } = await startTestApi({ store });
    await api.create(MAPS, { metadata: { name: 'm', namespace: 'default' } });
    await stop();
  });
  after(() => root.remove());

  const run = async (
    command: (flags: { dataDir: string }, say: (line: string) => void) => Promise<unknown>,
  ): Promise<string> => {
    const lines: string[] = [];
    await command({ dataDir }, (line) => lines.push(line));
    return lines.join('\n');
  };

  test('is made, listed, shown and verified', async () => {
    const made = await run(createBackup);
    assert.match(
      made,
      /^revision \d+: \d+ objects of \d+ resources, 2 files\ncapstan-\w{8}-\d{8}T\d{6}Z-r\d+\.tar\.zst\.age {2}/,
    );
    assert.match(
      await run(showBackups),
      /^NAME .*DRILL\ncapstan-[^ ]+ +\d+s +\d+ +\d+ +[\d.]+ KiB +passed, [\d.]+ s$/,
    );
    const shown = await run((flags, say) => showBackup({ ...flags, name: 'latest' }, say));
    assert.match(shown, /\nconfigmaps +\d+ /);
    assert.match(shown, /\nfile pki\/ca\.key\nfile capstan\.json$/);
    const objects = await run((flags, say) => showBackup({ ...flags, name: 'latest', objects: true }, say));
    assert.match(objects, /\n\/registry\/configmaps\/default\/m\n/);
    assert.match(
      await run((flags, say) => verifyBackup({ ...flags, name: 'latest' }, say)),
      / is whole: \d+ objects at revision/,
    );
    assert.equal(await run(pruneOld), 'Nothing is old enough to be removed.');
  });

  test('prune removes what a killed one left: the note of a backup that is no more', async () => {
    const location = join(dataDir, 'backups');
    const before = readdirSync(location).toSorted();
    const orphan = 'capstan-0badcafe-20260101T000000Z-r7.tar.zst.age.json';
    for (const name of [orphan, 'of-somebody-else.json']) writeFileSync(join(location, name), '{}');
    assert.equal(
      await run((flags, say) => pruneOld({ ...flags, dryRun: true }, say)),
      `${orphan}  would be removed`,
    );
    assert.equal(await run(pruneOld), `${orphan}  removed`);
    assert.deepEqual(readdirSync(location).toSorted(), [...before, 'of-somebody-else.json']);
    rmSync(join(location, 'of-somebody-else.json'));
  });

  test('the key is with the certificates, and in no backup', () => {
    const text = readFileSync(join(dataDir, 'pki/backup-identity.txt'), 'utf8');
    assert.match(text, /^# created: .*\n# public key: age1\w+\n# .*\nAGE-SECRET-KEY-1\w+\n$/);
  });

  test('what cannot be used is refused in one sentence', async () => {
    const refused = (command: Promise<unknown>, message: RegExp): Promise<void> =>
      assert.rejects(command, { name: 'UserError', message });
    await refused(
      createBackup({ dataDir: join(root.path, 'none') }, () => {}),
      /^There is no cluster in .*\.$/,
    );
    await refused(
      verifyBackup({ dataDir, name: 'capstan-x' }, () => {}),
      /^There is no backup capstan-x in .*\.$/,
    );
    const recipientsFile = join(root.path, 'recipients');
    writeFileSync(recipientsFile, 'AGE-SECRET-KEY-1ABC\n');
    await refused(
      createBackup({ dataDir, recipientsFile }, () => {}),
      /is no recipient of age.*: it is a secret key\.$/,
    );
    await refused(
      createBackup({ dataDir, location: 's3://' }, () => {}),
      /should be a directory, or s3:\/\/BUCKET/,
    );
    rmSync(recipientsFile);
  });
});

test('an API server that runs gives its store to administrators only', async () => {
  const { api, server, store, stop } = await startTestApi();
  await api.create(MAPS, { metadata: { name: 'm', namespace: 'default' } });
  const transport = createDirectTransport(server.handler, { user: ADMIN });
  const response = await transport.request({ method: 'GET', path: BACKUP_PATH });
  const snapshot = await decodeSnapshot(response.stream());
  const keys: string[] = [];
  for await (const batch of snapshot.records) keys.push(...batch.map(({ key }) => key));
  const { items } = await store.list('/registry/', { revision: snapshot.revision });
  assert.deepEqual(
    keys,
    items.map(({ key }) => key).filter((key) => !/masterleases|peerserverleases|capstan\./.test(key)),
  );
  const other = createDirectTransport(server.handler, {
    user: { name: 'x', groups: ['system:authenticated'] },
  });
  assert.equal((await other.request({ method: 'GET', path: BACKUP_PATH })).status, 403);
  assert.equal((await transport.request({ method: 'POST', path: BACKUP_PATH })).status, 405);
  await stop();
});
