/**
 * The three metrics APIs that an autoscaler reads: metrics.k8s.io (usage of pods), custom.metrics.k8s.io (of pods and other objects) and
 * external.metrics.k8s.io. All are served by extension servers or by the metrics add-on; an API that is absent is an error that the autoscaler's conditions show.
 */
import type { CrossVersionObjectReference, MetricIdentifier } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { readStatusError } from '#client/status-error.ts';
import { groupResourceString, type KubeObject } from '#machinery/object.ts';
import { compileLabelSelector } from '#machinery/labels.ts';
import { parseQuantity } from '#machinery/quantity.ts';
import { timeMs } from '#machinery/time.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';
import { findResourceOfKind } from '#client/discovery.ts';
import type { PodMetric, PodMetrics } from './replica-calculator.ts';

interface ContainerUsage {
  readonly name?: string;
  readonly usage?: Readonly<Record<string, string>>;
}

interface PodUsage extends KubeObject {
  readonly timestamp?: string;
  readonly window?: string;
  readonly containers?: readonly ContainerUsage[];
}

interface MetricValue {
  readonly describedObject?: { readonly name?: string };
  readonly timestamp?: string;
  readonly windowSeconds?: number | null;
  readonly window?: number | null;
  readonly value?: string;
}

const POD_METRICS: ResourceRef<PodUsage> = {
  group: 'metrics.k8s.io',
  version: 'v1beta1',
  plural: 'pods',
  kind: 'PodMetrics',
  namespaced: true,
};
const CUSTOM = 'custom.metrics.k8s.io';
const EXTERNAL_VERSION = 'external.metrics.k8s.io/v1beta1';
/** Of custom metrics that name none. */
const DEFAULT_WINDOW_MS = 60_000;

interface ResourceQuestion {
  readonly namespace: string;
  readonly labelSelector: string;
  readonly resource: string;
  /** Only of this container. */
  readonly container?: string | undefined;
}

/** A pod is left out when one of its containers has no value. */
export async function resourceMetrics(
  api: Client,
  { namespace, labelSelector, resource, container }: ResourceQuestion,
): Promise<PodMetrics> {
  const { items } = await fromApi('resource metrics', () =>
    api.list(POD_METRICS, { namespace, labelSelector }),
  );
  if (items.length === 0) throw new Error('no metrics returned from resource metrics API');
  const found = new Map<string, PodMetric>();
  for (const usage of items) {
    const milli = usageOf(usage, { resource, container });
    if (milli !== undefined) found.set(usage.metadata.name, { milli, ...takenAt(usage) });
  }
  return found;
}

function usageOf(
  { metadata, containers = [] }: PodUsage,
  { resource, container }: Pick<ResourceQuestion, 'resource' | 'container'>,
): number | undefined {
  const counted = container === undefined ? containers : containers.filter(({ name }) => name === container);
  if (container !== undefined && counted.length === 0)
    throw new Error(
      `container ${container} not present in metrics for pod ${metadata?.namespace}/${metadata?.name}`,
    );
  let sum = 0;
  for (const { usage } of counted) {
    const value = usage?.[resource];
    if (value === undefined) return undefined;
    sum += parseQuantity(value).milliValue();
  }
  return sum;
}

function takenAt({ timestamp, window }: PodUsage): Pick<PodMetric, 'timestampMs' | 'windowMs'> {
  return { timestampMs: timeMs(timestamp) ?? 0, windowMs: window === undefined ? 0 : goDurationMs(window) };
}

/** A custom metric of each selected pod. */
export async function podsMetric(
  api: Client,
  {
    namespace,
    labelSelector,
    metric,
  }: { readonly namespace: string; readonly labelSelector: string; readonly metric: MetricIdentifier },
): Promise<PodMetrics> {
  const items = await customMetric(api, `namespaces/${namespace}/pods/*/${encodeURIComponent(metric.name)}`, {
    labelSelector,
    metricLabelSelector: selectorText(metric),
  });
  return new Map(
    items.map(({ describedObject, value = '0', timestamp, windowSeconds, window }) => {
      const seconds = windowSeconds ?? window;
      const windowMs = seconds === undefined || seconds === null ? DEFAULT_WINDOW_MS : seconds * 1000;
      return [
        describedObject?.name ?? '',
        { milli: parseQuantity(value).milliValue(), timestampMs: timeMs(timestamp) ?? 0, windowMs },
      ];
    }),
  );
}

/** In thousandths. */
export async function objectMetric(
  { api, shared }: { readonly api: Client; readonly shared: Client },
  {
    namespace,
    object,
    metric,
  }: {
    readonly namespace: string;
    readonly object: CrossVersionObjectReference;
    readonly metric: MetricIdentifier;
  },
): Promise<number> {
  const name = encodeURIComponent(object.name);
  const of =
    object.kind === 'Namespace' && !object.apiVersion?.includes('/')
      ? `namespaces/${name}/metrics`
      : `namespaces/${namespace}/${await groupResource(shared, object)}/${name}`;
  const [item] = await customMetric(api, `${of}/${encodeURIComponent(metric.name)}`, {
    metricLabelSelector: selectorText(metric),
  });
  return parseQuantity(item!.value ?? '0').milliValue();
}

async function groupResource(
  shared: Client,
  { apiVersion = 'v1', kind }: CrossVersionObjectReference,
): Promise<string> {
  const found = await findResourceOfKind(shared, { apiVersion, kind });
  if (!found)
    throw new Error(`no matches for kind ${JSON.stringify(kind)} in version ${JSON.stringify(apiVersion)}`);
  return groupResourceString(found.plural, found.group);
}

/** The sum of the metric's series, in thousandths. */
export async function externalMetric(
  api: Client,
  { namespace, metric }: { readonly namespace: string; readonly metric: MetricIdentifier },
): Promise<number> {
  const path = `/apis/${EXTERNAL_VERSION}/namespaces/${namespace}/${encodeURIComponent(metric.name)}`;
  const items = await readValues(api, 'external metrics', {
    path,
    query: { labelSelector: selectorText(metric) },
  });
  return items.reduce((sum, { value = '0' }) => sum + parseQuantity(value).milliValue(), 0);
}

async function customMetric(api: Client, path: string, query: Query): Promise<readonly MetricValue[]> {
  return readValues(api, 'custom metrics', {
    path: `/apis/${CUSTOM}/${await customVersion(api)}/${path}`,
    query,
  });
}

/** The version that the group prefers: v1beta2, or v1beta1 of old adapters. */
async function customVersion(api: Client): Promise<string> {
  const group = await fromApi('custom metrics', () =>
    readJson<{ preferredVersion?: { version?: string } }>(api, `/apis/${CUSTOM}`),
  );
  return group.preferredVersion?.version ?? 'v1beta2';
}

type Query = Readonly<Record<string, string>>;

/** Never empty. */
async function readValues(
  api: Client,
  what: string,
  { path, query }: { readonly path: string; readonly query: Query },
): Promise<readonly MetricValue[]> {
  const given = Object.entries(query).filter(([, value]) => value !== '');
  const search = given.length === 0 ? '' : `?${new URLSearchParams(given)}`;
  const { items = [] } = await fromApi(what, () =>
    readJson<{ items?: readonly MetricValue[] }>(api, path + search),
  );
  if (items.length === 0) throw new Error(`no metrics returned from ${what} API`);
  return items;
}

async function readJson<T>(api: Client, path: string): Promise<T> {
  const response = await api.transport.request({
    method: 'GET',
    path,
    headers: { accept: 'application/json' },
  });
  const body = await response.bytes();
  if (response.status !== 200) throw readStatusError(response.status, body);
  return JSON.parse(body.toString('utf8')) as T;
}

function fromApi<T>(what: string, read: () => Promise<T>): Promise<T> {
  return prefixed(`unable to fetch metrics from ${what} API`, read);
}

/** Rejections say what was tried. */
export function prefixed<T>(what: string, work: () => Promise<T>): Promise<T> {
  return wrapped((problem) => `${what}: ${problem}`, work);
}

export async function wrapped<T>(format: (problem: string) => string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new Error(format(errorMessage(error)), { cause: error });
  }
}

function selectorText({ selector }: MetricIdentifier): string {
  return selector ? compileLabelSelector(selector).toString() : '';
}
