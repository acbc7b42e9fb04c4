/** Steps control-planes and raise: the new program behaving as the old version, then as the new one, an API server at a time behind the gates. */
import { retrying } from '../retry.ts';
import { storageHashes } from '../migrate.ts';
import {
  controlPlanes,
  needsRaise,
  SETTLE_MS,
  targetOf,
  untilObserved,
  update,
  type ApplyOptions,
} from '../tools.ts';

export async function upgradeControlPlanes(options: ApplyOptions): Promise<void> {
  const { record, driver, gates, print, machineTimeoutMs: timeoutMs } = options;
  const { to, emulated } = record.state;
  for (const machine of await controlPlanes(options)) {
    if (machine.api?.gitVersion === to) continue;
    options.before?.(`control-plane ${machine.name}`);
    print(`[control-planes] ${machine.name}: the new program, which behaves as ${emulated}`);
    await driver.change(machine, {
      step: 'control-plane',
      emulated: needsRaise(record.state) ? emulated : undefined,
    });
    await untilObserved(options, {
      machine,
      timeoutMs,
      what: `its API server to be ${to}`,
      isSo: ({ api }) => api?.gitVersion === to,
    });
    await gates.hold(machine.name, SETTLE_MS);
  }
}

export async function raiseControlPlanes(options: ApplyOptions): Promise<void> {
  const { api, clock, driver, gates, print, record, machineTimeoutMs: timeoutMs } = options;
  if (!record.state.hashes)
    await update(options, { hashes: await retrying(clock, () => storageHashes(api)) });
  if (!needsRaise(record.state)) return;
  const target = targetOf(record.state);
  // From now on something may be stored as only the new version knows it, also if it is lowered again.
  if (!record.state.raised) await update(options, { raised: true });
  for (const machine of await controlPlanes(options)) {
    if (machine.api?.emulated === target) continue;
    options.before?.(`raise ${machine.name}`);
    print(`[raise] ${machine.name}: behaves as ${target}`);
    await driver.change(machine, { step: 'raise' });
    await untilObserved(options, {
      machine,
      timeoutMs,
      what: `its API server to behave as ${target}`,
      isSo: (one) => one.api?.emulated === target,
    });
    await gates.hold(machine.name, SETTLE_MS);
  }
}

/** A gate stayed shut in the raise: all behave as the old version again. */
export async function lowerControlPlanes(options: ApplyOptions): Promise<void> {
  const { driver, print, record, machineTimeoutMs: timeoutMs } = options;
  const { emulated } = record.state;
  for (const machine of (await controlPlanes(options)).toReversed()) {
    if (machine.api?.emulated === emulated) continue;
    options.before?.(`lower ${machine.name}`);
    print(`[raise] ${machine.name}: behaves as ${emulated} again`);
    await driver.change(machine, { step: 'control-plane', emulated });
    await untilObserved(options, {
      machine,
      timeoutMs,
      what: `its API server to behave as ${emulated}`,
      isSo: ({ api }) => api?.emulated === emulated,
    });
  }
}
