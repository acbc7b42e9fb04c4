import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile, type MachineFile } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { realClock } from '#stdx/clock.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { processStartTime } from '#stdx/process-lock.ts';
import { askSupervisor, serveControlSocket, tellSupervisor } from './control-socket.ts';
import { endLeftovers } from './leftovers.ts';
import { groupPrograms } from './programs.ts';
import { supervisorFiles } from './only.ts';
import { Supervisor } from './supervisor.ts';

const WAIT_MS = 30_000;
/** Says when it starts and ends, and ends when it is asked to. */
const SERVICE = `
const { appendFileSync } = require('node:fs');
const [log, name] = process.argv.slice(1);
const say = (what) => appendFileSync(log, what + ' ' + name + '\\n');
say('start');
process.on('SIGTERM', () => { say('stop'); process.exit(0); });
setInterval(() => {}, 1000);`;

let paths: MachinePaths;
let machine: MachineFile;
let supervisor: Supervisor;
let events: string;

beforeEach(() => {
  paths = machinePaths({ rootfs: mkdtempSync(join(tmpdir(), 'capstan-supervisor-')) });
  machine = machineFile(paths);
  events = join(paths.rootfs, 'events');
  supervisor = newSupervisor();
});
afterEach(async () => {
  await supervisor.stop();
  rmSync(paths.rootfs, { recursive: true });
});

function newSupervisor(): Supervisor {
  return new Supervisor({ paths, machine, clock: realClock, log: silentLogger });
}

function service(name: ServiceSpec['name'], more: Partial<ServiceSpec> = {}): ServiceSpec {
  return { name, run: { program: process.execPath, args: ['-e', SERVICE, events, name] }, ...more };
}

async function runs(...services: ServiceSpec[]): Promise<void> {
  machine.update((record) => ({ ...record, services }));
  await supervisor.follow();
}

function happened(): string[] {
  return existsSync(events) ? readFileSync(events, 'utf8').trim().split('\n') : [];
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `not in time: ${what}`);
    await realClock.sleep(20);
  }
}

test('started in order, stopped in reverse order', async () => {
  await runs(service('etcd'), service('apiserver'), service('scheduler'));
  await until(() => happened().length === 3, 'three started');
  assert.deepEqual(
    supervisor.status().map(({ services, restarts }) => [...services, restarts]),
    [
      ['etcd', 0],
      ['apiserver', 0],
      ['scheduler', 0],
    ],
  );
  await supervisor.stop();
  assert.deepEqual(happened().slice(3), ['stop scheduler', 'stop apiserver', 'stop etcd']);
});

test('the record is followed: added, removed, changed', async () => {
  await runs(service('etcd'));
  await runs(service('etcd'), service('dns'));
  await until(() => happened().length === 2, 'two started');
  await runs(service('dns', { env: { A: 'b' } }));
  await until(() => happened().length === 5, 'one removed, one started anew');
  assert.deepEqual(happened(), ['start etcd', 'start dns', 'stop dns', 'stop etcd', 'start dns']);
});

test('a damaged record changes nothing', async () => {
  await runs(service('etcd'));
  writeFileSync(paths.machineFile, '{');
  await supervisor.follow();
  assert.equal(supervisor.status().length, 1);
});

test('one that ends is started again', async () => {
  await runs(service('etcd'));
  await until(() => happened().length === 1, 'started');
  process.kill(supervisor.status()[0]?.pid ?? 0, 'SIGKILL');
  await until(() => happened().length === 2, 'started again');
  const [status] = supervisor.status();
  assert.equal(status?.restarts, 1);
  assert.equal(status?.lastEnd, 'SIGKILL');
});

test('a program that is not there is reported, and holds nothing else up', async () => {
  await runs(service('etcd', { run: { program: '/nonexistent/etcd', args: [] } }), service('apiserver'));
  await until(() => happened().includes('start apiserver'), 'the other is started');
  const [status] = supervisor.status();
  assert.equal(status?.state, 'waiting');
  assert.match(status?.lastEnd ?? '', /cannot be started: .*ENOENT/);
});

test('what comes after waits for the health of what comes before', async () => {
  let code = 503;
  const server = createServer((_, response) => response.writeHead(code).end()).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/health`;
  const following = runs(service('etcd', { health: { url } }), service('apiserver'));
  await until(() => happened().length === 1, 'the first started');
  await realClock.sleep(200);
  assert.deepEqual(happened(), ['start etcd']);
  assert.equal(supervisor.status()[0]?.state, 'starting');
  code = 200;
  await following;
  await until(() => happened().length === 2, 'the second started');
  assert.equal(supervisor.status()[0]?.state, 'running');
  server.close();
});

for (const [what, startSeconds, killedAfterSeconds] of [
  ['after five minutes', undefined, 300],
  ['not before its own limit', 900, 900],
] as const)
  test(`one that does not become healthy is killed ${what}`, async () => {
    let asked = 0;
    const server = createServer((_, response) => {
      asked += 1;
      response.writeHead(503).end();
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/health`;
    const clock = new FakeClock();
    const slow = new Supervisor({ paths, machine, clock, log: silentLogger });
    machine.update((record) => ({
      ...record,
      services: [service('node', { health: { url, startSeconds } })],
    }));
    await slow.follow();
    await until(() => happened().length === 1, 'started');
    /** So long, and one more look. */
    const pass = async (seconds: number): Promise<void> => {
      clock.advance(seconds * 1000);
      const before = asked;
      await until(() => asked > before, 'a look');
      await until(() => clock.pending > 0, 'the answer was taken');
    };
    await pass(killedAfterSeconds - 10);
    assert.equal(slow.status()[0]?.state, 'starting');
    await pass(5);
    assert.equal(slow.status()[0]?.state, 'starting');
    clock.advance(20_000);
    await until(() => slow.status()[0]?.lastEnd === 'SIGKILL', 'it is killed');
    await slow.stop();
    server.close();
  });

test('children of a supervisor that is gone are ended before others start', async () => {
  await runs(service('etcd'));
  await until(() => happened().length === 1, 'started');
  const pid = supervisor.status()[0]?.pid ?? 0;
  const file = supervisorFiles(paths).children;
  await until(() => existsSync(file) && readFileSync(file, 'utf8').includes(String(pid)), 'recorded');
  const recorded = readFileSync(file, 'utf8');
  const ended = supervisor.stop();
  writeFileSync(file, recorded);
  await endLeftovers(file, { clock: realClock, log: silentLogger });
  assert.equal(processStartTime(pid), undefined);
  await ended;
});

test('a pid that is another process since is left alone', async () => {
  const file = join(paths.rootfs, 'children.json');
  writeFileSync(file, JSON.stringify([{ name: 'etcd', pid: process.pid, startTime: 'another/1' }]));
  await endLeftovers(file, { clock: realClock, log: silentLogger });
  writeFileSync(file, 'no list');
  await endLeftovers(file, { clock: realClock, log: silentLogger });
});

test('the control socket tells the status, and follows', async () => {
  const socket = await serveControlSocket({
    path: paths.supervisorSocket,
    status: () => supervisor.status(),
    follow: () => supervisor.follow(),
  });
  machine.update((record) => ({ ...record, services: [service('etcd')] }));
  await tellSupervisor(paths.supervisorSocket);
  assert.deepEqual(
    (await askSupervisor(paths.supervisorSocket))?.map(({ name }) => name),
    ['etcd'],
  );
  socket.close();
  assert.equal(await askSupervisor(paths.supervisorSocket), undefined);
});

describe('groups', () => {
  const scheduler: ServiceSpec = {
    name: 'scheduler',
    run: { capstan: ['scheduler', '--a=1'] },
    group: 'control',
  };
  const dns: ServiceSpec = { name: 'dns', run: { capstan: ['dns', '--b=2'] }, group: 'control' };

  test('share a process', () => {
    const [program, ...others] = groupPrograms([scheduler, dns]);
    assert.deepEqual(others, []);
    assert.equal(program?.name, 'control');
    assert.deepEqual(program?.services, ['scheduler', 'dns']);
    const at = program?.command.indexOf('together') ?? 0;
    assert.deepEqual(program?.command.slice(at), ['together', 'scheduler', '--a=1', ',', 'dns', '--b=2']);
  });

  test('take up what is added, and are started anew for what is changed or removed', () => {
    const [both] = groupPrograms([scheduler, dns]);
    const [one] = groupPrograms([scheduler]);
    const [other] = groupPrograms([{ ...scheduler, run: { capstan: ['scheduler', '--a=2'] } }, dns]);
    assert.ok(both && one && other);
    assert.deepEqual(both.addedTo(one), [['dns', '--b=2']]);
    assert.equal(one.addedTo(both), undefined);
    assert.equal(other.addedTo(one), undefined);
  });
});
