/**
 * Writes what VolumeBinding chose, before a pod is bound: volumes get the claim's reference, claims get the node for their provisioner. Then it
 * waits until the controller has bound all of them.
 *
 *   assume (in the cycle) ──► bind: write ──► wait, up to 10 minutes ──bound──► the pod is bound
 *                                 │              └─ reset, reachable no more, time over ──┐
 *                                 └─ refused ─────────────────────────────────────────────┴─► forget, the pod is scheduled again
 */
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '#api/types.ts';
import type { Client, Informer } from '#client/client.ts';
import { persistentVolumeClaims, persistentVolumes } from '#client/refs.ts';
import {
  BOUND_BY_CONTROLLER,
  isClaimFullyBound,
  isReachableFrom,
  isVolumeBoundToClaim,
  SELECTED_NODE,
} from '#component-helpers/persistent-volumes.ts';
import { objectKey } from '#machinery/object.ts';
import { compareResourceVersions } from '#machinery/resource-version.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import type { Labels } from '#machinery/labels.ts';
import { ChangeWaiters } from './change-waiters.ts';
import type { PodVolumes } from './plugins/volume-binding.ts';
import type { AssumedStorage, StorageInformers } from './storage.ts';

/** Upstream's VolumeBindingArgs.bindTimeoutSeconds. */
const BIND_TIMEOUT_MS = 600_000;
/** Upstream's polls; changes of claims and volumes are looked at at once. */
const CHECK_EVERY_MS = 1_000;

/** The message is upstream's; the pod is scheduled again. */
export class VolumeBindingError extends Error {
  override readonly name = 'VolumeBindingError';
  constructor(cause: unknown) {
    super(`running PreBind plugin "VolumeBinding": binding volumes: ${errorMessage(cause)}`, { cause });
  }
}

interface VolumeBinderOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly informers: StorageInformers;
  readonly pods: Informer<Pod>;
  readonly assumed: AssumedStorage;
  /** A node's labels; undefined: there is no such node. */
  readonly labelsOf: (node: string) => Labels | undefined;
}

interface Binding extends PodVolumes {
  readonly pod: Pod;
  readonly node: string;
  /** Default: 10 minutes. */
  readonly timeoutMs?: number | undefined;
}

export class VolumeBinder {
  readonly #options: VolumeBinderOptions;
  readonly #waiters: ChangeWaiters;

  constructor(options: VolumeBinderOptions) {
    this.#options = options;
    this.#waiters = new ChangeWaiters(options.clock);
  }

  /** A claim or volume changed. */
  changed(): void {
    this.#waiters.wake();
  }

  /** The objects as they are to be written; later cycles see them so. */
  assume({ bindings, provisions }: PodVolumes, node: string): PodVolumes {
    const { assumed } = this.#options;
    const next = {
      bindings: bindings.map(({ claim, volume }) => ({ claim, volume: naming(volume, claim) })),
      provisions: provisions.map((claim) => selecting(claim, node)),
    };
    for (const { volume } of next.bindings) assumed.assumeVolume(volume);
    for (const claim of next.provisions) assumed.assumeClaim(claim);
    return next;
  }

  forget({ bindings, provisions }: PodVolumes): void {
    const { assumed } = this.#options;
    for (const { volume } of bindings) assumed.forgetVolume(volume);
    for (const claim of provisions) assumed.forgetClaim(claim);
  }

  /** Throws VolumeBindingError, or the abort reason of the signal. */
  async bind(binding: Binding, signal: AbortSignal): Promise<void> {
    try {
      await this.#wait(await this.#write(binding), signal);
    } catch (error) {
      signal.throwIfAborted();
      throw new VolumeBindingError(error);
    }
  }

  async #write({ bindings, provisions, ...rest }: Binding): Promise<Binding> {
    const { api } = this.#options;
    const written: PodVolumes['bindings'][number][] = [];
    for (const { claim, volume } of bindings)
      written.push({ claim, volume: await api.update(persistentVolumes, volume) });
    const marked: PersistentVolumeClaim[] = [];
    for (const claim of provisions) marked.push(await api.update(persistentVolumeClaims, claim));
    return { ...rest, bindings: written, provisions: marked };
  }

  async #wait(binding: Binding, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const untilMs = clock.monotonic() + (binding.timeoutMs ?? BIND_TIMEOUT_MS);
    while (!this.#isBound(binding)) {
      signal.throwIfAborted();
      if (clock.monotonic() >= untilMs) throw new Error('context deadline exceeded');
      await this.#waiters.next(signal, CHECK_EVERY_MS);
    }
  }

  /** Throws when the binding will not come about. */
  #isBound({ pod, node, bindings, provisions }: Binding): boolean {
    const { pods, labelsOf } = this.#options;
    if (pods.get(objectKey(pod))?.metadata?.uid !== pod.metadata?.uid)
      throw new Error(`pod does not exist any more: pod ${JSON.stringify(pod.metadata?.name)} not found`);
    const labels = labelsOf(node);
    if (!labels)
      throw new Error(`failed to get node ${JSON.stringify(node)}: node ${JSON.stringify(node)} not found`);
    const place = { name: node, labels };
    return (
      bindings.every((one) => this.#isVolumeTaken(one, place)) &&
      provisions.every((claim) => this.#isProvisioned(claim, place))
    );
  }

  #isVolumeTaken({ claim, volume: written }: PodVolumes['bindings'][number], place: Place): boolean {
    const { informers } = this.#options;
    const name = written.metadata?.name ?? '';
    const volume = informers.volumes.get(name);
    if (!volume) throw new Error(`failed to check binding: could not find v1.PersistentVolume "${name}"`);
    if (isOlder(volume, written)) return false;
    requireReach(volume, place);
    if (!volume.spec?.claimRef?.uid) throw new Error(`ClaimRef got reset for pv ${JSON.stringify(name)}`);
    return isClaimFullyBound(this.#claim(claim, 'failed to check pvc binding'));
  }

  #isProvisioned(written: PersistentVolumeClaim, place: Place): boolean {
    const claim = this.#claim(written, 'failed to check provisioning pvc');
    if (isOlder(claim, written)) return false;
    const name = JSON.stringify(claim.metadata?.name);
    const selected = claim.metadata?.annotations?.[SELECTED_NODE];
    if (selected === undefined) throw new Error(`selectedNode annotation reset for PVC ${name}`);
    if (selected !== place.name) throw new Error(`provisioning failed for PVC ${name}`);
    const volume = this.#options.informers.volumes.get(claim.spec?.volumeName ?? '');
    if (volume) requireReach(volume, place);
    return volume !== undefined && isClaimFullyBound(claim);
  }

  #claim(wanted: PersistentVolumeClaim, what: string): PersistentVolumeClaim {
    const key = objectKey(wanted);
    const claim = this.#options.informers.claims.get(key);
    if (claim) return claim;
    throw new Error(`${what}: could not find v1.PersistentVolumeClaim "${key}"`);
  }
}

interface Place {
  readonly name: string;
  readonly labels: Labels;
}

function requireReach(volume: PersistentVolume, place: Place): void {
  if (!isReachableFrom(volume, place))
    throw new Error(
      `pv ${JSON.stringify(volume.metadata?.name)} node affinity doesn't match node ${JSON.stringify(place.name)}: no matching NodeSelectorTerms`,
    );
}

/** The informer has not received what was written yet. */
function isOlder({ metadata }: PersistentVolume, { metadata: written }: PersistentVolume): boolean {
  return compareResourceVersions(metadata?.resourceVersion ?? '', written?.resourceVersion ?? '') < 0;
}

function naming(volume: PersistentVolume, claim: PersistentVolumeClaim): PersistentVolume {
  const { name, namespace, uid, resourceVersion } = claim.metadata ?? {};
  const annotations = isVolumeBoundToClaim(volume, claim)
    ? volume.metadata?.annotations
    : { ...volume.metadata?.annotations, [BOUND_BY_CONTROLLER]: 'yes' };
  return {
    ...volume,
    metadata: { ...volume.metadata, ...(annotations ? { annotations } : {}) },
    spec: {
      ...volume.spec,
      claimRef: {
        kind: 'PersistentVolumeClaim',
        apiVersion: 'v1',
        name: name!,
        namespace: namespace!,
        uid: uid!,
        resourceVersion: resourceVersion!,
      },
    },
  };
}

function selecting(claim: PersistentVolumeClaim, node: string): PersistentVolumeClaim {
  const annotations = { ...claim.metadata?.annotations, [SELECTED_NODE]: node };
  return { ...claim, metadata: { ...claim.metadata, annotations } };
}
