/**
 * A phase: a small idempotent step of init, join, leave or reset. It checks first, does what is missing, prints a line and is recorded as done. runner.ts
 * runs phases.
 */
import type { MachineFile } from '../machine/record.ts';
import type { MachinePaths } from '../machine/paths.ts';

/** What every phase gets; each command adds its own. */
export interface PhaseContext {
  readonly paths: MachinePaths;
  readonly machine: MachineFile;
  /** Print what would be done and write nothing. */
  readonly dryRun: boolean;
  /** One line for the user, without a line break: '[certs] Generating "ca" certificate and key'. */
  print(line: string): void;
}

export interface Phase<Context extends PhaseContext = PhaseContext> {
  /** 'certs', or 'certs/apiserver' as a part. */
  readonly name: string;
  /** One line for --help. */
  readonly short: string;
  /** Idempotent; throws a UserError with the next step. A phase with parts may have no work of its own: they run after it. */
  run?(context: Context): Promise<void>;
  /** Idempotent, also where the phase never ran. */
  undo?(context: Context): Promise<void>;
  readonly phases?: readonly Phase<Context>[];
}

/** A command that consists of phases: 'init', 'join', 'leave', 'reset'. */
export interface Workflow<Context extends PhaseContext = PhaseContext> {
  readonly name: string;
  readonly phases: readonly Phase<Context>[];
}
