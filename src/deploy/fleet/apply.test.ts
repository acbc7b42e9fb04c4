/** The decisions of apply and reset against machines and a cluster in memory. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AgentRequest, DesiredNode } from './agent.ts';
import { applyFleet, type ApplyOptions, type Outcome, type Step } from './apply.ts';
import { taintsAfter } from './configure.ts';
import { parseFleet, type Fleet, type FleetMachine } from './inventory.ts';
import { parseLook, type FoundRecord, type MachineLook } from './look.ts';
import type { FleetRemote } from './remote.ts';
import { resetFleet } from './reset.ts';

const ROLES = { cp: 'control-plane', w: 'worker', x: 'witness' } as const;

function fleetOf(...names: string[]): Fleet {
  const machines = names.map((name) => {
    const role = ROLES[name.replace(/\d+$/, '') as keyof typeof ROLES];
    return {
      name,
      address: `${name}.example.org`,
      role,
      ...(role === 'worker' ? { labels: { a: 'b' } } : {}),
    };
  });
  return parseFleet(
    JSON.stringify({ apiVersion: 'fleet.capstan.dev/v1alpha1', kind: 'Fleet', machines }),
    '/',
  );
}

/** Machines and their cluster. */
class World {
  readonly records = new Map<string, FoundRecord>();
  readonly packages = new Map<string, string>();
  readonly away = new Set<string>();
  readonly breaks = new Set<string>();
  /** Machines whose API server does not answer. */
  readonly silent = new Set<string>();
  readonly log: string[] = [];
  readonly labels = new Map<string, string>();
  running = 0;
  most = 0;

  get remote(): FleetRemote {
    return {
      look: async ({ name }) => {
        if (this.away.has(name)) throw new Error('Connection refused');
        return this.look(name);
      },
      ship: async ({ name }, { digest }) => this.note(`ship ${name}`, () => this.packages.set(name, digest)),
      init: (machine) => this.make(machine, 'init'),
      join: async (machine) => {
        this.most = Math.max(this.most, ++this.running);
        await new Promise(setImmediate);
        this.running--;
        await this.make(machine, 'join');
      },
      leave: async ({ name }, { reset }) =>
        this.note(`${reset ? 'reset' : 'leave'} ${name}`, () => this.records.delete(name)),
      ask: async ({ name }, request) => {
        if (this.silent.has(name)) throw new Error('The API server of this machine is not ready');
        return this.answer(request) as never;
      },
    };
  }

  look(name: string): MachineLook {
    return {
      architecture: 'x86_64',
      addresses: [],
      package: this.packages.get(name),
      hasLauncher: false,
      record: this.records.get(name),
    };
  }

  put({ name, role }: Pick<FleetMachine, 'name' | 'role'>, more: Partial<FoundRecord> = {}): void {
    this.records.set(name, {
      role,
      nodeName: name,
      clusterID: 'aaaa',
      command: name === 'cp1' ? 'init' : 'join',
      finished: true,
      ...more,
    });
  }

  async make(machine: FleetMachine, command: 'init' | 'join'): Promise<void> {
    const { name } = machine;
    if (this.breaks.has(name)) {
      this.put(machine, { command, finished: false });
      throw new Error('preflight failed');
    }
    this.note(`${command} ${name}`, () => this.put(machine, { command }));
  }

  note(line: string, change: () => unknown): void {
    this.log.push(line);
    change();
  }

  answer(request: AgentRequest): object {
    switch (request.kind) {
      case 'status':
        return {
          nodes: [...this.records]
            .filter(([, { role }]) => role !== 'witness')
            .map(([name]) => ({ name, addresses: [] })),
          addons: [],
        };
      case 'invite':
        return { token: 'abcdef.0123456789abcdef', caCertHashes: [] };
      case 'configure':
        return { changes: request.nodes.flatMap((node) => this.configure(node, request.dryRun)) };
      default:
        this.log.push(`${request.kind}${'node' in request ? ` ${request.node}` : ''}`);
        return {};
    }
  }

  configure({ name, labels }: DesiredNode, dryRun: boolean): object[] {
    const wanted = JSON.stringify(labels);
    if (wanted === '{}' || this.labels.get(name) === wanted) return [];
    if (!dryRun) this.labels.set(name, wanted);
    return [{ object: `node ${name}`, change: `labels ${wanted}` }];
  }
}

async function apply(
  world: World,
  fleet: Fleet,
  more: Partial<ApplyOptions> = {},
): Promise<Outcome & { readonly steps: readonly Step[] }> {
  const steps: Step[] = [];
  const outcome = await applyFleet({
    remote: world.remote,
    fleet,
    forks: 2,
    check: false,
    prune: false,
    program: () =>
      Promise.resolve({
        digest: 'd1',
        manifest: '',
        architecture: 'x86_64',
        bytes: 0,
        tar: () => assert.fail(),
      }),
    report: (step) => steps.push(step),
    ...more,
  });
  return { ...outcome, steps };
}

const noteOf = (steps: readonly Step[], name: string): string | undefined =>
  steps.find(({ machine, state }) => machine === name && state === 'failed')?.note;

test('a cluster from nothing, then nothing to do', async () => {
  const world = new World();
  const fleet = fleetOf('w1', 'cp1', 'w2', 'x1', 'cp2', 'w3');
  const checked = await apply(world, fleet, { check: true });
  assert.deepEqual([checked.failed, checked.changes > 0, world.log], [[], true, []]);
  const first = await apply(world, fleet);
  assert.deepEqual(first.failed, []);
  assert.deepEqual(
    world.log.filter((line) => /^(init|join|revoke)/.test(line)),
    ['init cp1', 'join cp2', 'join x1', ...['w1', 'w2', 'w3'].map((name) => `join ${name}`), 'revoke'],
  );
  assert.equal(world.most, 2, 'as many workers at a time as forks');
  assert.equal(world.labels.get('w1'), '{"a":"b"}');
  world.log.length = 0;
  const again = await apply(world, fleet);
  assert.deepEqual([again.changes, again.failed, world.log], [0, [], []]);
  assert.equal((await apply(world, fleet, { check: true })).changes, 0);
});

test('one machine that fails stops itself only, and the next run goes on', async () => {
  const world = new World();
  const fleet = fleetOf('cp1', 'cp2', 'w1', 'w2');
  world.away.add('w1');
  world.breaks.add('cp2');
  const { failed, steps } = await apply(world, fleet);
  assert.deepEqual(failed, ['cp2', 'w1']);
  assert.deepEqual([noteOf(steps, 'w1'), noteOf(steps, 'cp2')], ['Connection refused', 'preflight failed']);
  assert.ok(world.log.includes('join w2'));
  world.away.clear();
  world.breaks.clear();
  world.log.length = 0;
  assert.deepEqual((await apply(world, fleet)).failed, []);
  assert.deepEqual(
    world.log.filter((line) => line.startsWith('join')),
    ['join cp2', 'join w1'],
  );
});

test('an init that was cut off is gone on with, on that machine', async () => {
  const world = new World();
  const fleet = fleetOf('cp1', 'cp2');
  world.put(fleet.machines[1]!, { command: 'init', finished: false });
  assert.deepEqual((await apply(world, fleet)).failed, []);
  assert.deepEqual(
    world.log.filter((line) => /^(init|join)/.test(line)),
    ['init cp2', 'join cp1'],
  );
});

test('never a second cluster', async () => {
  const fleet = fleetOf('cp1', 'cp2', 'w1');
  const world = new World();
  world.away.add('cp2');
  assert.match(
    noteOf((await apply(world, fleet)).steps, 'cp1') ?? '',
    /one that is not reached \(cp2\) may be one/,
  );
  world.away.clear();
  world.put(fleet.machines[2]!);
  assert.match(noteOf((await apply(world, fleet)).steps, 'cp1') ?? '', /w1 is in a cluster already/);
  world.records.clear();
  const { steps } = await apply(world, fleet, { only: new Set(['w1']) });
  assert.match(noteOf(steps, 'cp1') ?? '', /--limit leaves out cp1/);
  assert.deepEqual(world.log, []);
});

test('another control plane answers for one that does not', async () => {
  const world = new World();
  const fleet = fleetOf('cp1', 'cp2', 'w1');
  for (const machine of fleet.machines.slice(0, 2)) world.put(machine);
  world.silent.add('cp1');
  assert.deepEqual((await apply(world, fleet)).failed, []);
  assert.ok(world.log.includes('join w1'));
  world.silent.add('cp2');
  const { failed, steps } = await apply(world, fleet);
  assert.deepEqual(failed, ['cp1', 'cp2', 'w1']);
  assert.match(noteOf(steps, 'cp2') ?? '', /is not ready/);
});

test('a machine of another cluster or another role is left alone', async () => {
  const fleet = fleetOf('cp1', 'w1', 'w2', 'w3');
  const world = new World();
  world.put(fleet.machines[0]!);
  world.put(fleet.machines[1]!, { clusterID: 'bbbb' });
  world.put(fleet.machines[2]!, { role: 'witness' });
  const { failed, steps } = await apply(world, fleet);
  assert.deepEqual(failed, ['w1', 'w2']);
  assert.match(noteOf(steps, 'w1') ?? '', /it is in cluster bbbb, and cp1 is in aaaa/);
  assert.match(noteOf(steps, 'w2') ?? '', /it is a witness, and the file says worker/);
  assert.deepEqual(world.log, ['ship w3', 'join w3', 'revoke']);
});

test('what the file lacks is reported, and removed with prune only', async () => {
  const world = new World();
  await apply(world, fleetOf('cp1', 'cp2', 'w1', 'w2'));
  world.log.length = 0;
  const fleet = fleetOf('cp1', 'w1');
  const { steps, changes } = await apply(world, fleet);
  assert.deepEqual(
    steps.filter(({ state }) => state === 'extra').map(({ machine }) => machine),
    ['cp2', 'w2'],
  );
  assert.deepEqual([changes, world.log], [0, []]);
  assert.deepEqual((await apply(world, fleet, { prune: true, check: true })).changes, 2);
  await apply(world, fleet, { prune: true });
  assert.deepEqual(world.log, ['leave cp2', 'drain w2', 'reset w2', 'forget w2']);
});

test('reset: some leave, all end', async () => {
  const world = new World();
  const fleet = fleetOf('cp1', 'cp2', 'x1', 'w1');
  await apply(world, fleet);
  world.log.length = 0;
  const reset = (only?: ReadonlySet<string>): Promise<Outcome> =>
    resetFleet({ remote: world.remote, fleet, only, forks: 2, force: false, report: () => {} });
  await assert.rejects(reset(new Set(['cp1', 'cp2'])), /No control plane that stays/);
  await reset(new Set(['cp1', 'w1']));
  assert.deepEqual(world.log, ['drain w1', 'reset w1', 'forget w1', 'leave cp1']);
  world.log.length = 0;
  await reset();
  assert.deepEqual(world.log, ['reset x1', 'reset cp2']);
});

test('the record of a machine', () => {
  const look = (record: string): MachineLook => parseLook(`x86_64\n10.0.0.1 fd00::1 \nabc\nno\n${record}`);
  assert.deepEqual(look(''), {
    architecture: 'x86_64',
    addresses: ['10.0.0.1', 'fd00::1'],
    package: 'abc',
    hasLauncher: false,
    record: undefined,
  });
  const { record } = look(JSON.stringify({ role: 'worker', phases: { join: ['preflight'] } }));
  assert.deepEqual([record?.command, record?.finished], ['join', false]);
  assert.equal(look('{"role":"worker","phases":{"join":["show-result"]}}').record?.finished, true);
  assert.equal(look('{"phases":{"join":["preflight"]}}').record, undefined);
  assert.throws(() => look('{"role'), /damaged/);
});

test('taints: those of others stay, those that left the file go', () => {
  const other = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' } as const;
  const own = { key: 'batch', value: 'x', effect: 'NoSchedule' } as const;
  const control = { key: 'node-role.kubernetes.io/control-plane', effect: 'NoSchedule' } as const;
  const first = taintsAfter({ spec: { taints: [other, control] } }, [own]);
  assert.deepEqual(first.next, [other, own]);
  assert.equal(first.annotation, 'batch:NoSchedule');
  const node = {
    metadata: { annotations: { 'fleet.capstan.dev/taints': 'batch:NoSchedule' } },
    spec: { taints: [other, own, control] },
  };
  assert.deepEqual(taintsAfter(node, undefined).next, [other, control]);
  assert.deepEqual(taintsAfter(node, undefined).changes, ['taint batch:NoSchedule removed']);
  const changed = taintsAfter(node, [{ ...own, value: 'y' }, control]);
  assert.deepEqual(changed.next, [other, control, { ...own, value: 'y' }]);
});
