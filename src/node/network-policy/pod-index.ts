/**
 * The cluster's pods by address, and views of them that follow each change: the addresses of what a rule's peers select, and those at which a
 * named port is served. A change costs one match for each view, not one for each pod. Pods of the host's network and those that ended have no addresses here.
 *
 * An address belongs to one pod: to the newest of those that claim it. One that was given to another pod is so never taken for the former.
 */
import type { Pod } from '#api/types.ts';
import { isSidecar } from '#component-helpers/containers.ts';
import { isPodTerminal } from '#component-helpers/pod-status.ts';
import type { Labels } from '#machinery/labels.ts';
import { timeMs } from '#machinery/time.ts';
import { canonicalAddress, familyOf, type Family } from './address-ranges.ts';
import { selects, type PodSelection, type PortMatch } from './compiled-policy.ts';

interface NamedPort {
  readonly protocol: string;
  readonly name: string;
  readonly port: number;
}

export interface IndexedPod {
  readonly uid: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly ports: readonly NamedPort[];
  readonly createdMs: number;
  readonly claimed: readonly string[];
  /** Those of the claimed addresses that are its own. */
  addresses: readonly string[];
}

/** Elements of a set of each family, with '' as their values. Replaced, never changed, once they have been read. */
type ViewElements = Readonly<Record<Family, ReadonlyMap<string, string>>>;

interface View {
  readonly project: (pod: IndexedPod) => readonly string[];
  /** By the pod's UID. */
  readonly keysOf: Map<string, readonly string[]>;
  readonly counts: Map<string, number>;
  elements: Record<Family, Map<string, string>>;
  isShared: boolean;
}

/** The pod as the index keeps it; undefined for one without addresses of its own. addresses: default those of its status. */
export function indexedPod(pod: Pod, addresses = statusAddresses(pod)): IndexedPod | undefined {
  const { metadata, spec } = pod;
  if (spec?.hostNetwork || isPodTerminal(pod)) return undefined;
  const claimed = [...new Set(addresses.flatMap((text) => canonicalAddress(text) ?? []))];
  if (claimed.length === 0) return undefined;
  const containers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? []).filter(isSidecar)];
  return {
    uid: metadata?.uid ?? '',
    namespace: metadata?.namespace ?? '',
    labels: metadata?.labels ?? {},
    ports: containers.flatMap(({ ports = [] }) =>
      ports.flatMap(({ name, protocol = 'TCP', containerPort }) =>
        name ? [{ name, protocol: protocol.toLowerCase(), port: containerPort }] : [],
      ),
    ),
    createdMs: timeMs(metadata?.creationTimestamp) ?? 0,
    claimed,
    addresses: [],
  };
}

function statusAddresses({ status }: Pod): readonly string[] {
  return status?.podIPs?.flatMap(({ ip }) => ip ?? []) ?? (status?.podIP ? [status.podIP] : []);
}

export class PodIndex {
  readonly #namespaces = new Map<string, Labels>();
  readonly #pods = new Map<string, IndexedPod>();
  readonly #claims = new Map<string, Set<IndexedPod>>();
  readonly #owners = new Map<string, IndexedPod>();
  readonly #ofNamespace = new Map<string, Set<IndexedPod>>();
  readonly #views = new Map<string, View>();

  /** undefined: it is gone. */
  setNamespace(name: string, labels: Labels | undefined): void {
    if (labels) this.#namespaces.set(name, labels);
    else this.#namespaces.delete(name);
    for (const pod of this.#ofNamespace.get(name) ?? []) this.#project(pod);
  }

  /** undefined: it is gone, or has no address of its own. */
  setPod(uid: string, pod: IndexedPod | undefined): void {
    const before = this.#pods.get(uid);
    if (before) this.#remove(uid, before);
    if (pod) this.#add(uid, pod);
    if (before && !pod) this.#drop(before);
    const changed = this.#resolve(new Set([...(before?.claimed ?? []), ...(pod?.claimed ?? [])]));
    if (pod) changed.add(pod);
    for (const one of changed)
      one.addresses = one.claimed.filter((address) => this.#owners.get(address) === one);
    // What one loses, another may get: all lose first.
    if (changed.size > 1) for (const one of changed) this.#drop(one);
    for (const one of changed) this.#project(one);
  }

  get(uid: string): IndexedPod | undefined {
    return this.#pods.get(uid);
  }

  matches(selection: PodSelection, pod: IndexedPod): boolean {
    return selects(selection, pod, this.#namespaces.get(pod.namespace));
  }

  /** The addresses of the pods that any of these selects. */
  addresses(name: string, selections: readonly PodSelection[]): ViewElements {
    return this.#view(name, (pod) => (selections.some((one) => this.matches(one, pod)) ? pod.addresses : []));
  }

  /** 'ADDRESS . PROTOCOL . PORT' wherever a pod serves this port. */
  namedPorts(name: string, wanted: Pick<PortMatch, 'protocol' | 'name'>): ViewElements {
    return this.#view(name, ({ addresses, ports }) => {
      const served = ports.filter(
        (port) => port.name === wanted.name && port.protocol === (wanted.protocol ?? port.protocol),
      );
      return addresses.flatMap((address) =>
        served.map(({ protocol, port }) => `${address} . ${protocol} . ${port}`),
      );
    });
  }

  /** Views that are not among these are not kept up to date any more. */
  keepViews(names: ReadonlySet<string>): void {
    for (const name of this.#views.keys()) if (!names.has(name)) this.#views.delete(name);
  }

  #view(name: string, project: View['project']): ViewElements {
    let view = this.#views.get(name);
    if (!view) {
      const elements = { ip: new Map<string, string>(), ip6: new Map<string, string>() };
      view = { project, keysOf: new Map(), counts: new Map(), elements, isShared: false };
      this.#views.set(name, view);
      for (const pod of this.#pods.values()) update(view, pod.uid, project(pod));
    }
    view.isShared = true;
    return view.elements;
  }

  #project(pod: IndexedPod): void {
    for (const view of this.#views.values()) update(view, pod.uid, view.project(pod));
  }

  #drop({ uid }: IndexedPod): void {
    for (const view of this.#views.values()) update(view, uid, []);
  }

  #add(uid: string, pod: IndexedPod): void {
    this.#pods.set(uid, pod);
    entryOf(this.#ofNamespace, pod.namespace).add(pod);
    for (const address of pod.claimed) entryOf(this.#claims, address).add(pod);
  }

  #remove(uid: string, pod: IndexedPod): void {
    this.#pods.delete(uid);
    removeFrom(this.#ofNamespace, { key: pod.namespace, pod });
    for (const address of pod.claimed) removeFrom(this.#claims, { key: address, pod });
  }

  /** Gives these addresses to their owners. Returns the pods that lose or get one. */
  #resolve(addresses: ReadonlySet<string>): Set<IndexedPod> {
    const changed = new Set<IndexedPod>();
    for (const address of addresses) {
      const former = this.#owners.get(address);
      const owner = newest(this.#claims.get(address));
      if (owner) this.#owners.set(address, owner);
      else this.#owners.delete(address);
      for (const one of [former, owner]) if (one && this.#pods.get(one.uid) === one) changed.add(one);
    }
    return changed;
  }
}

function entryOf(sets: Map<string, Set<IndexedPod>>, key: string): Set<IndexedPod> {
  let found = sets.get(key);
  if (!found) sets.set(key, (found = new Set()));
  return found;
}

function removeFrom(
  sets: Map<string, Set<IndexedPod>>,
  { key, pod }: { readonly key: string; readonly pod: IndexedPod },
): void {
  const found = sets.get(key);
  found?.delete(pod);
  if (found?.size === 0) sets.delete(key);
}

function newest(pods: ReadonlySet<IndexedPod> = new Set()): IndexedPod | undefined {
  let found: IndexedPod | undefined;
  for (const pod of pods)
    if (
      !found ||
      pod.createdMs > found.createdMs ||
      (pod.createdMs === found.createdMs && pod.uid > found.uid)
    )
      found = pod;
  return found;
}

function update(view: View, uid: string, keys: readonly string[]): void {
  const before = view.keysOf.get(uid) ?? [];
  if (before.length === keys.length && before.every((key, index) => key === keys[index])) return;
  if (view.isShared) {
    view.elements = { ip: new Map(view.elements.ip), ip6: new Map(view.elements.ip6) };
    view.isShared = false;
  }
  if (keys.length > 0) view.keysOf.set(uid, keys);
  else view.keysOf.delete(uid);
  for (const key of keys) count(view, { key, by: 1 });
  for (const key of before) count(view, { key, by: -1 });
}

/** Two containers of one pod may name the same port. */
function count(view: View, { key, by }: { readonly key: string; readonly by: 1 | -1 }): void {
  const now = (view.counts.get(key) ?? 0) + by;
  if (now > 0) {
    view.counts.set(key, now);
    view.elements[familyOf(key)].set(key, '');
  } else {
    view.counts.delete(key);
    view.elements[familyOf(key)].delete(key);
  }
}
