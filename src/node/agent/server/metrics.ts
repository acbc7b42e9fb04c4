/**
 * The pages of /metrics: the agent's metrics, /metrics/resource (for metrics-server), /metrics/cadvisor and /metrics/probes. Upstream's names; of
 * cAdvisor's only those that the container runtime reports. Pure: stats.ts and the pods' workers measure.
 */
import type { ContainerStatus, Pod, PodStatus } from '#api/types.ts';
import { label, seriesLine, type Labels } from '#stdx/instruments.ts';
import { processLines } from '#stdx/process-metrics.ts';
import type { ProbeCount } from '../probes/pod-probes.ts';
import type { CgroupDetails } from '../cgroups.ts';
import type { InterfaceCounters } from './pod-network.ts';
import type { ContainerUsage, NodeUsage, PodUsage, Usage } from './stats.ts';

/** What pages tell of a pod's worker. */
export interface MeasuredPod {
  readonly pod: Pod;
  readonly status: PodStatus | undefined;
  readonly finished: boolean;
  readonly probeCounts: readonly ProbeCount[];
}

type Type = 'gauge' | 'counter';

/** One family. Without series it is not shown. */
function family(
  name: string,
  {
    help,
    type = 'gauge',
    series,
  }: {
    readonly help: string;
    readonly type?: Type;
    readonly series: readonly (readonly [labels: Labels, value: number, atMs?: number])[];
  },
): string[] {
  if (series.length === 0) return [];
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    ...series.map(
      ([labels, value, atMs]) =>
        `${seriesLine(name, labels, value)}${atMs === undefined ? '' : ` ${Math.round(atMs)}`}`,
    ),
  ];
}

function page(...families: readonly (readonly string[])[]): string {
  return `${families.flat().join('\n')}\n`;
}

/** static: pods from files, of which there are none here. */
export function agentPage(
  pods: readonly MeasuredPod[],
  {
    nodeName,
    version,
    more = [],
  }: {
    readonly nodeName: string;
    readonly version: string;
    /** Lines of what is counted elsewhere. */ readonly more?: readonly string[];
  },
): string {
  const active = pods.filter(({ finished }) => !finished);
  const states = active
    .flatMap(({ status }) => containerStatuses(status))
    .map(({ state }) => (state?.running ? 'running' : state?.terminated ? 'exited' : 'created'));
  const count = (state: string): number => states.filter((one) => one === state).length;
  return page(
    family('kubelet_node_name', {
      help: 'The name of this node; the value is 1.',
      series: [[label('node', nodeName), 1]],
    }),
    family('kubelet_running_pods', {
      help: 'Pods of this node that are not finished.',
      series: [['', active.length]],
    }),
    family('kubelet_running_containers', {
      help: 'Containers of pods that are not finished, by their state.',
      series: (['created', 'exited', 'running'] as const).map((state) => [
        label('container_state', state),
        count(state),
      ]),
    }),
    family('kubelet_desired_pods', {
      help: 'Pods this node is to run.',
      series: [
        ['static=""', pods.length],
        ['static="true"', 0],
      ],
    }),
    family('kubelet_active_pods', {
      help: 'Pods of this node that are not finished.',
      series: [
        ['static=""', active.length],
        ['static="true"', 0],
      ],
    }),
    family('kubelet_mirror_pods', { help: 'Mirror pods.', series: [['', 0]] }),
    family('volume_manager_total_volumes', {
      help: 'Volumes of pods that are not finished, by plugin and state.',
      series: volumeCounts(active).flatMap(([plugin, count]) =>
        ['actual_state_of_world', 'desired_state_of_world'].map((state): [Labels, number] => [
          `${label('plugin_name', plugin)},${label('state', state)}`,
          count,
        ]),
      ),
    }),
    family('kubernetes_build_info', {
      help: 'Version of this program; the value is 1.',
      series: [[`${label('git_version', version)},major="1",minor="36"`, 1]],
    }),
    more,
    processLines(),
  );
}

const PLUGINS: Readonly<Record<string, string>> = {
  configMap: 'kubernetes.io/configmap',
  downwardAPI: 'kubernetes.io/downward-api',
  emptyDir: 'kubernetes.io/empty-dir',
  hostPath: 'kubernetes.io/host-path',
  image: 'kubernetes.io/image',
  projected: 'kubernetes.io/projected',
  secret: 'kubernetes.io/secret',
};

/** By upstream's name of the volume plugin. */
function volumeCounts(pods: readonly MeasuredPod[]): [plugin: string, count: number][] {
  const plugins = pods.flatMap(({ pod }) =>
    (pod.spec?.volumes ?? []).flatMap(({ name: _name, ...source }) =>
      Object.keys(source).map((kind) => PLUGINS[kind] ?? kind),
    ),
  );
  return Array.from(
    Map.groupBy(plugins, (plugin) => plugin),
    ([plugin, all]) => [plugin, all.length],
  );
}

export interface Measured {
  readonly node: NodeUsage;
  readonly containers: readonly ContainerUsage[];
  readonly pods: readonly PodUsage[];
}

const CONTAINER_CPU = 'Cumulative cpu time consumed by the container in core-seconds',
  CONTAINER_MEMORY = 'Current working set of the container in bytes';

/** Without a measurement there is only the word of it. */
export function resourcePage(measured: Measured | undefined, known: readonly MeasuredPod[]): string {
  const failed: [Labels, number][] = [['', measured ? 0 : 1]];
  const error = [
    ...family('resource_scrape_error', {
      help: '1 if containers could not be measured, else 0.',
      series: failed,
    }),
    ...family('scrape_error', { help: '1 if containers could not be measured, else 0.', series: failed }),
  ];
  if (!measured) return page(error);
  const { node, containers, pods } = measured;
  const each = (read: (usage: Usage) => number | undefined): [Labels, number, number][] =>
    containers.flatMap((one) => {
      const value = read(one);
      return value === undefined ? [] : [[placeOf(one), value, one.atMs]];
    });
  const whole = (read: (usage: Usage) => number): [Labels, number, number][] =>
    pods.map((one) => [podPlaceOf(one), read(one), one.atMs]);
  const cpu = ({ cpuSeconds }: Usage): number => cpuSeconds,
    memory = ({ workingSetBytes }: Usage): number => workingSetBytes,
    swap = ({ swapBytes }: Usage): number | undefined => swapBytes;
  return page(
    family('container_cpu_usage_seconds_total', { help: CONTAINER_CPU, type: 'counter', series: each(cpu) }),
    family('container_memory_working_set_bytes', { help: CONTAINER_MEMORY, series: each(memory) }),
    family('container_swap_usage_bytes', {
      help: 'Swap that the container uses, in bytes.',
      series: each(swap),
    }),
    family('container_start_time_seconds', {
      help: 'When the container began, in seconds since the epoch.',
      series: startsOf(containers, known).map(({ usage, startedAtMs }) => [
        placeOf(usage),
        startedAtMs / 1000,
      ]),
    }),
    family('node_cpu_usage_seconds_total', {
      help: 'Cumulative cpu time consumed by the node in core-seconds',
      type: 'counter',
      series: [['', node.cpuSeconds, node.atMs]],
    }),
    family('node_memory_working_set_bytes', {
      help: 'Current working set of the node in bytes',
      series: [['', node.workingSetBytes, node.atMs]],
    }),
    family('pod_cpu_usage_seconds_total', {
      help: 'Cumulative cpu time consumed by the pod in core-seconds',
      type: 'counter',
      series: whole(cpu),
    }),
    family('pod_memory_working_set_bytes', {
      help: 'Current working set of the pod in bytes',
      series: whole(memory),
    }),
    error,
  );
}

export function cadvisorPage(
  { node, containers, pods: wholePods }: Measured,
  pods: readonly MeasuredPod[],
): string {
  const images = new Map(startsOf(containers, pods).map(({ usage, image }) => [usage.id, image]));
  const computeLabels = (one: ContainerUsage): Labels =>
    `${label('container', one.container)},${label('id', `/${one.id}`)},${label('image', images.get(one.id) ?? '')},${label('name', one.id)},${label('namespace', one.namespace)},${label('pod', one.pod)}`;
  const root = 'container="",id="/",image="",name="",namespace="",pod=""';
  const gauges = (name: string, help: string, read: (usage: Usage) => number | undefined): string[] =>
    family(name, {
      help,
      series: [
        ...containers.map((one) => ({ labels: computeLabels(one), one })),
        { labels: root, one: node },
      ].flatMap(({ labels, one }): (readonly [Labels, number, number])[] => {
        const value = read(one);
        return value === undefined ? [] : [[labels, value, one.atMs]];
      }),
    });
  const counted = (
    name: string,
    {
      help,
      type = 'counter',
      read,
    }: {
      readonly help: string;
      readonly type?: Type;
      readonly read: (details: CgroupDetails) => number;
    },
  ): string[] =>
    family(name, {
      help,
      type,
      series: containers.flatMap((one): (readonly [Labels, number, number])[] =>
        one.details ? [[computeLabels(one), read(one.details), one.atMs]] : [],
      ),
    });
  return page(
    family('container_cpu_usage_seconds_total', {
      help: CONTAINER_CPU,
      type: 'counter',
      series: [
        ...containers.map((one) => [`cpu="total",${computeLabels(one)}`, one.cpuSeconds, one.atMs] as const),
        [`cpu="total",${root}`, node.cpuSeconds, node.atMs],
      ],
    }),
    gauges('container_memory_working_set_bytes', CONTAINER_MEMORY, (one) => one.workingSetBytes),
    gauges(
      'container_memory_usage_bytes',
      'Memory that is used, caches included, in bytes.',
      (one) => one.memoryBytes,
    ),
    gauges('container_memory_rss', 'Anonymous memory in bytes.', (one) => one.rssBytes),
    gauges('container_memory_swap', 'Swap that is used, in bytes.', (one) => one.swapBytes),
    gauges('container_fs_usage_bytes', "Bytes written to the container's own layer.", (one) => one.diskBytes),
    family('container_start_time_seconds', {
      help: 'When the container began, in seconds since the epoch.',
      series: startsOf(containers, pods).map(({ usage, startedAtMs }) => [
        computeLabels(usage),
        startedAtMs / 1000,
      ]),
    }),
    counted('container_cpu_cfs_periods_total', {
      help: 'Elapsed periods of the CPU limit.',
      read: ({ cfsPeriods }) => cfsPeriods,
    }),
    counted('container_cpu_cfs_throttled_periods_total', {
      help: 'Periods of the CPU limit in which the container was throttled.',
      read: ({ cfsThrottledPeriods }) => cfsThrottledPeriods,
    }),
    counted('container_memory_cache', {
      help: 'Page cache in bytes.',
      type: 'gauge',
      read: ({ cacheBytes }) => cacheBytes,
    }),
    ...diskFamilies(containers, computeLabels),
    ...networkFamilies(wholePods),
    family('machine_cpu_cores', { help: 'Logical processors of this machine.', series: [['', node.cores]] }),
    family('machine_memory_bytes', {
      help: 'Memory of this machine in bytes.',
      series: [['', node.memoryTotalBytes]],
    }),
  );
}

const DISK_FAMILIES = [
  ['container_fs_reads_total', 'Reads of a disk.', 'reads'],
  ['container_fs_writes_total', 'Writes to a disk.', 'writes'],
  ['container_fs_reads_bytes_total', 'Bytes read from a disk.', 'readBytes'],
  ['container_fs_writes_bytes_total', 'Bytes written to a disk.', 'writtenBytes'],
] as const;

function diskFamilies(
  containers: readonly ContainerUsage[],
  computeLabels: (one: ContainerUsage) => Labels,
): string[][] {
  return DISK_FAMILIES.map(([name, help, counter]) =>
    family(name, {
      help,
      type: 'counter',
      series: containers.flatMap((one) =>
        (one.details?.disks ?? []).map(
          (disk) =>
            [`${label('device', disk.device)},${computeLabels(one)}`, disk[counter], one.atMs] as const,
        ),
      ),
    }),
  );
}

/** Of a pod's interfaces, under the name of its sandbox, as cAdvisor has them. */
function networkFamilies(pods: readonly PodUsage[]): string[][] {
  return NETWORK_FAMILIES.map(({ name, help, read }) =>
    family(name, {
      help,
      type: 'counter',
      series: pods.flatMap((pod): (readonly [Labels, number, number])[] =>
        pod.interfaces.map((one) => [
          `${label('container', '')},${label('id', '')},${label('image', '')},${label('interface', one.interface)},${label('name', '')},${podPlaceOf(pod)}`,
          read(one),
          pod.atMs,
        ]),
      ),
    }),
  );
}

const NETWORK_FAMILIES: readonly {
  readonly name: string;
  readonly help: string;
  readonly read: (counters: InterfaceCounters) => number;
}[] = [
  {
    name: 'container_network_receive_bytes_total',
    help: 'Bytes received.',
    read: (one) => one.receivedBytes,
  },
  {
    name: 'container_network_receive_packets_total',
    help: 'Packets received.',
    read: (one) => one.receivedPackets,
  },
  {
    name: 'container_network_receive_packets_dropped_total',
    help: 'Packets dropped while receiving.',
    read: (one) => one.receivesDropped,
  },
  {
    name: 'container_network_receive_errors_total',
    help: 'Errors while receiving.',
    read: (one) => one.receiveErrors,
  },
  { name: 'container_network_transmit_bytes_total', help: 'Bytes sent.', read: (one) => one.sentBytes },
  { name: 'container_network_transmit_packets_total', help: 'Packets sent.', read: (one) => one.sentPackets },
  {
    name: 'container_network_transmit_packets_dropped_total',
    help: 'Packets dropped while sending.',
    read: (one) => one.sendsDropped,
  },
  {
    name: 'container_network_transmit_errors_total',
    help: 'Errors while sending.',
    read: (one) => one.sendErrors,
  },
];

export function probesPage(pods: readonly MeasuredPod[]): string {
  const series = pods.flatMap(({ pod: { metadata }, probeCounts }) =>
    probeCounts.map(({ container, kind, result, count }): [Labels, number] => [
      `${label('container', container)},${label('namespace', metadata?.namespace ?? '')},${label('pod', metadata?.name ?? '')},${label('pod_uid', metadata?.uid ?? '')},probe_type="${TITLES[kind]}",result="${result}"`,
      count,
    ]),
  );
  return page(
    family('prober_probe_total', {
      help: 'Probes made, by container, type and result.',
      type: 'counter',
      series,
    }),
  );
}

const TITLES: Readonly<Record<ProbeCount['kind'], string>> = {
  liveness: 'Liveness',
  readiness: 'Readiness',
  startup: 'Startup',
};

function podPlaceOf({ namespace, pod }: Pick<ContainerUsage, 'namespace' | 'pod'>): Labels {
  return `${label('namespace', namespace)},${label('pod', pod)}`;
}

function placeOf(usage: ContainerUsage): Labels {
  return `${label('container', usage.container)},${podPlaceOf(usage)}`;
}

/** When a container that runs began, by its id. */
export function startTimes(pods: readonly MeasuredPod[]): (id: string) => number | undefined {
  const statuses = statusesById(pods);
  return (id) => {
    const startedAt = statuses.get(id)?.state?.running?.startedAt;
    return startedAt ? Date.parse(startedAt) : undefined;
  };
}

function statusesById(pods: readonly MeasuredPod[]): Map<string | undefined, ContainerStatus> {
  return new Map(
    pods.flatMap(({ status }) =>
      containerStatuses(status).map((one) => [one.containerID?.split('://')[1], one] as const),
    ),
  );
}

function containerStatuses(status: PodStatus | undefined): ContainerStatus[] {
  return [
    ...(status?.initContainerStatuses ?? []),
    ...(status?.containerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ];
}

interface Start {
  readonly usage: ContainerUsage;
  readonly startedAtMs: number;
  readonly image: string;
}

/** Of those that run, as the pods' statuses have it. */
function startsOf(containers: readonly ContainerUsage[], pods: readonly MeasuredPod[]): Start[] {
  const byId = statusesById(pods),
    startOf = startTimes(pods);
  return containers.flatMap((usage) => {
    const startedAtMs = startOf(usage.id);
    return startedAtMs === undefined ? [] : [{ usage, startedAtMs, image: byId.get(usage.id)?.image ?? '' }];
  });
}
