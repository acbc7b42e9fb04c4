/** `capstan leave`, and `capstan reset` of a machine of init or join: their flags, and the program around their phases. */
import { existsSync } from 'node:fs';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { lockMachine, machineFile } from '#deploy/machine/record.ts';
import type { LeaveContext, LeaveProgram } from '#deploy/phases/leave/context.ts';
import { LEAVE_WORKFLOW, RESET_WORKFLOW } from '#deploy/phases/leave/workflow.ts';
import { runPhase, runWorkflow } from '#deploy/phases/runner.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { realClock } from '#stdx/clock.ts';
import { destroyNode } from '../node/control.ts';
import { ProgramOfMachine } from './join.ts';
import { endSupervised, ensureSupervised, isSupervised } from './supervise.ts';

export interface LeaveFlags {
  readonly force?: boolean;
  readonly yes?: boolean;
  readonly timeout?: string;
  readonly gracePeriod?: number;
  readonly kubeconfig?: string;
  readonly skipPhases?: readonly string[];
  readonly dryRun?: boolean;
  readonly certDir?: string;
  readonly rootfs?: string;
}

interface LeaveCall {
  readonly command: 'leave' | 'reset';
  readonly phase?: string | undefined;
  print(line: string): void;
  warn(line: string): void;
  /** Asks for confirmation; a UserError unless it is given. */
  confirm(what: string): Promise<void>;
}

const DRAIN_TIMEOUT_MS = 5 * 60_000;

/** Whether there is anything on this machine that `capstan reset` without further flags would remove. */
export function isMachine({ rootfs, certDir }: Pick<LeaveFlags, 'rootfs' | 'certDir'>): boolean {
  const paths = machinePaths({ rootfs, certificatesDir: certDir });
  return existsSync(paths.machineFile);
}

export async function runLeave(flags: LeaveFlags, call: LeaveCall): Promise<void> {
  const workflow = call.command === 'leave' ? LEAVE_WORKFLOW : RESET_WORKFLOW;
  const paths = machinePaths({ rootfs: flags.rootfs, certificatesDir: flags.certDir });
  const machine = machineFile(paths);
  const { role, nodeName, controlPlaneEndpoint } = machine.read();
  if (!machine.exists() || role === undefined)
    return call.print(
      'This machine is of no cluster of init or join (a node or proxy run by itself: capstan reset --data-dir DIR).',
    );
  const dryRun = flags.dryRun ?? false;
  if (!dryRun && !flags.yes && !flags.force)
    await call.confirm(
      `the ${role} ${nodeName ?? ''} of ${controlPlaneEndpoint ?? 'its cluster'} and all that it holds from this machine`,
    );
  const lock = dryRun ? undefined : lockMachine(paths);
  const program = new LeavingMachine(paths);
  const context: LeaveContext = {
    paths,
    machine,
    dryRun,
    clock: realClock,
    program,
    options: {
      force: flags.force ?? false,
      bestEffort: call.command === 'reset',
      drainTimeoutMs: drainTimeoutMs(flags.timeout),
      gracePeriodSeconds: flags.gracePeriod,
      kubeconfig: flags.kubeconfig,
    },
    print: (line) => call.print(line),
    warn: (line) => call.warn(line),
  };
  try {
    if (call.phase !== undefined) return await runPhase(workflow, call.phase, context);
    await runWorkflow(workflow, context, { skip: flags.skipPhases });
    if (dryRun) return;
    // The last phase was recorded as done, in a record that is of nothing any more.
    if (!flags.skipPhases?.includes('cleanup-node')) machine.remove();
    call.print(
      call.command === 'leave'
        ? 'This machine has left the cluster.'
        : 'This machine is clean. Its logs, and CNI configuration and rules that others made, are left alone.',
    );
  } finally {
    await program.close();
    lock?.release();
  }
}

function drainTimeoutMs(text: string | undefined): number {
  if (text === undefined) return DRAIN_TIMEOUT_MS;
  try {
    return goDurationMs(text);
  } catch (error) {
    throw new UserError(`--timeout is "${text}"; it should be a duration such as 10m.`, error);
  }
}

class LeavingMachine extends ProgramOfMachine implements LeaveProgram {
  readonly #paths: MachinePaths;

  constructor(paths: MachinePaths) {
    super(paths);
    this.#paths = paths;
  }

  async followSupervisor(): Promise<void> {
    if (isSupervised(this.#paths)) await ensureSupervised(this.#paths);
  }

  stopSupervisor(): Promise<void> {
    return endSupervised(this.#paths);
  }

  async destroyNode({
    node,
    clusterID,
  }: {
    readonly node: string;
    readonly clusterID?: string | undefined;
  }): Promise<void> {
    await destroyNode({ node, proxyId: clusterID });
  }
}
