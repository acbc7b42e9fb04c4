/**
 * Runs the phases of a command in order, or some of them, and records in machine.json what is done. Stops at the first failure, and says in which phase it was;
 * running the command again goes on from there, since each phase looks first.
 */
import { UserError } from '../data-dir.ts';
import type { Phase, PhaseContext, Workflow } from './phase.ts';

interface RunOptions {
  /** Names of phases or parts; a phase's name leaves out its parts too. */
  readonly skip?: readonly string[] | undefined;
}

/** Throws a UserError for an unknown name in skip, and for the phase that failed. */
export async function runWorkflow<Context extends PhaseContext>(
  workflow: Workflow<Context>,
  context: Context,
  { skip = [] }: RunOptions = {},
): Promise<void> {
  for (const name of skip) findPhase(workflow, name);
  for (const phase of workflow.phases) await runOne(phase, { workflow, context, skip });
}

/** One phase with its parts ('certs'), or one part alone ('certs/apiserver'). */
export async function runPhase<Context extends PhaseContext>(
  workflow: Workflow<Context>,
  name: string,
  context: Context,
): Promise<void> {
  await runOne(findPhase(workflow, name), { workflow, context, skip: [] });
}

/** Every phase that can be undone, the last first. */
export async function undoWorkflow<Context extends PhaseContext>(
  workflow: Workflow<Context>,
  context: Context,
): Promise<void> {
  for (const phase of allPhases(workflow.phases).toReversed()) {
    if (!phase.undo) continue;
    await inPhase(phase, () => phase.undo?.(context));
    if (!context.dryRun) record(workflow, { context, name: phase.name, isDone: false });
  }
}

/** Each phase followed by its parts. */
export function allPhases<Context extends PhaseContext>(
  phases: readonly Phase<Context>[],
): readonly Phase<Context>[] {
  return phases.flatMap((phase) => [phase, ...allPhases(phase.phases ?? [])]);
}

/** Whether the record lists it as done. Its effects may be gone since: a phase checks anyway. */
export function isDone<Context extends PhaseContext>(
  { name: command }: Workflow<Context>,
  name: string,
  { machine }: Pick<PhaseContext, 'machine'>,
): boolean {
  return machine.read().phases[command]?.includes(name) ?? false;
}

function findPhase<Context extends PhaseContext>(
  { name: command, phases }: Workflow<Context>,
  name: string,
): Phase<Context> {
  const all = allPhases(phases);
  const found = all.find((phase) => phase.name === name);
  if (found) return found;
  throw new UserError(
    `invalid phase name: ${name}; ${command} has ${all.map((phase) => phase.name).join(', ')}`,
  );
}

interface Running<Context extends PhaseContext> {
  readonly workflow: Workflow<Context>;
  readonly context: Context;
  readonly skip: readonly string[];
}

async function runOne<Context extends PhaseContext>(
  phase: Phase<Context>,
  running: Running<Context>,
): Promise<void> {
  const { workflow, context, skip } = running;
  if (skip.includes(phase.name)) return;
  await inPhase(phase, () => phase.run?.(context));
  for (const part of phase.phases ?? []) await runOne(part, running);
  if (!context.dryRun) record(workflow, { context, name: phase.name, isDone: true });
}

async function inPhase(phase: Pick<Phase, 'name'>, work: () => Promise<void> | undefined): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (error instanceof UserError)
      throw new UserError(`error execution phase ${phase.name}: ${error.message}`, error);
    throw error;
  }
}

function record<Context extends PhaseContext>(
  { name: command }: Workflow<Context>,
  {
    context,
    name,
    isDone: done,
  }: { readonly context: Context; readonly name: string; readonly isDone: boolean },
): void {
  if (!done && !context.machine.exists()) return;
  const before = context.machine.read().phases[command] ?? [];
  if (before.includes(name) === done) return;
  context.machine.update((machine) => ({
    ...machine,
    phases: {
      ...machine.phases,
      [command]: done ? [...before, name] : before.filter((other) => other !== name),
    },
  }));
}
