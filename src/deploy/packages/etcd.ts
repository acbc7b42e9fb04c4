/**
 * Finds the etcd program: the given one, one fetched before, or one on the PATH; else, with consent, Debian's package, unpacked into a directory of its own.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';

const run = promisify(execFile);
const VERSION_TIMEOUT_MS = 10_000;
const FETCH_TIMEOUT_MS = 300_000;
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
/** Debian's release with an etcd of 3.5. */
const RELEASE = 'trixie';
const SYSTEM_PLACES = ['/usr/local/bin', '/usr/bin', '/usr/local/sbin', '/usr/sbin'];

interface FoundEtcd {
  readonly program: string;
  /** '3.5.16' */
  readonly version: string;
  /** What an administrator should know about it. */
  readonly remark?: string | undefined;
}

interface FindOptions {
  /** --etcd-binary */
  readonly given?: string | undefined;
  /** Directory of a fetched etcd. */
  readonly kept: string;
  /** Where it is not found, or is older than recommended. */
  readonly mayFetch: boolean;
  /** Directories that are searched. Default: PATH and the system's. */
  readonly places?: readonly string[] | undefined;
  readonly print?: ((line: string) => void) | undefined;
}

/** Throws a UserError that explains how to get one. */
export async function findEtcd({
  given,
  kept,
  mayFetch,
  places = [...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_PLACES],
  print,
}: FindOptions): Promise<FoundEtcd> {
  if (given !== undefined) return described(given, '--etcd-binary');
  const fetched = join(kept, 'etcd', 'usr/bin/etcd');
  const program = [fetched, ...places.map((place) => join(place, 'etcd'))].find((path) => existsSync(path));
  const found = program === undefined ? undefined : await described(program, program);
  if (found && (found.remark === undefined || !mayFetch)) return found;
  if (!mayFetch)
    throw new UserError(
      'etcd was not found: install it (Debian: apt-get install --no-install-recommends etcd-server), name it with --etcd-binary FILE, or let it be fetched as a package of Debian into a directory of its own with --fetch-etcd.',
    );
  print?.(`Fetching Debian's package etcd-server (${RELEASE}) into "${join(kept, 'etcd')}"`);
  await fetchEtcd(join(kept, 'etcd'));
  return described(fetched, fetched);
}

async function described(program: string, what: string): Promise<FoundEtcd> {
  let text: string;
  try {
    ({ stdout: text } = await run(program, ['--version'], { timeout: VERSION_TIMEOUT_MS }));
  } catch (error) {
    throw new UserError(`${what}: ${program} cannot be run: ${errorMessage(error)}.`, error);
  }
  const [, version, major, minor] = /etcd Version: ((\d+)\.(\d+)\.\S+)/.exec(text) ?? [];
  if (version === undefined) throw new UserError(`${what}: ${program} is not etcd.`);
  if (Number(major) !== 3 || Number(minor) < 4)
    throw new UserError(
      `${what}: ${program} is etcd ${version}; it should be 3.4 or later (3.5 is recommended).`,
    );
  return {
    program,
    version,
    remark:
      Number(minor) < 5
        ? `etcd ${version} has known faults of watches and learners that 3.5 does not have, and lists are not served from memory with it; take 3.5 with --etcd-binary or --fetch-etcd`
        : undefined,
  };
}

/** Nothing of the system's package lists, cache or files is touched. Killed at any point, it begins anew. */
async function fetchEtcd(dir: string): Promise<void> {
  if (!existsSync(KEYRING))
    throw new UserError(
      `etcd cannot be fetched: ${KEYRING} is missing, so this is no Debian; name an etcd with --etcd-binary FILE.`,
    );
  const lists = join(dir, 'apt');
  const unpacked = join(dir, 'unpacked');
  for (const old of [lists, unpacked]) await rm(old, { recursive: true, force: true });
  for (const made of ['lists/partial', 'archives/partial'])
    await mkdir(join(lists, made), { recursive: true });
  const sources = join(lists, 'sources.list');
  await writeFile(sources, `deb [signed-by=${KEYRING}] ${await mirror()} ${RELEASE} main\n`);
  const settings = [
    `Dir::Etc::sourcelist=${sources}`,
    'Dir::Etc::sourceparts=/dev/null',
    // Pins of this machine would choose the version that is installed.
    'Dir::Etc::preferences=/dev/null',
    'Dir::Etc::preferencesparts=/dev/null',
    `Dir::State::lists=${join(lists, 'lists')}`,
    `Dir::Cache=${lists}`,
    'APT::Sandbox::User=root',
  ].flatMap((setting) => ['-o', setting]);
  try {
    await run('apt-get', [...settings, 'update'], { timeout: FETCH_TIMEOUT_MS });
    await run('apt-get', [...settings, 'download', 'etcd-server'], { cwd: lists, timeout: FETCH_TIMEOUT_MS });
    const archive = (await readdir(lists)).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new Error('apt-get brought no package');
    await run('dpkg', ['-x', join(lists, archive), unpacked], { timeout: FETCH_TIMEOUT_MS });
    await rm(join(dir, 'usr'), { recursive: true, force: true });
    await rename(join(unpacked, 'usr'), join(dir, 'usr'));
    for (const done of [lists, unpacked]) await rm(done, { recursive: true, force: true });
  } catch (error) {
    throw new UserError(
      `etcd could not be fetched: ${errorMessage(error)}. Install it by hand, or name it with --etcd-binary FILE.`,
      error,
    );
  }
}

/** The one that this machine's own lists name, since others may not be reachable. */
async function mirror(): Promise<string> {
  const usual = 'http://deb.debian.org/debian';
  const texts = await Promise.all(
    ['/etc/apt/sources.list', '/etc/apt/sources.list.d/debian.sources'].map((path) =>
      readFile(path, 'utf8').catch(() => ''),
    ),
  );
  const [, found] =
    /^(?:deb\s+(?:\[[^\]]*\]\s+)?|URIs:\s*)(https?:\/\/\S+\/debian)\/?(?:\s|$)/m.exec(texts.join('\n')) ?? [];
  return found ?? usual;
}
