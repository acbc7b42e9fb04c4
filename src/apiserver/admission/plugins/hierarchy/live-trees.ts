/**
 * The forest as this server's caches have it, and the kinds that propagate: one for all plugins of a server. Follows the objects of trees where the cluster has Capstan's definitions of them; where HNC itself
 * runs, or nobody asked for trees, there is none.
 */
import type { CustomResourceDefinition, Namespace } from '#api/types.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { Forest } from '#component-helpers/hierarchy/forest.ts';
import {
  CONFIG,
  GROUP_NAME,
  HIERARCHY,
  type HierarchyConfiguration,
  type HNCConfiguration,
  type ResourceSpec,
  type SubnamespaceAnchor,
  type SynchronizationMode,
} from '#component-helpers/hierarchy/names.ts';
import { anchorKeyOf, treeNamespace } from '#component-helpers/hierarchy/tree-namespace.ts';
import type { GroupVersionKind, Stored } from '#machinery/object.ts';
import { groupResourceString, objectKey } from '#machinery/object.ts';
import type { GroupResource, InternalApi, InternalWatchHandler } from '../../../registry/loopback-client.ts';
import type { AdmissionStart } from '../../plugin.ts';

const DEFINITIONS = { group: 'apiextensions.k8s.io', resource: 'customresourcedefinitions' } as const;
const NAMESPACES = { group: '', resource: 'namespaces' } as const;
export const HIERARCHIES = { group: GROUP_NAME, resource: 'hierarchyconfigurations' } as const;
export const ANCHORS = { group: GROUP_NAME, resource: 'subnamespaceanchors' } as const;
export const CONFIGS = { group: GROUP_NAME, resource: 'hncconfigurations' } as const;
const NEEDED: readonly GroupResource[] = [HIERARCHIES, ANCHORS, CONFIGS];

/** Always propagate. */
export const ENFORCED: readonly GroupResource[] = [
  { group: 'rbac.authorization.k8s.io', resource: 'roles' },
  { group: 'rbac.authorization.k8s.io', resource: 'rolebindings' },
];

export interface PropagatingType extends GroupResource {
  readonly gvk: GroupVersionKind;
  readonly mode: 'Propagate' | 'AllowPropagate';
}

type Followed = Pick<AdmissionStart, 'internal' | 'kinds' | 'handlesChanged'>;

export class LiveTrees {
  /** Of the plugin that started first. */
  #followed: Followed | undefined;
  #stop: (() => void) | undefined;
  /** Plugins that have started and not ended. */
  #users = 0;
  readonly #namespaces = new Map<string, Stored<Namespace>>();
  readonly #hierarchies = new Map<string, Stored<HierarchyConfiguration>>();
  /** By 'namespace/name'. */
  readonly #anchors = new Map<string, Stored<SubnamespaceAnchor>>();
  #config: HNCConfiguration | undefined;
  #forest: Forest | undefined;
  #subscriptions: (() => void)[] = [];
  /** The definitions may have changed since it was last looked whether there are trees. */
  #isStale = true;

  /** Called by each plugin. Returns the function that ends its part. */
  start(context: Followed): () => void {
    this.#followed ??= context;
    this.#stop ??= this.#followDefinitions(context);
    this.#users++;
    return () => {
      this.#users--;
      if (this.#users > 0) return;
      this.#stop?.();
      this.#stop = this.#followed = undefined;
      this.#leave();
      this.#isStale = true;
    };
  }

  #followDefinitions({ internal, handlesChanged }: Followed): () => void {
    return internal.watch(
      DEFINITIONS,
      eachEvent((definition) => {
        if ((definition as CustomResourceDefinition).spec.group !== GROUP_NAME) return;
        this.#leave();
        this.#isStale = true;
        handlesChanged();
      }),
    );
  }

  /** Undefined: this cluster has no trees that Capstan keeps. */
  get forest(): Forest | undefined {
    if (this.#isStale && this.#followed) {
      this.#isStale = false;
      if (this.#isEnabled(this.#followed)) this.#follow(this.#followed);
    }
    return this.#forest;
  }

  get types(): readonly PropagatingType[] {
    const asked = this.#config?.spec?.resources ?? [];
    return [...ENFORCED, ...asked].map((one) => this.#typeOf(one)).filter((type) => type !== undefined);
  }

  typeOf({ group, resource }: GroupResource): PropagatingType | undefined {
    return this.types.find((type) => type.group === group && type.resource === resource);
  }

  anchor(namespace: string, name: string): SubnamespaceAnchor | undefined {
    return this.#anchors.get(`${namespace}/${name}`);
  }

  namespace(name: string): Stored<Namespace> | undefined {
    return this.#namespaces.get(name);
  }

  hierarchy(namespace: string): HierarchyConfiguration | undefined {
    return this.#hierarchies.get(namespace);
  }

  #typeOf({ group = '', resource, mode = 'Propagate' }: ResourceSpec): PropagatingType | undefined {
    const found = this.#followed?.kinds.storedKindOf({ group, resource });
    return found?.namespaced && isPropagating(mode) ? { group, resource, gvk: found.gvk, mode } : undefined;
  }

  #isEnabled({ internal, kinds }: Followed): boolean {
    return NEEDED.every((of) => isOurs(internal, of) && kinds.storedKindOf(of) !== undefined);
  }

  #follow({ internal, handlesChanged }: Followed): void {
    const follow = (of: GroupResource, handler: InternalWatchHandler): void =>
      void this.#subscriptions.push(internal.watch(of, handler));
    this.#forest = new Forest();
    follow(
      CONFIGS,
      eachEvent((config, isThere) => {
        if (config.metadata.name !== CONFIG) return;
        this.#config = isThere ? (config as HNCConfiguration) : undefined;
        handlesChanged();
      }),
    );
    follow(
      ANCHORS,
      eachEvent((anchor, isThere) => {
        keep(this.#anchors, { key: objectKey(anchor), value: isThere ? anchor : undefined });
        this.#place(anchor.metadata.name);
      }),
    );
    follow(
      HIERARCHIES,
      eachEvent((hierarchy, isThere) => {
        const { name, namespace = '' } = hierarchy.metadata;
        if (name !== HIERARCHY) return;
        keep(this.#hierarchies, { key: namespace, value: isThere ? hierarchy : undefined });
        this.#place(namespace);
      }),
    );
    follow(
      NAMESPACES,
      eachEvent((namespace, isThere) => {
        const { name } = namespace.metadata;
        keep(this.#namespaces, { key: name, value: isThere ? (namespace as Stored<Namespace>) : undefined });
        this.#place(name);
      }),
    );
  }

  #leave(): void {
    for (const unsubscribe of this.#subscriptions.splice(0)) unsubscribe();
    this.#forest = undefined;
    this.#config = undefined;
    this.#namespaces.clear();
    this.#hierarchies.clear();
    this.#anchors.clear();
  }

  #place(name: string): void {
    const namespace = this.#namespaces.get(name);
    if (!namespace) return this.#forest?.remove(name);
    const hierarchy = this.#hierarchies.get(name);
    const anchor = this.#anchors.get(anchorKeyOf(namespace) ?? '');
    this.#forest?.put(treeNamespace(namespace, { hierarchy, anchor }));
  }
}

function isOurs(internal: InternalApi, { group, resource }: GroupResource): boolean {
  const name = groupResourceString(resource, group);
  const definition = internal.get(DEFINITIONS, { name }) as CustomResourceDefinition | undefined;
  return (
    definition?.metadata?.labels?.['app.kubernetes.io/managed-by'] === 'capstan' &&
    !definition.metadata.deletionTimestamp &&
    isConditionTrue(definition.status?.conditions, 'Established')
  );
}

export function isPropagating(mode: SynchronizationMode): mode is PropagatingType['mode'] {
  return mode === 'Propagate' || mode === 'AllowPropagate';
}

/** isThere: false when it was deleted. */
function eachEvent(take: (object: Stored, isThere: boolean) => void): InternalWatchHandler {
  return {
    added: (object) => take(object, true),
    updated: (object) => take(object, true),
    deleted: (object) => take(object, false),
  };
}

function keep<T>(
  map: Map<string, T>,
  { key, value }: { readonly key: string; readonly value: T | undefined },
): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
