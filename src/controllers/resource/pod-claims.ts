/** The claims of one pod: made from templates, named in its status, and reserved when the pod was put onto its node without the scheduler. */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Pod, PodResourceClaim, ResourceClaimTemplate } from '#api/types.ts';
import { pods, resourceClaims, resourceClaimTemplates } from '#client/refs.ts';
import { controllerReference, isControlledBy } from '#component-helpers/owner-references.ts';
import type { Stored } from '#machinery/object.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { errorMessage } from '#stdx/log.ts';
import { POD_CLAIM_NAME, type ClaimCreations } from './resource-claim-metrics.ts';

export const PODS_OF_CLAIM = 'resource-claim';
/** By the pod's UID. */
export const CLAIMS_OF_POD = 'resource-claim-owner';

const FIELD_MANAGER = 'ResourceClaimController';
/** A name has 63 characters; '-' and the random part need six. */
const MAX_BASE = 57;
const RESERVED_MAXIMUM = 256;

export async function syncPodClaims(
  context: ReconcileContext,
  creations: ClaimCreations | undefined,
): Promise<void> {
  const { key, informer, memory } = context;
  const pod = informer(pods).get(key);
  if (!pod || pod.metadata.deletionTimestamp) return void memory.delete(key);
  const names = new Map<string, string>();
  for (const reference of pod.spec?.resourceClaims ?? []) {
    const name = await nameOfClaim(context, { pod, reference, creations });
    if (name !== undefined) names.set(reference.name, name);
  }
  await nameInStatus(context, { pod, names });
  if (pod.spec?.nodeName) await reserve(context, pod);
}

interface Reference {
  readonly pod: Stored<Pod>;
  readonly reference: PodResourceClaim;
  readonly creations: ClaimCreations | undefined;
}

/** Of a generated claim, which is made if there is none; undefined for others. */
async function nameOfClaim(context: ReconcileContext, wanted: Reference): Promise<string | undefined> {
  const { pod, reference } = wanted;
  try {
    return reference.resourceClaimTemplateName === undefined
      ? undefined
      : await generatedClaim(context, { ...wanted, templateName: reference.resourceClaimTemplateName });
  } catch (error) {
    context.events.event(pod, {
      type: 'Warning',
      reason: 'FailedResourceClaimCreation',
      message: `PodResourceClaim ${reference.name}: ${errorMessage(error)}`,
    });
    throw new Error(`pod ${context.key}, PodResourceClaim ${reference.name}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

async function generatedClaim(
  context: ReconcileContext,
  { pod, reference, creations, templateName }: Reference & { readonly templateName: string },
): Promise<string | undefined> {
  const { informer, api } = context;
  const { namespace } = pod.metadata;
  const status = pod.status?.resourceClaimStatuses?.find(({ name }) => name === reference.name);
  // The status says that none is needed.
  if (status && status.resourceClaimName === undefined) return undefined;
  const named = informer(resourceClaims).get(`${namespace}/${status?.resourceClaimName}`);
  if (named && isControlledBy(named, pod)) return arrived(context, reference.name, named);
  const made = madeBefore(context, { pod, name: reference.name });
  if (made !== undefined) return made;
  const template = informer(resourceClaimTemplates).get(`${namespace}/${templateName}`);
  if (!template)
    throw new Error(
      `resource claim template "${templateName}": resourceclaimtemplate.resource.k8s.io "${templateName}" not found`,
    );
  try {
    const claim = await api.create(resourceClaims, claimFrom(template, { pod, name: reference.name }));
    creations?.count('success', claim);
    rememberMade(context, reference.name, claim);
    return claim.metadata.name;
  } catch (error) {
    creations?.count('failure', template.spec);
    throw new Error(`create ResourceClaim : ${errorMessage(error)}`, { cause: error });
  }
}

/** A claim that was made, while the pod's status could not be written or the cache does not have it yet. */
function madeBefore(
  context: ReconcileContext,
  { pod, name }: { readonly pod: Stored<Pod>; readonly name: string },
): string | undefined {
  const { informer, memory, key } = context;
  const known = informer(resourceClaims)
    .byIndex(CLAIMS_OF_POD, pod.metadata.uid)
    .find(({ metadata }) => metadata.annotations?.[POD_CLAIM_NAME] === name);
  if (known) return arrived(context, name, known);
  const made = (memory.get(key) as Map<string, ResourceClaim> | undefined)?.get(name);
  return made && isControlledBy(made, pod) ? made.metadata?.name : undefined;
}

/** The cache has it: from now on it is what counts. */
function arrived({ memory, key }: ReconcileContext, name: string, claim: Stored<ResourceClaim>): string {
  (memory.get(key) as Map<string, ResourceClaim> | undefined)?.delete(name);
  return claim.metadata.name;
}

/** By pod, until the cache has it or the pod is gone. */
function rememberMade({ memory, key }: ReconcileContext, name: string, claim: ResourceClaim): void {
  const made =
    (memory.get(key) as Map<string, ResourceClaim> | undefined) ?? new Map<string, ResourceClaim>();
  memory.set(key, made.set(name, claim));
}

function claimFrom(
  { spec }: ResourceClaimTemplate,
  { pod, name }: { readonly pod: Stored<Pod>; readonly name: string },
): ResourceClaim {
  const { labels, annotations } = spec.metadata ?? {};
  return {
    metadata: {
      generateName: baseName(pod.metadata.name, name),
      namespace: pod.metadata.namespace!,
      ...(labels ? { labels } : {}),
      annotations: { ...annotations, [POD_CLAIM_NAME]: name },
      ownerReferences: [controllerReference(pod, pods)],
    },
    spec: spec.spec,
  };
}

/** Both names are shortened in proportion, so that something is left of each. */
function baseName(pod: string, claim: string): string {
  const { length } = `${pod}-${claim}-`;
  if (length <= MAX_BASE) return `${pod}-${claim}-`;
  const shortened = (text: string): string => text.slice(0, Math.trunc((text.length * MAX_BASE) / length));
  return `${shortened(pod)}-${shortened(claim)}`;
}

async function nameInStatus(
  { api }: ReconcileContext,
  { pod, names }: { readonly pod: Stored<Pod>; readonly names: ReadonlyMap<string, string> },
): Promise<void> {
  const known = pod.status?.resourceClaimStatuses ?? [];
  const isNew = ([name, claim]: readonly [string, string]): boolean =>
    known.find((one) => one.name === name)?.resourceClaimName !== claim;
  if (![...names].some(isNew)) return;
  const { name, namespace } = pod.metadata;
  const kept = known.filter((one) => !names.has(one.name));
  const resourceClaimStatuses = [
    ...kept,
    ...[...names].map(([one, resourceClaimName]) => ({ name: one, resourceClaimName })),
  ];
  await api.patch(
    pods,
    { name, namespace },
    {
      type: 'apply',
      subresource: 'status',
      fieldManager: FIELD_MANAGER,
      force: true,
      patch: {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name, namespace },
        status: { resourceClaimStatuses },
      },
    },
  );
}

/** Only allocated claims. */
async function reserve({ api, informer }: ReconcileContext, pod: Stored<Pod>): Promise<void> {
  const { name, namespace, uid } = pod.metadata;
  const generated = pod.status?.resourceClaimStatuses ?? [];
  for (const reference of pod.spec?.resourceClaims ?? []) {
    const named =
      reference.resourceClaimName ?? generated.find((one) => one.name === reference.name)?.resourceClaimName;
    const claim = informer(resourceClaims).get(`${namespace}/${named}`);
    if (!claim || (reference.resourceClaimName === undefined && !isControlledBy(claim, pod))) continue;
    const { allocation, reservedFor = [] } = claim.status ?? {};
    if (!allocation || reservedFor.some((user) => user.uid === uid)) continue;
    if (reservedFor.length >= RESERVED_MAXIMUM) continue;
    await api.updateStatus(resourceClaims, {
      ...claim,
      status: { ...claim.status, reservedFor: [...reservedFor, { resource: 'pods', name, uid }] },
    });
  }
}
