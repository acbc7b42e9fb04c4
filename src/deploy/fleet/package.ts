/** This program as a package for other machines: what it needs to run, with its Node.js, and a digest of it all. Tests, and packages of development, stay here. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';
import { PACKAGES_DIR } from './look.ts';
import { quote } from './ssh.ts';

export interface ProgramPackage {
  /** SHA-256 of its manifest, in 64 hexadecimal digits. */
  readonly digest: string;
  /** As sha256sum writes it. */
  readonly manifest: string;
  /** Of its Node.js: 'x86_64'. */
  readonly architecture: string;
  readonly bytes: number;
  tar(): Readable;
}

const ROOT = resolve(import.meta.dirname, '../../..');
const MANIFEST = '.capstan-manifest';
const TOP = ['capstan', 'package.json', 'package-lock.json'];
/** Of Node.js as a package only the program: neither npm nor headers. */
const NODE_PACKAGE = /^node_modules\/node-linux-/;
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };
const HASHED_AT_ONCE = 16;

/** Throws a UserError where this program was not installed as a whole. */
export async function describePackage(root = ROOT): Promise<ProgramPackage> {
  const files = [...TOP, ...sources(root), ...runtimePackages(root)].toSorted();
  if (!files.some((file) => file.endsWith('/bin/node')))
    throw new UserError(
      'This program has no Node.js of its own to copy (node_modules/node-linux-*): run ./capstan once with npm present, or give capstan.path in the inventory.',
    );
  const sums = new Map<string, string>();
  const queue = files.values();
  const hashSome = async (): Promise<void> => {
    for (const file of queue) sums.set(file, await sha256(join(root, file)));
  };
  await Promise.all(Array.from({ length: HASHED_AT_ONCE }, hashSome));
  const manifest = files.map((file) => `${sums.get(file)}  ${file}\n`).join('');
  return {
    digest: createHash('sha256').update(manifest).digest('hex'),
    manifest,
    architecture: ARCHITECTURES[process.arch] ?? process.arch,
    bytes: files.reduce((sum, file) => sum + statSync(join(root, file)).size, 0),
    tar: () => tarOf(root, files),
  };
}

function sources(root: string): string[] {
  return readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/\.(test|suite|bench)\.ts$/.test(entry.name))
    .map(({ parentPath, name }) => join(parentPath, name).slice(root.length + 1))
    .filter((file) => !/(^src\/testing\/|\/testdata\/)/.test(file));
}

interface LockedPackage {
  readonly dev?: boolean;
}

function runtimePackages(root: string): string[] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Readonly<Record<string, LockedPackage>>;
  };
  return Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && !dev && existsSync(join(root, path)))
    .flatMap(([path]) =>
      NODE_PACKAGE.test(path)
        ? [join(path, 'bin/node')].filter((file) => existsSync(join(root, file)))
        : filesBelow(root, path),
    );
}

/** Without packages of its own, which are listed by themselves. */
function filesBelow(root: string, path: string): string[] {
  return readdirSync(join(root, path), { withFileTypes: true }).flatMap((entry) => {
    const child = join(path, entry.name);
    if (entry.name === 'node_modules') return [];
    return statSync(join(root, child)).isDirectory() ? filesBelow(root, child) : [child];
  });
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** Names could be read as options or as patterns: they go by a list with NULs. */
function tarOf(root: string, files: readonly string[]): Readable {
  const words = ['-C', root, '--dereference', '--owner=0', '--group=0', '--null', '-cf', '-', '-T', '-'];
  const child = spawn('tar', words, { stdio: ['pipe', 'pipe', 'ignore'] });
  child.stdin.on('error', () => {});
  child.stdin.end(files.map((file) => `${file}\0`).join(''));
  child.once('error', (error) => child.stdout.destroy(new Error(errorMessage(error))));
  return child.stdout;
}

/**
 * Reads tar from standard input into a directory of its own, checks every file, then makes it the current one. Older packages that no process and no unit uses are
 * removed.
 */
export function installScript({ digest, manifest }: ProgramPackage): string {
  const files = manifest.split('\n').length - 1;
  return [
    'set -eu; umask 022',
    `dir=${PACKAGES_DIR}; digest=${quote(digest)}`,
    'mkdir -p "$dir"; new=$(mktemp -d "$dir/.new.XXXXXX"); trap \'rm -rf "$new"\' EXIT',
    'tar -C "$new" --no-same-owner -xf -',
    `cd "$new"; chmod 755 .; find . -type f ! -name ${MANIFEST} | sed 's|^\\./||' | tr '\\n' '\\0' | xargs -0 sha256sum | LC_ALL=C sort -k2 > ${MANIFEST}`,
    `[ "$(wc -l < ${MANIFEST})" = ${files} ] || { echo "capstan: the copy has $(wc -l < ${MANIFEST}) of ${files} files" >&2; exit 1; }`,
    `[ "$(sha256sum < ${MANIFEST} | cut -d' ' -f1)" = "$digest" ] || { echo "capstan: the copy differs from what was sent" >&2; exit 1; }`,
    `printf 'run %s\\n' "$(cksum < package-lock.json)" > node_modules/.capstan-installed`,
    '[ -d "$dir/$digest" ] || mv "$new" "$dir/$digest"',
    'ln -sfn "$digest" "$dir/.current"; mv -T "$dir/.current" "$dir/current"',
    `[ -e /usr/local/bin/capstan ] || { mkdir -p /usr/local/bin; ln -s "$dir/current/capstan" /usr/local/bin/capstan; }`,
    'for old in "$dir"/*; do',
    '  name=${old##*/}; case $name in current|"$digest") continue;; esac',
    '  grep -qs -- "$old/" /proc/[0-9]*/cmdline /etc/systemd/system/capstan*.service || rm -rf "$old"',
    'done',
  ].join('\n');
}
