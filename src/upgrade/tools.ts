/** What every step of an upgrade and of its way back works with: the cluster, its record, gates, machines; and waiting for what a machine runs. */
import type { Client } from '#client/client.ts';
import { leases, nodes } from '#client/refs.ts';
import { formatMajorMinor, parseMajorMinor } from '#machinery/effective-version.ts';
import type { Clock } from '#stdx/clock.ts';
import { GateError, type Gates } from './gates.ts';
import type { MachineStep } from './machine-step.ts';
import { observeMachine, observeMachines, type ObservedMachine } from './observe.ts';
import { retrying } from './retry.ts';
import type { UpgradeRecord, UpgradeState } from './state.ts';

/** How a machine gets to do its part. A step may be asked for twice. */
export interface MachineDriver {
  /** emulated: of the step control-plane. Rejects where the machine cannot be reached or refuses. */
  change(
    machine: ObservedMachine,
    change: {
      readonly step: MachineStep | 'finish' | 'configure';
      readonly emulated?: string | undefined;
      /** Documents of configuration as YAML: of the step configure. */
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
export const SETTLE_MS = 5_000;
const LOOK_EVERY_MS = 500;

/** '1.37': what machines behave as in the end. */
export function targetOf({ to }: Pick<UpgradeState, 'to'>): string {
  return formatMajorMinor(parseMajorMinor(to)!);
}

/** False: both have the same minor version, and there is nothing to raise. */
export function needsRaise(state: UpgradeState): boolean {
  return targetOf(state) !== state.emulated;
}

export function update({ clock, record }: UpgradeTools, change: Partial<UpgradeState>): Promise<void> {
  return retrying(clock, () => record.update(change));
}

export function observed({
  api,
  at,
  clock,
}: Pick<UpgradeTools, 'api' | 'at' | 'clock'>): Promise<readonly ObservedMachine[]> {
  return retrying(clock, () => observeMachines(api, at));
}

/** In the order in which they are upgraded: the leader of etcd after the others, and last the one whose controllers lead, so that they move once. */
export async function controlPlanes(options: ApplyOptions): Promise<readonly ObservedMachine[]> {
  const leader = await options.leader().catch(() => undefined);
  const holder = await leaderOfControllers(options.api).catch(() => undefined);
  const planes = (await observed(options)).filter(({ role }) => role === 'control-plane');
  const place = ({ name }: ObservedMachine): number =>
    holder?.startsWith(`${name}_`) ? 2 : name === leader ? 1 : 0;
  return planes.toSorted((a, b) => place(a) - place(b));
}

/** 'm1_3f0c…': the name of its machine first. */
async function leaderOfControllers(api: Client): Promise<string | undefined> {
  const { spec } = await api.get(leases, { name: 'kube-controller-manager', namespace: 'kube-system' });
  return spec?.holderIdentity;
}

interface Awaited {
  readonly machine: ObservedMachine;
  readonly what: string;
  readonly isSo: (machine: ObservedMachine) => boolean;
  readonly timeoutMs: number;
}

/** Throws a GateError. */
export async function untilObserved(
  { api, at, clock }: UpgradeTools,
  { machine: { name }, what, isSo, timeoutMs }: Awaited,
): Promise<void> {
  const begin = clock.monotonic();
  for (;;) {
    const machine = await retrying(clock, () => observeMachine(api, { name, at }));
    if (machine && isSo(machine)) return;
    if (clock.monotonic() - begin > timeoutMs)
      throw new GateError(
        `${name}: waited ${Math.round(timeoutMs / 1000)} s for ${what}, and ${machine ? describe(machine) : 'its Node is gone'}`,
      );
    await clock.sleep(LOOK_EVERY_MS);
  }
}

function describe({ role, api, kubelet, ready }: ObservedMachine): string {
  const server = api
    ? `its API server is ${api.gitVersion} as ${api.emulated}`
    : 'its API server does not answer';
  return `${role === 'control-plane' ? `${server}, ` : ''}its node agent is ${kubelet || 'unknown'}${ready ? '' : ' and not Ready'}`;
}

export async function uncordonNode(
  { api, clock }: Pick<UpgradeTools, 'api' | 'clock'>,
  name: string,
): Promise<void> {
  const patch = { spec: { unschedulable: null } };
  await retrying(clock, () => api.patch(nodes, { name }, { type: 'merge', patch }));
}
