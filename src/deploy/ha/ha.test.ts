/** The generated configurations under Debian's real keepalived and HAProxy: control planes are network namespaces, their API servers answer over TLS. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import type { ChildProcess } from 'node:child_process';
import { describe, it, type TestContext } from 'node:test';
import { makeAuthority } from '#testing/certificates.ts';
import { runHaproxy, runKeepalived } from '#cmd/ha/run.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';
import { parseFloatingAddress, routerPassword, virtualRouterId } from './floating-address.ts';

const SUBNET = '10.214.0';
const FLOATING = `${SUBNET}.100`;
/** The bound of the project is 3 s; other work on the machine adds to it. */
const MOVE_MS = 8_000;
const skip = !canHaveNamespaces()
  ? 'needs root and ip netns'
  : ['/usr/sbin/keepalived', '/usr/sbin/haproxy', '/usr/bin/curl'].every((path) => existsSync(path))
    ? false
    : 'needs keepalived, haproxy and curl';

const authority = makeAuthority();

interface ControlPlane {
  readonly machine: LanMachine;
  readonly dir: string;
  server: ChildProcess;
}

class World {
  readonly dir = mkdtempSync(join(tmpdir(), 'capstan-ha-'));
  readonly lan: Lan = createLan(`ha${process.pid}`, SUBNET);
  readonly planes: ControlPlane[] = [];

  constructor(count: number) {
    writeFileSync(join(this.dir, 'ca.crt'), authority.cert);
    writeFileSync(join(this.dir, 'sa.key'), 'a key that every control plane has');
    for (let number = 1; number <= count; number += 1) {
      const machine = this.lan.machine(`m${number}`, `${SUBNET}.${number}`);
      const dir = join(this.dir, `m${number}`);
      mkdirSync(dir);
      this.planes.push({ machine, dir, server: startServer(machine) });
    }
  }

  async ready(): Promise<void> {
    for (const { machine } of this.planes)
      await until(
        `the server of ${machine.name} answers`,
        () => this.ask(`${machine.address}:6443`) === machine.name,
      );
  }

  /** What answers there, asked from outside. */
  ask(at: string): string {
    try {
      return this.lan.outside.run('curl', '--silent', '--insecure', '--max-time', '1', `https://${at}/`);
    } catch {
      return '';
    }
  }

  holders(): ControlPlane[] {
    return this.planes.filter(({ machine }) =>
      machine.run('ip', '-oneline', 'address', 'show', 'dev', 'eth0').includes(` ${FLOATING}/`),
    );
  }

  async close(): Promise<void> {
    await this.lan.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function startServer(machine: LanMachine): ChildProcess {
  const identity = authority.issue({ commonName: 'kubernetes', addresses: [machine.address] });
  const settings = { name: machine.name, host: '0.0.0.0', port: 6443, ...identity };
  const program = join(import.meta.dirname, '../../balancer/testing/server-process.ts');
  return machine.start([process.execPath, program, JSON.stringify(settings)]);
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function until(what: string, holds: () => boolean, withinMs = 20_000): Promise<number> {
  const started = performance.now();
  while (!holds()) {
    if (performance.now() - started > withinMs) throw new Error(`${what}: not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return performance.now() - started;
}

describe('keepalived', { skip }, () => {
  function configure(world: World): void {
    for (const { machine, dir } of world.planes)
      runKeepalived(
        {
          address: `${FLOATING}/24`,
          interface: 'eth0',
          own: machine.address,
          peer: world.planes.map((plane) => plane.machine.address),
          certificateAuthority: join(world.dir, 'ca.crt'),
          passwordKeyFile: join(world.dir, 'sa.key'),
          dir,
          pidFile: join(dir, 'keepalived.pid'),
          stateFile: join(dir, 'state'),
          unitDir: dir,
          write: true,
        },
        { print: () => {} },
      );
  }

  function startKeepalived({ machine, dir }: ControlPlane): ChildProcess {
    machine.run(join(dir, 'capstan-address.sh'), 'sweep');
    return machine.start([
      '/usr/sbin/keepalived',
      '--dont-fork',
      '--vrrp',
      '--log-console',
      `--use-file=${join(dir, 'keepalived.conf')}`,
      `--pid=${join(dir, 'keepalived.pid')}`,
      `--vrrp_pid=${join(dir, 'vrrp.pid')}`,
    ]);
  }

  it('moves the address when its holder fails, and sweeps what a killed keepalived leaves', async (t: TestContext) => {
    const world = new World(3);
    try {
      await world.ready();
      configure(world);
      const daemons = new Map(world.planes.map((plane) => [plane, startKeepalived(plane)]));
      await until('one machine has the address', () => world.holders().length === 1);
      const [first] = world.holders() as [ControlPlane];
      await until('it answers', () => world.ask(`${FLOATING}:6443`) === first.machine.name);

      // The API server of the holder dies.
      await kill(first.server);
      const moved = await until(
        'the address moves',
        () => !['', first.machine.name].includes(world.ask(`${FLOATING}:6443`)),
      );
      t.diagnostic(`API server killed: address answers elsewhere after ${moved.toFixed(0)} ms`);
      assert.ok(moved < MOVE_MS);
      await until('only one machine has it', () => world.holders().length === 1);

      // It comes back: the address stays where it is.
      first.server = startServer(first.machine);
      await until(
        'the server answers',
        () => world.ask(`${first.machine.address}:6443`) === first.machine.name,
      );
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      await until('only one machine has it', () => world.holders().length === 1);
      const [second] = world.holders() as [ControlPlane];
      assert.notEqual(second.machine.name, first.machine.name, 'it does not move back');

      // The machine of the holder is cut off, as if it had died.
      world.lan.outside.run('ip', 'link', 'set', second.machine.name.split('-').at(-1)!, 'down');
      const taken = await until(
        'another machine answers',
        () => !['', second.machine.name].includes(world.ask(`${FLOATING}:6443`)),
      );
      t.diagnostic(`machine cut off: address answers elsewhere after ${taken.toFixed(0)} ms`);
      assert.ok(taken < MOVE_MS);
      world.lan.outside.run('ip', 'link', 'set', second.machine.name.split('-').at(-1)!, 'up');
      const both = await until('one machine has it again', () => world.holders().length === 1);
      t.diagnostic(`reconnected: one holder again after ${both.toFixed(0)} ms`);

      // keepalived of the holder is killed, and leaves the address behind.
      const [third] = world.holders() as [ControlPlane];
      for (const name of ['vrrp.pid', 'keepalived.pid'])
        process.kill(Number(readFileSync(join(third.dir, name), 'utf8')), 'SIGKILL');
      await until('another machine takes it', () =>
        world.holders().some(({ machine }) => machine !== third.machine),
      );
      assert.ok(world.holders().includes(third), 'the orphan is there');
      third.machine.run(join(third.dir, 'capstan-address.sh'), 'sweep');
      assert.ok(!world.holders().includes(third), 'the orphan is gone');
      third.machine.run(join(third.dir, 'capstan-address.sh'), 'sweep');
      // The two survivors may both have taken the address: the one with the lower own address gives it back.
      await until('one machine keeps it', () => world.holders().length === 1);
      const [fourth] = world.holders() as [ControlPlane];
      fourth.machine.run(join(fourth.dir, 'capstan-address.sh'), 'sweep');
      // keepalived does not add a removed address again: a sweep of the holder's would leave none.
      await until('the holder keeps it', () => world.holders().length === 1);
      daemons.set(third, startKeepalived(third));
      await new Promise((resolve) => setTimeout(resolve, 3_000));
      // On a busy machine a late advertisement may have moved it among the others meanwhile.
      await until('one machine has it', () => world.holders().length === 1);
      const [fifth] = world.holders() as [ControlPlane];
      assert.notEqual(fifth, third, 'the one that starts again does not take it');

      // An orderly stop hands it over.
      process.kill(Number(readFileSync(join(fifth.dir, 'keepalived.pid'), 'utf8')), 'SIGTERM');
      const handed = await until(
        'another machine has it',
        () => world.holders().length === 1 && !world.holders().includes(fifth),
      );
      t.diagnostic(`keepalived stopped: address elsewhere after ${handed.toFixed(0)} ms`);
    } finally {
      await world.close();
    }
  });

  it('has a router ID and a password from the address', () => {
    const [one, other] = ['10.0.0.100', '10.0.0.101/24'].map((text) =>
      parseFloatingAddress('--address', text),
    ) as [ReturnType<typeof parseFloatingAddress>, ReturnType<typeof parseFloatingAddress>];
    assert.notEqual(virtualRouterId(one), virtualRouterId(other));
    assert.match(routerPassword(one, Buffer.from('key')), /^[\w-]{8}$/);
    assert.notEqual(routerPassword(one, Buffer.from('key')), routerPassword(one, Buffer.from('another')));
    for (const text of ['', 'x', '10.0.0.1/33', '10.0.0.1/24/1', '10.0.0.1/a'])
      assert.throws(() => parseFloatingAddress('--address', text), /it should be an IP address/);
  });
});

describe('haproxy', { skip }, () => {
  it('leaves a server that fails, ends its sessions, and takes it back', async (t) => {
    const world = new World(2);
    try {
      await world.ready();
      const file = join(world.dir, 'haproxy.cfg');
      runHaproxy(
        {
          server: world.planes.map(({ machine }) => `${machine.address}:6443`),
          listen: '*:8443',
          file,
          certificateAuthority: join(world.dir, 'ca.crt'),
          write: true,
        },
        { print: () => {} },
      );
      const front = world.lan.machine('front', `${SUBNET}.50`);
      front.run('haproxy', '-c', '-q', '-f', file);
      front.start(['haproxy', '-db', '-f', file]);
      const at = `${front.address}:8443`;
      const answers = new Set<string>();
      await until(
        'both answer',
        () => answers.add(world.ask(at)) && world.planes.every(({ machine }) => answers.has(machine.name)),
      );

      const [first, second] = world.planes as [ControlPlane, ControlPlane];
      first.server.kill('SIGSTOP');
      await new Promise((resolve) => setTimeout(resolve, 200));
      // A connection to a server that does not answer ends when its check fails.
      const left = await until('the stopped server is left', () =>
        [1, 2, 3, 4].every(() => world.ask(at) === second.machine.name),
      );
      t.diagnostic(`stopped server left after ${left.toFixed(0)} ms`);
      first.server.kill('SIGCONT');
      await until('it is taken back', () => world.ask(at) === first.machine.name);
      await kill(first.server);
      await until('the killed server is left', () =>
        [1, 2, 3, 4].every(() => world.ask(at) === second.machine.name),
      );
    } finally {
      await world.close();
    }
  });
});
