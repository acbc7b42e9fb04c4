/** `capstan fleet apply|status|reset`: the file, the connections and what is printed around the fleet's decisions. */
import { UserError } from '#deploy/data-dir.ts';
import { applyFleet, differenceOf, type Outcome, type Step } from '#deploy/fleet/apply.ts';
import type { ClusterStatus } from '#deploy/fleet/agent.ts';
import { readFleetFile, type Fleet, type FleetMachine } from '#deploy/fleet/inventory.ts';
import { ROLES } from '#deploy/fleet/inventory-checks.ts';
import type { MachineLook } from '#deploy/fleet/look.ts';
import { describePackage, type ProgramPackage } from '#deploy/fleet/package.ts';
import { inParallel } from '#deploy/fleet/parallel.ts';
import { createRemote, type FleetRemote } from '#deploy/fleet/remote.ts';
import { resetFleet } from '#deploy/fleet/reset.ts';
import { SshConnections } from '#deploy/fleet/ssh.ts';
import { errorMessage } from '#stdx/log.ts';

export interface FleetFlags {
  readonly forks: number;
  readonly limit?: readonly string[];
  readonly sshConfig?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
  readonly check?: boolean;
  readonly prune?: boolean;
  readonly force?: boolean;
  readonly yes?: boolean;
}

interface Output {
  print(line: string): void;
  warn(line: string): void;
}

/** Exit codes besides 1, which is a failure. */
const DIFFERS = 2;

/** Its exit code. */
export async function runFleetApply(file: string, flags: FleetFlags, output: Output): Promise<number> {
  const fleet = readFleet(file, output);
  const only = limitOf(fleet, flags.limit);
  if (only && fleet.addons) output.warn('addons are left alone with --limit');
  if (only && flags.prune) throw new UserError('--prune looks at the whole file: it excludes --limit.');
  let program: Promise<ProgramPackage> | undefined;
  return withRemote(fleet, { flags, output }, async (remote) => {
    const outcome = await applyFleet({
      remote,
      fleet,
      only,
      forks: flags.forks,
      check: flags.check ?? false,
      prune: flags.prune ?? false,
      program: () => (program ??= describePackage()),
      report: reporter(fleet, { flags, output }),
    });
    return conclude(outcome, { flags, output });
  });
}

function conclude(
  { total, failed, changes }: Outcome,
  { flags, output }: { readonly flags: FleetFlags; readonly output: Output },
): number {
  const code = failed.length > 0 ? 1 : flags.check && changes > 0 ? DIFFERS : 0;
  const ok = Math.max(0, total - failed.length);
  if (flags.json) output.print(JSON.stringify({ machines: total, failed, changes, code }));
  else if (failed.length > 0)
    output.print(
      `${ok} of ${total} machines are as the file says; ${failed.length} failed: ${failed.join(', ')}. Run it again to go on.`,
    );
  else if (flags.check)
    output.print(
      changes === 0
        ? `${total} of ${total} machines are as the file says; nothing would change.`
        : `${changes} steps would be done. Nothing was changed.`,
    );
  else
    output.print(
      `${total} of ${total} machines are as the file says${changes === 0 ? '; nothing was changed' : ''}.`,
    );
  return code;
}

export async function runFleetReset(
  file: string,
  flags: FleetFlags,
  { confirm, ...output }: Output & { confirm(what: string): Promise<void> },
): Promise<number> {
  const fleet = readFleet(file, output);
  const only = limitOf(fleet, flags.limit);
  if (!flags.yes)
    await confirm(
      only
        ? `${[...only].join(', ')} from the cluster, with all that they hold`
        : `the whole cluster of ${file} and all its data`,
    );
  return withRemote(fleet, { flags, output }, async (remote) => {
    const { total, failed, changes } = await resetFleet({
      remote,
      fleet,
      only,
      forks: flags.forks,
      force: flags.force ?? false,
      report: reporter(fleet, { flags, output }),
    });
    if (flags.json)
      output.print(JSON.stringify({ machines: total, failed, changes, code: failed.length > 0 ? 1 : 0 }));
    else
      output.print(
        failed.length > 0
          ? `${total - failed.length} of ${total} machines are clean; ${failed.length} failed: ${failed.join(', ')}.`
          : `${total} of ${total} machines are clean.`,
      );
    return failed.length > 0 ? 1 : 0;
  });
}

interface MachineState {
  readonly name: string;
  readonly listed: string;
  readonly role?: string | undefined;
  readonly asListed: boolean;
  readonly text: string;
}

/** Changes nothing. */
export async function runFleetStatus(file: string, flags: FleetFlags, output: Output): Promise<number> {
  const fleet = readFleet(file, output);
  const only = limitOf(fleet, flags.limit);
  return withRemote(fleet, { flags, output }, async (remote) => {
    const machines = fleet.machines.filter(({ name }) => !only || only.has(name));
    const looks = await inParallel(machines, {
      limit: flags.forks,
      run: (machine) => remote.look(machine).catch((error: unknown) => errorMessage(error)),
    });
    const cluster = await clusterOf(remote, machines, looks);
    const states = machines.map((machine, index) => stateOf(machine, looks[index]!, cluster));
    const extra = only ? [] : extraNames(fleet, cluster);
    const addons = cluster?.addons ?? [];
    if (flags.json) output.print(JSON.stringify({ machines: states, extra, addons }));
    else printStates(states, { extra, addons, output });
    const notReached = looks.some((look) => typeof look === 'string');
    const differs =
      extra.length > 0 || states.some(({ asListed }) => !asListed) || addons.some(({ ready }) => !ready);
    return notReached ? 1 : differs ? DIFFERS : 0;
  });
}

function printStates(
  states: readonly MachineState[],
  {
    extra,
    addons,
    output: { print },
  }: {
    readonly extra: readonly string[];
    readonly addons: ClusterStatus['addons'];
    readonly output: Output;
  },
): void {
  const width = Math.max(...[...states.map(({ name }) => name), ...extra].map((name) => name.length));
  for (const { name, listed, text } of states) print(`${name.padEnd(width)}  ${listed.padEnd(13)}  ${text}`);
  for (const name of extra)
    print(`${name.padEnd(width)}  ${'-'.padEnd(13)}  in the cluster, not in the file`);
  for (const { name, ready, message } of addons)
    print(`addon ${name}: ${ready ? 'ready' : 'not ready'}: ${message}`);
}

/** Of the first control plane that answers. */
async function clusterOf(
  remote: FleetRemote,
  machines: readonly FleetMachine[],
  looks: readonly (MachineLook | string)[],
): Promise<(ClusterStatus & { readonly id: string | undefined }) | undefined> {
  for (const [index, machine] of machines.entries()) {
    const look = looks[index];
    if (typeof look === 'string' || look?.record?.role !== 'control-plane' || !look.record.finished) continue;
    try {
      return { ...(await remote.ask(machine, { kind: 'status' })), id: look.record.clusterID };
    } catch {
      // The next one may answer.
    }
  }
  return undefined;
}

function stateOf(
  machine: FleetMachine,
  look: MachineLook | string,
  cluster: (ClusterStatus & { readonly id: string | undefined }) | undefined,
): MachineState {
  const { name, role: listed } = machine;
  if (typeof look === 'string') return { name, listed, asListed: false, text: `not reached: ${look}` };
  const { record } = look;
  if (!record) return { name, listed, asListed: false, text: 'in no cluster' };
  const node = cluster?.nodes.find((one) => one.name === name);
  const problem =
    differenceOf(record, machine) ??
    (record.finished ? undefined : `its ${record.command} has not come to its end`) ??
    (cluster && record.clusterID !== cluster.id ? `in another cluster: ${record.clusterID}` : undefined) ??
    (cluster && listed !== 'witness' && !node ? 'it has no Node' : undefined) ??
    (node && !node.ready ? 'its Node is not ready' : undefined);
  return {
    name,
    listed,
    role: record.role,
    asListed: problem === undefined,
    text: problem ?? (cluster ? 'as the file says' : 'as the file says; no API server answers'),
  };
}

function extraNames(fleet: Fleet, cluster: ClusterStatus | undefined): string[] {
  const listed = new Set(fleet.machines.map(({ name }) => name));
  const found = [...(cluster?.nodes ?? []), ...(cluster?.members ?? [])].map(({ name }) => name);
  return [...new Set(found)].filter((name) => name !== '' && !listed.has(name));
}

function readFleet(file: string, { warn }: Output): Fleet {
  const fleet = readFleetFile(file);
  for (const warning of fleet.warnings) warn(warning);
  return fleet;
}

/** Names of machines, groups and roles. */
function limitOf({ machines }: Fleet, limit: readonly string[] = []): ReadonlySet<string> | undefined {
  if (limit.length === 0) return undefined;
  const names = limit.flatMap((word) => {
    const found = machines.filter(({ name, group, role }) => [name, group, role].includes(word));
    if (found.length === 0)
      throw new UserError(
        `--limit has ${JSON.stringify(word)}; no machine or group of the file has that name, and it is no role of them (${ROLES.join(', ')}).`,
      );
    return found.map(({ name }) => name);
  });
  return new Set(names);
}

/** Ends ssh's shared connections afterwards, also after ^C: what a machine was doing ends or is done again by the next run. */
async function withRemote(
  fleet: Fleet,
  { flags, output }: { readonly flags: FleetFlags; readonly output: Output },
  work: (remote: FleetRemote) => Promise<number>,
): Promise<number> {
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  const connections = new SshConnections({ configFile: flags.sshConfig, signal: stop.signal });
  const onLine = flags.verbose
    ? (machine: string, line: string): void => output.warn(`[${machine}] ${line}`)
    : undefined;
  try {
    return await work(createRemote({ connections, fleet, onLine }));
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
    await connections.close();
  }
}

function reporter(
  fleet: Fleet,
  { flags, output: { print } }: { readonly flags: FleetFlags; readonly output: Output },
): (step: Step) => void {
  const width = Math.max(...fleet.machines.map(({ name }) => name.length));
  return (step) => {
    if (flags.json) return print(JSON.stringify(step));
    const { machine, step: name, state, seconds, note = '' } = step;
    const time = seconds === undefined ? '' : `${seconds.toFixed(1)} s`;
    print(
      `${machine.padEnd(width)}  ${name.padEnd(6)}  ${state.padEnd(6)}  ${time.padStart(7)}  ${note}`.trimEnd(),
    );
  };
}
