/** What the workers of all pods share: the runtime, the node's facts and the agents' helpers. Made once by the node agent. */
import type { Pod, Service } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import type { EventRecorder } from '#client/events.ts';
import type { Clock } from '#stdx/clock.ts';
import { type Counter, label } from '#stdx/instruments.ts';
import type { Logger } from '#stdx/log.ts';
import type { CriClient } from '../../cri/client.ts';
import type { Cgroups } from '../cgroups.ts';
import type { DnsOptions } from '../config/dns.ts';
import type { ImagePuller } from '../image-puller.ts';
import type { ReferencedObjects } from '../referenced-objects.ts';
import type { RuntimeView } from '../runtime-view.ts';
import type { PodVolumes } from '../volumes/pod-volumes.ts';
import type { ServiceAccountTokens } from '../volumes/service-account-tokens.ts';
import type { ResizeRefusal } from './resize.ts';
import type { StatusWriter } from './status-writer.ts';

export interface AgentParts {
  readonly api: Client;
  readonly cri: CriClient;
  readonly clock: Clock;
  readonly log: Logger;
  readonly events: EventRecorder;
  readonly view: RuntimeView;
  readonly images: ImagePuller;
  readonly volumes: PodVolumes;
  readonly objects: ReferencedObjects;
  readonly tokens: ServiceAccountTokens;
  readonly statuses: StatusWriter;
  readonly cgroups: Cgroups;
  /** '/capstan-<id>' */
  readonly cgroupRoot: string;
  readonly nodeName: string;
  readonly hostIPs: readonly string[];
  readonly machineMemoryBytes: number;
  /** Ends of containers, by type, exit code and reason. */
  readonly terminations: Counter;
  /** Pods' logs: '<logsDir>/<namespace>_<name>_<uid>'. */
  readonly logsDir: string;
  readonly seccompDir: string;
  dns(): Promise<DnsOptions>;
  services(): readonly Service[];
  allocatable(): Readonly<Record<string, string>>;
  /** Why the pod cannot have what it asks for now, beside the others; undefined: it can. */
  resizeRefusal(pod: Pod): ResizeRefusal | undefined;
  /** A pod has another allocation now: others may have room. */
  allocationChanged(): void;
  /** The runtime is about to change: look closely for a while. */
  expectChange(): void;
}

export function podLogDirectory(logsDir: string, { metadata }: Pod): string {
  return `${logsDir}/${metadata?.namespace}_${metadata?.name}_${metadata?.uid}`;
}

/** What /metrics calls the end of a container. */
export function terminationLabels(
  pod: Pod,
  { name, exitCode, reason }: { readonly name: string; readonly exitCode: number; readonly reason: string },
): string {
  const is = (list: readonly { readonly name: string }[] | undefined): boolean =>
    list?.some((container) => container.name === name) ?? false;
  const type = is(pod.spec?.initContainers)
    ? 'init_container'
    : is(pod.spec?.ephemeralContainers)
      ? 'ephemeral_container'
      : 'container';
  return `${label('container_type', type)},${label('exit_code', String(exitCode))},${label('reason', reason)}`;
}

/** How messages name a pod: 'web-0_default(uid)'. */
export function podText({ metadata }: Pod): string {
  return `${metadata?.name}_${metadata?.namespace}(${metadata?.uid})`;
}

/** Where a container stands in its pod, for events: 'spec.containers{web}'. */
export function fieldPathOf(pod: Pod, name: string): string {
  const list = pod.spec?.initContainers?.some((container) => container.name === name)
    ? 'initContainers'
    : pod.spec?.ephemeralContainers?.some((container) => container.name === name)
      ? 'ephemeralContainers'
      : 'containers';
  return `spec.${list}{${name}}`;
}
