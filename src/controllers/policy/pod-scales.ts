/** The expected number of pods of the controllers of a set of pods, after upstream's finders of the disruption controller. */
import type { Stored } from '#machinery/object.ts';
import type { Pod } from '#api/types.ts';
import { type KubeObject, type OwnerReference } from '#machinery/object.ts';
import { deployments, replicaSets, replicationControllers, statefulSets } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { getScale } from '../scale-client.ts';
import { findController } from '#component-helpers/owner-references.ts';

interface ExpectedScale {
  readonly count: number;
  /** Names of pods without a controller. */
  readonly unmanaged: readonly string[];
}

interface Scale {
  readonly uid: string;
  readonly replicas: number;
}

/** Throws when the controller of a pod cannot be read. */
export async function expectedScale(
  pods: readonly Stored<Pod>[],
  context: ReconcileContext,
): Promise<ExpectedScale> {
  const unmanaged: string[] = [];
  const asked = new Map<string, Promise<Scale | undefined>>();
  const needed: { readonly pod: Stored<Pod>; readonly scale: Promise<Scale | undefined> }[] = [];
  for (const pod of pods) {
    const owner = findController(pod);
    if (!owner) {
      unmanaged.push(pod.metadata.name);
      continue;
    }
    const scale = asked.get(owner.uid) ?? scaleOf(owner, pod.metadata.namespace!, context);
    asked.set(owner.uid, scale);
    needed.push({ pod, scale });
  }
  await Promise.allSettled(asked.values());
  const scales = new Map<string, number>();
  for (const { pod, scale } of needed) {
    const found = await scale;
    if (!found) throw new Error(`found no controllers for pod ${JSON.stringify(pod.metadata.name)}`);
    scales.set(found.uid, found.replicas);
  }
  return { count: [...scales.values()].reduce((sum, replicas) => sum + replicas, 0), unmanaged };
}

async function scaleOf(
  owner: OwnerReference,
  namespace: string,
  context: ReconcileContext,
): Promise<Scale | undefined> {
  const { informer } = context;
  if (isOf(owner, replicaSets)) {
    const replicaSet = same(informer(replicaSets).get(`${namespace}/${owner.name}`), owner);
    const deploymentRef = replicaSet && findController(replicaSet);
    if (!deploymentRef || !isOf(deploymentRef, deployments)) return scaleOfObject(replicaSet);
    return scaleOfObject(
      same(informer(deployments).get(`${namespace}/${deploymentRef.name}`), deploymentRef),
    );
  }
  if (isOf(owner, statefulSets))
    return scaleOfObject(same(informer(statefulSets).get(`${namespace}/${owner.name}`), owner));
  if (isOf(owner, replicationControllers))
    return scaleOfObject(same(informer(replicationControllers).get(`${namespace}/${owner.name}`), owner));
  return scaleSubresource(owner, namespace, context);
}

function isOf({ apiVersion, kind }: OwnerReference, ref: ResourceRef<never> | ResourceRef): boolean {
  const [group] = apiVersion.includes('/') ? apiVersion.split('/') : [''];
  return kind === ref.kind && group === ref.group;
}

function same<T extends KubeObject>(object: T | undefined, { uid }: OwnerReference): T | undefined {
  return object?.metadata?.uid === uid ? object : undefined;
}

function scaleOfObject(object: KubeObject | undefined): Scale | undefined {
  return (
    object && {
      uid: object.metadata!.uid!,
      replicas: (object as { spec?: { replicas?: number } }).spec?.replicas ?? 1,
    }
  );
}

/** Any other controller is read through its scale subresource. */
async function scaleSubresource(
  owner: OwnerReference,
  namespace: string,
  context: ReconcileContext,
): Promise<Scale | undefined> {
  const { apiVersion, kind, name, uid } = owner;
  const target = await getScale(context, { apiVersion, kind, name, namespace });
  return target?.scale.metadata.uid === uid ? scaleOfObject(target.scale) : undefined;
}
