/** What encryption at rest counts, under upstream's names. */
import { SERVER_ID_LABEL } from '../nonresource/server-id.ts';

const DURATION_BUCKETS = [...Array(25).keys()].map((power) => 5e-6 * 2 ** power);
const LATENCY_BUCKETS = [...Array(15).keys()].map((power) => 1e-4 * 2 ** power);

interface Distribution {
  readonly buckets: Float64Array;
  count: number;
  sum: number;
}
type Kind = 'counter' | 'gauge';
type Direction = 'to_storage' | 'from_storage';

export class TransformationMetrics {
  readonly #values = new Map<
    string,
    { readonly kind: Kind; readonly help: string; readonly series: Map<string, number> }
  >();
  readonly #durations = new Map<string, Distribution>();
  readonly #latencies = new Map<string, Distribution>();

  /** The returned function takes gRPC's status name of the outcome. */
  begin(
    direction: Direction,
    { prefix, resource }: { readonly prefix: string; readonly resource: string },
  ): (status: string) => void {
    const startMs = performance.now();
    const shown = prefix === '' ? 'identity' : prefix;
    return (status) => {
      this.#count(
        'apiserver_storage_transformation_operations_total',
        'Transformations between objects and their stored form.',
        `resource=${quoted(resource)},status=${quoted(status)},transformation_type="${direction}",transformer_prefix=${quoted(shown)}`,
      );
      if (status === 'OK')
        observe(this.#durations, {
          labels: `transformation_type="${direction}",transformer_prefix=${quoted(shown)}`,
          seconds: (performance.now() - startMs) / 1000,
          bounds: DURATION_BUCKETS,
        });
    };
  }

  kmsCall({
    provider,
    method,
    status,
    seconds,
  }: {
    readonly provider: string;
    readonly method: string;
    readonly status: string;
    readonly seconds: number;
  }): void {
    observe(this.#latencies, {
      labels: `grpc_status_code=${quoted(status)},method_name="/v2.KeyManagementService/${method}",provider_name=${quoted(provider)}`,
      seconds,
      bounds: LATENCY_BUCKETS,
    });
  }

  keyGenerated(failed: boolean): void {
    if (failed)
      this.#count(
        'apiserver_storage_data_key_generation_failures_total',
        'Data keys that could not be made.',
        '',
      );
    else this.#count('apiserver_storage_data_key_generation_total', 'Data keys made.', '');
  }

  cacheMiss(): void {
    this.#count(
      'apiserver_storage_envelope_transformation_cache_misses_total',
      'Data keys that a plugin had to decrypt.',
      '',
    );
  }

  invalidKeyId(provider: string, reason: string): void {
    this.#count(
      'apiserver_envelope_encryption_invalid_key_id_from_status_total',
      'Answers of plugins without a usable key ID.',
      `error=${quoted(reason)},provider_name=${quoted(provider)}`,
    );
  }

  keyUsed({
    provider,
    direction,
    keyIdHash,
    nowMs,
  }: {
    readonly provider: string;
    readonly direction: Direction;
    readonly keyIdHash: string;
    readonly nowMs: number;
  }): void {
    const labels = `key_id_hash=${quoted(keyIdHash)},provider_name=${quoted(provider)},transformation_type="${direction}"`;
    this.#count('apiserver_envelope_encryption_key_id_hash_total', 'Transformations by remote key.', labels);
    this.#set(
      'apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds',
      'When a remote key was used last.',
      { labels, value: nowMs / 1000 },
    );
  }

  cacheSize(provider: string, entries: number): void {
    this.#set('apiserver_envelope_encryption_dek_source_cache_size', 'Decrypted data keys that are kept.', {
      labels: `provider_name=${quoted(provider)}`,
      value: entries,
    });
  }

  reloaded(status: 'success' | 'failure', nowMs: number): void {
    this.#count(
      'apiserver_encryption_config_controller_automatic_reloads_total',
      'Reloads of the encryption configuration, by status.',
      `${SERVER_ID_LABEL},status="${status}"`,
    );
    this.#set(
      'apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds',
      'When the encryption configuration was reloaded last, by status.',
      { labels: `${SERVER_ID_LABEL},status="${status}"`, value: nowMs / 1000 },
    );
  }

  /** The configuration in use. */
  using(hash: string): void {
    this.#values.delete('apiserver_encryption_config_controller_last_config_info');
    this.#set(
      'apiserver_encryption_config_controller_last_config_info',
      'Hash of the encryption configuration in use.',
      { labels: `${SERVER_ID_LABEL},hash=${quoted(hash)}`, value: 1 },
    );
  }

  render(): string {
    const lines: string[] = [];
    for (const [name, { kind, help, series }] of this.#values) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${kind}`);
      for (const [labels, value] of series)
        lines.push(`${name}${labels === '' ? '' : `{${labels}}`} ${value}`);
    }
    lines.push(
      ...histogram('apiserver_storage_transformation_duration_seconds', {
        help: 'Time of transformations.',
        series: this.#durations,
        bounds: DURATION_BUCKETS,
      }),
    );
    lines.push(
      ...histogram('apiserver_envelope_encryption_kms_operations_latency_seconds', {
        help: 'Time of calls to plugins.',
        series: this.#latencies,
        bounds: LATENCY_BUCKETS,
      }),
    );
    return lines.join('\n');
  }

  #count(name: string, help: string, labels: string): void {
    const series = this.#series(name, { kind: 'counter', help });
    series.set(labels, (series.get(labels) ?? 0) + 1);
  }

  #set(
    name: string,
    help: string,
    { labels, value }: { readonly labels: string; readonly value: number },
  ): void {
    this.#series(name, { kind: 'gauge', help }).set(labels, value);
  }

  #series(name: string, { kind, help }: { readonly kind: Kind; readonly help: string }): Map<string, number> {
    let found = this.#values.get(name);
    if (!found) this.#values.set(name, (found = { kind, help, series: new Map() }));
    return found.series;
  }
}

function quoted(value: string): string {
  return `"${value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')}"`;
}

function observe(
  series: Map<string, Distribution>,
  {
    labels,
    seconds,
    bounds,
  }: { readonly labels: string; readonly seconds: number; readonly bounds: readonly number[] },
): void {
  let one = series.get(labels);
  if (!one) series.set(labels, (one = { buckets: new Float64Array(bounds.length), count: 0, sum: 0 }));
  one.count++;
  one.sum += seconds;
  const index = bounds.findIndex((bound) => seconds <= bound);
  if (index >= 0) one.buckets[index]!++;
}

function histogram(
  name: string,
  {
    help,
    series,
    bounds,
  }: {
    readonly help: string;
    readonly series: ReadonlyMap<string, Distribution>;
    readonly bounds: readonly number[];
  },
): string[] {
  if (series.size === 0) return [];
  const lines = [`# HELP ${name} ${help}`, `# TYPE ${name} histogram`];
  for (const [labels, { buckets, count, sum }] of series) {
    let cumulative = 0;
    bounds.forEach((bound, index) => {
      cumulative += buckets[index]!;
      lines.push(`${name}_bucket{${labels},le="${bound}"} ${cumulative}`);
    });
    lines.push(
      `${name}_bucket{${labels},le="+Inf"} ${count}`,
      `${name}_sum{${labels}} ${sum}`,
      `${name}_count{${labels}} ${count}`,
    );
  }
  return lines;
}
