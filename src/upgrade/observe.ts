/** What the machines of the cluster run, as they say themselves: the version of each API server, and of each node agent. An upgrade goes by this, not by memory. */
import type { Node } from '#api/types.ts';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import type { Client } from '#client/client.ts';
import { endpointSlices, nodes } from '#client/refs.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { hostPort } from '#deploy/config/endpoint.ts';
import { ENDPOINT_ANNOTATION } from '#deploy/phases/init/mark-control-plane.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { Stored } from '#machinery/object.ts';

/** What its Node says. */
export interface Machine {
  /** Of its Node. */
  readonly name: string;
  readonly role: 'control-plane' | 'worker';
  readonly address: string;
  /** HOST:PORT of its API server. */
  readonly server?: string | undefined;
  /** Of the node agent: 'v1.36.0+capstan.0.1.0' */
  readonly kubelet: string;
  readonly ready: boolean;
  readonly unschedulable: boolean;
}

export interface ObservedMachine extends Machine {
  /** Undefined: it does not answer, or the machine is a worker. */
  readonly api?: ApiVersion | undefined;
}

interface ApiVersion {
  readonly gitVersion: string;
  /** '1.36' */
  readonly emulated: string;
}

const DEFAULT_PORT = 6443;

/** at: a client of one API server. */
export async function observeMachines(
  api: Client,
  at: (server: string) => Client,
): Promise<readonly ObservedMachine[]> {
  const [all, port] = await Promise.all([api.list(nodes), apiServerPort(api)]);
  return Promise.all(all.items.map((node) => withVersion(machineOf(node, port), at)));
}

/** Undefined: there is no such Node. */
export async function observeMachine(
  api: Client,
  { name, at }: { readonly name: string; readonly at: (server: string) => Client },
): Promise<ObservedMachine | undefined> {
  try {
    const [node, port] = await Promise.all([api.get(nodes, { name }), apiServerPort(api)]);
    return await withVersion(machineOf(node, port), at);
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

/** port: of API servers whose Node does not name their endpoint. */
export function machineOf({ metadata, spec, status }: Stored<Node>, port: number): Machine {
  const address = status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? metadata.name;
  const isPlane = metadata.labels?.[CONTROL_PLANE_ROLE] !== undefined;
  return {
    name: metadata.name,
    role: isPlane ? 'control-plane' : 'worker',
    address,
    server: isPlane ? (metadata.annotations?.[ENDPOINT_ANNOTATION] ?? hostPort(address, port)) : undefined,
    kubelet: status?.nodeInfo?.kubeletVersion ?? '',
    ready: isConditionTrue(status?.conditions, 'Ready'),
    unschedulable: spec?.unschedulable ?? false,
  };
}

async function withVersion(machine: Machine, at: (server: string) => Client): Promise<ObservedMachine> {
  const { server } = machine;
  return { ...machine, api: server === undefined ? undefined : await versionOf(at(server)) };
}

async function versionOf(client: Client): Promise<ApiVersion | undefined> {
  try {
    const response = await client.transport.request({ method: 'GET', path: '/version' });
    const text = (await response.bytes()).toString();
    if (response.status !== 200) return undefined;
    const { gitVersion = '', emulationMajor, emulationMinor } = JSON.parse(text) as Record<string, string>;
    return { gitVersion, emulated: `${emulationMajor}.${emulationMinor}` };
  } catch {
    return undefined; // It is being started again, or gone: the caller waits, or says so.
  }
}

/** Of all API servers: the port of the Service kubernetes' endpoints. */
export async function apiServerPort(api: Client): Promise<number> {
  const { items } = await api.list(endpointSlices, {
    namespace: 'default',
    labelSelector: 'kubernetes.io/service-name=kubernetes',
  });
  return items[0]?.ports?.[0]?.port ?? DEFAULT_PORT;
}
