/** Each rule that keeps a node from being emptied, and what lifts it. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Pod, PodDisruptionBudget } from '#api/types.ts';
import { node, pod, type PodOptions } from '#scheduler/testing/snapshot.ts';
import { blockerOf, DEFAULT_DRAIN_RULES, type DrainRules } from './drainable.ts';

const CA = 'cluster-autoscaler.kubernetes.io/';

interface Options extends PodOptions {
  readonly owner?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>>;
}

function made(options: Options = {}): Pod {
  const { owner = 'ReplicaSet', annotations = {}, ...rest } = options;
  const one = pod('p', { labels: { app: 'p' }, ...rest });
  const reference = { apiVersion: 'apps/v1', kind: owner, name: 'o', uid: 'o', controller: true };
  return {
    ...one,
    metadata: { ...one.metadata, annotations, ownerReferences: owner === '' ? [] : [reference] },
  };
}

function budget(allowed: number, namespace = 'default'): PodDisruptionBudget {
  return {
    metadata: { name: 'b', namespace },
    spec: { selector: { matchLabels: { app: 'p' } } },
    status: { disruptionsAllowed: allowed },
  } as PodDisruptionBudget;
}

function reason(
  pods: readonly Pod[],
  budgets: readonly PodDisruptionBudget[] = [],
  rules: DrainRules = DEFAULT_DRAIN_RULES,
): string | undefined {
  return blockerOf({ node: node('n'), pods }, { budgets, rules, replicasOf: () => 2 })?.reason;
}

it('lets replicated pods go, and those that come with each node', () => {
  assert.equal(reason([made(), made({ owner: 'DaemonSet', namespace: 'kube-system' })]), undefined);
});

it('keeps nodes and pods with annotations', () => {
  const kept = node('n');
  const annotated = {
    ...kept,
    metadata: { ...kept.metadata, annotations: { [`${CA}scale-down-disabled`]: 'true' } },
  };
  assert.equal(
    blockerOf({ node: annotated, pods: [] }, { budgets: [] })?.reason,
    'ScaleDownDisabledAnnotation',
  );
  assert.equal(
    reason([made({ annotations: { [`${CA}safe-to-evict`]: 'false' } })]),
    'NotSafeToEvictAnnotation',
  );
});

it('keeps pods that nobody makes again, unless they are said to be safe', () => {
  assert.equal(reason([made({ owner: '' })]), 'NotReplicated');
  assert.equal(reason([made({ owner: '', annotations: { [`${CA}safe-to-evict`]: 'true' } })]), undefined);
});

it('keeps pods of kube-system without a budget', () => {
  const system = made({ namespace: 'kube-system' });
  assert.equal(reason([system]), 'UnmovableKubeSystemPod');
  assert.equal(reason([system], [budget(1)]), 'UnmovableKubeSystemPod');
  assert.equal(reason([system], [budget(1, 'kube-system')]), undefined);
});

it('keeps pods with local storage, but for named volumes and memory', () => {
  const spec = { volumes: [{ name: 'scratch', emptyDir: {} }] };
  assert.equal(reason([made({ spec })]), 'LocalStorageRequested');
  assert.equal(
    reason([made({ spec: { volumes: [{ name: 'h', hostPath: { path: '/h' } }] } })]),
    'LocalStorageRequested',
  );
  assert.equal(
    reason([made({ spec, annotations: { [`${CA}safe-to-evict-local-volumes`]: 'a,scratch' } })]),
    undefined,
  );
  assert.equal(
    reason([made({ spec: { volumes: [{ name: 'm', emptyDir: { medium: 'Memory' } }] } })]),
    undefined,
  );
});

it('keeps more pods than a budget allows to leave at once', () => {
  assert.equal(reason([made(), made()], [budget(1)]), 'NotEnoughPdb');
  assert.equal(reason([made(), made()], [budget(2)]), undefined);
});

it('keeps pods of controllers that may not make them again, and of few replicas, as far as flags say', () => {
  const custom = made({ owner: 'CloneSet' });
  assert.equal(reason([custom]), 'NotReplicated');
  const relaxed = { ...DEFAULT_DRAIN_RULES, skipNodesWithCustomControllerPods: false };
  assert.equal(reason([custom], [], relaxed), undefined);
  assert.equal(reason([made()], [], { ...DEFAULT_DRAIN_RULES, minReplicaCount: 3 }), 'MinReplicasReached');
  assert.equal(reason([made()], [], { ...DEFAULT_DRAIN_RULES, minReplicaCount: 2 }), undefined);
  const system = made({ namespace: 'kube-system', spec: { volumes: [{ name: 'scratch', emptyDir: {} }] } });
  const trusting = {
    ...DEFAULT_DRAIN_RULES,
    skipNodesWithSystemPods: false,
    skipNodesWithLocalStorage: false,
  };
  assert.equal(reason([system], [], trusting), undefined);
});
