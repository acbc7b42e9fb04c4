/** --static-pods of init and join. A file of its own, so that they load no runtime client without it. */
import { UserError } from '#deploy/data-dir.ts';
import { PROGRAM_DIR } from '#deploy/machine/program.ts';
import type { MachineRole, StaticPodsSwitch } from '#deploy/machine/record.ts';

/** --static-pods, --no-static-pods or neither. A UserError, before anything is changed, where there can be none. */
export function staticPodsSwitch(
  isWanted: boolean | undefined,
  {
    role,
    runtime = 'cri',
  }: { readonly role: MachineRole; readonly runtime?: 'cri' | 'simulated' | undefined },
): StaticPodsSwitch | undefined {
  if (isWanted === undefined) return undefined;
  if (!isWanted) return 'services';
  if (role !== 'control-plane')
    throw new UserError(
      `--static-pods is for a control plane: a ${role} has no components that are static pods.`,
    );
  if (runtime === 'simulated')
    throw new UserError(
      '--static-pods needs real containers, and --runtime=simulated has none: leave one of them out.',
    );
  return { checkout: PROGRAM_DIR, node: process.execPath };
}
