/**
 * `capstan fleet apply`: what each machine is, beside what the file says; what lacks is done, and looked at again.
 *
 *   reach ─► (no cluster yet: ship, init of the first control plane) ─► ship, join: control planes and witnesses one by one, workers side by side
 *         ─► labels, taints, addons ─► machines that the file lacks: told, or with prune removed
 *
 * Nothing is remembered between runs: a run that was killed at any point is gone on with by the next.
 */
import { errorMessage } from '#stdx/log.ts';
import type { AgentMember, AgentNode, ClusterStatus, DesiredNode, Invitation } from './agent.ts';
import type { Fleet, FleetMachine } from './inventory.ts';
import type { FoundRecord, MachineLook } from './look.ts';
import { inParallel } from './parallel.ts';
import type { ProgramPackage } from './package.ts';
import type { FleetRemote } from './remote.ts';
import type { SshTarget } from './ssh.ts';

type StepName = 'reach' | 'ship' | 'init' | 'join' | 'labels' | 'addons' | 'prune' | 'reset';

export interface Step {
  readonly machine: string;
  readonly step: StepName;
  /** 'would': with check. 'extra': a machine that the file lacks. */
  readonly state: 'done' | 'failed' | 'would' | 'extra';
  readonly seconds?: number | undefined;
  readonly note?: string | undefined;
}

export interface ApplyOptions {
  readonly remote: FleetRemote;
  readonly fleet: Fleet;
  /** Names; undefined: all. */
  readonly only?: ReadonlySet<string> | undefined;
  readonly forks: number;
  readonly check: boolean;
  readonly prune: boolean;
  program(): Promise<ProgramPackage>;
  report(step: Step): void;
}

export interface Outcome {
  readonly total: number;
  readonly failed: readonly string[];
  /** Done, or with check would be. */
  readonly changes: number;
}

/** Where the machine is in the cluster. */
interface Lead {
  readonly machine: FleetMachine;
  readonly record: FoundRecord;
}

export async function applyFleet(options: ApplyOptions): Promise<Outcome> {
  return new Applying(options).run();
}

class Applying {
  readonly #options: ApplyOptions;
  readonly #looks = new Map<string, MachineLook>();
  readonly #failed = new Set<string>();
  #changes = 0;
  #invitation: Invitation | undefined;

  constructor(options: ApplyOptions) {
    this.#options = options;
  }

  async run(): Promise<Outcome> {
    const { fleet, only, forks } = this.#options;
    const chosen = fleet.machines.filter(({ name }) => !only || only.has(name));
    // Others are looked at as well: one of them may hold the cluster.
    const asked = fleet.machines.filter((one) => chosen.includes(one) || one.role === 'control-plane');
    await inParallel(asked, {
      limit: forks,
      run: (machine) => this.#reach(machine, chosen.includes(machine)),
    });
    const lead = await this.#leadOrInit(chosen);
    if (lead) {
      this.#refuseOthers(chosen, lead);
      await this.#joinAll(chosen, lead);
      await this.#configure(chosen, lead);
      await this.#revoke(lead);
    } else if (!this.#options.check) for (const { name } of chosen) this.#failed.add(name);
    return {
      total: chosen.length,
      failed: chosen
        .map(({ name }) => name)
        .filter((name) => this.#failed.has(name))
        .concat([...this.#failed].filter((name) => !chosen.some((one) => one.name === name))),
      changes: this.#changes,
    };
  }

  async #reach(machine: FleetMachine, isChosen: boolean): Promise<void> {
    const begin = performance.now();
    try {
      this.#looks.set(machine.name, await this.#options.remote.look(machine));
      if (isChosen) this.#report(machine.name, 'reach', { state: 'done', begin });
    } catch (error) {
      if (isChosen) this.#fail(machine.name, 'reach', { error, begin });
    }
  }

  /** Undefined: there is no cluster, and why was told. */
  async #leadOrInit(chosen: readonly FleetMachine[]): Promise<Lead | undefined> {
    const controlPlanes = this.#options.fleet.machines.filter(({ role }) => role === 'control-plane');
    const known = await this.#knownLead(controlPlanes);
    if (known) return known === 'silent' ? undefined : known;
    const begun = controlPlanes.find((one) => this.#looks.get(one.name)?.record?.command === 'init');
    const first = begun ?? controlPlanes[0]!;
    const refusal = this.#whyNoInit(first, { chosen, controlPlanes });
    if (refusal !== undefined) {
      this.#fail(first.name, 'init', { error: new Error(refusal) });
      return undefined;
    }
    return this.#init(first, chosen);
  }

  /** The first control plane whose API server answers. 'silent': there are some, none of which does. Undefined: there is none. */
  async #knownLead(controlPlanes: readonly FleetMachine[]): Promise<Lead | 'silent' | undefined> {
    const problems: (readonly [name: string, error: unknown])[] = [];
    for (const machine of controlPlanes) {
      const record = this.#looks.get(machine.name)?.record;
      if (!record?.finished || !isAsListed(record, machine)) continue;
      try {
        await this.#options.remote.ask(machine, { kind: 'status' });
        return { machine, record };
      } catch (error) {
        problems.push([machine.name, error]);
      }
    }
    for (const [name, error] of problems) this.#fail(name, 'reach', { error });
    return problems.length > 0 ? 'silent' : undefined;
  }

  /** A second cluster beside the first could not be mended. */
  #whyNoInit(
    first: FleetMachine,
    { chosen, controlPlanes }: Record<'chosen' | 'controlPlanes', readonly FleetMachine[]>,
  ): string | undefined {
    const away = controlPlanes.filter(({ name }) => !this.#looks.has(name)).map(({ name }) => name);
    if (away.length > 0)
      return `no control plane of a cluster was found, and one that is not reached (${away.join(', ')}) may be one: mend it, or leave it out of the file to begin without it`;
    if (!chosen.includes(first))
      return `there is no cluster yet, and --limit leaves out ${first.name}, which begins it`;
    const member = this.#options.fleet.machines.find(
      ({ name }) => name !== first.name && this.#looks.get(name)?.record !== undefined,
    );
    if (member)
      return `${member.name} is in a cluster already, of which no control plane of the file is: clean it with capstan reset, or add that control plane`;
    const record = this.#looks.get(first.name)?.record;
    return record && differenceOf(record, first);
  }

  async #init(machine: FleetMachine, chosen: readonly FleetMachine[]): Promise<Lead | undefined> {
    const { check, remote } = this.#options;
    const look = this.#looks.get(machine.name)!;
    if (check) {
      await this.#ship(machine);
      this.#report(machine.name, 'init', { state: 'would' });
      for (const one of inOrder(chosen))
        if (one !== machine && this.#looks.has(one.name)) {
          await this.#ship(one);
          this.#report(one.name, 'join', { state: 'would', note: one.role });
        }
      return undefined;
    }
    if (!(await this.#ship(machine))) return undefined;
    const begin = performance.now();
    try {
      await remote.init(machine, look);
      const after = await remote.look(machine);
      this.#looks.set(machine.name, after);
      if (!after.record) throw new Error('it has no record after init');
      this.#report(machine.name, 'init', { state: 'done', begin });
      return { machine, record: after.record };
    } catch (error) {
      this.#fail(machine.name, 'init', { error, begin });
      return undefined;
    }
  }

  /** A machine of another cluster, or another role, is never made over. */
  #refuseOthers(chosen: readonly FleetMachine[], lead: Lead): void {
    for (const machine of chosen) {
      const record = this.#looks.get(machine.name)?.record;
      if (!record) continue;
      const problem =
        differenceOf(record, machine) ??
        (record.clusterID !== undefined && record.clusterID !== lead.record.clusterID
          ? `it is in cluster ${record.clusterID}, and ${lead.machine.name} is in ${lead.record.clusterID}: clean it with capstan reset`
          : undefined);
      if (problem !== undefined) this.#fail(machine.name, 'join', { error: new Error(problem) });
    }
  }

  async #joinAll(chosen: readonly FleetMachine[], lead: Lead): Promise<void> {
    const open = inOrder(chosen).filter(
      ({ name }) =>
        !this.#failed.has(name) && this.#looks.has(name) && !this.#looks.get(name)?.record?.finished,
    );
    if (open.length === 0 || !(await this.#invite(open, lead))) return;
    const isWorker = ({ role }: FleetMachine): boolean => role === 'worker';
    // etcd takes one learner at a time.
    for (const machine of open.filter((one) => !isWorker(one))) await this.#join(machine, lead);
    await inParallel(open.filter(isWorker), {
      limit: this.#options.forks,
      run: (machine) => this.#join(machine, lead),
    });
  }

  async #invite(open: readonly FleetMachine[], { machine }: Lead): Promise<boolean> {
    if (this.#options.check) return true;
    try {
      const certificates = open.some(({ role }) => role !== 'worker');
      this.#invitation = await this.#options.remote.ask(machine, { kind: 'invite', certificates });
      return true;
    } catch (error) {
      for (const { name } of open)
        this.#fail(name, 'join', {
          error: new Error(`${machine.name} gives no token: ${errorMessage(error)}`),
        });
      return false;
    }
  }

  async #join(machine: FleetMachine, lead: Lead): Promise<void> {
    const { check, remote } = this.#options;
    const { name, role } = machine;
    if (!(await this.#ship(machine))) return;
    if (check) return this.#report(name, 'join', { state: 'would', note: role });
    const begin = performance.now();
    try {
      await remote.join(machine, {
        look: this.#looks.get(name)!,
        lead: lead.record,
        invitation: this.#invitation!,
      });
      this.#report(name, 'join', { state: 'done', begin, note: role });
    } catch (error) {
      this.#fail(name, 'join', { error, begin });
    }
  }

  /** False: it failed. */
  async #ship(machine: FleetMachine): Promise<boolean> {
    const { fleet, check, remote } = this.#options;
    const { name } = machine;
    const look = this.#looks.get(name)!;
    const begin = performance.now();
    try {
      if (fleet.launcher !== undefined) {
        if (!look.hasLauncher) throw new Error(`there is no program at ${fleet.launcher} (capstan.path)`);
        return true;
      }
      const program = await this.#options.program();
      if (look.package === program.digest) return true;
      if (look.architecture !== program.architecture)
        throw new Error(
          `it is ${look.architecture}, and the Node.js of this program is for ${program.architecture}: install Capstan there and give capstan.path`,
        );
      const note = `capstan sha256:${program.digest.slice(0, 12)} ${check ? 'is not there' : 'copied'}`;
      if (!check) await remote.ship(machine, program);
      this.#report(name, 'ship', check ? { state: 'would', note } : { state: 'done', begin, note });
      return true;
    } catch (error) {
      this.#fail(name, 'ship', { error, begin });
      return false;
    }
  }

  async #configure(chosen: readonly FleetMachine[], lead: Lead): Promise<void> {
    const { remote, fleet, only, check } = this.#options;
    const begin = performance.now();
    try {
      const status = await remote.ask(lead.machine, { kind: 'status' });
      const addons = only ? undefined : fleet.addons;
      const { changes } = await remote.ask(lead.machine, {
        kind: 'configure',
        nodes: desiredNodes(chosen, status),
        addons,
        dryRun: check,
      });
      for (const { object, change } of changes)
        this.#report(object.replace(/^node /, ''), object.startsWith('addon ') ? 'addons' : 'labels', {
          ...(check ? { state: 'would' as const } : { state: 'done' as const, begin }),
          note: change,
        });
      await this.#removeExtra(status, lead);
    } catch (error) {
      this.#fail(lead.machine.name, 'labels', { error, begin });
    }
  }

  async #removeExtra(status: ClusterStatus, { machine }: Lead): Promise<void> {
    const { remote, fleet, check, prune } = this.#options;
    for (const extra of extrasOf(status, fleet)) {
      if (!prune) {
        this.#options.report({
          machine: extra.name,
          step: 'prune',
          state: 'extra',
          note: `the cluster has this ${extra.node ? 'node' : 'member of etcd'}, the file does not: --prune removes it`,
        });
        continue;
      }
      if (check) {
        this.#report(extra.name, 'prune', { state: 'would' });
        continue;
      }
      const begin = performance.now();
      try {
        await takeOut(remote, {
          target: extra,
          isNode: extra.node !== undefined,
          lead: machine,
          force: false,
        });
        this.#report(extra.name, 'prune', { state: 'done', begin });
      } catch (error) {
        const message = `${errorMessage(error)}. If it is gone for good: capstan etcd remove ${extra.name}, kubectl delete node ${extra.name}`;
        this.#fail(extra.name, 'prune', { error: new Error(message), begin });
      }
    }
  }

  async #revoke({ machine }: Lead): Promise<void> {
    if (!this.#invitation) return;
    try {
      await this.#options.remote.ask(machine, { kind: 'revoke', token: this.#invitation.token });
    } catch {
      // It ends by itself within the hour.
    }
  }

  #report(
    machine: string,
    step: StepName,
    { begin, ...rest }: Pick<Step, 'state' | 'note'> & { readonly begin?: number },
  ): void {
    if (step !== 'reach') this.#changes++;
    this.#options.report({
      machine,
      step,
      ...rest,
      seconds: begin === undefined ? undefined : (performance.now() - begin) / 1000,
    });
  }

  #fail(
    machine: string,
    step: StepName,
    { error, begin }: { readonly error: unknown; readonly begin?: number },
  ): void {
    if (this.#failed.has(machine)) return;
    this.#failed.add(machine);
    this.#options.report({
      machine,
      step,
      state: 'failed',
      seconds: begin === undefined ? undefined : (performance.now() - begin) / 1000,
      note: errorMessage(error),
    });
  }
}

interface TakingOut {
  readonly target: SshTarget;
  readonly isNode: boolean;
  /** A control plane that stays. */
  readonly lead: SshTarget;
  readonly force: boolean;
}

/** A worker's own credentials may neither drain nor delete its Node: a control plane does that. */
export async function takeOut(
  remote: FleetRemote,
  { target, isNode, lead, force }: TakingOut,
): Promise<void> {
  const { record } = await remote.look(target);
  const isWorker = record === undefined ? isNode : record.role === 'worker';
  if (isWorker) await remote.ask(lead, { kind: 'drain', node: target.name, force });
  if (record) await remote.leave(target, { force, reset: isWorker });
  if (isWorker) await remote.ask(lead, { kind: 'forget', node: target.name });
}

/** Undefined: it is what the file says, or on its way there. */
export function differenceOf(
  { role, nodeName }: FoundRecord,
  { name, role: listed }: FleetMachine,
): string | undefined {
  if (role !== listed)
    return `it is a ${role}, and the file says ${listed}: it is never made over; take it out of the cluster with capstan leave there first`;
  if (nodeName !== undefined && nodeName !== name)
    return `it is in the cluster as ${nodeName}, and the file says ${name}`;
  return undefined;
}

function isAsListed(record: FoundRecord, machine: FleetMachine): boolean {
  return differenceOf(record, machine) === undefined;
}

/** Control planes, then witnesses, then workers. */
function inOrder(machines: readonly FleetMachine[]): readonly FleetMachine[] {
  return (['control-plane', 'witness', 'worker'] as const).flatMap((role) =>
    machines.filter((machine) => machine.role === role),
  );
}

function desiredNodes(chosen: readonly FleetMachine[], { nodes }: ClusterStatus): DesiredNode[] {
  const present = new Set(nodes.map(({ name }) => name));
  return chosen
    .filter(({ name, role }) => role !== 'witness' && present.has(name))
    .map(({ name, labels, taints }) => ({ name, labels, taints }));
}

function extrasOf(
  { nodes, members = [] }: ClusterStatus,
  fleet: Fleet,
): (SshTarget & { readonly node?: AgentNode | undefined })[] {
  const listed = new Set(fleet.machines.map(({ name }) => name));
  const nodeOf = new Map(nodes.map((node) => [node.name, node]));
  const memberOf = new Map(members.map((member) => [member.name, member]));
  return [...new Set([...nodeOf.keys(), ...memberOf.keys()])]
    .filter((name) => name !== '' && !listed.has(name))
    .map((name) => ({
      name,
      address: nodeOf.get(name)?.addresses[0] ?? hostOf(memberOf.get(name)) ?? name,
      ssh: fleet.ssh,
      node: nodeOf.get(name),
    }));
}

function hostOf(member: AgentMember | undefined): string | undefined {
  const url = member?.peerURLs[0];
  return url === undefined ? undefined : URL.parse(url)?.hostname.replace(/^\[|\]$/g, '');
}
