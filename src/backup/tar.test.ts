import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { BackupError } from './errors.ts';
import { readTar, TAR_END, tarEntry, type TarEntry } from './tar.ts';
import { temporaryDir } from './testing/cluster-store.ts';

const LONG = `objects/${'very-long-name-'.repeat(15)}/äöü`;
const ENTRIES: readonly TarEntry[] = [
  { path: 'a.txt', mode: 0o600, timeMs: 1_700_000_000_000, pax: {}, content: Buffer.from('hello') },
  {
    path: LONG,
    mode: 0o644,
    timeMs: 0,
    pax: { 'SCHILY.xattr.user.x': '9'.repeat(95) },
    content: Buffer.alloc(1024, 1),
  },
  { path: 'empty', mode: 0o600, timeMs: 0, pax: {}, content: Buffer.alloc(0) },
];
const ARCHIVE = Buffer.concat([...ENTRIES.flatMap(tarEntry), TAR_END]);

/** In chunks of a size that is no divisor of anything. */
async function* chunks(bytes: Buffer, size = 77): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Buffer): Promise<TarEntry[]> {
  const entries: TarEntry[] = [];
  for await (const entry of readTar(chunks(bytes))) entries.push(entry);
  return entries;
}

test('what is written is read again', async () => {
  assert.deepEqual(await read(ARCHIVE), ENTRIES);
});

test('GNU tar reads it without a warning', () => {
  const dir = temporaryDir();
  try {
    const file = join(dir.path, 'a.tar');
    writeFileSync(file, ARCHIVE);
    const run = (...words: string[]): string =>
      execFileSync('sh', ['-c', 'exec tar "$@" 2>&1', 'tar', ...words], {
        encoding: 'utf8',
        env: { ...process.env, LC_ALL: 'C.UTF-8' },
      });
    assert.equal(
      run('--quoting-style=literal', '-tf', file),
      `${ENTRIES.map(({ path }) => path).join('\n')}\n`,
    );
    assert.equal(run('-xf', file, '-C', dir.path), '');
    for (const { path, content } of ENTRIES) assert.deepEqual(readFileSync(join(dir.path, path)), content);
    assert.equal(statSync(join(dir.path, 'a.txt')).mode & 0o777, 0o600);
  } finally {
    dir.remove();
  }
});

test('an archive of GNU tar is read', async () => {
  const dir = temporaryDir();
  try {
    writeFileSync(join(dir.path, 'x'), 'content');
    const bytes = execFileSync('tar', ['--format=pax', '-cf', '-', '-C', dir.path, 'x']);
    const [entry] = await read(bytes);
    assert.equal(entry?.path, 'x');
    assert.equal(entry?.content.toString(), 'content');
  } finally {
    dir.remove();
  }
});

test('what is cut, altered or no regular file is refused', async () => {
  const refused = async (bytes: Buffer, message: RegExp): Promise<void> => {
    await assert.rejects(
      read(bytes),
      (error: unknown) => error instanceof BackupError && message.test(error.message),
    );
  };
  for (const end of [0, 100, 512, 700, ARCHIVE.length - 1024 - 512])
    await refused(ARCHIVE.subarray(0, end), /it was cut/);
  const flipped = Buffer.from(ARCHIVE);
  flipped[3]! ^= 1;
  await refused(flipped, /checksum/);
  await refused(Buffer.concat([ARCHIVE, Buffer.from('more')]), /something follows/);
  await refused(Buffer.alloc(512, 0x41), /not a tar archive/);
  const link = execFileSync('sh', [
    '-c',
    'd=$(mktemp -d); ln -s /etc/passwd $d/l; tar -C $d -cf - l; rm -r $d',
  ]);
  await refused(link, /an entry of type 2/);
});
