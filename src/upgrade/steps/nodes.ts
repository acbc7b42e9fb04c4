/** Step nodes: node agents, proxies and balancers, those of control planes first; workers by cordon, drain, change, uncordon. */
import { UserError } from '#deploy/data-dir.ts';
import { drainNode } from '#deploy/phases/leave/drain.ts';
import { errorMessage } from '#stdx/log.ts';
import { GateError } from '../gates.ts';
import type { ObservedMachine } from '../observe.ts';
import { retrying } from '../retry.ts';
import {
  controlPlanes,
  observed,
  SETTLE_MS,
  uncordonNode,
  untilObserved,
  update,
  type ApplyOptions,
} from '../tools.ts';

export async function upgradeNodes(options: ApplyOptions): Promise<void> {
  const { record } = options;
  const workers = (await observed(options)).filter(({ role }) => role === 'worker');
  for (const machine of [...(await controlPlanes(options)), ...workers])
    if (machine.kubelet !== record.state.to || record.state.cordoned.includes(machine.name))
      await upgradeNode(options, machine);
}

async function upgradeNode(options: ApplyOptions, machine: ObservedMachine): Promise<void> {
  const { record, driver, gates, print, drain, machineTimeoutMs: timeoutMs } = options;
  const { to } = record.state;
  const { name, role } = machine;
  options.before?.(`node ${name}`);
  if (machine.kubelet !== to) {
    if (drain && role === 'worker') await drainWorker(options, machine);
    options.before?.(`node agent ${name}`);
    print(`[nodes] ${name}: node agent, proxy, balancer`);
    await driver.change(machine, { step: 'node' });
    try {
      await untilObserved(options, {
        machine,
        timeoutMs,
        what: `its node agent to be ${to}`,
        isSo: (one) => one.kubelet === to && one.ready,
      });
    } catch (error) {
      if (error instanceof GateError) await driver.change(machine, { step: 'rollback-node' });
      throw error;
    }
  }
  if (record.state.cordoned.includes(name)) await uncordon(options, name);
  await gates.hold(name, SETTLE_MS);
}

/** A drain that a budget blocks stops the upgrade: the Node takes pods again meanwhile. */
async function drainWorker(options: ApplyOptions, { name, unschedulable }: ObservedMachine): Promise<void> {
  const { record, api, clock, print, drainTimeoutMs } = options;
  // One that an administrator cordoned stays so.
  if (!unschedulable && !record.state.cordoned.includes(name))
    await update(options, { cordoned: [...record.state.cordoned, name] });
  options.before?.(`drain ${name}`);
  const context = {
    clock,
    print: (line: string) => print(line.replace('[drain]', `[nodes] ${name}:`)),
    options: { force: true, drainTimeoutMs, gracePeriodSeconds: undefined },
    begin: clock.monotonic(),
    wayOn:
      'let them go (a PodDisruptionBudget: lower minAvailable, or run more replicas), give them time with --drain-timeout, or leave pods on their workers with --no-drain',
  };
  try {
    await retrying(clock, () => drainNode(context, { api, nodeName: name }));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    if (record.state.cordoned.includes(name)) await uncordon(options, name);
    throw new GateError(`${name} cannot be drained: ${errorMessage(error)}`);
  }
}

async function uncordon(options: ApplyOptions, name: string): Promise<void> {
  const { record } = options;
  await uncordonNode(options, name);
  await update(options, { cordoned: record.state.cordoned.filter((one) => one !== name) });
}
