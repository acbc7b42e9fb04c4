/** Workloads that the proportional autoscaler scales: upstream's --target, `deployment/NAME`, several with commas, each by its scale subresource. */
import type { Scale } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { deployments, replicaSets, replicationControllers, statefulSets } from '#client/refs.ts';

const KINDS: Readonly<Record<string, ResourceRef>> = {
  deployment: deployments,
  replicaset: replicaSets,
  replicationcontroller: replicationControllers,
  statefulset: statefulSets,
};

export interface TargetName {
  /** In lower case, singular. */
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
}

interface OpenTarget {
  readonly replicas: number;
  scale(replicas: number): Promise<unknown>;
}

/** Throws with a sentence that says what it should be. */
export function parseTargets(
  text: string,
  { namespace, annotation }: { readonly namespace: string; readonly annotation: string },
): readonly TargetName[] {
  return text.split(',').map((part) => {
    const [kind = '', name = '', ...more] = part.trim().split('/');
    const singular = kind.toLowerCase().replace(/s$/, '');
    if (KINDS[singular] === undefined || name === '' || more.length > 0)
      throw new Error(
        `annotation ${annotation} has ${JSON.stringify(part.trim())}; it should be KIND/NAME, and the kind one of ${Object.keys(KINDS).join(', ')}`,
      );
    return { kind: singular, name, namespace };
  });
}

export async function openTarget(api: Client, { kind, name, namespace }: TargetName): Promise<OpenTarget> {
  const resource = KINDS[kind]! as ResourceRef<Scale>;
  const scale = await api.getSubresource<Scale>(resource, { name, namespace }, 'scale');
  return {
    replicas: scale.spec?.replicas ?? 0,
    scale: (replicas) =>
      api.updateSubresource(resource, { ...scale, spec: { ...scale.spec, replicas } }, 'scale'),
  };
}

/** The name of the Deployment that serves the cluster's DNS, as kubeadm and others install it. Undefined: there is none. */
export async function findDnsDeployment(api: Client, namespace: string): Promise<string | undefined> {
  const { items } = await api.list(deployments, { namespace, labelSelector: 'k8s-app=kube-dns' });
  const names = items
    .map(({ metadata }) => metadata.name)
    .filter((name) => name === 'coredns' || name === 'kube-dns');
  return names.toSorted()[0];
}
