/**
 * The one gate, `capstan test`: installs what the tests need, then types, lint, format, layers, generated-is-fresh, unit tests and integration tests;
 * ends with the line 'N passed, N failed, N skipped'. Options: --only SUBSTRING (test files whose path contains it), --unit (no integration tests),
 * --suite NAME (instead of all else: src/testing/suites/NAME, which takes too long for the gate; --minutes N: how long the suites 'ha' and 'network-policy' go on),
 * --fix (let the checks that can mend what they find do so), --no-install.
 *
 * Unit tests (*.test.ts) run two files at a time; integration tests (*.e2e.test.ts: whole clusters, real containers) one after the other.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { run } from 'node:test';

const root = resolve(import.meta.dirname, '..');
/** Debian package → a file it brings. */
const TEST_PACKAGES: Readonly<Record<string, string>> = {
  containerd: '/usr/bin/containerd',
  runc: '/usr/sbin/runc',
  'containernetworking-plugins': '/usr/lib/cni/bridge',
  nftables: '/usr/sbin/nft',
  iproute2: '/sbin/ip',
  'busybox-static': '/bin/busybox',
  'docker-registry': '/usr/bin/docker-registry',
  openssl: '/usr/bin/openssl',
  'etcd-server': '/usr/bin/etcd',
  'etcd-client': '/usr/bin/etcdctl',
  curl: '/usr/bin/curl',
  unzip: '/usr/bin/unzip',
  slapd: '/usr/sbin/slapd',
  'ldap-utils': '/usr/bin/ldapsearch',
  'krb5-kdc': '/usr/sbin/krb5kdc',
  'krb5-admin-server': '/usr/sbin/kadmin.local',
  'krb5-user': '/usr/bin/kinit',
  'python3-h2': '/usr/lib/python3/dist-packages/h2/__init__.py',
  'nghttp2-client': '/usr/bin/h2load',
  haproxy: '/usr/sbin/haproxy',
  prometheus: '/usr/bin/prometheus',
  keepalived: '/usr/sbin/keepalived',
  bird2: '/usr/sbin/bird',
  'openssh-server': '/usr/sbin/sshd',
  'openssh-client': '/usr/bin/ssh',
  age: '/usr/bin/age',
  e2fsprogs: '/sbin/mkfs.ext4',
  libfaketime: '/usr/share/doc/libfaketime/copyright',
};
/** What a suite needs beside those. */
const SUITE_PACKAGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  vm: {
    'qemu-system-x86': '/usr/bin/qemu-system-x86_64',
    debootstrap: '/usr/sbin/debootstrap',
    e2fsprogs: '/sbin/mkfs.ext4',
    git: '/usr/bin/git',
  },
};
const SLOWEST_FILES = 15;
const SUITES_DIR = 'src/testing/suites';
const SUITE_TIMEOUT_MS = 3 * 3_600_000;
/** Asked by Debian before a package starts its service: the tests start their own, elsewhere. */
const SERVICE_POLICY = '/usr/sbin/policy-rc.d';

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  skips: string[];
  /** Each with the first line of its message: said again at the end, where a cut log still shows it. */
  failures: string[];
  /** By file, of its tests. */
  seconds: Map<string, number>;
}

function emptyTally(): Tally {
  return { passed: 0, failed: 0, skipped: 0, skips: [], failures: [], seconds: new Map() };
}

function flag(name: string): boolean {
  return process.argv.includes(name);
}

function option(name: string): string | undefined {
  const at = process.argv.indexOf(name);
  return at < 0 ? undefined : process.argv[at + 1];
}

function installTestPackages(suite: string | undefined): void {
  const missing = Object.entries({ ...TEST_PACKAGES, ...SUITE_PACKAGES[suite ?? ''] })
    .filter(([, file]) => !existsSync(file))
    .map(([name]) => name);
  if (missing.length === 0 || flag('--no-install')) return;
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
    console.log(
      `gate: not installing ${missing.join(' ')} (needs root and apt-get); tests that need them are skipped`,
    );
    return;
  }
  console.log(`gate: installing Debian packages ${missing.join(' ')}`);
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  spawnSync('apt-get', ['update', '-q'], { stdio: 'ignore', env: environment });
  const holdsServices = !existsSync(SERVICE_POLICY);
  if (holdsServices) writeFileSync(SERVICE_POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  const result = spawnSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], {
    encoding: 'utf8',
    env: environment,
  });
  if (holdsServices) rmSync(SERVICE_POLICY, { force: true });
  if (result.status !== 0)
    console.log(
      `gate: apt-get failed; tests that need these packages are skipped\n${result.stdout}${result.stderr}`,
    );
}

/** Runs one check; true when it passed. */
function check(name: string, command: readonly string[]): boolean {
  const started = performance.now();
  const result = spawnSync(command[0] ?? '', command.slice(1), { cwd: root, encoding: 'utf8' });
  const passed = result.status === 0;
  console.log(`${passed ? 'ok  ' : 'FAIL'} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  if (!passed) console.log(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`);
  return passed;
}

interface RunTestsOptions {
  readonly concurrency: number;
  readonly timeoutMs?: number;
  /** Each test that passed, too, and what tests print. */
  readonly verbose?: boolean;
}

async function runTests(
  files: readonly string[],
  { concurrency, timeoutMs = 900_000, verbose = false }: RunTestsOptions,
): Promise<Tally> {
  const tally = emptyTally();
  if (files.length === 0) return tally;
  const stream = run({ files: [...files], concurrency, cwd: root, timeout: timeoutMs });
  for await (const event of stream) {
    if (verbose && event.type === 'test:stdout') process.stdout.write(event.data.message);
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const data = event.data;
    const isFile =
      data.nesting === 0 &&
      data.file !== undefined &&
      files.some((file) => file === data.name || relative(root, file) === data.name);
    const file = data.file === undefined ? '' : relative(root, data.file);
    if (data.nesting === 0 && !isFile)
      tally.seconds.set(file, (tally.seconds.get(file) ?? 0) + data.details.duration_ms / 1000);
    const skipped = data.skip !== undefined && data.skip !== false;
    // A suite counts only when it is skipped as a whole, for its tests are not seen then.
    if ((data.details.type === 'suite' && !skipped) || (isFile && event.type === 'test:pass')) continue;
    if (event.type === 'test:fail') {
      if (data.details.error.failureType === 'subtestsFailed') continue;
      tally.failed += 1;
      const failure = describeFailure(data.details.error);
      console.log(`FAIL ${file} › ${data.name}\n${failure}`);
      tally.failures.push(`${file} › ${data.name}: ${failure.trim().split('\n')[0]}`);
    } else if (skipped) {
      tally.skipped += 1;
      tally.skips.push(
        `${data.name}: ${data.skip === true || data.skip === '' ? 'no reason given' : data.skip}`,
      );
    } else {
      tally.passed += 1;
      if (verbose) console.log(`ok   ${data.name} (${(data.details.duration_ms / 1000).toFixed(0)} s)`);
    }
  }
  return tally;
}

function describeFailure(error: Error): string {
  const cause = error.cause instanceof Error ? error.cause : error;
  return `     ${(cause.stack ?? cause.message).split('\n').slice(0, 25).join('\n     ')}`;
}

/** The files that take longest. */
function slowest(seconds: ReadonlyMap<string, number>): string {
  return [...seconds]
    .toSorted(([, left], [, right]) => right - left)
    .slice(0, SLOWEST_FILES)
    .map(([file, taken]) => `${basename(file)} ${taken.toFixed(0)} s`)
    .join(', ');
}

/** Its tests one after the other, and nothing else. */
async function runSuite(name: string): Promise<void> {
  const files = globSync(`${SUITES_DIR}/${name}/**/*.test.ts`, { cwd: root }).sort();
  if (files.length === 0) {
    const names = readdirSync(join(root, SUITES_DIR)).join(', ');
    console.log(`gate: there is no suite "${name}"; there are: ${names}`);
    process.exit(1);
  }
  const minutes = option('--minutes');
  if (flag('--minutes') && !(Number(minutes) >= 0)) {
    console.log('gate: --minutes needs a number');
    process.exit(1);
  }
  if (minutes !== undefined) process.env['CAPSTAN_SUITE_MINUTES'] = minutes;
  const tally = await runTests(
    files.map((file) => join(root, file)),
    { concurrency: 1, timeoutMs: SUITE_TIMEOUT_MS, verbose: true },
  );
  for (const skip of tally.skips) console.log(`skipped: ${skip}`);
  console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
  process.exit(tally.failed === 0 && tally.passed > 0 ? 0 : 1);
}

async function main(): Promise<void> {
  const only = option('--only');
  const suite = option('--suite');
  installTestPackages(suite);
  if (suite !== undefined) return runSuite(suite);
  const checks = only
    ? []
    : [
        check('types', [process.execPath, 'node_modules/typescript/bin/tsc', '--noEmit']),
        check('lint', [
          process.execPath,
          'node_modules/oxlint/bin/oxlint',
          ...(flag('--fix') ? ['--fix'] : []),
          'src',
          'tools',
          'bench',
        ]),
        check('format', [
          process.execPath,
          'node_modules/oxfmt/bin/oxfmt',
          ...(flag('--fix') ? [] : ['--check']),
          'src',
          'tools',
          'bench',
        ]),
        check('layers', [process.execPath, 'tools/check-layers.ts']),
        check('laws', [process.execPath, 'tools/laws/main.ts', ...(flag('--fix') ? ['--fix'] : [])]),
        check('lock file', [
          process.execPath,
          'tools/complete-lock.ts',
          ...(flag('--fix') ? [] : ['--check']),
        ]),
        ...(existsSync(join(root, 'tools/generate-api/main.ts'))
          ? [
              check('generated is fresh', [
                process.execPath,
                'tools/generate-api/main.ts',
                ...(flag('--fix') ? [] : ['--check']),
              ]),
            ]
          : []),
      ];
  const found = globSync('{src,tools}/**/*.test.ts', { cwd: root })
    .filter((file) => !file.startsWith(`${SUITES_DIR}/`) && (!only || file.includes(only)))
    .sort()
    .map((file) => join(root, file));
  const integration = found.filter((file) => file.endsWith('.e2e.test.ts'));
  const unit = await runTests(
    found.filter((file) => !integration.includes(file)),
    { concurrency: 2 },
  );
  console.log(`unit tests: ${unit.passed} passed, ${unit.failed} failed, ${unit.skipped} skipped`);
  const end = flag('--unit') ? emptyTally() : await runTests(integration, { concurrency: 1 });
  if (!flag('--unit'))
    console.log(`integration tests: ${end.passed} passed, ${end.failed} failed, ${end.skipped} skipped`);
  for (const skip of [...unit.skips, ...end.skips]) console.log(`skipped: ${skip}`);
  console.log(`slowest: ${slowest(new Map([...unit.seconds, ...end.seconds]))}`);
  for (const failure of [...unit.failures, ...end.failures]) console.log(`failed: ${failure}`);
  const failedChecks = checks.filter((passed) => !passed).length;
  const passed = unit.passed + end.passed + checks.length - failedChecks;
  const failed = unit.failed + end.failed + failedChecks;
  console.log(`${passed} passed, ${failed} failed, ${unit.skipped + end.skipped} skipped`);
  process.exit(failed === 0 && passed > 0 ? 0 : 1);
}

await main();
