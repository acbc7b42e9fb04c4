/**
 * What bench/backup.ts asks while a scheduled backup is made: an API server over the embedded store of BENCH_STORE, in a process of its own. The backup is begun by the message
 * 'backup', and made as by itself: by a child of this process, with its drill.
 */
import { join } from 'node:path';
import { startBackups } from '#cmd/backup/schedule.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { ADMIN, startTestApi } from '#testing/start-test-api.ts';

const dir = process.env['BENCH_DIR']!;
const store = await openStore({ driver: 'lmdb', dir: join(dir, 'cluster/store'), log: silentLogger });
const server = await startTestApi({ store, port: Number(process.env['BENCH_PORT']) });
const EVERY_MS = 20;

async function backUp(): Promise<void> {
  const startedMs = performance.now();
  const backups = startBackups(
    {
      intervalMs: 3_600_000,
      target: { location: join(dir, 'scheduled') },
      roots: [{ from: join(dir, 'cluster/pki'), to: 'pki' }],
      recipientsFile: undefined,
      pkiDir: join(dir, 'cluster/pki'),
    },
    { store: server.store, api: server.clientAs(ADMIN), clock: realClock, log: silentLogger, firstMs: 0 },
  );
  while (!/^capstan_backup_drill_result \d/m.test(backups.metrics()))
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
  process.send!({ type: 'made', seconds: (performance.now() - startedMs) / 1000 });
  await backups.stop();
}

process.on('message', () => void backUp());
process.on('disconnect', () => process.exit());
const { certificatePem, keyPem } = server.pki.clients['super-admin'];
process.send!({ type: 'ready', cert: certificatePem, key: keyPem, ca: server.pki.ca.certificatePem });
