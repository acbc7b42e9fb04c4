/**
 * The cluster as the scorecard sees it: each list is read once and shared by the rows. Works with any cluster that a kubeconfig leads to; what only our own
 * machines know comes by `machine`, and what takes a connection without credentials by `outside`.
 */
import type { Namespace, Node, Pod } from '#api/types.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { endpointSlices, namespaces, nodes, pods } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject, Stored } from '#machinery/object.ts';
import { formatHostPort } from '#stdx/host-port.ts';
import type { CheckContext } from '../check.ts';
import { listAll } from '../list-all.ts';
import { readFlags, type ServerFlags } from './server-flags.ts';

export interface OutsideProbe {
  /** Of the server at HOST:PORT, without sending credentials. */
  certificateOf(server: string): Promise<{ readonly notAfterMs: number }>;
  /** The status code that a request without credentials gets. */
  anonymousStatus(path: string): Promise<number>;
  /** Loses one server after the other for a client that has them all. Undefined: they cannot be reached one by one. */
  failOver(servers: readonly string[]): Promise<FailOver | undefined>;
  /** HOST:PORT that the kubeconfig leads to. */
  readonly server: string;
}

export interface FailOver {
  /** Requests that were made while one was lost. */
  readonly requests: number;
  readonly failed: number;
  readonly longestMs: number;
}

export interface ClusterView extends CheckContext {
  readonly outside: OutsideProbe;
  nodes(): Promise<readonly Stored<Node>[]>;
  namespaces(): Promise<readonly Stored<Namespace>[]>;
  /** At most 20,000. */
  pods(): Promise<readonly Stored<Pod>[]>;
  /** API servers, HOST:PORT, from EndpointSlice default/kubernetes. */
  servers(): Promise<readonly string[]>;
  /** The API server is Capstan's. */
  isCapstan(): Promise<boolean>;
  /** Flags of the API servers; undefined: they cannot be seen. */
  flags(): Promise<ServerFlags | undefined>;
  /** The objects of a resource that the cluster may not have: [] then. */
  optional<T extends KubeObject>(ref: ResourceRef<T>): Promise<readonly Stored<T>[]>;
}

export const ZONE_LABEL = 'topology.kubernetes.io/zone';

export function createView(context: CheckContext, outside: OutsideProbe): ClusterView {
  const { api } = context;
  const once = <T>(read: () => Promise<T>): (() => Promise<T>) => {
    let reading: Promise<T> | undefined;
    return () => (reading ??= read());
  };
  const view: ClusterView = {
    ...context,
    outside,
    nodes: once(async () => (await listAll(api, nodes)).items),
    namespaces: once(async () => (await listAll(api, namespaces)).items),
    pods: once(async () => (await listAll(api, pods)).items),
    servers: once(() => serversOf(api)),
    isCapstan: once(() => isCapstan(api)),
    flags: once(async () => readFlags(api, await view.pods())),
    optional: (ref) => optional(api, ref),
  };
  return view;
}

async function serversOf(api: Client): Promise<readonly string[]> {
  const { items } = await api.list(endpointSlices, {
    namespace: 'default',
    labelSelector: 'kubernetes.io/service-name=kubernetes',
  });
  const servers = items.flatMap(({ endpoints, ports }) =>
    (endpoints ?? []).flatMap(({ addresses }) =>
      addresses.map((address) => formatHostPort(address, ports?.[0]?.port ?? 6443)),
    ),
  );
  return [...new Set(servers)].toSorted();
}

async function isCapstan({ transport }: Client): Promise<boolean> {
  const response = await transport.request({ method: 'GET', path: '/version' });
  return (await response.bytes()).toString().includes('+capstan');
}

async function optional<T extends KubeObject>(
  api: Client,
  ref: ResourceRef<T>,
): Promise<readonly Stored<T>[]> {
  try {
    return (await listAll(api, ref)).items;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return [];
    throw error;
  }
}

export function isControlPlane({ metadata }: Stored<Node>): boolean {
  return (
    metadata.labels?.[CONTROL_PLANE_ROLE] !== undefined ||
    metadata.labels?.['node-role.kubernetes.io/master'] !== undefined
  );
}

/** Nodes that pods of users may come to: no taint keeps them away. */
export function isWorker({ spec }: Stored<Node>): boolean {
  return !(spec?.taints ?? []).some(
    ({ key, effect }) => key.startsWith('node-role.kubernetes.io/') && effect !== 'PreferNoSchedule',
  );
}

/** A namespace of the cluster itself. */
export function isSystemNamespace(name: string): boolean {
  return name.startsWith('kube-') || name === 'local-path-storage';
}

/** Names of the namespaces in which users run pods, sorted. */
export async function userNamespaces(view: ClusterView): Promise<readonly string[]> {
  const all = (await view.pods()).map(({ metadata }) => metadata.namespace ?? '');
  return [...new Set(all)].filter((name) => !isSystemNamespace(name)).toSorted();
}
