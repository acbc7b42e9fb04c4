/** Scheduled backups: made by one of two servers, proven, in metrics; a failure is a condition and an event. */
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { backupName } from '#backup/format.ts';
import { listBackups } from '#backup/stored-backups.ts';
import { DirectoryTarget } from '#backup/targets/directory.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { configMaps, events, leases, namespaces } from '#api/refs.ts';
import { realClock, type Clock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { whileAlone } from './one-at-a-time.ts';
import { startBackups, type Backups, type BackupSchedule } from './schedule.ts';
import type { Condition } from './status.ts';

const YEAR_MS = 365 * 86_400_000;
const LEASE = { namespace: 'kube-system', name: 'capstan-backup' };

describe('scheduled backups', () => {
  const dir = temporaryDir();
  const location = join(dir.path, 'backups');
  let server: TestApi;
  before(async () => {
    server = await startTestApi();
    writeFileSync(join(dir.path, 'settings'), '{}');
  });
  after(async () => {
    await server.stop();
    dir.remove();
  });

  const start = (schedule: Partial<BackupSchedule> = {}, clock: Clock = realClock): Backups =>
    startBackups(
      {
        intervalMs: 900_000,
        target: { location },
        roots: [{ from: join(dir.path, 'settings'), to: 'capstan.json' }],
        recipientsFile: undefined,
        pkiDir: dir.path,
        ...schedule,
      },
      { store: server.store, api: server.clientAs(ADMIN), clock, log: silentLogger, firstMs: 0 },
    );
  const conditions = async (): Promise<readonly Condition[]> => {
    const { data } = await server.api.get(configMaps, {
      name: 'capstan-backup-status',
      namespace: 'kube-system',
    });
    return (JSON.parse(data?.['status'] ?? '{}') as { conditions: Condition[] }).conditions;
  };

  test('two servers make one, with its drill, and both tell its age', async () => {
    const both = [start(), start()];
    await until('both have seen it', () =>
      both.every((one) => /^capstan_backup_drill_result 1$/m.test(one.metrics())),
    );
    const backups = await listBackups(new DirectoryTarget(location));
    assert.equal(backups.length, 1);
    assert.equal(backups[0]?.note?.drill?.passed, true);
    for (const one of both) {
      assert.match(one.metrics(), /^capstan_backup_last_success_timestamp_seconds \d{10}/m);
      assert.match(one.metrics(), /^capstan_backup_failures_total 0$/m);
    }
    assert.deepEqual(
      (await conditions()).map(({ type, status }) => `${type}=${status}`),
      ['BackupSucceeded=True', 'BackupOnTime=True', 'BackupProven=True'],
    );
    await Promise.all(both.map((one) => one.stop()));
  });

  test('a backup from the future, after a clock was set back, does not stop the next; nor does a clock that jumped ahead', async () => {
    const uid = (await server.api.get(namespaces, { name: 'kube-system' })).metadata.uid;
    const future = join(dir.path, 'future');
    mkdirSync(future);
    writeFileSync(
      join(future, backupName({ cluster: uid, time: '2199-01-01T00:00:00Z', revision: 1 })),
      'of a clock that was wrong',
    );
    const target = new DirectoryTarget(future);
    let offsetMs = 0;
    const clock: Clock = { ...realClock, now: () => Date.now() + offsetMs };
    for (const made of [1, 2]) {
      const one = start({ target: { location: future } }, clock);
      await until('it is proven', () => /^capstan_backup_drill_result 1$/m.test(one.metrics()));
      await until('it is there', async () => (await listBackups(target)).length > made);
      await one.stop();
      const [newest] = await listBackups(target);
      assert.ok(newest!.timeMs < Date.now() + 1000, 'the newest is that of the highest revision');
      assert.match(one.metrics(), /^capstan_backup_age_seconds \d/m, 'never negative');
      offsetMs = YEAR_MS;
      await server.api.create(configMaps, { metadata: { name: `later-${made}`, namespace: 'default' } });
    }
  });

  test('a backup that is late without a failure is a condition', async () => {
    const now = '2026-01-01T00:00:00.000000Z';
    await server.api.delete(leases, LEASE).catch(() => {});
    await server.api.create(leases, {
      metadata: LEASE,
      spec: { holderIdentity: 'stuck', leaseDurationSeconds: 3600, acquireTime: now, renewTime: now },
    } as never);
    const one = start({ intervalMs: 200, target: { location: join(dir.path, 'late') } });
    const late = await until('the condition', async () =>
      (await conditions()).find(({ type, status }) => type === 'BackupOnTime' && status === 'False'),
    );
    assert.equal(late.reason, 'BackupLate');
    assert.match(one.metrics(), /^capstan_backup_failures_total 0$/m);
    await one.stop();
    await server.api.delete(leases, LEASE);
  });

  test('a command waits for its turn, and says who has it since when; what a killed writer left is gone', async () => {
    const candidate = { api: server.clientAs(ADMIN), clock: realClock };
    const second = { ...candidate, api: server.clientAs(ADMIN), waitMs: 50 };
    await whileAlone(candidate, async () => {
      await assert.rejects(
        whileAlone(second, () => Promise.resolve(assert.fail('two at once'))),
        { code: 'busy', message: /^another backup is being made by \S+_\d+_\d+ since \d{4}-\d\d-\d\dT/ },
      );
    });
    const place = join(dir.path, 'tidy');
    const uid = (await server.api.get(namespaces, { name: 'kube-system' })).metadata.uid;
    const [ours, theirs] = [uid, '99999999-2222-4333-8444-555555555555'].map(
      (cluster) => `${backupName({ cluster, time: '2199-01-01T00:00:00Z', revision: 1 })}.part`,
    );
    mkdirSync(place);
    for (const name of [ours!, theirs!]) writeFileSync(join(place, name), 'half');
    const one = start({ target: { location: place } });
    await until('it is being made', () => /^capstan_backup_running 1$/m.test(one.metrics()));
    await until('it is proven', () => /^capstan_backup_drill_result 1$/m.test(one.metrics()));
    assert.match(one.metrics(), /^capstan_backup_running 0$/m);
    await one.stop();
    assert.deepEqual(
      readdirSync(place).filter((name) => name.endsWith('.part')),
      [theirs],
    );
  });

  test('a failure is a condition, an event and a metric', async () => {
    const file = join(dir.path, 'settings');
    const one = start({ target: { location: join(file, 'backups') } });
    await until('it has failed', () => /^capstan_backup_failures_total 1$/m.test(one.metrics()));
    const failed = await until('the condition', async () =>
      (await conditions()).find(({ type, status }) => type === 'BackupSucceeded' && status === 'False'),
    );
    assert.equal(failed.reason, 'BackupFailed');
    await until('the event', async () =>
      (await server.api.list(events, { namespace: 'default' })).items
        .concat((await server.api.list(events, { namespace: 'kube-system' })).items)
        .find(({ reason }) => reason === 'BackupFailed'),
    );
    await one.stop();
  });
});
