/**
 * How long backup, verify, drill and restore of many objects take, and how much memory: node bench/backup.ts [--objects 100000] [--bytes 3000] [--dir DIR].
 * Each step runs in a process of its own; the store of the source is the embedded one, off. Prints JSON lines.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { silentLogger } from '#stdx/log.ts';
import { openStore } from '#storage/drivers/index.ts';
import { makeDataDir } from '../src/cmd/backup/testing/data-dir.ts';

const { values } = parseArgs({
  options: {
    objects: { type: 'string', default: '100000' },
    bytes: { type: 'string', default: '3000' },
    dir: { type: 'string' },
    step: { type: 'string' },
  },
});
const dir = values.dir ?? mkdtempSync(join(tmpdir(), 'capstan-bench-backup-'));
const dataDir = join(dir, 'cluster');
const STEPS = ['create', 'verify', 'drill', 'restore'] as const;
const quiet = (): void => {};

async function fill(): Promise<void> {
  makeDataDir(dataDir);
  const store = await openStore({ driver: 'lmdb', dir: join(dataDir, 'store'), log: silentLogger });
  const put = (key: string, object: object): Promise<unknown> =>
    store.put(key, Buffer.from(JSON.stringify(object)));
  const uid = '11111111-2222-4333-8444-555555555555';
  await put('/registry/namespaces/kube-system', {
    kind: 'Namespace',
    apiVersion: 'v1',
    metadata: { name: 'kube-system', uid },
  });
  for (let at = 0; at < Number(values.objects); at += 500)
    await Promise.all(
      Array.from({ length: 500 }, (_, i) => {
        const name = `m${at + i}`;
        return put(`/registry/configmaps/default/${name}`, {
          kind: 'ConfigMap',
          apiVersion: 'v1',
          metadata: { name, namespace: 'default', uid: `${uid}${at + i}` },
          data: { text: wordsOf(at + i, Number(values.bytes)) },
        });
      }),
    );
  await store.close();
}

/** Compresses as manifests do, some 4:1. */
function wordsOf(seed: number, bytes: number): string {
  let text = '';
  for (let state = seed + 1; text.length < bytes;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += `field-${(state >>> 20).toString(36)}: value `;
  }
  return text.slice(0, bytes);
}

async function run(step: (typeof STEPS)[number]): Promise<void> {
  if (step === 'create') {
    const { createBackup } = await import('#cmd/backup/create.ts');
    await createBackup({ dataDir, drill: false }, quiet);
  } else if (step === 'verify') {
    const { verifyBackup } = await import('#cmd/backup/inspect.ts');
    await verifyBackup({ dataDir, name: 'latest' }, quiet);
  } else if (step === 'drill') {
    const [{ runDrill }, { DirectoryTarget }, { identitiesFor }] = await Promise.all([
      import('#cmd/backup/drill.ts'),
      import('#backup/targets/directory.ts'),
      import('#cmd/backup/keys.ts'),
    ]);
    const name = readdirSync(join(dataDir, 'backups')).find((file) => file.endsWith('.age'))!;
    const target = new DirectoryTarget(join(dataDir, 'backups'));
    const result = await runDrill({ target, name, identities: identitiesFor({}, join(dataDir, 'pki')) });
    if (!result.passed) throw new Error(result.problem);
  } else {
    const { restoreCluster } = await import('#cmd/backup/restore-cluster.ts');
    const flags = {
      dataDir: join(dir, 'restored'),
      name: 'latest',
      location: join(dataDir, 'backups'),
      identityFile: join(dataDir, 'pki/backup-identity.txt'),
    };
    await restoreCluster(flags, { say: quiet });
  }
}

if (values.step !== undefined) {
  const startedMs = performance.now();
  await run(values.step as (typeof STEPS)[number]);
  const seconds = Math.round((performance.now() - startedMs) / 100) / 10;
  const peakMiB = Math.round(process.resourceUsage().maxRSS / 1024);
  process.stdout.write(`${JSON.stringify({ step: values.step, seconds, peakMiB })}\n`);
} else {
  await fill();
  for (const step of STEPS)
    spawnSync(process.execPath, [import.meta.filename, '--dir', dir, '--step', step], { stdio: 'inherit' });
  const backups = join(dataDir, 'backups');
  const [name = ''] = readdirSync(backups).filter((file) => file.endsWith('.age'));
  const MiB = (path: string): number => Math.round(statSync(path).size / 1024 ** 2);
  const sizes = {
    objects: Number(values.objects),
    storeMiB: MiB(join(dataDir, 'store/store.mdb')),
    backupMiB: MiB(join(backups, name)),
  };
  process.stdout.write(`${JSON.stringify(sizes)}\n`);
  if (values.dir === undefined) rmSync(dir, { recursive: true, force: true });
}
