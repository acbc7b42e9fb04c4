/** What the supervisor of a machine runs: one record a service, kept in machine.json. Data only. */

import type { HostPathMount } from '../config/types.ts';

/** In the order they start; they stop in reverse. */
export const SERVICE_NAMES = [
  'balancer',
  'etcd',
  'apiserver',
  'controller-manager',
  'scheduler',
  'node',
  'proxy',
  'dns',
] as const;

type ServiceName = (typeof SERVICE_NAMES)[number];

export interface ServiceSpec {
  readonly name: ServiceName;
  /** Words after `capstan`, which a user can run by hand; or another program by its path. */
  readonly run:
    | { readonly capstan: readonly string[] }
    | { readonly program: string; readonly args: readonly string[] };
  /** Services of one group share a process, which saves memory. Default: a process of its own. */
  readonly group?: string | undefined;
  readonly health?: HealthProbe | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Of a component that is a static pod: a service sees the machine's files where they are. */
  readonly volumes?: readonly HostPathMount[] | undefined;
  /** Directory of the Capstan that runs it, during an upgrade. Default: the supervisor's own. Services of a group have the same. */
  readonly checkout?: string | undefined;
}

/** Healthy on a response of 200. Without caFile the server's certificate is not verified: it is on this machine's loopback. */
export interface HealthProbe {
  readonly url: string;
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** Until the first healthy answer after a start. Default, and at least: 300. */
  readonly startSeconds?: number | undefined;
}

/** Each name once, in order of start; the given one replaces one of the same name. */
export function withService(services: readonly ServiceSpec[], added: ServiceSpec): ServiceSpec[] {
  const others = services.filter(({ name }) => name !== added.name);
  return [...others, added].toSorted((a, b) => SERVICE_NAMES.indexOf(a.name) - SERVICE_NAMES.indexOf(b.name));
}
