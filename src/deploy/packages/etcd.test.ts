/** Which etcd is taken, and the fetching of Debian's package: by an apt-get of the test, which brings a package made here. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { findEtcd } from './etcd.ts';

const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const skip = existsSync('/usr/bin/dpkg-deb') && existsSync(KEYRING) ? false : 'needs Debian';
const PATH = process.env['PATH'];

let dir: string;
let kept: string;
let printed: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-etcd-package-'));
  kept = join(dir, 'kept');
  printed = [];
});
afterEach(() => {
  process.env['PATH'] = PATH;
  rmSync(dir, { recursive: true });
});

function script(path: string, text: string): string {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, `#!/bin/sh\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

function etcdIn(place: string, version: string): string {
  return script(join(dir, place, 'etcd'), `echo "etcd Version: ${version}"`);
}

function find(more: Partial<Parameters<typeof findEtcd>[0]> = {}): ReturnType<typeof findEtcd> {
  return findEtcd({
    kept,
    mayFetch: false,
    places: [join(dir, 'bin')],
    print: (line) => printed.push(line),
    ...more,
  });
}

/** An apt-get at the front of the PATH that writes down its words and brings a package with an etcd of this version; or fails. */
function fakeApt({ version, fails = '' }: { readonly version: string; readonly fails?: string }): void {
  const tree = join(dir, 'tree');
  script(join(tree, 'usr/bin/etcd'), `echo "etcd Version: ${version}"`);
  mkdirSync(join(tree, 'DEBIAN'));
  writeFileSync(
    join(tree, 'DEBIAN/control'),
    'Package: etcd-server\nVersion: 3.5.16-1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n',
  );
  const archive = join(dir, 'etcd-server_3.5.16-1_all.deb');
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', tree, archive], { stdio: 'ignore' });
  script(
    join(dir, 'apt/apt-get'),
    [
      `for word in "$@"; do last=$word; case $word in Dir::Etc::sourcelist=*) cat "\${word#*=}" >> ${dir}/sources;; esac; done`,
      `echo "$@" >> ${dir}/words`,
      fails,
      `if [ "$last" = etcd-server ]; then cp ${archive} .; fi`,
    ].join('\n'),
  );
  process.env['PATH'] = [join(dir, 'apt'), PATH].join(delimiter);
}

test('the given one, else one on the PATH; none is an error that says how to get one', async () => {
  await assert.rejects(find(), /etcd was not found: install it .*--etcd-binary FILE.*--fetch-etcd/);
  const program = etcdIn('bin', '3.5.16');
  assert.deepEqual(await find(), { program, version: '3.5.16', remark: undefined });
  const given = etcdIn('given', '3.6.1');
  assert.equal((await find({ given })).program, given);
  await assert.rejects(find({ given: script(join(dir, 'x'), 'echo hello') }), /x is not etcd/);
  await assert.rejects(
    find({ given: etcdIn('old', '3.3.25') }),
    /is etcd 3\.3\.25; it should be 3\.4 or later/,
  );
});

test('an old one is remarked upon', async () => {
  etcdIn('bin', '3.4.23');
  assert.match((await find()).remark ?? '', /take 3\.5 with --etcd-binary or --fetch-etcd/);
});

test('fetched with consent, into a directory of its own, and kept', { skip }, async () => {
  etcdIn('bin', '3.4.23');
  fakeApt({ version: '3.5.16' });
  const program = join(kept, 'etcd/usr/bin/etcd');
  assert.deepEqual(await find({ mayFetch: true }), { program, version: '3.5.16', remark: undefined });
  assert.match(printed.join(), /Fetching Debian's package etcd-server \(trixie\) into/);
  const sources = readFileSync(join(dir, 'sources'), 'utf8');
  assert.match(
    sources,
    /^deb \[signed-by=\/usr\/share\/keyrings\/debian-archive-keyring\.gpg\] https?:\S+ trixie main\n/,
  );
  for (const words of readFileSync(join(dir, 'words'), 'utf8').trim().split('\n'))
    for (const setting of ['Dir::State::lists', 'Dir::Cache'])
      assert.ok(words.includes(`${setting}=${join(kept, 'etcd')}/`), `${setting} in ${words}`);
  assert.deepEqual(readdirSync(join(kept, 'etcd')), ['usr'], 'no lists or archives stay');
  rmSync(join(dir, 'apt'), { recursive: true });
  assert.equal((await find()).program, program, 'the next command finds it');
});

test('a fetch that failed or was killed is none, and the next begins anew', { skip }, async () => {
  fakeApt({ version: '3.5.16', fails: `[ -e ${dir}/network ] || { echo "E: no network" >&2; exit 100; }` });
  await assert.rejects(
    find({ mayFetch: true }),
    /etcd could not be fetched: .*E: no network.*Install it by hand/s,
  );
  assert.ok(!existsSync(join(kept, 'etcd/usr')));
  mkdirSync(join(kept, 'etcd/unpacked/usr/bin'), { recursive: true });
  writeFileSync(join(kept, 'etcd/unpacked/usr/bin/etcd'), 'half');
  writeFileSync(join(dir, 'network'), '');
  assert.equal((await find({ mayFetch: true })).version, '3.5.16');
});
