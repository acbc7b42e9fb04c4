/**
 * HierarchicalNamespaces: the checks of the Hierarchical Namespace Controller's webhooks, with its messages. Upstream has no such plugin; this one does nothing until
 * `capstan tree enable` has installed the definitions.
 *
 * Decided from the caches of this server, which catch up with the store first where other servers write to it: a change that any of them has acknowledged is heeded.
 */
import { GROUP_NAME } from '#component-helpers/hierarchy/names.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { Authorizer } from '../../../authz/authorizer.ts';
import type { AdmissionKinds } from '../../kinds.ts';
import type { AdmissionPlugin } from '../../plugin.ts';
import { checkAnchor } from './anchors.ts';
import { checkHierarchy } from './hierarchy-configurations.ts';
import { ANCHORS, CONFIGS, HIERARCHIES, type LiveTrees } from './live-trees.ts';
import type { TreeRequest } from './new-parent.ts';
import { checkNamespace, includeNamespace } from './tree-namespaces.ts';
import { checkObject } from './tree-objects.ts';
import { checkSettings } from './tree-settings.ts';

/** The controller of trees, with credentials of its own or those of all controllers. */
const KEEPERS: ReadonlySet<string> = new Set([
  'system:serviceaccount:kube-system:hierarchical-namespaces',
  'system:kube-controller-manager',
]);
/** They can change metadata. */
const NAMESPACE_SUBRESOURCES: ReadonlySet<string> = new Set(['', 'status', 'finalize']);
const OBJECT_SUBRESOURCES: ReadonlySet<string> = new Set(['', 'status']);

export function hierarchicalNamespaces(authorizer: Authorizer, trees: LiveTrees): AdmissionPlugin {
  let kinds: AdmissionKinds | undefined;
  const check = (request: TreeRequest): Promise<void> => {
    const { group, resource } = request.attributes.gvr;
    if (group === '' && resource === 'namespaces') return checkNamespace(request);
    if (group !== GROUP_NAME) return checkObject(request);
    if (resource === HIERARCHIES.resource) return checkHierarchy(request);
    if (resource === ANCHORS.resource) return checkAnchor(request);
    return checkSettings(request, kinds!);
  };
  return {
    name: 'HierarchicalNamespaces',
    start(context) {
      ({ kinds } = context);
      return trees.start(context);
    },
    handles(operation, { group, resource, subresource }) {
      if (operation === 'CONNECT' || !trees.forest) return false;
      if (group === '' && resource === 'namespaces') return NAMESPACE_SUBRESOURCES.has(subresource);
      if (group === GROUP_NAME)
        return subresource === '' && [HIERARCHIES, ANCHORS, CONFIGS].some((of) => of.resource === resource);
      return OBJECT_SUBRESOURCES.has(subresource) && trees.typeOf({ group, resource }) !== undefined;
    },
    admit(attributes) {
      const { group, resource } = attributes.gvr;
      if (group === '' && resource === 'namespaces') includeNamespace(attributes);
    },
    validate(attributes) {
      const { forest } = trees;
      if (!forest || isKeeper(attributes.user)) return undefined;
      return check({ attributes, trees, forest, authorizer });
    },
  };
}

function isKeeper({ name }: UserInfo): boolean {
  return KEEPERS.has(name);
}
