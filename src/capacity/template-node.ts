/** Nodes and pods that do not exist yet, after those that do. Pure. */
import type { Node, Pod } from '#api/types.ts';
import { staysWithNode } from '#component-helpers/pod-drain.ts';

const HOSTNAME = 'kubernetes.io/hostname';
/** Taints of a node's moment, which another one of its kind does not have. */
const PASSING_TAINTS = [
  'node.kubernetes.io/',
  'node-problem.capstan.dev/',
  'node.cloudprovider.kubernetes.io/',
  'ToBeDeletedByClusterAutoscaler',
  'DeletionCandidateOfClusterAutoscaler',
  'ignore-taint.cluster-autoscaler.kubernetes.io/',
  'startup-taint.cluster-autoscaler.kubernetes.io/',
  'status-taint.cluster-autoscaler.kubernetes.io/',
];

export interface TemplateNode {
  readonly node: Node;
  readonly pods: readonly Pod[];
}

/** As another one of the kind would join: empty, but for what every node has. */
export function nodeLike({ node, pods }: TemplateNode, name: string): TemplateNode {
  const { labels } = node.metadata ?? {};
  const taints = (node.spec?.taints ?? []).filter(
    ({ key }) => !PASSING_TAINTS.some((passing) => key.startsWith(passing)),
  );
  const { capacity, allocatable, declaredFeatures } = node.status ?? {};
  const status = {
    ...(capacity ? { capacity } : {}),
    ...(allocatable ? { allocatable } : {}),
    ...(declaredFeatures ? { declaredFeatures } : {}),
  };
  return {
    node: { metadata: { name, labels: { ...labels, [HOSTNAME]: name } }, spec: { taints }, status },
    pods: pods.filter(staysWithNode).map((pod) => podLike(pod, name)),
  };
}

/** Another one of the same template, without a node. */
export function podLike({ metadata, spec }: Pod, suffix: string): Pod {
  const { nodeName: _, ...rest } = spec ?? { containers: [] };
  return {
    metadata: {
      ...metadata,
      name: `${metadata?.name}-${suffix}`,
      uid: `${metadata?.uid ?? `${metadata?.namespace}/${metadata?.name}`}/${suffix}`,
    },
    spec: rest,
  };
}

/** Equal for pods that the scheduler treats alike: of one owner and one template. */
export function podKind({ metadata, spec }: Pod): string {
  const { namespace, labels, ownerReferences = [] } = metadata ?? {};
  const owner = ownerReferences.find(({ controller }) => controller)?.uid;
  const { nodeName: _, ...rest } = spec ?? { containers: [] };

  return JSON.stringify([namespace, owner ?? metadata?.uid ?? metadata?.name, labels, rest]);
}
