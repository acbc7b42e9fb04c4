/** Users of a whole cluster that `up` started with flags for its API server: made, listed, taken away; passwords; settings that stay over a restart. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { capstan, freePort, runCommand, type CommandResult } from '#testing/cluster.ts';
import { foreignTools } from '#testing/foreign-tools.ts';

const tools = foreignTools(35);
const skip = 'missing' in tools ? tools.missing : false;

let folder: string;
let port: number;
const file = (name: string): string => join(folder, name);
const data = (): string[] => ['--data-dir', file('data')];

async function ok(words: readonly string[], input = ''): Promise<CommandResult> {
  const result = await capstan(words, { input });
  assert.equal(result.code, 0, `capstan ${words.join(' ')}: ${result.stderr}`);
  return result;
}

async function kubectl(kubeconfig: string, ...words: readonly string[]): Promise<CommandResult> {
  return runCommand(['missing' in tools ? '' : tools.kubectl, '--kubeconfig', kubeconfig, ...words]);
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'capstan-user-'));
  port = await freePort();
  const { stdout } = await ok(
    ['user', 'hash-password', 'jane', '--uid', '7', '--group', 'devs', '--group', 'ops', '--password-stdin'],
    'tell-nobody\n',
  );
  assert.match(stdout, /^"\$scrypt\$ln=15,r=8,p=3\$[^"]+",jane,7,"devs,ops"\n$/);
  writeFileSync(file('users.csv'), stdout);
  await ok([
    'up',
    ...data(),
    '--runtime',
    'simulated',
    '--https-port',
    String(port),
    '--detach',
    '--apiserver-arg',
    `basic-auth-file=${file('users.csv')}`,
    '--apiserver-arg',
    'session-lifetime=5m',
  ]);
});

after(async () => {
  await capstan(['down', ...data()]);
  rmSync(folder, { recursive: true, force: true });
});

test('a user is who he should be, may what his role allows and nothing else', { skip }, async () => {
  writeFileSync(
    file('bob'),
    (await ok(['user', 'create', 'bob', '--group', 'qa', '--role', 'view', ...data()])).stdout,
  );
  const who = await kubectl(
    file('bob'),
    'auth',
    'whoami',
    '-o',
    'jsonpath={.status.userInfo.username} {.status.userInfo.groups}',
  );
  assert.equal(who.stdout, 'bob ["qa","system:authenticated"]', who.stderr);
  assert.equal((await kubectl(file('bob'), 'auth', 'can-i', 'list', 'pods', '-A')).stdout.trim(), 'yes');
  assert.equal((await kubectl(file('bob'), 'auth', 'can-i', 'delete', 'pods')).stdout.trim(), 'no');
});

test('made twice he has one binding each; in a namespace his roles are there only', { skip }, async () => {
  for (const _ of [1, 2])
    await ok([
      'user',
      'create',
      'carol',
      '--role',
      'edit',
      '--namespace',
      'default',
      '--expires',
      '12h',
      '--output',
      file('carol'),
      ...data(),
    ]);
  assert.equal(statSync(file('carol')).mode & 0o777, 0o600);
  assert.equal((await kubectl(file('carol'), 'auth', 'can-i', 'create', 'deployments')).stdout.trim(), 'yes');
  assert.equal(
    (
      await kubectl(file('carol'), 'auth', 'can-i', 'create', 'deployments', '-n', 'kube-system')
    ).stdout.trim(),
    'no',
  );
  const rows = JSON.parse((await ok(['user', 'list', '--json', ...data()])).stdout) as {
    name: string;
    groups: string[];
    roles: string[];
    expiresAt: string;
  }[];
  const carol = rows.find(({ name }) => name === 'carol')!;
  assert.deepEqual([carol.groups, carol.roles], [[], ['edit in default']]);
  assert.ok(
    Date.parse(carol.expiresAt) - Date.now() < 13 * 3_600_000,
    'the signer keeps to the lifetime asked for',
  );
});

test('taken away, he is still himself and may nothing', { skip }, async () => {
  await ok(['user', 'create', 'dan', '--role', 'cluster-admin', '--output', file('dan'), ...data()]);
  assert.equal((await kubectl(file('dan'), 'auth', 'can-i', '*', '*')).stdout.trim(), 'yes');
  const { stdout } = await ok(['user', 'delete', 'dan', ...data()]);
  assert.match(stdout, /1 binding removed.*\nHis certificate cannot be taken back: until 20/);
  assert.equal((await kubectl(file('dan'), 'auth', 'can-i', 'list', 'pods')).stdout.trim(), 'no');
  const again = await capstan(['user', 'delete', 'dan', ...data()]);
  assert.equal(again.code, 1);
  assert.match(again.stderr, /There is no user "dan"/);
});

test('a role that does not exist is reported before anything is made', async () => {
  const { code, stderr, stdout } = await capstan(['user', 'create', 'eve', '--role', 'nope', ...data()]);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /There is no ClusterRole "nope"/);
  assert.doesNotMatch((await ok(['user', 'list', ...data()])).stdout, /eve/);
});

test('the flags for the API server hold, also after a restart without them', { skip }, async () => {
  const login = async (): Promise<CommandResult> =>
    capstan(['login', ...data(), '--user', 'jane', '--password-stdin', '--kubeconfig', file('jane')], {
      input: 'tell-nobody',
      env: { XDG_CACHE_HOME: file('cache') },
    });
  assert.match((await login()).stderr, /Logged in as jane/);
  await ok(['down', ...data()]);
  await ok(['up', ...data(), '--detach']);
  assert.match((await login()).stderr, /Logged in as jane/);
  assert.deepEqual(
    (JSON.parse(readFileSync(file('data/capstan.json'), 'utf8')) as { apiServerArgs: string[] })
      .apiServerArgs,
    [`basic-auth-file=${file('users.csv')}`, 'session-lifetime=5m'],
  );
  await ok(['down', ...data()]);
  await ok(['up', ...data(), '--detach', '--apiserver-arg', 'none']);
  assert.match((await login()).stderr, /offers no login by password/);
});
