/** `up` as its user meets it when something is not as it was: a cluster that runs already, a terminal that closes, a directory that lost a part. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { configMaps, nodes } from '#client/refs.ts';
import { capstan, freePort, until, type CommandResult } from '#testing/cluster.ts';

const KEPT = { name: 'kept', namespace: 'default' };

let dir: string;
let port: number;

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-up-'));
  port = await freePort();
});

after(async () => {
  await capstan(['down', '--data-dir', dir]);
  rmSync(dir, { recursive: true, force: true });
});

function up(...words: readonly string[]): Promise<CommandResult> {
  return capstan(['up', '--data-dir', dir, '--detach', ...words]);
}

function down(): Promise<CommandResult> {
  return capstan(['down', '--data-dir', dir]);
}

async function withClient<T>(use: (api: ReturnType<typeof createClient>) => Promise<T>): Promise<T> {
  const api = createClient(createKubeconfigTransport({ path: join(dir, 'admin.kubeconfig') }), {
    userAgent: 'test',
  });
  try {
    return await use(api);
  } finally {
    await api.close();
  }
}

/** It ends with code 1 and says `says`, once. */
async function refuses(what: Promise<CommandResult>, says: RegExp): Promise<void> {
  const { code, stderr } = await what;
  assert.equal(code, 1, stderr);
  assert.match(stderr, says);
  assert.equal(stderr.match(new RegExp(says.source, 'g'))?.length, 1, stderr);
  assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
}

test('a cluster that runs takes the options it has, and refuses others rather than ignore them', async () => {
  const own = ['--runtime', 'simulated', '--https-port', String(port), '--nodes', '2'];
  const first = await up(...own);
  assert.equal(first.code, 0, first.stderr);
  await withClient((api) =>
    api.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: KEPT, data: { a: 'b' } }),
  );
  await withClient((api) => api.create(nodes, { metadata: { name: 'joined' } }));
  await until('status counts the nodes of the cluster', async () =>
    /^nodes {7}3, 2 ready$/m.test((await capstan(['status', '--data-dir', dir])).stdout),
  );
  for (const words of [own, []]) {
    const { code, stdout } = await up(...words);
    assert.equal(code, 0);
    assert.match(stdout, /is already running \(process \d+, https:\/\/127\.0\.0\.1:\d+\)/);
  }
  for (const [option, value] of [
    ['--nodes', '3'],
    ['--bind-address', '0.0.0.0'],
    ['--https-port', '1234'],
    ['--apiserver-arg', 'event-ttl=2h'],
  ] as const) {
    await refuses(
      up(option, value),
      new RegExp(
        `is running \\(process \\d+\\) with another ${option}: stop it with 'capstan down' before that is changed`,
      ),
    );
  }
  await refuses(up('--runtime', 'cri'), /runs with --runtime simulated; that cannot be changed/);
  await refuses(up('--bind-address', 'x'), /--bind-address is "x"/);
});

test('a copy of the directory of a cluster that runs is not running, and stopping it leaves the original', async () => {
  assert.equal((await up('--runtime', 'simulated', '--https-port', String(port))).code, 0);
  const { pid } = JSON.parse((await capstan(['status', '--json', '--data-dir', dir])).stdout) as {
    pid: number;
  };
  const copy = `${dir}-copy`;
  cpSync(dir, copy, { recursive: true, preserveTimestamps: true });
  try {
    const stopped = await capstan(['down', '--data-dir', copy]);
    assert.equal(stopped.code, 0, stopped.stderr);
    assert.match(stopped.stdout, /was not running/);
    process.kill(pid, 0);
    assert.match((await capstan(['status', '--data-dir', dir])).stdout, /^API server .* ok$/m);
    appendFileSync(join(dir, 'logs/capstan.log'), `${'x'.repeat(1_023)}\n`.repeat(10_241));
    await until('its log is rotated', () => existsSync(join(dir, 'logs/capstan.log.1')));
    // It is copied first, then cut.
    await until('its log is cut', () => statSync(join(dir, 'logs/capstan.log')).size < 1e6);
  } finally {
    rmSync(copy, { recursive: true, force: true });
    await down();
  }
});

test('a store that is gone is not taken for a new cluster', async () => {
  await down();
  renameSync(join(dir, 'store'), join(dir, 'elsewhere'));
  await refuses(up(), /Cannot open store .*: store\.mdb is missing, though this cluster has run before/);
  rmSync(join(dir, 'store'), { recursive: true, force: true });
  renameSync(join(dir, 'elsewhere'), join(dir, 'store'));
  const again = await up();
  assert.equal(again.code, 0, again.stderr);
  assert.deepEqual((await withClient((api) => api.get(configMaps, KEPT))).data, { a: 'b' });
});

test('a damaged file is reported once, with a remedy', async () => {
  await down();
  const file = join(dir, 'pki/apiserver.crt');
  const whole = readFileSync(file);
  writeFileSync(file, 'x');
  await refuses(
    up(),
    /apiserver\.crt is damaged \(no PEM certificate\): restore it from a copy, or remove .*apiserver\.crt and .*apiserver\.key to have new ones made/,
  );
  writeFileSync(file, whole);
  const again = await up();
  assert.equal(again.code, 0, again.stderr);
});

test('closing the terminal of a cluster in the foreground stops it, as Ctrl-C does', async () => {
  await down();
  const child = spawn(resolve(import.meta.dirname, '../../capstan'), ['up', '--data-dir', dir], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((done) => child.once('exit', done));
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  await until('the cluster', () => text.includes('Press Ctrl-C'));
  child.kill('SIGHUP');
  assert.equal(await ended, 0);
  assert.match(text, /The cluster is stopped; its data is kept/);
  assert.match((await capstan(['status', '--data-dir', dir])).stdout, /running {5}no/);
});

test('a port in use is reported with the program that holds it', async () => {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port: taken } = server.address() as AddressInfo;
  try {
    const { code, stderr } = await capstan([
      'up',
      '--detach',
      '--runtime',
      'simulated',
      '--data-dir',
      `${dir}-other`,
      '--https-port',
      String(taken),
    ]);
    assert.equal(code, 1);
    assert.match(
      stderr,
      process.platform === 'linux'
        ? new RegExp(`is already taken by the program .* \\(process ${process.pid}\\): choose another`)
        : /is already taken by another program/,
    );
    assert.equal(existsSync(`${dir}-other`), false);
  } finally {
    await new Promise((closed) => server.close(closed));
  }
});

test("delete goes on without settings, but not with a newer version's, nor where nothing shows a cluster", async () => {
  const copy = `${dir}-copy`;
  const file = join(copy, 'capstan.json');
  cpSync(dir, copy, { recursive: true });
  const remove = (...words: readonly string[]): Promise<CommandResult> =>
    capstan(['delete', '--data-dir', copy, ...words]);
  writeFileSync(file, JSON.stringify({ format: 99 }));
  await refuses(remove('--yes'), /was made by a newer Capstan/);
  writeFileSync(file, '{ "format": 1, "id"');
  await refuses(remove(), /This removes the cluster in .* and all its data: give --yes to confirm/);
  const { code, stdout, stderr } = await remove('--yes');
  assert.equal(code, 0, stderr);
  assert.match(stdout, /capstan\.json is damaged: going by what else there is\.\nThe cluster in .* is gone/);
  assert.equal(existsSync(copy), false);
  const other = mkdtempSync(join(tmpdir(), 'capstan-no-cluster-'));
  writeFileSync(join(other, 'capstan.json'), 'of somebody else');
  await refuses(
    capstan(['delete', '--yes', '--data-dir', other]),
    /capstan\.json is damaged, and nothing else in .* shows that it is a cluster's directory: nothing was removed/,
  );
  assert.equal(readFileSync(join(other, 'capstan.json'), 'utf8'), 'of somebody else');
  rmSync(other, { recursive: true });
});

test('a cluster whose directory is removed under it says so and stops', async () => {
  const other = `${dir}-removed`;
  const child = spawn(
    resolve(import.meta.dirname, '../../capstan'),
    ['up', '--runtime', 'simulated', '--data-dir', other, '--https-port', String(await freePort())],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const ended = new Promise<number | null>((done) => child.once('close', done));
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
  await until('the cluster', () => text.includes('Press Ctrl-C'));
  rmSync(other, { recursive: true, force: true });
  assert.equal(await ended, 1);
  assert.match(
    text,
    /\ncapstan: The cluster in .* stops, since its files were removed or moved while it ran \(.* is gone\): later writes would be lost\.\n$/,
  );
  assert.equal(existsSync(other), false);
});
