/** `capstan fleet reset`: machines out of their cluster and clean. Some of them leave it properly; all of them end it. */
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';
import { takeOut, type Outcome, type Step } from './apply.ts';
import type { Fleet, FleetMachine } from './inventory.ts';
import type { MachineLook } from './look.ts';
import { inParallel } from './parallel.ts';
import type { FleetRemote } from './remote.ts';

interface ResetOptions {
  readonly remote: FleetRemote;
  readonly fleet: Fleet;
  /** Names; undefined: all. */
  readonly only?: ReadonlySet<string> | undefined;
  readonly forks: number;
  readonly force: boolean;
  report(step: Step): void;
}

/** Workers first, the first control plane last. */
export async function resetFleet(options: ResetOptions): Promise<Outcome> {
  const { remote, fleet, only, forks, report } = options;
  const chosen = fleet.machines.filter(({ name }) => !only || only.has(name));
  const lead = only && (await findLead(options, only));
  if (only && !lead)
    throw new UserError(
      'No control plane that stays answers: it has to drain workers and hold the quorum. Without --limit the whole cluster ends.',
    );
  const failed: string[] = [];
  let changes = 0;
  const one = async (machine: FleetMachine): Promise<void> => {
    const { name } = machine;
    const begin = performance.now();
    const seconds = (): number => (performance.now() - begin) / 1000;
    try {
      const { record } = await remote.look(machine);
      if (record === undefined)
        return report({ machine: name, step: 'reset', state: 'done', note: 'it is in no cluster' });
      if (lead)
        await takeOut(remote, {
          target: machine,
          isNode: record.role !== 'witness',
          lead,
          force: options.force,
        });
      else await remote.leave(machine, { force: true, reset: true });
      changes++;
      report({ machine: name, step: 'reset', state: 'done', seconds: seconds() });
    } catch (error) {
      failed.push(name);
      report({
        machine: name,
        step: 'reset',
        state: 'failed',
        seconds: seconds(),
        note: errorMessage(error),
      });
    }
  };
  const workers = chosen.filter(({ role }) => role === 'worker');
  await inParallel(workers, { limit: forks, run: one });
  for (const role of ['witness', 'control-plane'] as const)
    for (const machine of chosen.filter((each) => each.role === role).toReversed()) await one(machine);
  return { total: chosen.length, failed, changes };
}

async function findLead(
  { remote, fleet }: ResetOptions,
  only: ReadonlySet<string>,
): Promise<FleetMachine | undefined> {
  for (const machine of fleet.machines) {
    if (machine.role !== 'control-plane' || only.has(machine.name)) continue;
    const look: MachineLook | undefined = await remote.look(machine).catch(() => undefined);
    if (look?.record?.role === 'control-plane' && look.record.finished) return machine;
  }
  return undefined;
}
