/**
 * `capstan upgrade apply`: all machines of a cluster, one after the other; steps/ has the work of each phase. A phase looks at what the machines run and does
 * what lacks, so a run that was killed at any point is gone on with by the next. A gate that stays shut takes the upgrade back as far as its phase says.
 *
 *   backup ─► control-planes ─► soak ─► raise ─► nodes ─► migrate ─► finish ─► done
 *                  │ gate fails  │         │ gate fails: behaves as old again, and stops
 *                  └─────────────┴─► rollback ─► rolled-back
 */
import { GateError } from './gates.ts';
import { retrying } from './retry.ts';
import { rollBackPrograms } from './rollback.ts';
import { PHASES, type Phase, type UpgradeState } from './state.ts';
import { lowerControlPlanes, raiseControlPlanes, upgradeControlPlanes } from './steps/control-planes.ts';
import { finishUpgrade, migrateStorage } from './steps/finish.ts';
import { upgradeNodes } from './steps/nodes.ts';
import { update, type ApplyOptions } from './tools.ts';

const WORK: Readonly<Record<Phase, (options: ApplyOptions) => Promise<void>>> = {
  backup: backUp,
  'control-planes': upgradeControlPlanes,
  soak: ({ gates, soakMs }) => gates.hold('soak', soakMs),
  raise: raiseControlPlanes,
  nodes: upgradeNodes,
  migrate: migrateStorage,
  finish: finishUpgrade,
};

/** The record has been begun or loaded. Resolves with the phase that it came to. */
export async function applyUpgrade(options: ApplyOptions): Promise<UpgradeState['phase']> {
  const { record, gates, clock } = options;
  if (record.state.phase === 'rollback') return takeBack(options, 'an earlier run began to take it back');
  const baseline = await retrying(clock, () => gates.remember(record.state.baseline));
  if (!record.state.baseline) await update(options, { baseline });
  const from = PHASES.indexOf(record.state.phase as Phase);
  for (const phase of PHASES.slice(Math.max(0, from))) {
    options.before?.(phase);
    await update(options, { phase, problem: undefined });
    try {
      await WORK[phase](options);
    } catch (error) {
      if (!(error instanceof GateError)) throw error;
      return gateFailed(options, { phase, message: error.message });
    }
  }
  await update(options, { phase: 'done' });
  return 'done';
}

async function gateFailed(
  options: ApplyOptions,
  { phase, message }: { readonly phase: Phase; readonly message: string },
): Promise<UpgradeState['phase']> {
  options.print(`[${phase}] a gate stayed shut: ${message}`);
  if (phase === 'control-planes' || phase === 'soak') return takeBack(options, message);
  await update(options, { problem: message });
  if (phase === 'raise') await lowerControlPlanes(options);
  return phase;
}

async function backUp(options: ApplyOptions): Promise<void> {
  const { backup, record, print } = options;
  if (!backup || record.state.backup !== undefined) return;
  const name = await backup();
  print(`[backup] ${name}`);
  await update(options, { backup: name });
}

/** Before the raise: only the old program. */
async function takeBack(options: ApplyOptions, why: string): Promise<UpgradeState['phase']> {
  await update(options, { phase: 'rollback', problem: options.record.state.problem ?? why });
  await rollBackPrograms(options);
  await update(options, { phase: 'rolled-back' });
  return 'rolled-back';
}
