/**
 * The cluster's DNS where machines serve it and no Deployment does: control planes always, and as many further nodes as the parameters ask for. Chooses those nodes by a label, and keeps
 * their addresses behind Service kube-system/kube-dns while they answer.
 */
import { connect } from 'node:net';
import type { EndpointSlice, Node } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { endpointSlices, nodes } from '#client/refs.ts';
import { SERVICE_NAME_LABEL } from '#component-helpers/endpoint-slices.ts';
import {
  DNS_FAILED,
  DNS_NAMESPACE,
  DNS_SERVER_ANNOTATION,
  DNS_SERVER_LABEL,
  DNS_SERVICE,
  DNS_STANDBY,
  MANAGED_BY_LABEL,
  MANAGED_BY_SERVER,
} from '#component-helpers/machine-dns.ts';
import { isStatusError } from '#machinery/errors.ts';
import { ipFamily } from '#machinery/ip.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Stored } from '#machinery/object.ts';
import { isSchedulable } from './cluster-size.ts';

const SLICE = 'kube-dns-nodes';
const MANAGED_BY = 'node-dns.capstan.dev';
const ZONE = 'topology.kubernetes.io/zone';
const CONNECT_TIMEOUT_MS = 2_000;
/** A slice has at most a thousand. */
const MAXIMUM_NODES = 500;

/** Whether a server takes connections at its address. Replaced in tests. */
export type DnsProbe = (address: Address) => Promise<boolean>;

interface Address {
  readonly host: string;
  readonly port: number;
}

interface MachineDnsOptions {
  readonly api: Client;
  readonly all: readonly Stored<Node>[];
  readonly probe: DnsProbe;
}

interface MachineDns {
  /** Servers that are there, or chosen. */
  readonly servers: number;
  /** Chooses and releases nodes until there are so many servers. Returns how many there will be. */
  scale(replicas: number): Promise<number>;
  /** Puts chosen servers that answer behind the Service. */
  publish(): Promise<void>;
}

/** Undefined: no machine serves DNS here. */
export async function findMachineDns({
  api,
  all,
  probe,
}: MachineDnsOptions): Promise<MachineDns | undefined> {
  const { items } = await api.list(endpointSlices, {
    namespace: DNS_NAMESPACE,
    labelSelector: `${SERVICE_NAME_LABEL}=${DNS_SERVICE}`,
  });
  const own = items.filter(({ metadata }) => metadata.labels?.[MANAGED_BY_LABEL] === MANAGED_BY_SERVER);
  const fixed = new Set(
    own.flatMap(({ endpoints }) => (endpoints ?? []).flatMap(({ addresses }) => addresses)),
  );
  const chosen = all.filter(isChosen);
  if (fixed.size === 0 && chosen.length === 0) return undefined;
  return {
    servers: fixed.size + chosen.length,
    scale: (replicas) => choose(api, { all, chosen, fixed, wanted: Math.max(0, replicas - fixed.size) }),
    publish: () =>
      publish(api, { chosen, probe, known: items.find(({ metadata }) => metadata.name === SLICE) }),
  };
}

function isChosen({ metadata }: Node): boolean {
  return metadata?.labels?.[DNS_SERVER_LABEL] === 'true';
}

interface Choice {
  readonly all: readonly Stored<Node>[];
  readonly chosen: readonly Stored<Node>[];
  /** Addresses of servers that are always there. */
  readonly fixed: ReadonlySet<string>;
  readonly wanted: number;
}

async function choose(api: Client, { all, chosen, fixed, wanted }: Choice): Promise<number> {
  const able = all.filter((node) => canServe(node, fixed));
  const target = spread(able, Math.min(wanted, MAXIMUM_NODES));
  for (const node of target) if (!isChosen(node)) await label(api, { node, value: 'true' });
  for (const node of chosen) if (!target.includes(node)) await label(api, { node, value: null });
  return fixed.size + target.length;
}

function canServe(node: Stored<Node>, fixed: ReadonlySet<string>): boolean {
  const says = node.metadata.annotations?.[DNS_SERVER_ANNOTATION];
  const isAble = says !== undefined && says !== DNS_FAILED;
  const has = (node.status?.addresses ?? []).some(({ address }) => fixed.has(address));
  return isAble && isSchedulable(node) && !has && !node.metadata.deletionTimestamp;
}

/** Zones in turn; those that serve already first, so that servers do not move. */
function spread(able: readonly Stored<Node>[], count: number): readonly Stored<Node>[] {
  const order = (node: Stored<Node>): string => `${isChosen(node) ? 0 : 1}${node.metadata.name}`;
  const zones = [...Map.groupBy(able, ({ metadata }) => metadata.labels?.[ZONE] ?? '').values()].map((list) =>
    list.toSorted((left, right) => (order(left) < order(right) ? -1 : 1)),
  );
  const served = (list: readonly Stored<Node>[]): number => list.filter(isChosen).length;
  zones.sort((left, right) => served(right) - served(left));
  const longest = Math.max(0, ...zones.map(({ length }) => length));
  const turns = Array.from({ length: longest }, (_, turn) => zones.flatMap((list) => list[turn] ?? []));
  return turns.flat().slice(0, count);
}

function label(
  api: Client,
  { node, value }: { readonly node: Stored<Node>; readonly value: 'true' | null },
): Promise<unknown> {
  const patch = { metadata: { labels: { [DNS_SERVER_LABEL]: value } } };
  return api.patch(nodes, { name: node.metadata.name }, { type: 'merge', patch });
}

interface Publication {
  readonly chosen: readonly Stored<Node>[];
  readonly probe: DnsProbe;
  readonly known: Stored<EndpointSlice> | undefined;
}

interface ServingNode extends Address {
  readonly node: Stored<Node>;
}

async function publish(api: Client, { chosen, probe, known }: Publication): Promise<void> {
  const serving = chosen.filter(isSchedulable).flatMap((node) => {
    const at = servingAt(node);
    return at ? [{ ...at, node }] : [];
  });
  const answers = await Promise.all(serving.map(probe));
  const alive = serving.filter((_, index) => answers[index]);
  // A slice is of one family and one port: the first server's.
  const [first] = alive;
  if (!first) {
    if (known) await remove(api);
    return;
  }
  const fitting = alive.filter(
    ({ host, port }) => ipFamily(host) === ipFamily(first.host) && port === first.port,
  );
  await write(api, { slice: sliceOf(fitting), known });
}

/** Where it says it is, if that is an address of its own Node. */
function servingAt({ metadata, status }: Stored<Node>): Address | undefined {
  const text = metadata.annotations?.[DNS_SERVER_ANNOTATION] ?? DNS_STANDBY;
  const [, host = '', port] = /^\[?([^\]]+?)\]?:(\d+)$/.exec(text) ?? [];
  const isOwn = (status?.addresses ?? []).some(
    ({ type, address }) => type === 'InternalIP' && address === host,
  );
  return isOwn ? { host, port: Number(port) } : undefined;
}

function sliceOf(serving: readonly ServingNode[]): EndpointSlice {
  const [{ host, port }] = serving as readonly [ServingNode, ...ServingNode[]];
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: SLICE,
      namespace: DNS_NAMESPACE,
      labels: { [SERVICE_NAME_LABEL]: DNS_SERVICE, [MANAGED_BY_LABEL]: MANAGED_BY },
    },
    addressType: ipFamily(host),
    ports: [
      { name: 'dns', port, protocol: 'UDP' },
      { name: 'dns-tcp', port, protocol: 'TCP' },
    ],
    endpoints: serving.map(({ host: address, node }) => ({
      addresses: [address],
      nodeName: node.metadata.name,
      conditions: { ready: true, serving: true, terminating: false },
    })),
  };
}

async function write(
  api: Client,
  { slice, known }: { readonly slice: EndpointSlice; readonly known: Stored<EndpointSlice> | undefined },
): Promise<void> {
  const isSame =
    known?.addressType === slice.addressType &&
    deepEqual(
      known.endpoints?.map(({ addresses, nodeName }) => [addresses, nodeName]),
      slice.endpoints?.map(({ addresses, nodeName }) => [addresses, nodeName]),
    );
  if (isSame) return;
  if (known && known.addressType !== slice.addressType) await remove(api);
  if (known && known.addressType === slice.addressType)
    await api.update(endpointSlices, { ...slice, metadata: known.metadata });
  else await api.create(endpointSlices, slice);
}

async function remove(api: Client): Promise<void> {
  await api.delete(endpointSlices, { name: SLICE, namespace: DNS_NAMESPACE }).catch((error: unknown) => {
    if (!isStatusError(error, 'NotFound')) throw error;
  });
}

export function takesConnections({ host, port }: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
