/** Requests to the store under upstream's names of its etcd request metrics, which dashboards use. */
import { performance } from 'node:perf_hooks';
import { Counter, Histogram, label, type Distribution, type Value } from '#stdx/instruments.ts';
import type { StoreStats } from '#storage/store.ts';

type StoreOperation = 'create' | 'update' | 'delete' | 'list';
export interface StoredResource {
  readonly group: string;
  readonly resource: string;
}

const BOUNDS = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];

/** Requests of one kind. A request is counted when it is over. */
class StoreSeries {
  readonly #requests: Value;
  readonly #errors: Value;
  readonly #seconds: Distribution;

  constructor({
    requests,
    errors,
    seconds,
  }: {
    readonly requests: Value;
    readonly errors: Value;
    readonly seconds: Distribution;
  }) {
    this.#requests = requests;
    this.#errors = errors;
    this.#seconds = seconds;
  }

  /** begunMs: by performance.now(). */
  succeeded(begunMs: number): void {
    this.#requests.value++;
    this.#seconds.observe((performance.now() - begunMs) / 1000);
  }

  failed(begunMs: number): void {
    this.#errors.value++;
    this.succeeded(begunMs);
  }
}

export class StoreMetrics {
  readonly #seconds = new Histogram('etcd_request_duration_seconds', {
    help: 'Time of requests to the store, by operation, group and resource.',
    bounds: BOUNDS,
  });
  readonly #requests = new Counter(
    'etcd_requests_total',
    'Requests to the store, by operation, group and resource.',
  );
  readonly #errors = new Counter(
    'etcd_request_errors_total',
    'Requests to the store that failed, by operation, group and resource.',
  );
  readonly #series = new WeakMap<StoredResource, Partial<Record<StoreOperation, StoreSeries>>>();

  /** resource: pass the same object each time; the series is cached by identity. */
  of(resource: StoredResource, operation: StoreOperation): StoreSeries {
    let known = this.#series.get(resource);
    if (!known) this.#series.set(resource, (known = {}));
    return (known[operation] ??= this.#make(resource, operation));
  }

  #make({ group, resource }: StoredResource, operation: StoreOperation): StoreSeries {
    const labels = `${label('group', group)},operation="${operation}",${label('resource', resource)}`;
    return new StoreSeries({
      requests: this.#requests.of(labels),
      errors: this.#errors.of(labels),
      seconds: this.#seconds.of(labels),
    });
  }

  render({ sizeBytes, cluster = 'embedded' }: StoreStats): string {
    return [
      ...this.#seconds.render(),
      ...this.#requests.render(),
      ...this.#errors.render(),
      '# HELP apiserver_storage_size_bytes Bytes of the store on disk.',
      '# TYPE apiserver_storage_size_bytes gauge',
      `apiserver_storage_size_bytes{storage_cluster_id="${cluster}"} ${sizeBytes}`,
    ].join('\n');
  }
}
