/** Runs a phase of init, with its parts, on a machine that joins. */
import type { InitContext } from '../init/context.ts';
import type { Phase } from '../phase.ts';
import { asInit } from './as-init.ts';
import type { JoinContext } from './context.ts';

export async function runPhaseWith(
  phase: Phase<InitContext>,
  context: JoinContext,
  { select = () => true }: { readonly select?: (part: string) => boolean } = {},
): Promise<void> {
  const init = asInit(context, await context.discovered());
  await phase.run?.(init);
  for (const part of phase.phases ?? []) if (select(part.name)) await part.run?.(init);
}
