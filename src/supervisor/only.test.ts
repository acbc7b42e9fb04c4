/** `capstan supervise --only`: a supervisor of one part of a machine, beside those of others. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile, type MachineFile } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { realClock } from '#stdx/clock.ts';
import { processStartTime } from '#stdx/process-lock.ts';
import { askSupervisor, tellSupervisor } from './control-socket.ts';
import { liveSupervisors, partsOf, programsOf, supervisorFiles, type Part } from './only.ts';
import { capstanCommand } from '#deploy/machine/program.ts';

const WAIT_MS = 60_000;
const SERVICE = "setInterval(() => {}, 1000); process.on('SIGTERM', () => process.exit(0));";

let paths: MachinePaths;
let machine: MachineFile;
let started: ChildProcess[] = [];

beforeEach(() => {
  paths = machinePaths({ rootfs: mkdtempSync(join(tmpdir(), 'capstan-only-')) });
  machine = machineFile(paths);
});
afterEach(async () => {
  for (const child of started) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  started = [];
  rmSync(paths.rootfs, { recursive: true });
});

function service(name: ServiceSpec['name'], group?: string): ServiceSpec {
  return { name, group, run: { program: process.execPath, args: ['-e', SERVICE, name] } };
}

function supervise(...words: readonly string[]): ChildProcess {
  const [file, ...rest] = capstanCommand(['supervise', ...words, `--rootfs=${paths.rootfs}`]);
  const child = spawn(file, rest, { stdio: ['ignore', 'ignore', 'pipe'] });
  started.push(child);
  return child;
}

async function until<T>(what: string, look: () => Promise<T | undefined> | T | undefined): Promise<T> {
  for (const deadline = performance.now() + WAIT_MS; ; await realClock.sleep(20)) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < deadline, `not in time: ${what}`);
  }
}

function runningPid(part: Part): Promise<number> {
  return until(`${part} runs`, async () => {
    const [child] = (await askSupervisor(supervisorFiles(paths, part).socket)) ?? [];
    return child?.state === 'running' ? child.pid : undefined;
  });
}

async function lastWords(child: ChildProcess): Promise<string> {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (part: string) => (text += part));
  const [code] = (await once(child, 'close')) as [number];
  assert.equal(code, 1, text);
  return text;
}

test('each runs its own service, follows its own part of the record, and stops by itself', async () => {
  machine.update((record) => ({ ...record, services: [service('etcd'), service('apiserver')] }));
  const etcd = supervise('--only=etcd');
  supervise('--only=apiserver');
  const [before, other] = await Promise.all([runningPid('etcd'), runningPid('apiserver')]);
  assert.deepEqual(
    liveSupervisors(paths).map(({ only }) => only),
    ['etcd', 'apiserver'],
  );
  process.kill(before, 'SIGKILL');
  assert.notEqual(
    await until('it is started again', async () =>
      (await runningPid('etcd')) !== before ? true : undefined,
    ),
    undefined,
  );
  machine.update((record) => ({ ...record, services: [service('apiserver')] }));
  await tellSupervisor(supervisorFiles(paths, 'etcd').socket);
  assert.deepEqual(await askSupervisor(supervisorFiles(paths, 'etcd').socket), []);
  assert.equal(await runningPid('apiserver'), other);
  etcd.kill('SIGTERM');
  assert.deepEqual(await once(etcd, 'exit'), [0, null]);
  assert.equal(await runningPid('apiserver'), other);
  assert.ok(existsSync(join(paths.logs, 'etcd.log')));
});

test('a machine has one supervisor or one for each part, never both', async () => {
  machine.update((record) => ({ ...record, services: [service('etcd')] }));
  supervise('--only=etcd');
  await runningPid('etcd');
  const pid = started[0]?.pid;
  const already = new RegExp(`supervised by process ${pid} already`);
  assert.match(await lastWords(supervise()), already);
  assert.match(await lastWords(supervise('--only=etcd')), already);
  started[0]?.kill('SIGTERM');
  await once(started[0]!, 'exit');
  supervise();
  await until('the one supervisor', () =>
    liveSupervisors(paths)[0]?.only === undefined && liveSupervisors(paths).length === 1 ? true : undefined,
  );
  assert.match(await lastWords(supervise('--only=etcd')), /supervised by process \d+ already/);
});

test('a name that is no service is refused by name', async () => {
  assert.match(
    await lastWords(supervise('--only=etcdd')),
    /--only is "etcdd"; it should be one of certificates, balancer, etcd, apiserver, /,
  );
});

test('its certificates part runs nothing; a member of a group is a process of its own', () => {
  const services: ServiceSpec[] = [
    { name: 'controller-manager', group: 'control', run: { capstan: ['controller-manager', '--a=1'] } },
    { name: 'scheduler', group: 'control', run: { capstan: ['scheduler', '--b=2'] } },
  ];
  assert.deepEqual(programsOf(services, 'certificates'), []);
  const [program] = programsOf(services, 'scheduler');
  assert.equal(program?.name, 'scheduler');
  assert.deepEqual(program?.command.slice(-3), ['together', 'scheduler', '--b=2']);
  assert.deepEqual(partsOf(services), ['certificates', 'controller-manager', 'scheduler']);
  assert.deepEqual(partsOf([]), []);
});

test('the leftovers of a killed one are ended by the next of the same part alone', async () => {
  machine.update((record) => ({ ...record, services: [service('etcd'), service('apiserver')] }));
  const etcd = supervise('--only=etcd');
  supervise('--only=apiserver');
  const [before, other] = await Promise.all([runningPid('etcd'), runningPid('apiserver')]);
  const { children } = supervisorFiles(paths, 'etcd');
  await until('it is recorded', () =>
    existsSync(children) && readFileSync(children, 'utf8').includes(String(before)) ? true : undefined,
  );
  etcd.kill('SIGKILL');
  await once(etcd, 'exit');
  supervise('--only=etcd');
  assert.notEqual(await runningPid('etcd'), before);
  assert.equal(processStartTime(before), undefined);
  assert.equal(await runningPid('apiserver'), other);
});
