/** metrics.k8s.io inside the API server: the addon that measures, asking kubelets as this server does, and the API that it is served as. */
import { randomUUID } from 'node:crypto';
import { COLUMNS, METRICS_GROUP, METRICS_VERSION, row } from '#addons/metrics/metrics-api.ts';
import { ResourceMetrics, type Address } from '#addons/metrics/resource-metrics.ts';
import type { HostedApi } from '#apiserver/aggregation/hosted-api.ts';
import { BackendAgents, requestBackend, type KubeletTls } from '#apiserver/handlers/connect/backend.ts';
import { nodeProxyTarget } from '#apiserver/handlers/connect/locations.ts';
import type { InternalApi } from '#apiserver/registry/loopback-client.ts';
import type { ApiServer } from '#apiserver/server.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import type { Client } from '#client/client.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';
import { readBody } from '#stdx/https-client.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { identities } from '../all-in-one/identities.ts';
import { CAPSTAN_VERSION } from '../version.ts';

/** What metrics-server's manifest gives its APIService. */
const PRIORITY = { group: 100, version: 100 };
/** Of one node's page: a thousand containers have about 500 KB. */
const MAXIMUM_PAGE_BYTES = 16 * 1024 * 1024;

export interface ResourceMetricsSettings {
  readonly isOff?: boolean;
  /** For tests. */
  readonly resolutionMs?: number;
  readonly warmUpMs?: number;
}

interface HostOptions extends ResourceMetricsSettings {
  /** The server that is about to be made. */
  readonly server: Promise<Pick<ApiServer, 'internal' | 'handler'>>;
  readonly kubeletTls: () => KubeletTls;
  /** Where other API servers reach this one. Absent: no other uses the store. */
  readonly peerAddress: Address | undefined;
  readonly peerCa: string;
  readonly clock: Clock;
  readonly log: Logger;
}

interface HostedMetrics {
  readonly api: HostedApi;
  metrics(): string;
  /** After the server stopped. */
  close(): Promise<void>;
}

export function hostResourceMetrics({ isOff = false, peerCa, ...options }: HostOptions): HostedMetrics {
  const log = options.log.with({ part: 'resource-metrics' });
  const agents = new BackendAgents(options.kubeletTls);
  let started: Started | undefined;
  let changes = Promise.resolve();
  const change = async (on: boolean): Promise<void> => {
    if (on) started ??= startResourceMetrics({ ...options, agents, log, server: await options.server });
    await started?.metrics.serve(on);
  };
  const requireMetrics = (): ResourceMetrics => {
    if (!started) throw statusErrors.unavailable('resource metrics are not measured here');
    return started.metrics;
  };
  return {
    api: {
      group: METRICS_GROUP,
      version: METRICS_VERSION,
      priority: PRIORITY,
      isOff,
      peerCa,
      resources: resourcesOf(requireMetrics),
      answeredBy: () => started?.metrics.answeredBy(),
      serve: (on) =>
        (changes = changes
          .then(() => change(on))
          .catch((error: unknown) => log.error('resource metrics failed', { error: errorMessage(error) }))),
    },
    metrics: () => started?.metrics.metrics() ?? '',
    async close() {
      await changes;
      await started?.metrics.stop();
      agents.close();
      await started?.api.close();
    },
  };
}

function resourcesOf(metrics: () => ResourceMetrics): HostedApi['resources'] {
  const table = { columns: COLUMNS, row };
  return [
    {
      plural: 'nodes',
      kind: 'NodeMetrics',
      namespaced: false,
      table,
      list: (selection) => metrics().listNodes(selection),
      get: ({ name }) => metrics().getNode(name),
    },
    {
      plural: 'pods',
      kind: 'PodMetrics',
      namespaced: true,
      table,
      list: (selection) => metrics().listPods(selection),
      get: ({ namespace, name }) => metrics().getPod(namespace, name),
    },
  ];
}

interface Started {
  readonly metrics: ResourceMetrics;
  readonly api: Client;
}

interface StartOptions extends Omit<HostOptions, 'server' | 'isOff' | 'peerCa'> {
  readonly server: Pick<ApiServer, 'internal' | 'handler'>;
  readonly agents: BackendAgents;
}

function startResourceMetrics({ server, agents, peerAddress, ...options }: StartOptions): Started {
  const { internal, handler } = server;
  const { clock } = options;
  const userAgent = `capstan-resource-metrics/${CAPSTAN_VERSION}`;
  const api = createClient(createDirectTransport(handler, { user: identities.up }), { userAgent, clock });
  const metrics = new ResourceMetrics({
    ...options,
    objects: internal,
    scrape: (node, signal) => scrapeNode(node, { internal, agents, signal }),
    election: peerAddress && { api, address: peerAddress, id: randomUUID() },
  });
  return { metrics, api };
}

interface Scraping {
  readonly internal: InternalApi;
  readonly agents: BackendAgents;
  readonly signal: AbortSignal;
}

async function scrapeNode(node: string, { internal, agents, signal }: Scraping): Promise<string> {
  const { url } = nodeProxyTarget(internal, node);
  url.pathname = '/metrics/resource';
  const { response, abort } = await requestBackend({
    url,
    method: 'GET',
    headers: { accept: 'text/plain', 'user-agent': `capstan-resource-metrics/${CAPSTAN_VERSION}` },
    agent: agents.kubelet(),
    signal,
  });
  const { statusCode: status = 0, statusMessage: statusText = '', headers } = response;
  if (status !== 200) {
    abort();
    throw new Error(`request failed, status: "${status} ${statusText}"`);
  }
  const tooLong = (): Error => new Error(`the page is longer than ${MAXIMUM_PAGE_BYTES} bytes`);
  const answer = { status, statusText, headers, body: response };
  return (await readBody(answer, { maximumBytes: MAXIMUM_PAGE_BYTES, tooLong })).toString();
}
