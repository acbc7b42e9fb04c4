/**
 * The container runtime's state of our pods, read from its labels: the only record of running containers, so that a new agent adopts them.
 * Read only. Times are milliseconds since the epoch, 0 = has not happened.
 */
import { isIPv6 } from 'node:net';
import type { CriClient } from '../cri/client.ts';
import { isCriError } from '../cri/errors.ts';
import type * as cri from '../cri/types.ts';
import { ANNOTATIONS, LABELS } from './labels.ts';

type ContainerPhase = 'created' | 'running' | 'exited' | 'unknown';

export interface RuntimeContainer {
  readonly id: string;
  readonly sandboxId: string;
  readonly name: string;
  readonly restartCount: number;
  readonly phase: ContainerPhase;
  readonly createdAtMs: number;
  readonly startedAtMs: number;
  readonly finishedAtMs: number;
  readonly exitCode: number;
  /** The runtime's word: 'Completed', 'Error', 'OOMKilled', 'StartError', 'Unknown'. */
  readonly reason: string;
  readonly message: string;
  /** As the runtime knows it: 'docker.io/library/busybox:latest'. */
  readonly image: string;
  readonly imageRef: string;
  readonly hash: string;
  readonly logPath: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly mounts: readonly cri.Mount[];
  readonly user: cri.LinuxContainerUser | undefined;
  readonly resources: cri.LinuxContainerResources | undefined;
}

export interface RuntimeSandbox {
  readonly id: string;
  readonly attempt: number;
  readonly ready: boolean;
  readonly createdAtMs: number;
  readonly ips: readonly string[];
  readonly hostNetwork: boolean;
}

/** Newest first in both lists. */
export interface PodRuntime {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly sandboxes: readonly RuntimeSandbox[];
  readonly containers: readonly RuntimeContainer[];
}

const PHASES: Readonly<Record<cri.ContainerState, ContainerPhase>> = {
  CONTAINER_CREATED: 'created',
  CONTAINER_RUNNING: 'running',
  CONTAINER_EXITED: 'exited',
  CONTAINER_UNKNOWN: 'unknown',
};
const NANOS_PER_MS = 1e6;

/** Which pods the runtime has, and a text per pod that changes when one of its sandboxes or containers does. */
export interface PodDigest {
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly digest: string;
}

export class RuntimeView {
  readonly #cri: CriClient;
  /** A container's status does not change while its state stays: read once per state. */
  readonly #containers = new Map<
    string,
    { readonly state: cri.ContainerState; readonly container: RuntimeContainer }
  >();
  readonly #sandboxes = new Map<string, RuntimeSandbox>();

  constructor(cri: CriClient) {
    this.#cri = cri;
  }

  /** The current state of one pod. Throws CriError. */
  async pod(uid: string): Promise<PodRuntime> {
    const filter = { labelSelector: { [LABELS.podUID]: uid } };
    const [{ items }, { containers }] = await Promise.all([
      this.#cri.listPodSandbox({ filter }),
      this.#cri.listContainers({ filter }),
    ]);
    const sandboxes = (await Promise.all(items.map((item) => this.#sandbox(item)))).filter(
      (sandbox) => sandbox !== undefined,
    );
    const all = (await Promise.all(containers.map((item) => this.#container(item)))).filter(
      (container) => container !== undefined,
    );
    const labels = items[0]?.labels ?? containers[0]?.labels ?? {};
    return {
      uid,
      name: labels[LABELS.podName] ?? '',
      namespace: labels[LABELS.podNamespace] ?? '',
      sandboxes: sandboxes.sort((a, b) => b.createdAtMs - a.createdAtMs),
      containers: all.sort((a, b) => b.createdAtMs - a.createdAtMs || b.restartCount - a.restartCount),
    };
  }

  /** One list of all sandboxes and containers. Throws CriError. */
  async digests(): Promise<Map<string, PodDigest>> {
    const [{ items }, { containers }] = await Promise.all([
      this.#cri.listPodSandbox({}),
      this.#cri.listContainers({}),
    ]);
    const parts = new Map<string, { name: string; namespace: string; words: string[] }>();
    const add = (labels: Readonly<Record<string, string>>, word: string): void => {
      const uid = labels[LABELS.podUID];
      if (!uid) return;
      const part = parts.get(uid) ?? {
        name: labels[LABELS.podName] ?? '',
        namespace: labels[LABELS.podNamespace] ?? '',
        words: [],
      };
      part.words.push(word);
      parts.set(uid, part);
    };
    for (const { id, state, labels } of items) add(labels, `${id}=${state}`);
    for (const { id, state, labels } of containers) add(labels, `${id}=${state}`);
    this.#forgetAllBut(new Set([...items, ...containers].map(({ id }) => id)));
    return new Map(
      [...parts].map(([uid, { name, namespace, words }]) => [
        uid,
        { uid, name, namespace, digest: words.sort().join(' ') },
      ]),
    );
  }

  #forgetAllBut(ids: ReadonlySet<string>): void {
    for (const id of this.#containers.keys()) if (!ids.has(id)) this.#containers.delete(id);
    for (const id of this.#sandboxes.keys()) if (!ids.has(id)) this.#sandboxes.delete(id);
  }

  async #sandbox(item: cri.PodSandbox): Promise<RuntimeSandbox | undefined> {
    const ready = item.state === 'SANDBOX_READY';
    const known = this.#sandboxes.get(item.id);
    if (known && known.ready === ready && (known.ips.length > 0 || known.hostNetwork || !ready)) return known;
    const status = ready
      ? await this.#orGone(this.#cri.podSandboxStatus({ podSandboxId: item.id }))
      : undefined;
    if (ready && !status?.status) return undefined;
    const { network, linux } = status?.status ?? {};
    const sandbox: RuntimeSandbox = {
      id: item.id,
      attempt: item.metadata?.attempt ?? 0,
      ready,
      createdAtMs: item.createdAt / NANOS_PER_MS,
      ips: network?.ip ? [network.ip, ...network.additionalIps.map(({ ip }) => ip)] : [],
      hostNetwork: linux?.namespaces?.options?.network === 'NODE',
    };
    this.#sandboxes.set(item.id, sandbox);
    return sandbox;
  }

  async #container(item: cri.Container): Promise<RuntimeContainer | undefined> {
    const known = this.#containers.get(item.id);
    if (known && known.state === item.state) return known.container;
    const status = (await this.#orGone(this.#cri.containerStatus({ containerId: item.id })))?.status;
    if (!status) return undefined;
    const container: RuntimeContainer = {
      id: item.id,
      sandboxId: item.podSandboxId,
      name: item.labels[LABELS.containerName] ?? item.metadata?.name ?? '',
      restartCount: Number(item.annotations[ANNOTATIONS.restartCount] ?? item.metadata?.attempt ?? 0),
      phase: PHASES[status.state],
      createdAtMs: status.createdAt / NANOS_PER_MS,
      startedAtMs: status.startedAt / NANOS_PER_MS,
      finishedAtMs: status.finishedAt / NANOS_PER_MS,
      exitCode: status.exitCode,
      reason: status.reason,
      message: status.message,
      image: status.image?.image || item.image?.image || '',
      imageRef: status.imageRef,
      hash: item.annotations[ANNOTATIONS.hash] ?? '',
      logPath: status.logPath,
      annotations: item.annotations,
      mounts: status.mounts,
      user: status.user?.linux,
      resources: status.resources?.linux,
    };
    this.#containers.set(item.id, { state: status.state, container });
    return container;
  }

  async #orGone<T>(answer: Promise<T>): Promise<T | undefined> {
    return answer.catch((error: unknown) => {
      if (isCriError(error, 'not-found')) return undefined;
      throw error;
    });
  }
}

/** The newest container of this name, in this sandbox when one is given. */
export function latestContainer(
  runtime: PodRuntime,
  name: string,
  sandboxId?: string,
): RuntimeContainer | undefined {
  return runtime.containers.find(
    (container) => container.name === name && (sandboxId === undefined || container.sandboxId === sandboxId),
  );
}

/** Of the pod's sandbox: one of each family, that of the node's first address first, as upstream. Without a network of its own none. */
export function podAddresses(runtime: PodRuntime, [primary = '']: readonly string[]): readonly string[] {
  const ips = activeSandbox(runtime)?.ips ?? [];
  const families = isIPv6(primary) ? [true, false] : [false, true];
  return families.flatMap((six) => ips.find((ip) => isIPv6(ip) === six) ?? []);
}

/** The sandbox that the pod lives in; undefined while there is none that is ready. */
export function activeSandbox(runtime: PodRuntime): RuntimeSandbox | undefined {
  return runtime.sandboxes.find(({ ready }) => ready);
}
