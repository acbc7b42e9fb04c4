/**
 * `capstan upgrade apply`: all machines of a cluster, one after the other. Each phase looks at what the machines run and does what lacks, so a run that was
 * killed at any point is gone on with by the next. A gate that stays shut takes the upgrade back as far as its phase says.
 *
 *   backup ─► control-planes ─► soak ─► raise ─► nodes ─► migrate ─► finish ─► done
 *                  │ gate fails  │         │ gate fails: behaves as old again, and stops
 *                  └─────────────┴─► rollback ─► rolled-back
 */
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { UserError } from '#deploy/data-dir.ts';
import { drainNode } from '#deploy/phases/leave/drain.ts';
import { formatMajorMinor, parseMajorMinor } from '#machinery/effective-version.ts';
import type { Clock } from '#stdx/clock.ts';
import { GateError, type Gates } from './gates.ts';
import { storeKubernetesVersion } from './kubeadm-config.ts';
import type { MachineStep } from './machine-step.ts';
import { changedKinds, rewriteAll, storageHashes } from './migrate.ts';
import { observeMachines, type ObservedMachine } from './observe.ts';
import { retrying } from './retry.ts';
import { PHASES, type Phase, type UpgradeRecord, type UpgradeState } from './state.ts';

/** How a machine gets to do its part. A step may be asked for twice. */
export interface MachineDriver {
  /** emulated: of the step control-plane. Rejects where the machine cannot be reached or refuses. */
  change(
    machine: ObservedMachine,
    change: {
      readonly step: MachineStep | 'finish' | 'configure';
      readonly emulated?: string | undefined;
      /** A ClusterConfiguration as YAML: of the step configure. */
      readonly configuration?: string | undefined;
    },
  ): Promise<void>;
}

export interface UpgradeTools {
  readonly api: Client;
  at(server: string): Client;
  readonly clock: Clock;
  readonly record: UpgradeRecord;
  readonly gates: Gates;
  readonly driver: MachineDriver;
  print(line: string): void;
}

export interface ApplyOptions extends UpgradeTools {
  /** Makes a backup and proves it; its name. Undefined: none is made. */
  readonly backup?: (() => Promise<string>) | undefined;
  /** Name of the machine whose etcd leads: it comes last. */
  leader(): Promise<string | undefined>;
  /** Default true: workers are drained. */
  readonly drain: boolean;
  readonly drainTimeoutMs: number;
  readonly soakMs: number;
  /** How long a machine may take until it runs what it was told to. */
  readonly machineTimeoutMs: number;
  /** Called at the start of each phase and machine; tests end the process there. */
  readonly before?: ((step: string) => void) | undefined;
}

/** After each machine the gates stay open for so long. */
const SETTLE_MS = 5_000;
const LOOK_EVERY_MS = 500;

/** The record has been begun or loaded. Resolves with the phase that it came to. */
export async function applyUpgrade(options: ApplyOptions): Promise<UpgradeState['phase']> {
  return new Applying(options).run();
}

class Applying {
  readonly #options: ApplyOptions;

  constructor(options: ApplyOptions) {
    this.#options = options;
  }

  async run(): Promise<UpgradeState['phase']> {
    const { record, gates } = this.#options;
    if (record.state.phase === 'rollback') return this.#takeBack('an earlier run began to take it back');
    await retrying(this.#options.clock, () => gates.remember());
    const work: Readonly<Record<Phase, () => Promise<void>>> = {
      backup: () => this.#backup(),
      'control-planes': () => this.#controlPlanes(),
      soak: () => gates.hold('soak', this.#options.soakMs),
      raise: () => this.#raise(),
      nodes: () => this.#nodes(),
      migrate: () => this.#migrate(),
      finish: () => this.#finish(),
    };
    const from = PHASES.indexOf(record.state.phase as Phase);
    for (const phase of PHASES.slice(Math.max(0, from))) {
      this.#options.before?.(phase);
      await this.#update({ phase, problem: undefined });
      try {
        await work[phase]();
      } catch (error) {
        if (!(error instanceof GateError)) throw error;
        return this.#gateFailed(phase, error);
      }
    }
    await this.#update({ phase: 'done' });
    return 'done';
  }

  async #gateFailed(phase: Phase, { message }: GateError): Promise<UpgradeState['phase']> {
    const { print } = this.#options;
    print(`[${phase}] a gate stayed shut: ${message}`);
    if (phase === 'control-planes' || phase === 'soak') return this.#takeBack(message);
    if (phase === 'raise') await this.#lower();
    await this.#update({ problem: message });
    return phase;
  }

  async #backup(): Promise<void> {
    const { backup, record, print } = this.#options;
    if (!backup || record.state.backup !== undefined) return;
    const name = await backup();
    print(`[backup] ${name}`);
    await this.#update({ backup: name });
  }

  async #controlPlanes(): Promise<void> {
    const { record, driver, gates, print } = this.#options;
    const { to, emulated } = record.state;
    for (const machine of await this.#planes()) {
      if (machine.api?.gitVersion === to) continue;
      this.#options.before?.(`control-plane ${machine.name}`);
      print(`[control-planes] ${machine.name}: the new program, which behaves as ${emulated}`);
      await driver.change(machine, {
        step: 'control-plane',
        emulated: this.#needsRaise ? emulated : undefined,
      });
      await this.#until(machine, `its API server to be ${to}`, ({ api }) => api?.gitVersion === to);
      await gates.hold(machine.name, SETTLE_MS);
    }
  }

  /** Otherwise both have the same minor version, and there is nothing to raise. */
  get #needsRaise(): boolean {
    return this.#target !== this.#options.record.state.emulated;
  }

  get #target(): string {
    return targetOf(this.#options.record.state);
  }

  async #raise(): Promise<void> {
    const { api, clock, driver, gates, print, record } = this.#options;
    if (!record.state.hashes) await this.#update({ hashes: await retrying(clock, () => storageHashes(api)) });
    if (!this.#needsRaise) return;
    for (const machine of await this.#planes()) {
      if (machine.api?.emulated === this.#target) continue;
      this.#options.before?.(`raise ${machine.name}`);
      print(`[raise] ${machine.name}: behaves as ${this.#target}`);
      await driver.change(machine, { step: 'raise' });
      await this.#until(
        machine,
        `its API server to behave as ${this.#target}`,
        (one) => one.api?.emulated === this.#target,
      );
      await gates.hold(machine.name, SETTLE_MS);
    }
  }

  async #lower(): Promise<void> {
    const { driver, print, record } = this.#options;
    const { emulated } = record.state;
    for (const machine of (await this.#planes()).toReversed()) {
      if (machine.api?.emulated === emulated) continue;
      print(`[raise] ${machine.name}: behaves as ${emulated} again`);
      await driver.change(machine, { step: 'control-plane', emulated });
      await this.#until(
        machine,
        `its API server to behave as ${emulated}`,
        ({ api }) => api?.emulated === emulated,
      );
    }
  }

  async #nodes(): Promise<void> {
    const { record } = this.#options;
    const all = await this.#observe();
    const workers = all.filter(({ role }) => role === 'worker');
    for (const machine of [...(await this.#planes()), ...workers])
      if (machine.kubelet !== record.state.to || record.state.cordoned.includes(machine.name))
        await this.#node(machine);
  }

  async #node(machine: ObservedMachine): Promise<void> {
    const { record, driver, gates, print, drain } = this.#options;
    const { to } = record.state;
    const { name, role } = machine;
    this.#options.before?.(`node ${name}`);
    if (machine.kubelet !== to) {
      if (drain && role === 'worker') await this.#drain(machine);
      this.#options.before?.(`node agent ${name}`);
      print(`[nodes] ${name}: node agent, proxy, balancer`);
      await driver.change(machine, { step: 'node' });
      try {
        await this.#until(machine, `its node agent to be ${to}`, (one) => one.kubelet === to && one.ready);
      } catch (error) {
        if (error instanceof GateError) await driver.change(machine, { step: 'rollback-node' });
        throw error;
      }
    }
    if (record.state.cordoned.includes(name)) await this.#uncordon(name);
    await gates.hold(name, SETTLE_MS);
  }

  async #drain({ name, unschedulable }: ObservedMachine): Promise<void> {
    const { record, api, clock, print, drainTimeoutMs } = this.#options;
    // One that an administrator cordoned stays so.
    if (!unschedulable && !record.state.cordoned.includes(name))
      await this.#update({ cordoned: [...record.state.cordoned, name] });
    const context = {
      clock,
      print: (line: string) => print(line.replace('[drain]', `[nodes] ${name}:`)),
      options: { force: true, drainTimeoutMs, gracePeriodSeconds: undefined },
    };
    await retrying(clock, () => drainNode(context, { api, nodeName: name }));
  }

  async #uncordon(name: string): Promise<void> {
    const { record, api, clock } = this.#options;
    await uncordonNode({ api, clock }, name);
    await this.#update({ cordoned: record.state.cordoned.filter((one) => one !== name) });
  }

  async #migrate(): Promise<void> {
    const { api, clock, record, print } = this.#options;
    for (const kind of await retrying(clock, () => changedKinds(api, record.state.hashes ?? {}))) {
      const written = await retrying(clock, () => rewriteAll(api, kind));
      const { group, plural } = kind.ref;
      print(
        `[migrate] ${group ? `${plural}.${group}` : plural}: ${written} objects in the new storage version`,
      );
    }
  }

  async #finish(): Promise<void> {
    const { api, clock, driver, record } = this.#options;
    await retrying(clock, () => storeKubernetesVersion(api, record.state.to));
    for (const machine of await this.#observe()) await driver.change(machine, { step: 'finish' });
  }

  /** Before the raise: only the old program. */
  async #takeBack(why: string): Promise<UpgradeState['phase']> {
    await this.#update({ phase: 'rollback', problem: why });
    await rollBackPrograms(this.#options);
    await this.#update({ phase: 'rolled-back' });
    return 'rolled-back';
  }

  /** In the order in which they are upgraded: the leader of etcd last. */
  async #planes(): Promise<readonly ObservedMachine[]> {
    const leader = await this.#options.leader().catch(() => undefined);
    const planes = (await this.#observe()).filter(({ role }) => role === 'control-plane');
    return planes.toSorted((a, b) => Number(a.name === leader) - Number(b.name === leader));
  }

  #observe(): Promise<readonly ObservedMachine[]> {
    return observed(this.#options);
  }

  #until(machine: ObservedMachine, what: string, isSo: (machine: ObservedMachine) => boolean): Promise<void> {
    return untilObserved(this.#options, { machine, what, isSo, timeoutMs: this.#options.machineTimeoutMs });
  }

  #update(change: Partial<UpgradeState>): Promise<void> {
    const { clock, record } = this.#options;
    return retrying(clock, () => record.update(change));
  }
}

function observed({ api, at, clock }: UpgradeTools): Promise<readonly ObservedMachine[]> {
  return retrying(clock, () => observeMachines(api, at));
}

interface Awaited {
  readonly machine: ObservedMachine;
  readonly what: string;
  readonly isSo: (machine: ObservedMachine) => boolean;
  readonly timeoutMs: number;
}

/** Throws a GateError. */
async function untilObserved(
  tools: UpgradeTools,
  { machine: { name }, what, isSo, timeoutMs }: Awaited,
): Promise<void> {
  const begin = tools.clock.monotonic();
  for (;;) {
    const machine = (await observed(tools)).find((one) => one.name === name);
    if (machine && isSo(machine)) return;
    if (tools.clock.monotonic() - begin > timeoutMs)
      throw new GateError(`${name}: waited ${Math.round(timeoutMs / 1000)} s for ${what}`);
    await tools.clock.sleep(LOOK_EVERY_MS);
  }
}

const ROLLBACK_TIMEOUT_MS = 300_000;

/** Every machine runs what it ran before the upgrade. Node agents first, which may not be newer than the API servers. */
async function rollBackPrograms(
  tools: UpgradeTools & Pick<ApplyOptions, 'before'>,
  { all = false }: { readonly all?: boolean } = {},
): Promise<void> {
  const { record, driver, print } = tools;
  const { from, to } = record.state;
  const machines = await observed(tools);
  const isBehind = ({ api, kubelet, role }: ObservedMachine): boolean =>
    all || kubelet === to || (role === 'control-plane' && api?.gitVersion !== from);
  const order = machines.toSorted(
    (a, b) => Number(a.role === 'control-plane') - Number(b.role === 'control-plane'),
  );
  for (const machine of order.filter(isBehind)) {
    tools.before?.(`rollback ${machine.name}`);
    print(`[rollback] ${machine.name}: the program before, ${from}`);
    await driver.change(machine, { step: 'rollback' });
    await untilObserved(tools, {
      machine,
      what: `it to run ${from}`,
      timeoutMs: ROLLBACK_TIMEOUT_MS,
      isSo: ({ api, kubelet, role }) => kubelet === from && (role === 'worker' || api?.gitVersion === from),
    });
  }
  for (const name of record.state.cordoned) await uncordonNode(tools, name);
}

async function uncordonNode(
  { api, clock }: Pick<UpgradeTools, 'api' | 'clock'>,
  name: string,
): Promise<void> {
  const patch = { spec: { unschedulable: null } };
  await retrying(clock, () => api.patch(nodes, { name }, { type: 'merge', patch }));
}

/** What an upgrade that was raised goes back to. */
export interface BackupToRestore {
  /** Prints what was written since, object by object; how many. */
  report(): Promise<number>;
  /** No API server writes meanwhile. */
  restore(): Promise<void>;
}

interface RollbackOptions extends UpgradeTools {
  /** The name of the backup in the record, opened. */
  backup(name: string): Promise<BackupToRestore>;
  /** What was written since the backup may be lost. */
  readonly confirmed: boolean;
  readonly before?: ((step: string) => void) | undefined;
}

/** `capstan upgrade rollback`. Before the raise only the programs; after it the backup too. */
export async function rollBackUpgrade(options: RollbackOptions): Promise<void> {
  const { record, clock, driver, print } = options;
  const { phase, backup, from } = record.state;
  if (phase === 'rolled-back') return print('The upgrade was taken back already.');
  const machines = await observed(options);
  const wasRaised = machines.some(
    ({ api }) => api && api.gitVersion !== from && isRaised(api.emulated, record.state),
  );
  if (!wasRaised) {
    await retrying(clock, () => record.update({ phase: 'rollback' }));
    await rollBackPrograms(options);
    await retrying(clock, () => record.update({ phase: 'rolled-back' }));
    return print(`Every machine runs ${from} again; nothing that was written is lost.`);
  }
  if (backup === undefined)
    throw new UserError('The upgrade made no backup, so what the new version wrote cannot be taken back.');
  const opened = await options.backup(backup);
  const lost = await opened.report();
  if (!options.confirmed)
    throw new UserError(
      `${lost} objects were written since ${backup}; with --yes it is restored, and they are lost. The list above says which.`,
    );
  const planes = machines.filter(({ role }) => role === 'control-plane');
  // Node agents may not be newer than API servers; those of the control planes go back with hold.
  for (const machine of machines.filter(({ role, kubelet }) => role === 'worker' && kubelet !== from)) {
    print(`[rollback] ${machine.name}: the program before, ${from}`);
    await driver.change(machine, { step: 'rollback' });
  }
  for (const machine of planes) {
    options.before?.(`hold ${machine.name}`);
    print(`[rollback] ${machine.name}: the API server stops`);
    await driver.change(machine, { step: 'hold' });
  }
  options.before?.('restore');
  await opened.restore();
  for (const machine of planes) {
    options.before?.(`rollback ${machine.name}`);
    print(`[rollback] ${machine.name}: the program before, ${from}`);
    await driver.change(machine, { step: 'rollback' });
  }
  // The restored cluster knows nothing of the upgrade: its record is of before the backup.
  await retrying(clock, () => record.load());
  await retrying(clock, () => record.update({ phase: 'rollback' }));
  await rollBackPrograms(options);
  await retrying(clock, () => record.update({ phase: 'rolled-back' }));
  print(`Every machine runs ${from} again, with the objects of ${backup}.`);
}

/** '1.37': what machines behave as in the end. */
function targetOf({ to }: UpgradeState): string {
  return formatMajorMinor(parseMajorMinor(to)!);
}

function isRaised(emulated: string, state: UpgradeState): boolean {
  return emulated === targetOf(state) && emulated !== state.emulated;
}
