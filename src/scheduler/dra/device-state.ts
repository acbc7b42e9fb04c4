/**
 * Claims, classes and devices of the cluster, with the scheduler's own decisions on top:
 *
 *   (unallocated) ──assume──► in flight ──written: confirm──► assumed ──the informer has it──► as in the API
 *                                  '────── failed: forget ──► (as in the API)
 *
 * A device is taken in every one of these states, so that no two pods get it.
 */
import type { DeviceClass, ResourceClaim, ResourceSlice } from '#api/generated/types/resource-v1.ts';
import type { Informer } from '#client/client.ts';
import { findController } from '#component-helpers/owner-references.ts';
import { objectKey } from '#machinery/object.ts';
import { compareResourceVersions } from '#machinery/resource-version.ts';
import type { Clock } from '#stdx/clock.ts';
import { AllocatedDevices, type TakenDevices } from './allocated-devices.ts';
import { DevicePools, type DeviceNode, type DevicePool } from './device-pools.ts';
import { IMPLICIT_PREFIX, isExtendedResourceClaim } from './extended-resources.ts';
import type { ResourceClaims } from './resource-claims.ts';

export interface DeviceInformers {
  readonly resourceClaims: Informer<ResourceClaim>;
  readonly deviceClasses: Informer<DeviceClass>;
  readonly resourceSlices: Informer<ResourceSlice>;
}

export type DeviceEvent =
  `${'resource-claim' | 'device-class' | 'resource-slice'}-${'added' | 'updated' | 'deleted'}`;

type DeviceEventHandler = (
  event: DeviceEvent,
  change: { readonly object: object; readonly before?: object | undefined },
) => void;

/** Upstream's AssumeExtendedResourceTimeoutDefaultSeconds. */
const ARRIVAL_MS = 120_000;

export class DeviceState implements ResourceClaims {
  readonly #informers: DeviceInformers;
  readonly #clock: Clock;
  readonly #allocated = new AllocatedDevices();
  readonly #pools = new DevicePools();
  /** By UID. */
  readonly #inFlight = new Map<string, ResourceClaim>();
  /** By key. */
  readonly #assumed = new Map<string, ResourceClaim>();
  /** Explicit resource → names of classes. */
  readonly #classesOf = new Map<string, Set<string>>();
  /** Pod UID → key of the claim for its extended resources. */
  readonly #extendedClaims = new Map<string, string>();

  constructor(informers: DeviceInformers, clock: Clock) {
    this.#informers = informers;
    this.#clock = clock;
  }

  /** Returns the functions that end it. The state is up to date when the handler is called. */
  subscribe(onEvent: DeviceEventHandler): (() => void)[] {
    const { resourceClaims, deviceClasses, resourceSlices } = this.#informers;
    return [
      resourceClaims.subscribe({
        added: (object) => this.#claimSeen(object, () => onEvent('resource-claim-added', { object })),
        updated: (object, before) =>
          this.#claimSeen(object, () => onEvent('resource-claim-updated', { object, before })),
        deleted: (object) => {
          this.#claimGone(object);
          onEvent('resource-claim-deleted', { object });
        },
      }),
      deviceClasses.subscribe({
        added: (object) => {
          this.#classSeen(object, undefined);
          onEvent('device-class-added', { object });
        },
        updated: (object, before) => {
          this.#classSeen(object, before);
          onEvent('device-class-updated', { object, before });
        },
        deleted: (object) => {
          this.#classSeen(undefined, object);
          onEvent('device-class-deleted', { object });
        },
      }),
      resourceSlices.subscribe({
        added: (object) => {
          this.#pools.set(object);
          onEvent('resource-slice-added', { object });
        },
        updated: (object, before) => {
          this.#pools.set(object);
          onEvent('resource-slice-updated', { object, before });
        },
        deleted: (object) => {
          this.#pools.delete(object.metadata.name);
          onEvent('resource-slice-deleted', { object });
        },
      }),
    ];
  }

  claim(namespace: string, name: string): ResourceClaim | undefined {
    const key = `${namespace}/${name}`;
    return this.#assumed.get(key) ?? this.#informers.resourceClaims.get(key);
  }

  deviceClass(name: string): DeviceClass | undefined {
    return this.#informers.deviceClasses.get(name);
  }

  /** Of several classes, the newest, then the first by name, as upstream. */
  classOfExtendedResource(resource: string): DeviceClass | undefined {
    if (resource.startsWith(IMPLICIT_PREFIX)) return this.deviceClass(resource.slice(IMPLICIT_PREFIX.length));
    const names = this.#classesOf.get(resource);
    if (!names) return undefined;
    return [...names].sort().reduce<DeviceClass | undefined>((best, name) => {
      const one = this.deviceClass(name);
      return one && createdAt(one) > (best ? createdAt(best) : '') ? one : best;
    }, undefined);
  }

  extendedResourceClaim(podUID: string): ResourceClaim | undefined {
    const key = this.#extendedClaims.get(podUID);
    return key === undefined ? undefined : this.#informers.resourceClaims.get(key);
  }

  isBeingAllocated(uid: string): boolean {
    return this.#inFlight.has(uid);
  }

  pools(node: DeviceNode): readonly DevicePool[] {
    return this.#pools.of(node);
  }

  get taken(): TakenDevices {
    return this.#allocated;
  }

  readonly nowMs = (): number => this.#clock.now();

  forgetNode(name: string): void {
    this.#pools.forgetNode(name);
  }

  /** An allocation that is about to be written. uid: of the claim, or another for one that is not created yet. */
  assume(uid: string, claim: ResourceClaim): void {
    this.#inFlight.set(uid, claim);
    this.#allocated.set(uid, claim);
  }

  /** It is written. */
  confirm(uid: string, written: ResourceClaim): void {
    const key = objectKey(written);
    const actual = this.#informers.resourceClaims.get(key);
    const isGone = !actual && uid === written.metadata?.uid;
    const isNewer = !isGone && isOlder(actual, written);
    this.#inFlight.delete(uid);
    if (isNewer) this.#assumed.set(key, written);
    if (isNewer && !actual) this.#expire(key, written);
    this.#allocated.set(uid, undefined);
    this.#allocated.set(written.metadata?.uid ?? '', isNewer ? written : actual);
  }

  /** A new claim that never arrives was deleted at once. */
  #expire(key: string, written: ResourceClaim): void {
    this.#clock.after(ARRIVAL_MS, () => {
      if (this.#assumed.get(key) !== written || this.#informers.resourceClaims.get(key)) return;
      this.#assumed.delete(key);
      this.#allocated.set(written.metadata?.uid ?? '', undefined);
    });
  }

  /** It failed, or was taken back. */
  forget(uid: string, key: string | undefined): void {
    this.#inFlight.delete(uid);
    const actual = key === undefined ? undefined : this.claim(...splitKey(key));
    this.#allocated.set(uid, actual?.metadata?.uid === uid ? actual : undefined);
  }

  #claimSeen(claim: ResourceClaim, then: () => void): void {
    const { uid = '' } = claim.metadata ?? {};
    const key = objectKey(claim);
    const assumed = this.#assumed.get(key);
    if (assumed && !isOlder(claim, assumed)) this.#assumed.delete(key);
    if (!this.#inFlight.has(uid) && !this.#assumed.has(key)) this.#allocated.set(uid, claim);
    if (isExtendedResourceClaim(claim)) this.#extendedClaims.set(findController(claim)?.uid ?? '', key);
    then();
  }

  #claimGone(claim: ResourceClaim): void {
    const { uid = '' } = claim.metadata ?? {};
    const key = objectKey(claim);
    if (this.#assumed.get(key)?.metadata?.uid === uid) this.#assumed.delete(key);
    if (!this.#inFlight.has(uid)) this.#allocated.set(uid, undefined);
    if (isExtendedResourceClaim(claim)) this.#extendedClaims.delete(findController(claim)?.uid ?? '');
  }

  #classSeen(now: DeviceClass | undefined, before: DeviceClass | undefined): void {
    const old = before?.spec.extendedResourceName;
    if (old !== undefined) this.#classesOf.get(old)?.delete(before?.metadata?.name ?? '');
    if (old !== undefined && this.#classesOf.get(old)?.size === 0) this.#classesOf.delete(old);
    const resource = now?.spec.extendedResourceName;
    if (resource === undefined) return;
    const names = this.#classesOf.get(resource) ?? new Set();
    this.#classesOf.set(resource, names.add(now?.metadata?.name ?? ''));
  }
}

function createdAt({ metadata }: DeviceClass): string {
  return metadata?.creationTimestamp ?? ' ';
}

/** Whether the informer's version is from before this one. A claim that it does not have yet is older than any. */
function isOlder(actual: ResourceClaim | undefined, { metadata }: ResourceClaim): boolean {
  return (
    compareResourceVersions(actual?.metadata?.resourceVersion ?? '', metadata?.resourceVersion ?? '') < 0
  );
}

function splitKey(key: string): [namespace: string, name: string] {
  const slash = key.indexOf('/');
  return [key.slice(0, slash), key.slice(slash + 1)];
}
