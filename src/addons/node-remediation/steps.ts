/** The steps of remediation, on one Node. Each is called until it is done, and may be called again after it was. */
import type { Node, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { evictPod } from '#client/evict.ts';
import { nodes, pods } from '#client/refs.ts';
import {
  REBOOT_REQUESTED,
  REMEDIATION_STATE,
  REPLACE_REQUESTED,
} from '#component-helpers/node-remediation.ts';
import { movesInDrain } from '#component-helpers/pod-drain.ts';
import type { Stored } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import type { RemediationState } from './decide.ts';
import type { Policy, Step } from './policies.ts';

const TAINT_PREFIX = 'node-problem.capstan.dev/';

interface StepContext {
  readonly api: Client;
  readonly node: Stored<Node>;
  readonly policy: Policy;
  readonly state: RemediationState;
  readonly nowMs: number;
}

/** 'done', or what is waited for. Throws StepFailed where it cannot be done in time. */
type Progress = 'done' | { readonly waitingFor: string };

export class StepFailed extends Error {
  override readonly name = 'StepFailed';
}

export function perform(step: Step, context: StepContext): Promise<Progress> {
  if (step.kind === 'taint') return taint(step.effect, context);
  if (step.kind === 'drain') return drain(step.timeoutMs, context);
  if (step.kind === 'reboot') return reboot(step.timeoutMs, context);
  return replace(context);
}

async function taint(effect: string, { api, node, policy }: StepContext): Promise<Progress> {
  const key = `${TAINT_PREFIX}${policy.condition}`;
  const current = await api.get(nodes, { name: node.metadata.name });
  const taints = current.spec?.taints ?? [];
  if (!taints.some((one) => one.key === key && one.effect === effect))
    await api.update(nodes, { ...current, spec: { ...current.spec, taints: [...taints, { key, effect }] } });
  return 'done';
}

/** As kubectl drain: pods of DaemonSets and static pods stay, and PodDisruptionBudgets are respected. */
async function drain(timeoutMs: number, { api, node, state, nowMs }: StepContext): Promise<Progress> {
  const { name } = node.metadata;
  if (!node.spec?.unschedulable)
    await api.patch(nodes, { name }, { type: 'merge', patch: { spec: { unschedulable: true } } });
  const { items } = await api.list(pods, { fieldSelector: `spec.nodeName=${name}` });
  const left = items.filter(movesInDrain);
  if (left.length === 0) return 'done';
  if (nowMs - state.sinceMs > timeoutMs)
    throw new StepFailed(
      `after ${timeoutMs / 1_000} s ${left.length} pods are still there, ${nameOf(left[0]!)} among them`,
    );
  // A budget that refuses is asked again at the next turn.
  for (const pod of left) if (!pod.metadata.deletionTimestamp) await evictPod(api, pod);
  return { waitingFor: `${left.length} pods to end` };
}

function nameOf({ metadata }: Pod): string {
  return `${metadata?.namespace}/${metadata?.name}`;
}

/** The node agent runs its reboot command; another boot ID says that it did. */
async function reboot(timeoutMs: number, { api, node, state, nowMs }: StepContext): Promise<Progress> {
  const { name, annotations } = node.metadata;
  const bootID = node.status?.nodeInfo?.bootID ?? '';
  const requested = annotations?.[REBOOT_REQUESTED];
  if (requested === undefined) {
    await annotate(api, { name, annotations: { [REBOOT_REQUESTED]: bootID } });
    return { waitingFor: 'the reboot' };
  }
  if (requested !== bootID) return 'done';
  if (nowMs - state.sinceMs > timeoutMs)
    throw new StepFailed(
      `it was not rebooted within ${timeoutMs / 1_000} s: has its agent a --reboot-command?`,
    );
  return { waitingFor: 'the reboot' };
}

/** Whoever adds and removes machines does it. */
async function replace({ api, node, nowMs }: StepContext): Promise<Progress> {
  const { name, annotations } = node.metadata;
  if (annotations?.[REPLACE_REQUESTED] === undefined)
    await annotate(api, { name, annotations: { [REPLACE_REQUESTED]: formatTime(nowMs) } });
  return { waitingFor: 'another machine' };
}

/** Takes back what the steps did. A machine that is to be replaced no longer is. */
export async function restore(
  api: Client,
  { node, state }: { readonly node: Stored<Node>; readonly state: RemediationState },
): Promise<void> {
  const current = await api.get(nodes, { name: node.metadata.name });
  const {
    [REMEDIATION_STATE]: _s,
    [REBOOT_REQUESTED]: _b,
    [REPLACE_REQUESTED]: _r,
    ...annotations
  } = current.metadata.annotations ?? {};
  const { unschedulable, ...spec } = current.spec ?? {};
  const taints = (spec.taints ?? []).filter(({ key }) => !key.startsWith(TAINT_PREFIX));
  await api.update(nodes, {
    ...current,
    metadata: { ...current.metadata, annotations },
    spec: { ...spec, taints, ...(unschedulable && !state.cordoned ? { unschedulable } : {}) },
  });
}

export function annotate(
  api: Client,
  { name, annotations }: { readonly name: string; readonly annotations: Readonly<Record<string, string>> },
): Promise<unknown> {
  return api.patch(nodes, { name }, { type: 'merge', patch: { metadata: { annotations } } });
}
