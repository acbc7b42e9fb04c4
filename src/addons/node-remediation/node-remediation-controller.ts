/**
 * Acts upon conditions of Nodes by the policies of ConfigMap kube-system/node-remediation: taint, drain, reboot, replace, within a budget. What is being done is an annotation of the Node, so
 * that the next leader goes on with it. Every ten seconds, and when a condition changes.
 */
import type { Node } from '#api/types.ts';
import { configMaps, nodes } from '#client/refs.ts';
import { REMEDIATION_STATE } from '#component-helpers/node-remediation.ts';
import type { Stored } from '#machinery/object.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import { decide, type Decision, type RemediationState } from './decide.ts';
import { parseRemediation, type Remediation } from './policies.ts';
import { annotate, perform, restore, StepFailed } from './steps.ts';

const CONFIG = { name: 'node-remediation', namespace: 'kube-system' };
const SELECT = { namespace: CONFIG.namespace, fieldSelector: `metadata.name=${CONFIG.name}` };
const FIELD = 'remediation.yaml';
const SWEEP_MS = 10_000;

export const nodeRemediationController = defineController({
  name: 'node-remediation-controller',
  serviceAccount: 'node-remediation',
  eventSource: 'node-remediation',
  watches: [
    watch(configMaps, { select: SELECT, keys: () => [''] }),
    watch(nodes, { keys: () => [''], changed: (node, before) => seen(node) !== seen(before) }),
  ],
  workers: 1,
  resyncEveryMs: SWEEP_MS,
  reconcile: remediate,
});

function seen({ metadata, status }: Stored<Node>): string {
  return JSON.stringify([
    status?.conditions?.map(({ type, status: value }) => [type, value]),
    metadata.annotations,
    status?.nodeInfo?.bootID,
  ]);
}

async function remediate(context: ReconcileContext): Promise<void> {
  const remediation = readPolicies(context);
  if (!remediation) return;
  const { informer, clock, log, signal } = context;
  const decision = decide(informer(nodes).list(), { remediation, nowMs: clock.now() });
  report(context, decision);
  const work: readonly (() => Promise<void>)[] = [
    ...decision.end.map((one) => () => end(context, one)),
    ...decision.continue.map((one) => () => goOn(context, one)),
    ...decision.begin.map((one) => () => begin(context, one)),
  ];
  for (const one of work) {
    signal.throwIfAborted();
    // One Node does not stop the others; a conflict is settled at the next turn.
    await one().catch((error: unknown) => log.warn('error in remediation', { error: errorMessage(error) }));
  }
}

/** Undefined: there are none, or they are wrong, which is reported once. A removed ConfigMap ends everything that is being done. */
function readPolicies(context: ReconcileContext): Remediation | undefined {
  const { informer, memory, events, log } = context;
  const [config] = informer(configMaps).list();
  if (!config)
    return {
      policies: [],
      includeControlPlanes: false,
      budget: { maxNodes: 0, maxPercent: 0, haltPercent: 0 },
    };
  try {
    const parsed = parseRemediation(config.data?.[FIELD] ?? '');
    memory.delete('problem');
    return parsed;
  } catch (error) {
    const problem = `${FIELD}: ${errorMessage(error)}`;
    if (memory.get('problem') !== problem) {
      log.warn('node remediation is not configured', { error: problem });
      events.event(config, { type: 'Warning', reason: 'InvalidConfiguration', message: problem });
    }
    memory.set('problem', problem);
    return undefined;
  }
}

/** One event for each Node and reason. */
function report({ memory, events }: ReconcileContext, { held }: Decision): void {
  const key = 'held';
  const before = (memory.get(key) ?? new Map()) as ReadonlyMap<string, string>;
  const now = new Map(held.map(({ node, why }) => [node.metadata.name, why]));
  for (const { node, policy, why, isFalseAlarm } of held)
    if (before.get(node.metadata.name) !== why)
      events.event(node, {
        type: 'Warning',
        reason: isFalseAlarm ? 'RemediationHalted' : 'RemediationHeld',
        message: `Policy ${policy.name}: ${why}`,
      });
  memory.set(key, now);
}

async function begin(
  { api, events, clock }: ReconcileContext,
  { node, policy }: Decision['begin'][number],
): Promise<void> {
  const state: RemediationState = {
    policy: policy.name,
    step: 0,
    sinceMs: clock.now(),
    ...(node.spec?.unschedulable ? {} : { cordoned: true }),
  };
  await writeState(api, { node, state });
  events.event(node, {
    type: 'Warning',
    reason: 'RemediationStarted',
    message: `Policy ${policy.name}, for ${policy.condition}=${policy.status}: ${policy.steps.map(({ kind }) => kind).join(', ')}`,
  });
}

async function goOn(
  { api, events, clock }: ReconcileContext,
  { node, policy, state }: Decision['continue'][number],
): Promise<void> {
  const step = policy.steps[state.step];
  if (!step || state.failed !== undefined) return;
  const nowMs = clock.now();
  try {
    const progress = await perform(step, { api, node, policy, state, nowMs });
    if (progress !== 'done') return;
    events.event(node, {
      type: 'Normal',
      reason: 'RemediationStep',
      message: `Policy ${policy.name}: ${step.kind} is done`,
    });
    await writeState(api, { node, state: { ...state, step: state.step + 1, sinceMs: nowMs } });
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error;
    events.event(node, {
      type: 'Warning',
      reason: 'RemediationFailed',
      message: `Policy ${policy.name}: ${step.kind}: ${error.message}`,
    });
    // A machine that cannot be rebooted may still be replaced; one that cannot be drained is left as it is.
    const next: RemediationState =
      step.kind === 'reboot' && policy.steps[state.step + 1]
        ? { ...state, step: state.step + 1, sinceMs: nowMs }
        : { ...state, failed: error.message };
    await writeState(api, { node, state: next });
  }
}

async function end(
  { api, events }: ReconcileContext,
  { node, state }: Decision['end'][number],
): Promise<void> {
  await restore(api, { node, state });
  events.event(node, {
    type: 'Normal',
    reason: 'RemediationEnded',
    message: `Policy ${state.policy}: the condition is gone, and the Node takes pods again`,
  });
}

function writeState(
  api: ReconcileContext['api'],
  { node, state }: { readonly node: Stored<Node>; readonly state: RemediationState },
): Promise<unknown> {
  const annotations = { [REMEDIATION_STATE]: JSON.stringify(state) };
  return annotate(api, { name: node.metadata.name, annotations });
}
