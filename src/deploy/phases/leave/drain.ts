/**
 * Phase drain: cordons this machine's node and evicts its pods, respecting PodDisruptionBudgets. Pods of DaemonSets and static pods stay, as with kubectl
 * drain.
 */
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { evictPod } from '#client/evict.ts';
import { nodes, pods } from '#client/refs.ts';
import { movesInDrain } from '#component-helpers/pod-drain.ts';
import { isStatusError, type StatusError } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../../data-dir.ts';
import type { Phase } from '../phase.ts';
import { reachableApi } from './api.ts';
import type { LeaveContext } from './context.ts';

const LOOK_EVERY_MS = 500;
/** Delay before a refused eviction is retried, as kubectl's. */
const REFUSED_RETRY_MS = 5_000;

export const drain: Phase<LeaveContext> = {
  name: 'drain',
  short: 'Cordon the Node of this machine and evict its pods',
  async run(context) {
    const { machine, print, dryRun } = context;
    const { nodeName, role, phases } = machine.read();
    if (role === 'witness' || nodeName === undefined) return;
    // A repeated run: its Node is deleted, and its credentials may be too.
    if (phases['leave']?.includes('delete-node')) return;
    if (dryRun) return print(`[drain] Would evict the pods of the Node "${nodeName}"`);
    const api = await reachableApi(context, { own: true });
    if (!(await cordon(api, nodeName))) return print(`[drain] There is no Node "${nodeName}"`);
    print(`[drain] The Node "${nodeName}" is cordoned`);
    await evictAll(context, { api, nodeName });
  },
};

/** False: there is no such Node. */
async function cordon(api: Client, name: string): Promise<boolean> {
  try {
    await api.patch(nodes, { name }, { type: 'merge', patch: { spec: { unschedulable: true } } });
    return true;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return false;
    throw new UserError(`The Node "${name}" cannot be cordoned: ${errorMessage(error)}.`, error);
  }
}

interface Drain {
  readonly api: Client;
  readonly nodeName: string;
}

type DrainContext = Pick<LeaveContext, 'clock' | 'print'> & {
  readonly options: Pick<LeaveContext['options'], 'force' | 'drainTimeoutMs' | 'gracePeriodSeconds'>;
  /** What an administrator can do about pods that stay. Default: of `capstan leave`. */
  readonly wayOn?: string | undefined;
  /** By the monotonic clock: of a drain that is gone on with. Default: now. */
  readonly begin?: number | undefined;
};

const LEAVE_WAY_ON = 'give them time with --timeout, or leave without this with --skip-phases drain';

/** The Node of another machine. Nothing to do where there is none. */
export async function drainNode(context: DrainContext, { api, nodeName }: Drain): Promise<void> {
  if (await cordon(api, nodeName)) await evictAll(context, { api, nodeName });
}

async function evictAll(context: DrainContext, { api, nodeName }: Drain): Promise<void> {
  const { options, clock, print, wayOn = LEAVE_WAY_ON, begin = clock.monotonic() } = context;
  const { drainTimeoutMs } = options;
  const isOver = (): boolean => clock.monotonic() - begin >= drainTimeoutMs;
  const refusals = new Map<string, Refusal>();
  let first = true;
  for (;;) {
    const left = await podsToMove(api, nodeName);
    if (first) requireManaged(left, options.force);
    first = false;
    if (left.length === 0) return print('[drain] No pod is left that has to move');
    for (const pod of left) {
      if (isOver()) break;
      await askToGo(context, { api, pod, refusals });
    }
    if (isOver())
      throw new UserError(
        `after ${drainTimeoutMs / 1000} s these pods are still on the Node "${nodeName}": ${left.map((pod) => `${keyOf(pod)} (${refusals.get(keyOf(pod))?.why ?? 'it is ending'})`).join(', ')}. What to do: ${wayOn}`,
      );
    await clock.sleep(LOOK_EVERY_MS);
  }
}

interface Asked {
  readonly api: Client;
  readonly pod: Pod;
  /** By keyOf. */
  readonly refusals: Map<string, Refusal>;
}

/** Not one that is ending already, nor one that was refused a moment ago. */
async function askToGo(
  { options, clock, print }: DrainContext,
  { api, pod, refusals }: Asked,
): Promise<void> {
  const key = keyOf(pod);
  const before = refusals.get(key);
  const now = clock.monotonic();
  if (pod.metadata?.deletionTimestamp || (before && now - before.at < before.retryMs)) return;
  const refused = await evict(api, pod, options.gracePeriodSeconds);
  if (!refused) {
    refusals.delete(key);
    return print(`[drain] Evicting pod ${key}`);
  }
  const { why, retryMs } = refused;
  if (before?.why !== why) print(`[drain] Pod ${key} has to stay for now: ${why}`);
  refusals.set(key, { why, retryMs, at: clock.monotonic() });
}

async function podsToMove(api: Client, nodeName: string): Promise<readonly Pod[]> {
  const { items } = await api.list(pods, { fieldSelector: `spec.nodeName=${nodeName}` });
  return items.filter(movesInDrain);
}

function requireManaged(left: readonly Pod[], force: boolean): void {
  const alone = left.filter(
    ({ metadata }) => !metadata?.ownerReferences?.some(({ controller }) => controller),
  );
  if (alone.length === 0 || force) return;
  throw new UserError(
    `these pods would not be recreated, since they have no controller: ${alone.map(keyOf).join(', ')}. Delete or move them first, or let them go with --force`,
  );
}

/** Why a pod has to stay for now, and when to ask again. */
interface Refusal {
  readonly why: string;
  readonly retryMs: number;
  /** By the monotonic clock. */
  readonly at: number;
}

/** Undefined: it is terminating or gone. A refusal is waited for by the drain, which has other pods to move and a deadline, not by the client. */
async function evict(
  api: Client,
  pod: Pod,
  gracePeriodSeconds: number | undefined,
): Promise<Omit<Refusal, 'at'> | undefined> {
  try {
    const eviction = await evictPod(api, pod, { gracePeriodSeconds });
    return eviction.kind === 'refused' ? refusalOf(eviction.error) : undefined;
  } catch (error) {
    throw new UserError(`The pod ${keyOf(pod)} cannot be evicted: ${errorMessage(error)}.`, error);
  }
}

/** The cause names the budget. */
function refusalOf({ message, status }: StatusError): Omit<Refusal, 'at'> {
  const { causes = [], retryAfterSeconds = 0 } = status.details ?? {};
  return {
    why: [message, ...causes.flatMap(({ message: cause }) => cause ?? [])].join(' '),
    retryMs: Math.max(REFUSED_RETRY_MS, retryAfterSeconds * 1000),
  };
}

function keyOf({ metadata }: Pod): string {
  return `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`;
}
