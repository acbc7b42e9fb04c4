/** The node agent's counters as upstream's kubelet_* metrics. Values computed at a scrape are in server/metrics.ts. */
import { X509Certificate } from 'node:crypto';
import type { Clock } from '#stdx/clock.ts';
import { Counter, Gauge, Histogram, label, seriesLine } from '#stdx/instruments.ts';
import { exponentialBuckets } from '#stdx/metrics-registry.ts';
import type { CriClient } from '../cri/client.ts';
import type { Cgroups } from './cgroups.ts';
import type { Signal } from './eviction/thresholds.ts';

const DEFAULT_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const POD_START_SECONDS = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700,
  3600,
];
const STORAGE_SECONDS = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];

export type PodOperation = 'create' | 'sync' | 'terminate';

interface PodStart {
  readonly seenMs: number;
  readonly createdMs: number;
  readonly sliMs: number | undefined;
}

export class AgentMetrics {
  readonly #clock: Clock;
  readonly terminations = new Counter(
    'kubelet_terminated_containers_total',
    'Ends of containers that this agent saw.',
  );
  readonly #relist = this.#seconds(
    'kubelet_pleg_relist_duration_seconds',
    'Time to list the pods of the runtime.',
  );
  readonly #interval = this.#seconds(
    'kubelet_pleg_relist_interval_seconds',
    'Time between two lists of the runtime.',
  );
  readonly #worker = this.#seconds(
    'kubelet_pod_worker_duration_seconds',
    'Time of a step of a pod, by operation: create, sync or terminate.',
  );
  readonly #start = new Histogram('kubelet_pod_start_duration_seconds', {
    help: 'Time from when the agent saw a pod to when it runs.',
    bounds: POD_START_SECONDS,
  });
  readonly #startTotal = new Histogram('kubelet_pod_start_total_duration_seconds', {
    help: 'Time from when a pod was created to when it runs, image pulls included.',
    bounds: POD_START_SECONDS,
  });
  readonly #startSli = new Histogram('kubelet_pod_start_sli_duration_seconds', {
    help: 'Time from when a stateless pod was created to when it runs, without image pulls and init containers.',
    bounds: POD_START_SECONDS,
  });
  readonly #operations = new Counter(
    'kubelet_runtime_operations_total',
    'Calls of the container runtime, by operation.',
  );
  readonly #operationErrors = new Counter(
    'kubelet_runtime_operations_errors_total',
    'Calls of the container runtime that failed, by operation.',
  );
  readonly #operationSeconds = new Histogram('kubelet_runtime_operations_duration_seconds', {
    help: 'Time of a call of the container runtime, by operation.',
    bounds: exponentialBuckets(0.005, 2.5, 14),
  });
  readonly #cgroups = this.#seconds(
    'kubelet_cgroup_manager_duration_seconds',
    'Time of a change of a cgroup, by operation.',
  );
  readonly #storage = new Histogram('storage_operation_duration_seconds', {
    help: 'Time to prepare the volumes of a pod, by operation and status.',
    bounds: STORAGE_SECONDS,
  });
  readonly #evictions = new Counter('kubelet_evictions', 'Pods that were evicted, by eviction signal.');
  readonly #evictionStatsAge = this.#seconds(
    'kubelet_eviction_stats_age_seconds',
    'Age of the measurements that a pod was evicted by, by eviction signal.',
  );
  readonly #deviceRegistrations = new Counter(
    'kubelet_device_plugin_registration_total',
    'Registrations of device plugins, by resource.',
  );
  readonly #deviceAllocations = this.#seconds(
    'kubelet_device_plugin_alloc_duration_seconds',
    'Time that a device plugin took to allocate, by resource.',
  );
  readonly #providerErrors = new Counter(
    'kubelet_credential_provider_plugin_errors_total',
    'Runs of credential providers that failed, by provider.',
  );
  readonly #providerSeconds = this.#seconds(
    'kubelet_credential_provider_plugin_duration',
    'Time of a run of a credential provider in seconds, by provider.',
  );
  readonly #providerConfig = new Gauge(
    'kubelet_credential_provider_config_info',
    'The configuration of credential providers, by its hash.',
  );
  readonly #renewErrors = new Counter(
    'kubelet_certificate_manager_client_expiration_renew_errors',
    'Times that the client certificate could not be renewed.',
  );
  readonly #serverRenewErrors = new Counter(
    'kubelet_server_expiration_renew_errors',
    'Times that the serving certificate could not be renewed.',
  );
  /** PEM of the certificates in use. Undefined: there is none that ends. */
  clientCertificate: () => string | undefined = () => undefined;
  servingCertificate: () => string | undefined = () => undefined;
  #relistedMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    for (const histogram of [this.#relist, this.#interval, this.#start, this.#startTotal, this.#startSli])
      histogram.of('');
    for (const counter of [this.#renewErrors, this.#serverRenewErrors]) counter.of('');
    for (const operation of ['create', 'sync', 'terminate'])
      this.#worker.of(label('operation_type', operation));
    for (const operation of ['create', 'update', 'destroy'])
      this.#cgroups.of(label('operation_type', operation));
    for (const operation of OPERATIONS) {
      this.#operations.of(label('operation_type', operation));
      this.#operationErrors.of(label('operation_type', operation));
    }
    for (const signal of LIMIT_SIGNALS) this.#evictions.of(label('eviction_signal', signal));
  }

  #seconds(name: string, help: string): Histogram {
    return new Histogram(name, { help, bounds: DEFAULT_SECONDS });
  }

  render(): string[] {
    return [
      ...[
        this.terminations,
        this.#relist,
        this.#interval,
        this.#worker,
        this.#start,
        this.#startTotal,
        this.#startSli,
        this.#operations,
        this.#operationErrors,
        this.#operationSeconds,
        this.#cgroups,
        this.#storage,
        this.#evictions,
        this.#evictionStatsAge,
        this.#deviceRegistrations,
        this.#deviceAllocations,
        this.#providerErrors,
        this.#providerSeconds,
        this.#providerConfig,
        this.#renewErrors,
        this.#serverRenewErrors,
      ].flatMap((family) => family.render()),
      ...this.#lifetime('kubelet_certificate_manager_client_ttl_seconds', this.clientCertificate()),
      ...this.#lifetime('kubelet_certificate_manager_server_ttl_seconds', this.servingCertificate()),
    ];
  }

  /** As upstream: infinite without a certificate, negative after its expiry. */
  #lifetime(name: string, pem: string | undefined): string[] {
    const seconds =
      pem === undefined
        ? Infinity
        : Math.floor((Date.parse(new X509Certificate(pem).validTo) - this.#clock.now()) / 1000);
    return [
      `# HELP ${name} How much longer the certificate lives, in seconds.`,
      `# TYPE ${name} gauge`,
      seconds === Infinity ? `${name} +Inf` : seriesLine(name, '', seconds),
    ];
  }

  async relist<T>(work: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonic();
    if (this.#relistedMs !== undefined) this.#interval.observe('', (startedMs - this.#relistedMs) / 1000);
    this.#relistedMs = startedMs;
    try {
      return await work();
    } finally {
      this.#relist.observe('', (this.#clock.monotonic() - startedMs) / 1000);
    }
  }

  podStep(operation: PodOperation, seconds: number): void {
    this.#worker.observe(label('operation_type', operation), seconds);
  }

  /** sliMs: see startSliMs. */
  podStarted({ seenMs, createdMs, sliMs }: PodStart): void {
    const nowMs = this.#clock.now();
    this.#start.observe('', Math.max(0, nowMs - seenMs) / 1000);
    this.#startTotal.observe('', Math.max(0, nowMs - createdMs) / 1000);
    if (sliMs !== undefined) this.#startSli.observe('', sliMs / 1000);
  }

  evicted(signal: LimitSignal | Signal): void {
    this.#evictions.add(label('eviction_signal', signal));
  }

  /** Of the measurements that pods are ranked by. */
  evictionStatsAge(signal: Signal, seconds: number): void {
    this.#evictionStatsAge.observe(label('eviction_signal', signal), seconds);
  }

  devicePluginRegistered(resource: string): void {
    this.#deviceRegistrations.add(label('resource_name', resource));
  }

  devicesAllocated(resource: string, seconds: number): void {
    this.#deviceAllocations.observe(label('resource_name', resource), seconds);
  }

  credentialProvidersConfigured(hash: string): void {
    this.#providerConfig.only(label('hash', hash), 1);
  }

  credentialProviderRun(
    name: string,
    { seconds, failed }: { readonly seconds: number; readonly failed: boolean },
  ): void {
    this.#providerSeconds.observe(label('plugin_name', name), seconds);
    if (failed) this.#providerErrors.add(label('plugin_name', name));
  }

  renewFailed(of: 'client' | 'serving'): void {
    (of === 'client' ? this.#renewErrors : this.#serverRenewErrors).add('');
  }

  async mountVolumes<T>(work: () => Promise<T>): Promise<T> {
    const startedMs = this.#clock.monotonic();
    const observe = (status: string): void =>
      this.#storage.observe(
        `migrated="false",operation_name="volume_mount",${label('status', status)},volume_plugin="unknown"`,
        (this.#clock.monotonic() - startedMs) / 1000,
      );
    try {
      const result = await work();
      observe('success');
      return result;
    } catch (error) {
      observe('fail-unknown');
      throw error;
    }
  }

  /** The same runtime, with its calls counted. */
  measuredRuntime(cri: CriClient): CriClient {
    const measured = Object.entries(cri).map(([name, call]): [string, unknown] =>
      typeof call === 'function' && !UNMEASURED.has(name)
        ? [
            name,
            (...args: unknown[]) => this.#call(classifyOperation(name), () => Reflect.apply(call, cri, args)),
          ]
        : [name, typeof call === 'function' ? call.bind(cri) : call],
    );
    return Object.fromEntries(measured) as unknown as CriClient;
  }

  async #call(operation: string, work: () => Promise<unknown>): Promise<unknown> {
    const labels = label('operation_type', operation);
    const startedMs = this.#clock.monotonic();
    this.#operations.add(labels);
    try {
      return await work();
    } catch (error) {
      this.#operationErrors.add(labels);
      throw error;
    } finally {
      this.#operationSeconds.observe(labels, (this.#clock.monotonic() - startedMs) / 1000);
    }
  }

  /** The same cgroups, with their changes measured. */
  measuredCgroups(cgroups: Cgroups): Cgroups {
    const timed = async (operation: string, work: () => Promise<void>): Promise<void> => {
      const startedMs = this.#clock.monotonic();
      try {
        await work();
      } finally {
        const seconds = (this.#clock.monotonic() - startedMs) / 1000;
        this.#cgroups.observe(label('operation_type', operation), seconds);
      }
    };
    return {
      ...cgroups,
      ensure: (cgroup) => timed('create', () => cgroups.ensure(cgroup)),
      update: (cgroup) => timed('update', () => cgroups.update(cgroup)),
      remove: (path) => timed('destroy', () => cgroups.remove(path)),
    };
  }
}

/** Upstream's signals of limits that a pod has set itself. */
const LIMIT_SIGNALS = ['emptydirfs.limit', 'ephemeralpodfs.limit', 'ephemeralcontainerfs.limit'] as const;
export type LimitSignal = (typeof LIMIT_SIGNALS)[number];

/** Streams have no duration. */
const UNMEASURED = new Set(['getContainerEvents', 'close']);
/** Series that exist from the start. */
const OPERATIONS = [
  'list_podsandbox',
  'list_containers',
  'run_podsandbox',
  'create_container',
  'start_container',
];

/** 'runPodSandbox' → 'run_podsandbox' */
export function classifyOperation(name: string): string {
  return name
    .replace(/(p)odSandbox/i, '$1odsandbox')
    .replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)
    .replace(/^_/, '');
}
