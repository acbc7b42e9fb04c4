/**
 * NodeRestriction: limits a kubelet's writes to its own Node and its own pods. Together with the Node authorizer it confines a stolen node credential
 * to that node. Other users are not affected.
 */
import type {
  CertificateSigningRequest,
  CSIDriver,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
} from '#api/types.ts';
import { LOCAL_PATH_FINALIZER, LOCAL_PATH_MADE, LOCAL_PATH_NODE } from '#component-helpers/local-path.ts';
import { readApiReference, MIRROR_POD } from '#component-helpers/static-pods.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Authorizer } from '../../authz/authorizer.ts';
import { parseNodeName } from '../../authz/node.ts';
import type { InternalApi } from '../../registry/loopback-client.ts';
import { readCertificateRequest } from '#resources/certificates/certificate-request.ts';
import { forbid } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const q = JSON.stringify;

type Check = (attributes: AdmissionAttributes, nodeName: string) => void;

const CHECKS: Readonly<Record<string, Check>> = {
  '/pods': checkPod,
  '/pods/status': checkPodStatus,
  '/pods/eviction': checkEviction,
  '/nodes': checkNode,
  '/nodes/status': checkNode,
  '/persistentvolumes': checkVolume,
  '/persistentvolumeclaims/status': checkClaimStatus,
  '/serviceaccounts/token': checkToken,
  'coordination.k8s.io/leases': checkLease,
  'storage.k8s.io/csinodes': checkCSINode,
  'resource.k8s.io/resourceslices': checkResourceSlice,
  'certificates.k8s.io/certificatesigningrequests': checkSigningRequest,
  'network.capstan.dev/speakers': checkSpeaker,
};
/** Nodes may use no other subresources of pods and nodes. */
const CLOSED: ReadonlySet<string> = new Set(['pods', 'nodes']);

/** authorizer: whether a node may request tokens for an audience that its pod does not declare. */
export function nodeRestriction(authorizer: Authorizer): AdmissionPlugin {
  return {
    name: 'NodeRestriction',
    handles: (operation, { group, resource, subresource }) =>
      operation !== 'CONNECT' &&
      (checkFor(group, resource, subresource) !== undefined || (group === '' && CLOSED.has(resource))),
    // Upstream checks in its mutating step, before anything else changes the object.
    admit(attributes) {
      const nodeName = parseNodeName(attributes.user);
      if (nodeName === undefined) return undefined;
      if (nodeName === '')
        throw forbid(attributes, `could not determine node from user ${q(attributes.user.name)}`);
      const { gvr, subresource } = attributes;
      const check = checkFor(gvr.group, gvr.resource, subresource);
      if (!check)
        throw forbid(
          attributes,
          `unexpected ${gvr.resource === 'pods' ? 'pod' : 'node'} subresource ${q(subresource)}, only 'status'${gvr.resource === 'pods' ? " and 'eviction' are" : ' is'} allowed`,
        );
      check(attributes, nodeName);
      return gvr.resource === 'serviceaccounts' ? checkAudience(attributes, authorizer) : undefined;
    },
  };
}

function checkFor(group: string, resource: string, subresource: string): Check | undefined {
  return CHECKS[`${group}/${resource}${subresource === '' ? '' : `/${subresource}`}`];
}

function checkPod(attributes: AdmissionAttributes, nodeName: string): void {
  const { operation } = attributes;
  if (operation === 'CREATE') return checkMirrorPod(attributes, nodeName);
  if (operation !== 'DELETE')
    throw forbid(
      attributes,
      `unexpected operation ${q(operation)}, node ${q(nodeName)} can only create and delete mirror pods`,
    );
  const pod = attributes.oldObject as Pod | undefined;
  if (pod && pod.spec?.nodeName !== nodeName)
    throw forbid(attributes, `node ${q(nodeName)} can only delete pods with spec.nodeName set to itself`);
}

function checkMirrorPod(attributes: AdmissionAttributes, nodeName: string): void {
  const pod = attributes.object as Pod;
  const refuse = (why: string): Error => forbid(attributes, why);
  if (pod.metadata?.annotations?.[MIRROR_POD] === undefined)
    throw refuse(
      `pod does not have ${q(MIRROR_POD)} annotation, node ${q(nodeName)} can only create mirror pods`,
    );
  if (pod.spec?.nodeName !== nodeName)
    throw refuse(`node ${q(nodeName)} can only create pods with spec.nodeName set to itself`);
  const [owner, ...more] = pod.metadata.ownerReferences ?? [];
  if (more.length > 0)
    throw refuse(`node ${q(nodeName)} can only create pods with a single owner reference set to itself`);
  if (!owner) throw refuse(`node ${q(nodeName)} can only create pods with an owner reference set to itself`);
  if (owner.apiVersion !== 'v1' || owner.kind !== 'Node' || owner.name !== nodeName)
    throw refuse(`node ${q(nodeName)} can only create pods with an owner reference set to itself`);
  if (owner.controller !== true)
    throw refuse(`node ${q(nodeName)} can only create pods with a controller owner reference set to itself`);
  if (owner.blockOwnerDeletion === true)
    throw refuse(`node ${q(nodeName)} must not set blockOwnerDeletion on an owner reference`);
  const node = attributes.internal.get({ group: '', resource: 'nodes' }, { name: nodeName });
  if (!node) throw refuse(`node ${q(nodeName)} not found`);
  if (owner.uid !== node.metadata?.uid)
    throw refuse(`node ${nodeName} UID mismatch: expected ${owner.uid} got ${node.metadata?.uid ?? ''}`);
  const referenced = readApiReference(pod.spec);
  if (referenced !== undefined)
    throw refuse(`node ${q(nodeName)} can not create pods that reference ${referenced}`);
}

function checkPodStatus(attributes: AdmissionAttributes, nodeName: string): void {
  const { operation } = attributes;
  if (operation !== 'UPDATE')
    throw forbid(
      attributes,
      `unexpected operation ${q(operation)}, node ${q(nodeName)} can only update pod status`,
    );
  const previous = attributes.oldObject as Pod | undefined;
  if (previous?.spec?.nodeName !== nodeName)
    throw forbid(
      attributes,
      `node ${q(nodeName)} can only update pod status for pods with spec.nodeName set to itself`,
    );
  if (!sameJson(attributes.object?.metadata?.labels ?? {}, previous.metadata?.labels ?? {}))
    throw forbid(attributes, `node ${q(nodeName)} cannot update labels through pod status`);
  if (
    !sameJson(
      (attributes.object as Pod).status?.resourceClaimStatuses ?? [],
      previous.status?.resourceClaimStatuses ?? [],
    )
  )
    throw forbid(attributes, `node ${q(nodeName)} cannot update resource claim statues`);
  // Either names claims that the Node authorizer then lets the node read.
  if (
    !sameJson(
      (attributes.object as Pod).status?.extendedResourceClaimStatus ?? {},
      previous.status?.extendedResourceClaimStatus ?? {},
    )
  )
    throw forbid(attributes, `node ${q(nodeName)} cannot update extended resource claim status`);
}

function checkEviction(attributes: AdmissionAttributes, nodeName: string): void {
  if (attributes.operation !== 'CREATE')
    throw forbid(attributes, `unexpected operation ${attributes.operation}`);
  const name = attributes.name || attributes.object?.metadata?.name || '';
  if (name === '') throw forbid(attributes, 'could not determine pod from request data');
  const pod = attributes.internal.get(
    { group: '', resource: 'pods' },
    { namespace: attributes.namespace, name },
  ) as Pod | undefined;
  if (pod && pod.spec?.nodeName !== nodeName)
    throw forbid(attributes, `node ${nodeName} can only evict pods with spec.nodeName set to itself`);
}

function checkNode(attributes: AdmissionAttributes, nodeName: string): void {
  const requested = attributes.name || attributes.object?.metadata?.name || '';
  if (requested !== nodeName)
    throw forbid(attributes, `node ${q(nodeName)} is not allowed to modify node ${q(requested)}`);
  const node = attributes.object as Node | undefined;
  const previous = attributes.oldObject as Node | undefined;
  if (attributes.operation === 'CREATE' && node) {
    if (node.spec?.configSource)
      throw forbid(
        attributes,
        `node ${q(nodeName)} is not allowed to create pods with a non-nil configSource`,
      );
    const labels = forbiddenLabels(Object.keys(node.metadata?.labels ?? {}));
    if (labels.length > 0)
      throw forbid(
        attributes,
        `node ${q(nodeName)} is not allowed to set the following labels: ${labels.join(', ')}`,
      );
    if (node.metadata?.ownerReferences?.length)
      throw forbid(attributes, `node ${q(nodeName)} is not allowed to set ownerReferences`);
  }
  if (attributes.operation !== 'UPDATE' || !node || !previous) return;
  if (node.spec?.configSource && !sameJson(node.spec.configSource, previous.spec?.configSource))
    throw forbid(
      attributes,
      `node ${q(nodeName)} is not allowed to update configSource to a new non-nil configSource`,
    );
  if (!sameJson(node.metadata?.ownerReferences ?? [], previous.metadata?.ownerReferences ?? []))
    throw forbid(attributes, `node ${q(nodeName)} is not allowed to modify ownerReferences`);
  if (!sameJson(node.spec?.taints ?? [], previous.spec?.taints ?? []))
    throw forbid(attributes, `node ${q(nodeName)} is not allowed to modify taints`);
  const labels = forbiddenLabels(changedKeys(node.metadata?.labels ?? {}, previous.metadata?.labels ?? {}));
  if (labels.length > 0) throw forbid(attributes, `is not allowed to modify labels: ${labels.join(', ')}`);
}

function changedKeys(
  next: Readonly<Record<string, string>>,
  previous: Readonly<Record<string, string>>,
): string[] {
  return [...new Set([...Object.keys(next), ...Object.keys(previous)])].filter(
    (key) => next[key] !== previous[key],
  );
}

/** Labels of the kubernetes.io and k8s.io domains that a kubelet may set on its own node. */
const KUBELET_LABELS: ReadonlySet<string> = new Set([
  'kubernetes.io/hostname',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'node.kubernetes.io/windows-build',
]);
const KUBELET_DOMAINS = ['kubelet.kubernetes.io', 'node.kubernetes.io'] as const;
const RESTRICTED_DOMAIN = 'node-restriction.kubernetes.io';

function forbiddenLabels(keys: readonly string[]): string[] {
  return keys
    .filter((key) => {
      const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
      if (inDomain(domain, RESTRICTED_DOMAIN)) return true;
      if (!inDomain(domain, 'kubernetes.io') && !inDomain(domain, 'k8s.io')) return false;
      return !KUBELET_LABELS.has(key) && !KUBELET_DOMAINS.some((allowed) => inDomain(domain, allowed));
    })
    .toSorted();
}

function inDomain(domain: string, parent: string): boolean {
  return domain === parent || domain.endsWith(`.${parent}`);
}

/** Of its local-path volumes, a node notes that it made the directory, and releases those that are deleted. */
function checkVolume(attributes: AdmissionAttributes, nodeName: string): void {
  const { operation, object, oldObject } = attributes;
  if (operation !== 'UPDATE') throw forbid(attributes, `unexpected operation ${q(operation)}`);
  const next = object?.metadata ?? {};
  const previous = oldObject?.metadata ?? {};
  const kept = (previous.finalizers ?? []).filter((name) => name !== LOCAL_PATH_FINALIZER);
  const finalizers = next.finalizers ?? [];
  const mayChange =
    previous.labels?.[LOCAL_PATH_NODE] === nodeName &&
    (sameJson(finalizers, previous.finalizers ?? []) ||
      (previous.deletionTimestamp !== undefined && sameJson(finalizers, kept))) &&
    (previous.annotations?.[LOCAL_PATH_MADE] === undefined ||
      next.annotations?.[LOCAL_PATH_MADE] === previous.annotations[LOCAL_PATH_MADE]) &&
    sameJson(withoutNodesPart(object), withoutNodesPart(oldObject));
  if (!mayChange)
    throw forbid(
      attributes,
      `node ${q(nodeName)} can only set annotation ${LOCAL_PATH_MADE} of its own volumes, and remove finalizer ${LOCAL_PATH_FINALIZER} of those that are deleted`,
    );
}

function withoutNodesPart(object: KubeObject | undefined): unknown {
  const {
    finalizers: _finalizers,
    managedFields: _managedFields,
    resourceVersion: _resourceVersion,
    generation: _generation,
    annotations,
    ...metadata
  } = object?.metadata ?? {};
  const { [LOCAL_PATH_MADE]: _made, ...others } = annotations ?? {};
  return { ...object, metadata: { ...metadata, annotations: others } };
}

/** Only fields that a volume expansion reports may change. */
function checkClaimStatus(attributes: AdmissionAttributes, nodeName: string): void {
  if (attributes.operation !== 'UPDATE')
    throw forbid(attributes, `unexpected operation ${q(attributes.operation)}`);
  if (!sameJson(withoutExpansion(attributes.object), withoutExpansion(attributes.oldObject)))
    throw forbid(
      attributes,
      `node ${q(nodeName)} is not allowed to update fields other than status.capacity, status.conditions and the state of a resize`,
    );
}

function withoutExpansion(object: KubeObject | undefined): unknown {
  const claim = structuredClone(object) as PersistentVolumeClaim | undefined;
  const status = claim?.status as Record<string, unknown> | undefined;
  for (const field of [
    'capacity',
    'conditions',
    'allocatedResources',
    'allocatedResourceStatuses',
    'currentVolumeAttributesClassName',
    'modifyVolumeStatus',
  ])
    delete status?.[field];
  for (const field of ['managedFields', 'resourceVersion', 'generation'] as const)
    delete claim?.metadata?.[field];
  return { ...claim, status: status ?? {} };
}

interface TokenRequestBody extends KubeObject {
  spec?: {
    audiences?: string[];
    boundObjectRef?: { kind?: string; apiVersion?: string; name?: string; uid?: string };
  };
}

function checkToken(attributes: AdmissionAttributes, nodeName: string): void {
  if (attributes.operation !== 'CREATE')
    throw forbid(attributes, `unexpected operation ${q(attributes.operation)}`);
  const ref = (attributes.object as TokenRequestBody | undefined)?.spec?.boundObjectRef;
  if (ref?.apiVersion !== 'v1' || ref.kind !== 'Pod' || !ref.name)
    throw forbid(attributes, 'node requested token not bound to a pod');
  if (!ref.uid) throw forbid(attributes, 'node requested token with a pod binding without a uid');
  const pod = attributes.internal.get(
    { group: '', resource: 'pods' },
    { namespace: attributes.namespace, name: ref.name },
  ) as Pod | undefined;
  if (!pod) throw statusErrors.notFound({ group: '', resource: 'pod', name: ref.name });
  if (ref.uid !== pod.metadata?.uid)
    throw forbid(
      attributes,
      `the UID in the bound object reference (${ref.uid}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  if (pod.spec?.nodeName !== nodeName)
    throw forbid(attributes, 'node requested token bound to a pod scheduled on a different node');
}

/** After checkToken: only audiences that the pod's volumes name, or that are granted by verb request-serviceaccounts-token-audience. */
async function checkAudience(attributes: AdmissionAttributes, authorizer: Authorizer): Promise<void> {
  const { audiences = [], boundObjectRef } = (attributes.object as TokenRequestBody).spec ?? {};
  if (audiences.length > 1) throw forbid(attributes, 'node may only request 0 or 1 audiences');
  const audience = audiences[0] ?? '';
  const { internal, namespace, name, user } = attributes;
  const pod = internal.get(
    { group: '', resource: 'pods' },
    { namespace, name: boundObjectRef?.name ?? '' },
  ) as Pod | undefined;
  if (pod && podAudiences(pod, internal).has(audience)) return;
  const { decision } = await authorizer.authorize({
    user,
    verb: 'request-serviceaccounts-token-audience',
    isResourceRequest: true,
    group: '',
    version: 'v1',
    resource: audience,
    subresource: '',
    namespace,
    name,
    path: '',
  });
  if (decision !== 'allow')
    throw forbid(
      attributes,
      `audience ${q(audience)} not found in pod spec volume, ${user.name} is not authorized to request tokens for this audience`,
    );
}

/** Of projected tokens, and of the CSI drivers behind inline volumes and claims. '' is the API server's own. */
function podAudiences(pod: Pod, internal: InternalApi): Set<string> {
  const audiences = new Set<string>();
  const addDriver = (name: string | undefined): void => {
    const driver = name
      ? (internal.get({ group: 'storage.k8s.io', resource: 'csidrivers' }, { name }) as CSIDriver | undefined)
      : undefined;
    for (const request of driver?.spec?.tokenRequests ?? []) audiences.add(request.audience ?? '');
  };
  for (const volume of pod.spec?.volumes ?? []) {
    for (const source of volume.projected?.sources ?? [])
      if (source.serviceAccountToken) audiences.add(source.serviceAccountToken.audience ?? '');
    addDriver(volume.csi?.driver);
    const claimName =
      volume.persistentVolumeClaim?.claimName ??
      (volume.ephemeral ? `${pod.metadata?.name ?? ''}-${volume.name}` : undefined);
    const claim = claimName
      ? (internal.get(
          { group: '', resource: 'persistentvolumeclaims' },
          { namespace: pod.metadata?.namespace, name: claimName },
        ) as PersistentVolumeClaim | undefined)
      : undefined;
    const volumeName = claim?.spec?.volumeName;
    if (volumeName)
      addDriver(
        (
          internal.get({ group: '', resource: 'persistentvolumes' }, { name: volumeName }) as
            | PersistentVolume
            | undefined
        )?.spec?.csi?.driver,
      );
  }
  return audiences;
}

function checkLease(attributes: AdmissionAttributes, nodeName: string): void {
  if (attributes.operation === 'DELETE') return;
  const name = attributes.name || attributes.object?.metadata?.name;
  if (attributes.namespace !== 'kube-node-lease')
    throw forbid(attributes, 'can only access leases in the "kube-node-lease" system namespace');
  if (name !== nodeName)
    throw forbid(attributes, 'can only access node lease with the same name as the requesting node');
}

function checkCSINode(attributes: AdmissionAttributes, nodeName: string): void {
  if (attributes.operation === 'DELETE') return;
  if ((attributes.name || attributes.object?.metadata?.name) !== nodeName)
    throw forbid(attributes, 'can only access CSINode with the same name as the requesting node');
}

/** Not upstream's: of the load balancer. Who writes another node's can take its addresses over, by saying that it is gone. */
function checkSpeaker(attributes: AdmissionAttributes, nodeName: string): void {
  if ((attributes.name || attributes.object?.metadata?.name) !== nodeName)
    throw forbid(attributes, 'can only access Speaker with the same name as the requesting node');
}

function checkResourceSlice(attributes: AdmissionAttributes, nodeName: string): void {
  const of = (object: KubeObject | undefined): unknown =>
    (object?.['spec'] as { nodeName?: string } | undefined)?.nodeName;
  if (attributes.operation === 'CREATE' && of(attributes.object) !== nodeName)
    throw forbid(attributes, 'can only create ResourceSlice with the same NodeName as the requesting node');
  if (attributes.operation !== 'CREATE' && attributes.oldObject && of(attributes.oldObject) !== nodeName)
    throw forbid(
      attributes,
      `can only ${attributes.operation === 'DELETE' ? 'delete' : 'modify'} ResourceSlice with the same NodeName as the requesting node`,
    );
}

const KUBELET_SIGNERS: ReadonlySet<string> = new Set([
  'kubernetes.io/kubelet-serving',
  'kubernetes.io/kube-apiserver-client-kubelet',
]);

function checkSigningRequest(attributes: AdmissionAttributes, nodeName: string): void {
  const { signerName = '', request = '' } =
    (attributes.object as CertificateSigningRequest | undefined)?.spec ?? {};
  if (attributes.operation !== 'CREATE' || !KUBELET_SIGNERS.has(signerName)) return;
  const subject = readCertificateRequest(request);
  if (!subject) throw forbid(attributes, 'unable to parse csr: PEM block type must be CERTIFICATE REQUEST');
  if (subject.commonNames.length !== 1 || subject.commonNames[0] !== `system:node:${nodeName}`)
    throw forbid(attributes, `can only create a node CSR with CN=system:node:${nodeName}`);
}

function sameJson(left: unknown, right: unknown): boolean {
  return JSON.stringify(sorted(left)) === JSON.stringify(sorted(right));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, item]) => [key, sorted(item)]),
  );
}
