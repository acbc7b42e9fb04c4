/** How `apply` has machines do their part: its own in this process, others over ssh as the fleet does, or an administrator, to whom it says what to run. */
import { readFleetFile, type Fleet, type FleetMachine } from '#deploy/fleet/inventory.ts';
import { PACKAGES_DIR } from '#deploy/fleet/look.ts';
import { describePackage, type ProgramPackage } from '#deploy/fleet/package.ts';
import { createRemote } from '#deploy/fleet/remote.ts';
import { quote, quoteAll, SshConnections } from '#deploy/fleet/ssh.ts';
import { UserError } from '#deploy/data-dir.ts';
import { realClock } from '#stdx/clock.ts';
import type { MachineDriver } from '#upgrade/tools.ts';
import type { ObservedMachine } from '#upgrade/observe.ts';
import type { ClusterConnection } from '../doctor/connect.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import { runUpgradeNode } from './node.ts';

type Print = (line: string) => void;
type Change = Parameters<MachineDriver['change']>[1];

interface LocalMachine {
  readonly nodeName: string | undefined;
  readonly rootfs: string;
  readonly program?: string | undefined;
  readonly print: Print;
}

/** others: for every machine but this one. */
export function localDriver(
  { nodeName, rootfs, program, print }: LocalMachine,
  others: MachineDriver,
): MachineDriver {
  return {
    change(machine, change) {
      if (machine.name !== nodeName) return others.change(machine, change);
      const { step, emulated: emulatedVersion, configuration: content = '' } = change;
      if (step === 'configure')
        return import('../configure/here.ts').then((loaded) =>
          loaded.configureMachine({ rootfs, content }, print),
        );
      return runUpgradeNode({ rootfs, program, step, emulatedVersion }, print);
    },
  };
}

const STEP_TIMEOUT_MS = 5 * 60_000;

export interface RemoteDriver extends MachineDriver {
  close(): Promise<void>;
}

/** Ships this program to each machine before its first step. */
export function sshDriver(
  inventory: string,
  { sshConfig }: { readonly sshConfig?: string | undefined },
): RemoteDriver {
  const fleet = readFleetFile(inventory);
  const connections = new SshConnections({ configFile: sshConfig });
  const remote = createRemote({ connections, fleet });
  let described: Promise<ProgramPackage> | undefined;
  const shipped = new Set<string>();
  const ship = async (machine: FleetMachine): Promise<string> => {
    if (fleet.launcher !== undefined) return fleet.launcher;
    const program = await (described ??= describePackage());
    if (!shipped.has(machine.name)) {
      const { package: current } = await remote.look(machine);
      if (current !== program.digest) await remote.ship(machine, program);
      shipped.add(machine.name);
    }
    return `${PACKAGES_DIR}/${program.digest}/capstan`;
  };
  return {
    async change({ name }, change) {
      const machine = machineOf(fleet, name);
      const launcher = await ship(machine);
      await connections.run(machine, `${quote(launcher)} ${quoteAll(wordsOf(change))}`, {
        timeoutMs: STEP_TIMEOUT_MS,
        ...(change.configuration === undefined ? {} : { stdin: change.configuration }),
      });
    },
    close: () => connections.close(),
  };
}

function machineOf({ machines }: Fleet, name: string): FleetMachine {
  const found = machines.find((machine) => machine.name === name);
  if (!found) throw new UserError(`The inventory has no machine ${name}, which is a Node of the cluster.`);
  return found;
}

/** Of `capstan` on the machine. */
export function wordsOf({ step, emulated }: Change): string[] {
  if (step === 'configure') return ['config', 'apply', '--here', '--config=-'];
  return [
    'upgrade',
    'node',
    `--step=${step}`,
    ...(emulated === undefined ? [] : [`--emulated-version=${emulated}`]),
  ];
}

const LOOK_EVERY_MS = 2_000;

/** Says what to run, as kubeadm's documentation does; what follows waits until it is so. */
export function manualDriver(cluster: ClusterConnection, print: Print): MachineDriver {
  return {
    async change(machine, change) {
      if (change.step === 'finish')
        return print(`On ${machine.name}, any time: PROGRAM/capstan ${wordsOf(change).join(' ')}`);
      print(`Now on ${machine.name}, as root: PROGRAM/capstan ${wordsOf(change).join(' ')}`);
      print(`  PROGRAM: the directory of the new program there, as ${PROGRAM_DIR} here. Waiting for it.`);
      if (change.step === 'hold') await untilSilent(cluster, machine);
    },
  };
}

async function untilSilent(cluster: ClusterConnection, { server = '' }: ObservedMachine): Promise<void> {
  for (;;) {
    try {
      await cluster.at(server).transport.request({ method: 'GET', path: '/livez' });
    } catch {
      return;
    }
    await realClock.sleep(LOOK_EVERY_MS);
  }
}
