/**
 * What a kubelet's /metrics/resource says, as metrics-server reads it: cumulative CPU time, the memory working set and start times, of the node and of
 * each container. Untrusted text. Pure.
 */

/** One measurement of a node or a container. */
export interface MetricsPoint {
  /** Zero for nodes. */
  readonly startMs: number;
  readonly atMs: number;
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
}

export interface NodeMeasurements {
  /** Undefined: incomplete. */
  readonly node: MetricsPoint | undefined;
  /** Containers by 'namespace/pod'. A pod with an incomplete container is left out, as there is no sum of it. */
  readonly pods: ReadonlyMap<string, ReadonlyMap<string, MetricsPoint>>;
}

interface Building {
  startMs: number;
  atMs: number;
  cpuSeconds: number;
  memoryBytes: number;
}

type Field = 'cpuSeconds' | 'memoryBytes' | 'startMs';

const NODE_FIELDS: Readonly<Record<string, Field>> = {
  node_cpu_usage_seconds_total: 'cpuSeconds',
  node_memory_working_set_bytes: 'memoryBytes',
};
const CONTAINER_FIELDS: Readonly<Record<string, Field>> = {
  container_cpu_usage_seconds_total: 'cpuSeconds',
  container_memory_working_set_bytes: 'memoryBytes',
  container_start_time_seconds: 'startMs',
};
/** 'name{labels} value timestamp'; the labels and the timestamp may be absent. */
const LINE = /^([a-z_]+)(?:\{(.*)\})? (\S+)(?: (-?\d+))?$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

export function parseResourcePage(text: string): NodeMeasurements {
  const node = blank();
  const pods = new Map<string, Map<string, Building>>();
  let from = 0;
  while (from < text.length) {
    let to = text.indexOf('\n', from);
    if (to < 0) to = text.length;
    const first = text[from];
    // Of the families only those of containers and nodes: 'container_' and 'node_'.
    if (first === 'c' || first === 'n') takeLine(text.slice(from, to), node, pods);
    from = to + 1;
  }
  return { node: isComplete(node) ? node : undefined, pods: completePods(pods) };
}

function takeLine(line: string, node: Building, pods: Map<string, Map<string, Building>>): void {
  const [, name = '', labels = '', value = '', timestamp] = LINE.exec(line) ?? [];
  const ofNode = NODE_FIELDS[name];
  if (ofNode) return set(node, ofNode, { value: Number(value), timestamp });
  const field = CONTAINER_FIELDS[name];
  if (!field) return;
  const { namespace = '', pod = '', container = '' } = parseLabels(labels);
  if (namespace === '' || pod === '' || container === '') return;
  const key = `${namespace}/${pod}`;
  let containers = pods.get(key);
  if (!containers) pods.set(key, (containers = new Map()));
  let point = containers.get(container);
  if (!point) containers.set(container, (point = blank()));
  set(point, field, { value: Number(value), timestamp });
}

function set(
  point: Building,
  field: Field,
  { value, timestamp }: { readonly value: number; readonly timestamp: string | undefined },
): void {
  if (!Number.isFinite(value) || value < 0) return;
  point[field] = field === 'startMs' ? value * 1000 : value;
  // The time of the CPU measurement: the rate is computed from it.
  if (field === 'cpuSeconds' && timestamp !== undefined) point.atMs = Number(timestamp);
}

function blank(): Building {
  return { startMs: 0, atMs: 0, cpuSeconds: 0, memoryBytes: 0 };
}

/** As metrics-server: a container that has used nothing yet is not measured yet. */
function isComplete({ atMs, cpuSeconds, memoryBytes }: Building): boolean {
  return atMs > 0 && cpuSeconds > 0 && memoryBytes > 0;
}

function completePods(
  pods: ReadonlyMap<string, ReadonlyMap<string, Building>>,
): ReadonlyMap<string, ReadonlyMap<string, MetricsPoint>> {
  return new Map(
    Array.from(pods).filter(([, containers]) => Array.from(containers.values()).every(isComplete)),
  );
}

function parseLabels(text: string): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const [, name = '', value = ''] of text.matchAll(LABEL))
    labels[name] = value.includes('\\')
      ? value.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
      : value;
  return labels;
}
