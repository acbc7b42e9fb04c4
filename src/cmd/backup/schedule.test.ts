/** Scheduled backups: made by one of two servers, proven, in metrics; a failure is a condition and an event. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { listBackups } from '#backup/stored-backups.ts';
import { DirectoryTarget } from '#backup/targets/directory.ts';
import { temporaryDir } from '#backup/testing/cluster-store.ts';
import { configMaps, events } from '#api/refs.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { until } from '#testing/cluster.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { startBackups, type Backups, type BackupSchedule } from './schedule.ts';
import type { Condition } from './status.ts';

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

  const start = (schedule: Partial<BackupSchedule> = {}): Backups =>
    startBackups(
      {
        intervalMs: 900_000,
        target: { location },
        roots: [{ from: join(dir.path, 'settings'), to: 'capstan.json' }],
        recipientsFile: undefined,
        pkiDir: dir.path,
        ...schedule,
      },
      { store: server.store, api: server.clientAs(ADMIN), clock: realClock, log: silentLogger, firstMs: 0 },
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
