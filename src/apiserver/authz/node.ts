/**
 * The Node authorizer: permissions of a kubelet (group system:nodes, name system:node:NAME). Objects of other nodes' pods are inaccessible; resources
 * not tied to a node follow the rules of role system:node. After upstream's plugin/pkg/auth/authorizer/node.
 */
import { LOCAL_PATH_NODE } from '#component-helpers/local-path.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { InternalApi } from '../registry/loopback-client.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';
import type { Authorizer, UserRules } from './authorizer.ts';
import { nodeRules } from './bootstrap-policy.ts';
import { vertexKey, type NodeGraph, type VertexKind } from './node-graph.ts';
import { rulesAllow } from './rbac-rules.ts';

const NODE_PREFIX = 'system:node:';
const ALLOW: AuthorizationDecision = { decision: 'allow', reason: '' };
const NO_OPINION: AuthorizationDecision = { decision: 'no-opinion', reason: '' };
const noOpinion = (reason: string): AuthorizationDecision => ({ decision: 'no-opinion', reason });

/** The user's node, '' for a member of system:nodes without a node's name, undefined for other users. */
export function parseNodeName(user: UserInfo): string | undefined {
  if (!user.name.startsWith(NODE_PREFIX) || !user.groups.includes('system:nodes')) return undefined;
  return user.name.slice(NODE_PREFIX.length);
}

interface Request {
  readonly attributes: AuthorizationAttributes;
  readonly nodeName: string;
}

export class NodeAuthorizer implements Authorizer {
  readonly #graph: NodeGraph;
  readonly #internal: InternalApi;
  readonly #rules = nodeRules();

  constructor(graph: NodeGraph, internal: InternalApi) {
    this.#graph = graph;
    this.#internal = internal;
  }

  authorize(attributes: AuthorizationAttributes): AuthorizationDecision {
    const nodeName = parseNodeName(attributes.user);
    if (nodeName === undefined) return NO_OPINION;
    if (nodeName === '') return noOpinion(`unknown node for user ${JSON.stringify(attributes.user.name)}`);
    const special = attributes.isResourceRequest
      ? this.#authorizeSpecial({ attributes, nodeName })
      : undefined;
    return special ?? (rulesAllow(this.#rules, attributes) ? ALLOW : NO_OPINION);
  }

  rulesFor(user: UserInfo): UserRules {
    const isNode = parseNodeName(user) !== undefined;
    return {
      resourceRules: [],
      nonResourceRules: [],
      incomplete: isNode,
      ...(isNode ? { evaluationError: 'node authorizer does not support user rule resolution' } : {}),
    };
  }

  /** Requests for objects tied to a node; undefined for the rest. */
  #authorizeSpecial(request: Request): AuthorizationDecision | undefined {
    const { verb, group, resource, subresource } = request.attributes;
    switch (group === '' ? resource : `${resource}.${group}`) {
      case 'secrets':
        return this.#readNamespaced(request, 'secret');
      case 'configmaps':
        return this.#readNamespaced(request, 'configmap');
      case 'persistentvolumeclaims':
        return subresource === 'status'
          ? this.#updateClaimStatus(request)
          : this.#getRelated(request, 'persistentvolumeclaim');
      case 'persistentvolumes':
        return (
          this.#localPathVolume(request) ??
          this.#getIndividual(request) ??
          this.#related(request, this.#usesVolume(request))
        );
      case 'resourceclaims.resource.k8s.io':
        return this.#getRelated(request, 'resourceclaim');
      case 'volumeattachments.storage.k8s.io':
        return this.#getIndividual(request) ?? this.#related(request, this.#ownsAttachment(request));
      case 'serviceaccounts':
        return verb === 'get' && subresource === ''
          ? this.#getRelated(request, 'serviceaccount')
          : this.#createToken(request);
      case 'leases.coordination.k8s.io':
        return authorizeLease(request);
      case 'csinodes.storage.k8s.io':
        return authorizeCSINode(request);
      case 'resourceslices.resource.k8s.io':
        return this.#resourceSlice(request);
      case 'nodes':
        return authorizeNode(request);
      case 'pods':
        return this.#pod(request);
      default:
        return undefined;
    }
  }

  #related({ nodeName }: Request, isRelated: boolean): AuthorizationDecision {
    return isRelated ? ALLOW : noOpinion(`no relationship found between node '${nodeName}' and this object`);
  }

  #hasVertex(request: Request, kind: VertexKind): boolean {
    const { namespace, name } = request.attributes;
    return this.#graph.has(request.nodeName, vertexKey(kind, namespace, name));
  }

  #getIndividual({ attributes }: Request): AuthorizationDecision | undefined {
    if (attributes.verb !== 'get' || attributes.name === '')
      return noOpinion('can only get individual resources of this type');
    return attributes.subresource === '' ? undefined : noOpinion('cannot get subresource');
  }

  #getRelated(request: Request, kind: VertexKind): AuthorizationDecision {
    return this.#getIndividual(request) ?? this.#related(request, this.#hasVertex(request, kind));
  }

  #readNamespaced(request: Request, kind: 'secret' | 'configmap'): AuthorizationDecision {
    const { verb, subresource, namespace, name } = request.attributes;
    if (!['get', 'list', 'watch'].includes(verb)) return noOpinion('can only read resources of this type');
    if (subresource !== '') return noOpinion('cannot read subresource');
    if (namespace === '') return noOpinion('can only read namespaced object of this type');
    if (name === '') return noOpinion('No Object name found');
    const key = vertexKey(kind, namespace, name);
    return this.#related(
      request,
      this.#graph.has(request.nodeName, key) ||
        (kind === 'secret' && this.#graph.hasVolumeSecret(request.nodeName, key)),
    );
  }

  #updateClaimStatus(request: Request): AuthorizationDecision {
    const { verb } = request.attributes;
    if (verb !== 'update' && verb !== 'patch') return noOpinion('can only get/update/patch this type');
    return this.#related(request, this.#hasVertex(request, 'persistentvolumeclaim'));
  }

  #usesVolume({ attributes, nodeName }: Request): boolean {
    const volume = this.#internal.get(
      { group: '', resource: 'persistentvolumes' },
      { name: attributes.name },
    );
    const claim = (volume?.['spec'] as { claimRef?: { namespace?: string; name?: string } } | undefined)
      ?.claimRef;
    return (
      claim !== undefined &&
      this.#graph.has(nodeName, vertexKey('persistentvolumeclaim', claim.namespace ?? '', claim.name ?? ''))
    );
  }

  /** A node follows the volumes that are directories of its own, and releases them; NodeRestriction limits what it writes. */
  #localPathVolume(request: Request): AuthorizationDecision | undefined {
    const { verb, subresource, name, labelSelector } = request.attributes;
    if (subresource !== '') return undefined;
    if (verb === 'list' || verb === 'watch')
      return selects(request, { requirements: labelSelector, key: LOCAL_PATH_NODE }) ? ALLOW : undefined;
    if (verb !== 'get' && verb !== 'patch') return undefined;
    const volume = this.#internal.get({ group: '', resource: 'persistentvolumes' }, { name });
    return volume?.metadata?.labels?.[LOCAL_PATH_NODE] === request.nodeName ? ALLOW : undefined;
  }

  #ownsAttachment({ attributes, nodeName }: Request): boolean {
    const attachment: KubeObject | undefined = this.#internal.get(
      { group: 'storage.k8s.io', resource: 'volumeattachments' },
      { name: attributes.name },
    );
    return (attachment?.['spec'] as { nodeName?: string } | undefined)?.nodeName === nodeName;
  }

  #createToken(request: Request): AuthorizationDecision {
    const { verb, name, subresource } = request.attributes;
    if (verb !== 'create' || name === '')
      return noOpinion('can only create tokens for individual service accounts');
    if (subresource !== 'token') return noOpinion('can only create token subresource of serviceaccount');
    return this.#related(request, this.#hasVertex(request, 'serviceaccount'));
  }

  #pod(request: Request): AuthorizationDecision | undefined {
    const { verb, subresource, name } = request.attributes;
    if (subresource !== '' || !['get', 'list', 'watch'].includes(verb)) return undefined;
    if (verb === 'get') return this.#related(request, this.#hasVertex(request, 'pod'));
    if (selectsNode(request, 'spec.nodeName')) return ALLOW;
    if (name !== '') return this.#related(request, this.#hasVertex(request, 'pod'));
    return noOpinion(`can only list/watch pods with spec.nodeName field selector`);
  }

  #resourceSlice(request: Request): AuthorizationDecision {
    const { verb, subresource, name } = request.attributes;
    if (subresource !== '') return noOpinion('cannot authorize ResourceSlice subresources');
    if (verb === 'create') return ALLOW;
    if (['get', 'update', 'patch', 'delete'].includes(verb)) {
      const slice = this.#internal.get({ group: 'resource.k8s.io', resource: 'resourceslices' }, { name });
      return this.#related(
        request,
        (slice?.['spec'] as { nodeName?: string } | undefined)?.nodeName === request.nodeName,
      );
    }
    if (['list', 'watch', 'deletecollection'].includes(verb)) {
      return selectsNode(request, 'spec.nodeName')
        ? ALLOW
        : noOpinion('can only list/watch/deletecollection resourceslices with nodeName field selector');
    }
    return noOpinion(
      'only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection',
    );
  }
}

/** A field selector that restricts the request to this node's objects. */
function selectsNode(request: Request, field: string): boolean {
  return selects(request, { requirements: request.attributes.fieldSelector, key: field });
}

function selects(
  { nodeName }: Request,
  {
    requirements,
    key: field,
  }: { readonly requirements: AuthorizationAttributes['fieldSelector']; readonly key: string },
): boolean {
  return (
    requirements?.some(
      ({ key, operator, values }) =>
        key === field &&
        ['=', '==', 'In'].includes(operator) &&
        values.length === 1 &&
        values[0] === nodeName,
    ) ?? false
  );
}

function authorizeLease({ attributes, nodeName }: Request): AuthorizationDecision {
  if (!['get', 'create', 'update', 'patch', 'delete'].includes(attributes.verb))
    return noOpinion('can only get, create, update, patch, or delete a node lease');
  if (attributes.namespace !== 'kube-node-lease')
    return noOpinion('can only access leases in the "kube-node-lease" system namespace');
  if (attributes.verb !== 'create' && attributes.name !== nodeName)
    return noOpinion('can only access node lease with the same name as the requesting node');
  return ALLOW;
}

function authorizeCSINode({ attributes, nodeName }: Request): AuthorizationDecision {
  if (!['get', 'create', 'update', 'patch', 'delete'].includes(attributes.verb))
    return noOpinion('can only get, create, update, patch, or delete a CSINode');
  if (attributes.subresource !== '') return noOpinion('cannot authorize CSINode subresources');
  if (attributes.verb !== 'create' && attributes.name !== nodeName)
    return noOpinion('can only access CSINode with the same name as the requesting node');
  return ALLOW;
}

/** Reads only of its own Node; NodeRestriction limits writes. */
function authorizeNode({ attributes, nodeName }: Request): AuthorizationDecision | undefined {
  const { verb, subresource, name } = attributes;
  if (subresource !== '' || !['get', 'list', 'watch'].includes(verb)) return undefined;
  if (name === nodeName) return ALLOW;
  return noOpinion(
    name === ''
      ? `node '${nodeName}' cannot read all nodes, only its own Node object`
      : `node '${nodeName}' cannot read '${name}', only its own Node object`,
  );
}
