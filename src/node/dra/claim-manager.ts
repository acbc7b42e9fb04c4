/**
 * DRA drivers on this node: has them prepare the claims of pods before their sandbox is made, and undo it after the last pod of a claim has ended. Every
 * claim is recorded on disk before a driver is called, so that an agent that was killed at any step goes on or undoes it.
 *
 *   prepare:    claims read, reserved for the pod ─► record ─► NodePrepareResources of each driver ─► record with its devices
 *   unprepare:  the last pod's: NodeUnprepareResources of each driver ─► record removed
 */
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Container, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { resourceClaims } from '#client/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import { KeyedMutex } from '#stdx/keyed-mutex.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Rounds } from '../agent/rounds.ts';
import type { Plugin, PluginHandler, RegisteredPlugin } from '../plugins/plugin-registry.ts';
import { readClaims, writeClaims, type ClaimRecord } from './checkpoint.ts';
import { claimNames, driversOf, requestsOf, requireUsable, usesClaims } from './pod-claims.ts';
import { createDraClient, DRA_SERVICES, type DraClient, type PreparedDevice } from './protocol.ts';

/** A claim of the pod cannot be prepared now; it is tried again. */
export class ClaimError extends Error {
  override readonly name = 'ClaimError';
}

interface ClaimDevices {
  readonly claim: ClaimRecord;
  readonly devices: readonly { readonly driver: string; readonly device: PreparedDevice }[];
}

interface ClaimManagerOptions {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  /** '…/dra_manager_state' */
  readonly path: string;
  /** Whether the pod with this UID exists, or something of it is left. */
  readonly isKnown: (uid: string) => boolean;
}

/** Claims whose pods went while the agent did not run. Upstream's period. */
const SWEEP_MS = 60_000;

export class ClaimManager implements PluginHandler {
  readonly #options: ClaimManagerOptions;
  readonly #rounds: Rounds;
  readonly #mutex = new KeyedMutex();
  readonly #drivers = new Map<string, DraClient>();
  /** By UID. Bounded by the claims of this node's pods. */
  readonly #claims = new Map<string, ClaimRecord>();
  /** UIDs of claims that this agent had prepared whole. */
  readonly #prepared = new Set<string>();

  constructor(options: ClaimManagerOptions) {
    this.#options = options;
    this.#rounds = new Rounds(options.clock);
  }

  /** Rejects when the record is damaged: claims that are prepared would never be undone. */
  async load(): Promise<void> {
    for (const claim of await readClaims(this.#options.path)) this.#claims.set(claim.uid, claim);
  }

  start(): void {
    this.#rounds.start(
      async () => {
        await this.#sweep();
        return SWEEP_MS;
      },
      { firstMs: SWEEP_MS },
    );
  }

  async stop(): Promise<void> {
    await this.#rounds.stop();
    for (const driver of this.#drivers.values()) driver.close();
    this.#drivers.clear();
  }

  /** A driver. */
  async register({ name, endpoint, supportedVersions }: Plugin): Promise<RegisteredPlugin> {
    const [, methods] = [...DRA_SERVICES].find(([service]) => supportedVersions.includes(service)) ?? [];
    if (name === '') throw new Error('DRA plugin name is empty');
    if (!methods)
      throw new Error(
        `none of the DRA gRPC API services supported by the kubelet (${[...DRA_SERVICES.keys()].join(', ')}) is in ${supportedVersions.join(', ')}`,
      );
    const client = createDraClient(endpoint, methods);
    this.#drivers.get(name)?.close();
    this.#drivers.set(name, client);
    const close = (): void => {
      client.close();
      if (this.#drivers.get(name) === client) this.#drivers.delete(name);
    };
    return { leave: close, close };
  }

  /** Idempotent. Rejects with ClaimError. */
  async prepare(pod: Pod): Promise<void> {
    if (!usesClaims(pod)) return;
    try {
      const names = claimNames(pod);
      await this.#mutex.run('', async () => {
        for (const name of names) await this.#prepareClaim(pod, name);
      });
    } catch (error) {
      throw new ClaimError(`prepare dynamic resources: ${errorMessage(error)}`, { cause: error });
    }
  }

  /** CDI names of a container's devices. Rejects with ClaimError. */
  async cdiDevices(pod: Pod, container: Container): Promise<string[]> {
    const used = requestsOf(pod, container);
    if (used.length === 0) return [];
    if (used.some(({ claim }) => !this.#claimOf(pod, claim))) await this.prepare(pod);
    const names = this.claimDevices(pod, container).flatMap(({ devices }) =>
      devices.flatMap(({ device }) => device.cdiDeviceIds),
    );
    return [...new Set(names)];
  }

  /** What a container has of each claim, as far as it is prepared. */
  claimDevices(pod: Pod, container: Container): ClaimDevices[] {
    const used = Map.groupBy(requestsOf(pod, container), ({ claim }) => claim);
    return [...used].flatMap(([name, requests]) => {
      const claim = this.#claimOf(pod, name);
      if (!claim) return [];
      const devices = Object.entries(claim.drivers).flatMap(([driver, all]) =>
        all
          .filter((device) => requests.some(({ request }) => isOfRequest(device, request)))
          .map((device) => ({ driver, device })),
      );
      return [{ claim, devices }];
    });
  }

  /** Nothing of the pod runs any more. Idempotent. Rejects with ClaimError: call it again. */
  async unprepare(podUID: string): Promise<void> {
    try {
      await this.#mutex.run('', async () => {
        for (const claim of this.#claims.values())
          if (claim.pods.includes(podUID)) await this.#unprepareClaim(claim, podUID);
      });
    } catch (error) {
      throw new ClaimError(`unprepare dynamic resources: ${errorMessage(error)}`, { cause: error });
    }
  }

  async #prepareClaim(pod: Pod, name: string): Promise<void> {
    const { namespace = '', uid: podUID = '' } = pod.metadata ?? {};
    const known = this.#claimOf(pod, name);
    if (known && known.pods.includes(podUID) && this.#prepared.has(known.uid)) return;
    const claim = await this.#options.api.get(resourceClaims, { name, namespace }).catch((error: unknown) => {
      throw new Error(`fetch ResourceClaim ${name}: ${errorMessage(error)}`, { cause: error });
    });
    requireUsable(pod, claim);
    const { uid } = claim.metadata;
    if (known && known.uid !== uid)
      throw new Error(
        `old ResourceClaim with same name ${name} and different UID ${known.uid} still exists (previous pod force-deleted?!)`,
      );
    const drivers = driversOf(claim).map((driver) => ({ driver, client: this.#driver(driver) }));
    const pods = [...new Set([...(known?.pods ?? []), podUID])];
    this.#keep({ uid, name, namespace, pods, drivers: known?.drivers ?? emptyDrivers(claim) });
    if (this.#prepared.has(uid)) return;
    for (const { driver, client } of drivers) await this.#prepareDriver(uid, { driver, client });
    this.#prepared.add(uid);
  }

  async #prepareDriver(
    uid: string,
    { driver, client }: { readonly driver: string; readonly client: DraClient },
  ): Promise<void> {
    const claim = this.#claims.get(uid)!;
    const { name, namespace } = claim;
    const answers = await client.prepare([{ namespace, uid, name }]).catch((error: unknown) => {
      throw new Error(`NodePrepareResources: ${errorMessage(error)}`, { cause: error });
    });
    const answer = answers[uid];
    if (!answer) throw new Error('NodePrepareResources skipped 1 ResourceClaims');
    if (answer.error !== '')
      throw new Error(`NodePrepareResources failed for ResourceClaim ${name}: ${answer.error}`);
    this.#keep({ ...claim, drivers: { ...claim.drivers, [driver]: answer.devices } });
  }

  async #unprepareClaim(claim: ClaimRecord, podUID: string): Promise<void> {
    const pods = claim.pods.filter((one) => one !== podUID);
    if (pods.length > 0) return this.#keep({ ...claim, pods });
    const { uid, name, namespace } = claim;
    this.#prepared.delete(uid);
    for (const driver of Object.keys(claim.drivers)) {
      const answers = await this.#driver(driver)
        .unprepare([{ namespace, uid, name }])
        .catch((error: unknown) => {
          throw new Error(`NodeUnprepareResources: ${errorMessage(error)}`, { cause: error });
        });
      const answer = answers[uid];
      if (!answer) throw new Error('NodeUnprepareResources skipped 1 ResourceClaims');
      if (answer.error !== '')
        throw new Error(`NodeUnprepareResources failed for ResourceClaim ${name}: ${answer.error}`);
    }
    this.#claims.delete(uid);
    this.#save();
  }

  async #sweep(): Promise<void> {
    const { isKnown, log } = this.#options;
    const pods = new Set([...this.#claims.values()].flatMap((claim) => claim.pods));
    for (const uid of pods)
      if (!isKnown(uid))
        await this.unprepare(uid).catch((error: unknown) =>
          log.warn('error unpreparing claims of a pod that is gone', { uid, error: errorMessage(error) }),
        );
  }

  #driver(name: string): DraClient {
    const client = this.#drivers.get(name);
    if (!client) throw new Error(`DRA driver ${name} is not registered`);
    return client;
  }

  #claimOf({ metadata }: Pod, name: string): ClaimRecord | undefined {
    return [...this.#claims.values()].find(
      (claim) => claim.name === name && claim.namespace === metadata?.namespace,
    );
  }

  #keep(claim: ClaimRecord): void {
    this.#claims.set(claim.uid, claim);
    this.#save();
  }

  /** Throws: a claim that is not recorded is not prepared. */
  #save(): void {
    writeClaims(this.#options.path, [...this.#claims.values()]);
  }
}

function emptyDrivers(claim: ResourceClaim): Record<string, readonly PreparedDevice[]> {
  return Object.fromEntries(driversOf(claim).map((driver) => [driver, []]));
}

/** A device without requests is of all; 'gpu/large' is a subrequest of 'gpu'. */
function isOfRequest({ requestNames }: PreparedDevice, request: string): boolean {
  if (request === '' || requestNames.length === 0) return true;
  return requestNames.some((name) => name === request || name.startsWith(`${request}/`));
}
