/**
 * Distributes endpoints over EndpointSlices with a minimum of writes: endpoints stay in their slice, slices that are written anyway
 * are filled first, and a slice that would be deleted is reused for one that would be created. Pure. After upstream's
 * staging/src/k8s.io/endpointslice reconciler.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Endpoint, EndpointSlice } from '#api/types.ts';

export type SlicePorts = NonNullable<EndpointSlice['ports']>;

/** Endpoints with the same address type and the same ports. */
export interface EndpointGroup {
  readonly addressType: string;
  readonly ports: SlicePorts;
  readonly endpoints: readonly Endpoint[];
}

export interface SlicePlan {
  readonly create: EndpointSlice[];
  /** The desired slices, with the version that was read. */
  readonly update: EndpointSlice[];
  readonly delete: EndpointSlice[];
}

interface SlicePlanOptions {
  readonly existing: readonly EndpointSlice[];
  readonly groups: readonly EndpointGroup[];
  /** Address types that keep a slice even without endpoints. */
  readonly addressTypes: readonly string[];
  readonly maxEndpoints: number;
  /** Labels and owner of every slice. */
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly metadata: Pick<
    NonNullable<EndpointSlice['metadata']>,
    'namespace' | 'generateName' | 'ownerReferences'
  >;
}

/** A slice while the plan is computed. */
interface Draft {
  readonly slice: EndpointSlice;
  endpoints: Endpoint[];
  ports: SlicePorts;
  changed: boolean;
}

export function planSlices(options: SlicePlanOptions): SlicePlan {
  const { existing, addressTypes } = options;
  const plan: SlicePlan = {
    create: [],
    update: [],
    delete: existing.filter(({ addressType }) => !addressTypes.includes(addressType)),
  };
  for (const addressType of addressTypes) planAddressType(addressType, plan, options);
  return plan;
}

function planAddressType(addressType: string, plan: SlicePlan, options: SlicePlanOptions): void {
  const drafts: Draft[] = options.existing
    .filter((slice) => slice.addressType === addressType)
    .map((slice) => ({
      slice,
      endpoints: [...(slice.endpoints ?? [])],
      ports: slice.ports ?? [],
      changed: false,
    }));
  const created: Draft[] = [];
  const groups = options.groups.filter(
    (group) => group.addressType === addressType && group.endpoints.length > 0,
  );
  const used = new Set<Draft>();
  for (const group of groups) {
    const id = portsId(group.ports);
    const own = drafts.filter((draft) => portsId(draft.ports) === id);
    for (const draft of own) used.add(draft);
    created.push(...placeGroup(group, own, options));
  }
  // Without endpoints, one empty slice remains as a placeholder.
  if (groups.length === 0) {
    const placeholder = drafts.find(({ endpoints, ports }) => endpoints.length === 0 && ports.length === 0);
    if (placeholder) used.add(placeholder);
    else created.push(newDraft(addressType, []));
  }
  const unused = drafts.filter(
    (draft) => !used.has(draft) || (draft.endpoints.length === 0 && groups.length > 0),
  );
  for (const draft of created) {
    const recycled = unused.pop();
    if (recycled) plan.update.push(finish({ ...draft, slice: recycled.slice }, options));
    else plan.create.push(newSlice(draft, options));
  }
  plan.delete.push(...unused.map(({ slice }) => slice));
  for (const draft of drafts) {
    if (!used.has(draft) || (draft.endpoints.length === 0 && groups.length > 0)) continue;
    if (draft.changed || !carries(draft.slice, options)) plan.update.push(finish(draft, options));
  }
}

/** Returns the additional slices to create. */
function placeGroup(
  { addressType, ports, endpoints }: EndpointGroup,
  drafts: readonly Draft[],
  { maxEndpoints }: SlicePlanOptions,
): Draft[] {
  const wanted = new Map(endpoints.map((endpoint) => [endpointId(endpoint), endpoint]));
  for (const draft of drafts) keepWanted(draft, wanted);
  const missing = [...wanted.values()];
  // Slices that are updated anyway: the fullest first, so that slices fill up.
  const open = drafts
    .filter(({ changed }) => changed)
    .sort((a, b) => b.endpoints.length - a.endpoints.length);
  for (const draft of open) fill(draft, missing, maxEndpoints);
  // One more update when a slice has room for all remaining endpoints; otherwise creating slices takes as many writes.
  if (missing.length > 0) {
    const fitting = drafts
      .filter(
        ({ changed, endpoints: { length } }) =>
          !changed &&
          length + (missing.length % maxEndpoints) <= maxEndpoints &&
          missing.length % maxEndpoints > 0,
      )
      .sort((a, b) => b.endpoints.length - a.endpoints.length)[0];
    if (fitting) {
      fitting.endpoints.push(...missing.splice(0, missing.length % maxEndpoints));
      fitting.changed = true;
    }
  }
  const created: Draft[] = [];
  while (missing.length > 0) {
    const draft = newDraft(addressType, ports);
    fill(draft, missing, maxEndpoints);
    created.push(draft);
  }
  return created;
}

/** Removes endpoints that are not desired and updates the others; removes the ones it handled from `wanted`. */
function keepWanted(draft: Draft, wanted: Map<string, Endpoint>): void {
  const kept: Endpoint[] = [];
  for (const endpoint of draft.endpoints) {
    const id = endpointId(endpoint);
    const now = wanted.get(id);
    if (!now) {
      draft.changed = true;
      continue;
    }
    wanted.delete(id);
    if (!isDeepStrictEqual(endpoint, now)) draft.changed = true;
    kept.push(now);
  }
  draft.endpoints = kept;
}

function fill(draft: Draft, missing: Endpoint[], maxEndpoints: number): void {
  const taken = missing.splice(0, Math.max(0, maxEndpoints - draft.endpoints.length));
  if (taken.length === 0) return;
  draft.endpoints.push(...taken);
  draft.changed = true;
}

function newDraft(addressType: string, ports: SlicePorts): Draft {
  return { slice: { addressType, endpoints: [] }, endpoints: [], ports, changed: true };
}

function newSlice(
  { slice, endpoints, ports }: Draft,
  { metadata, labels, annotations }: SlicePlanOptions,
): EndpointSlice {
  return {
    metadata: {
      ...metadata,
      labels: { ...labels },
      ...(annotations ? { annotations: { ...annotations } } : {}),
    },
    addressType: slice.addressType,
    endpoints,
    ports,
  };
}

function finish(
  { slice, endpoints, ports }: Draft,
  { metadata, labels, annotations }: SlicePlanOptions,
): EndpointSlice {
  const ownerReferences = metadata.ownerReferences ?? [];
  return {
    ...slice,
    metadata: {
      ...slice.metadata,
      labels: { ...labels },
      ...(annotations ? { annotations: { ...annotations } } : {}),
      ownerReferences,
    },
    endpoints,
    ports,
  };
}

function carries(slice: EndpointSlice, { metadata, labels, annotations }: SlicePlanOptions): boolean {
  return (
    isDeepStrictEqual(slice.metadata?.labels, labels) &&
    isDeepStrictEqual(slice.metadata?.ownerReferences, metadata.ownerReferences) &&
    (annotations === undefined || isDeepStrictEqual(slice.metadata?.annotations ?? {}, annotations))
  );
}

/** The same endpoint has the same id in any state. */
function endpointId({ addresses, hostname, targetRef }: Endpoint): string {
  return `${[...addresses].sort().join()} ${hostname ?? ''} ${targetRef?.namespace ?? ''}/${targetRef?.name ?? ''}/${targetRef?.uid ?? ''}`;
}

export function portsId(ports: SlicePorts): string {
  return JSON.stringify(
    ports
      .map(
        ({ name = '', port, protocol = 'TCP', appProtocol }) =>
          `${name} ${port ?? ''} ${protocol} ${appProtocol ?? ''}`,
      )
      .sort(),
  );
}
