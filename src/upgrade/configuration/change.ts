/**
 * A changed configuration onto the machines of a cluster, one after the other behind the gates of an upgrade. What a machine has already it is not given
 * again, so a run that was killed is run again. A gate that stays shut takes all of them back.
 */
import type { Client } from '#client/client.ts';
import { leases } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { GateError } from '../gates.ts';
import type { ObservedMachine } from '../observe.ts';
import { retrying } from '../retry.ts';
import { SETTLE_MS, type UpgradeTools } from '../tools.ts';

export interface ChangingTools extends Pick<UpgradeTools, 'api' | 'clock' | 'gates' | 'driver' | 'print'> {
  /** Called before each machine; tests end the process there. */
  readonly before?: ((step: string) => void) | undefined;
}

interface Change {
  readonly machines: readonly ObservedMachine[];
  /** Documents of configuration as YAML. */
  readonly from: string;
  readonly to: string;
}

/** False: a gate stayed shut, and the machines that were changed are as before. */
export async function changeMachines({ machines, from, to }: Change, tools: ChangingTools): Promise<boolean> {
  const { driver, gates, print } = tools;
  const done: ObservedMachine[] = [];
  for (const machine of machines) {
    tools.before?.(`configure ${machine.name}`);
    print(`[configure] ${machine.name}`);
    done.push(machine);
    try {
      await driver.change(machine, { step: 'configure', configuration: to });
      await untilRenewed(tools, machine.name);
      await gates.hold(machine.name, SETTLE_MS);
    } catch (error) {
      if (!(error instanceof GateError)) throw error;
      print(`[configure] a gate stayed shut: ${errorMessage(error)}`);
      for (const one of done.toReversed()) {
        print(`[configure] ${one.name}: as before`);
        await driver.change(one, { step: 'configure', configuration: from });
      }
      return false;
    }
  }
  return true;
}

/** Of a node agent, which renews its Lease every ten seconds. */
const RENEWED_TIMEOUT_MS = 60_000;
const LOOK_EVERY_MS = 500;

/** A Node stays Ready for a while after its agent ended: that the agent runs, its Lease says. */
async function untilRenewed({ api, clock }: ChangingTools, name: string): Promise<void> {
  const renewed = (): Promise<string | undefined> => retrying(clock, () => renewTimeOf(api, name));
  const before = await renewed();
  for (const begin = clock.monotonic(); (await renewed()) === before; await clock.sleep(LOOK_EVERY_MS))
    if (clock.monotonic() - begin > RENEWED_TIMEOUT_MS)
      throw new GateError(
        `${name}: its node agent has not renewed its Lease for ${RENEWED_TIMEOUT_MS / 1000} s`,
      );
}

async function renewTimeOf(api: Client, name: string): Promise<string | undefined> {
  try {
    const { spec } = await api.get(leases, { name, namespace: 'kube-node-lease' });
    return spec?.renewTime;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}
