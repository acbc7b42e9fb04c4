/**
 * Phase drain: cordons this machine's node and evicts its pods, respecting PodDisruptionBudgets. Pods of DaemonSets and static pods stay, as with kubectl
 * drain.
 */
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { nodes, pods } from '#client/refs.ts';
import { isStatusError, type StatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../../data-dir.ts';
import type { Phase } from '../phase.ts';
import { reachableApi } from './api.ts';
import type { LeaveContext } from './context.ts';

const LOOK_EVERY_MS = 500;
/** Delay before a refused eviction is retried, as kubectl's. */
const REFUSED_RETRY_MS = 5_000;
const MIRROR = 'kubernetes.io/config.mirror';

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
    // A budget that refuses is no reason to wait with the other pods.
    const api = await reachableApi(context, { own: true, maxRetries: 0 });
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
};

const LEAVE_WAY_ON = 'give them time with --timeout, or leave without this with --skip-phases drain';

/** The Node of another machine. Nothing to do where there is none. */
export async function drainNode(context: DrainContext, { api, nodeName }: Drain): Promise<void> {
  if (await cordon(api, nodeName)) await evictAll(context, { api, nodeName });
}

async function evictAll(context: DrainContext, { api, nodeName }: Drain): Promise<void> {
  const { options, clock, print, wayOn = LEAVE_WAY_ON } = context;
  const begin = clock.monotonic();
  const refusedAt = new Map<string, number>();
  const refusals = new Map<string, string>();
  let first = true;
  for (;;) {
    const left = await podsToMove(api, nodeName);
    if (first) requireManaged(left, options.force);
    first = false;
    if (left.length === 0) return print('[drain] No pod is left that has to move');
    for (const pod of left) {
      const key = keyOf(pod);
      const waits = clock.monotonic() - (refusedAt.get(key) ?? -Infinity) < REFUSED_RETRY_MS;
      if (pod.metadata?.deletionTimestamp || waits) continue;
      const refusal = await evict(api, pod, options.gracePeriodSeconds);
      if (refusal === undefined) {
        print(`[drain] Evicting pod ${key}`);
        continue;
      }
      if (refusals.get(key) !== refusal) print(`[drain] Pod ${key} has to stay for now: ${refusal}`);
      refusals.set(key, refusal);
      refusedAt.set(key, clock.monotonic());
    }
    if (clock.monotonic() - begin > options.drainTimeoutMs)
      throw new UserError(
        `after ${options.drainTimeoutMs / 1000} s these pods are still on the Node "${nodeName}": ${left.map((pod) => `${keyOf(pod)} (${refusals.get(keyOf(pod)) ?? 'it is ending'})`).join(', ')}. What to do: ${wayOn}`,
      );
    await clock.sleep(LOOK_EVERY_MS);
  }
}

async function podsToMove(api: Client, nodeName: string): Promise<readonly Pod[]> {
  const { items } = await api.list(pods, { fieldSelector: `spec.nodeName=${nodeName}` });
  return items.filter(
    ({ metadata, status }) =>
      metadata?.annotations?.[MIRROR] === undefined &&
      status?.phase !== 'Succeeded' &&
      status?.phase !== 'Failed' &&
      !metadata?.ownerReferences?.some(({ controller, kind }) => controller && kind === 'DaemonSet'),
  );
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

/** Undefined: it is terminating or gone. Else why it has to stay for now. */
async function evict(
  api: Client,
  { metadata }: Pod,
  gracePeriodSeconds: number | undefined,
): Promise<string | undefined> {
  const { name = '', namespace = '' } = metadata ?? {};
  try {
    await api.createSubresource(
      pods,
      { name, namespace },
      {
        subresource: 'eviction',
        body: {
          apiVersion: 'policy/v1',
          kind: 'Eviction',
          metadata: { name, namespace },
          ...(gracePeriodSeconds === undefined ? {} : { deleteOptions: { gracePeriodSeconds } }),
        } as KubeObject,
      },
    );
    return undefined;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    if (isStatusError(error, 'TooManyRequests')) return refusalOf(error);
    throw new UserError(`The pod ${namespace}/${name} cannot be evicted: ${errorMessage(error)}.`, error);
  }
}

/** The cause names the budget. */
function refusalOf({ message, status }: StatusError): string {
  const causes = (status.details?.causes ?? []).flatMap(({ message: cause }) => cause ?? []);
  return [message, ...causes].join(' ');
}

function keyOf({ metadata }: Pod): string {
  return `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`;
}
