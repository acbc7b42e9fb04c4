/** The server's own figures in Prometheus' text format, under upstream's names. Counting is cheap; rendering happens on a scrape. */
import { memoryUsage, cpuUsage, uptime } from 'node:process';

/** Upstream's buckets of apiserver_request_duration_seconds. */
const DURATION_BUCKETS = [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60];

export interface RequestLabels {
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly scope: '' | 'cluster' | 'namespace' | 'resource';
}

interface Series { readonly labels: RequestLabels; readonly codes: Map<number, number>; readonly buckets: Float64Array; count: number; sum: number }

export type Collector = () => string;

/** Verbs that stand in metrics as they are: a client may send any method. */
const VERBS = new Set(['GET', 'HEAD', 'LIST', 'WATCH', 'POST', 'PUT', 'PATCH', 'DELETE', 'DELETECOLLECTION', 'OPTIONS', 'CONNECT']);

export class Metrics {
  readonly #series = new Map<string, Series>();
  readonly #collectors: Collector[] = [];
  /** Which resources exist: paths that name others are counted together, or clients could make up series without end. */
  isServed: (labels: RequestLabels) => boolean = () => true;
  inflightReadOnly = 0;
  inflightMutating = 0;
  readonly #leaveReadOnly = (): void => void this.inflightReadOnly--;
  readonly #leaveMutating = (): void => void this.inflightMutating--;

  /** Counts a request that runs from now on; answers how to end that. */
  enter(mutating: boolean): () => void {
    if (mutating) {
      this.inflightMutating++;
      return this.#leaveMutating;
    }
    this.inflightReadOnly++;
    return this.#leaveReadOnly;
  }

  /** Adds whole lines to every scrape. */
  collect(collector: Collector): void {
    this.#collectors.push(collector);
  }

  observe(labels: RequestLabels, { code, seconds }: { readonly code: number; readonly seconds: number }): void {
    const series = this.#series.get(keyOf(labels)) ?? this.#seriesOf(this.#bounded(labels));
    series.codes.set(code, (series.codes.get(code) ?? 0) + 1);
    series.count++;
    series.sum += seconds;
    for (let i = 0; i < DURATION_BUCKETS.length; i++) {
      if (seconds <= DURATION_BUCKETS[i]!) {
        series.buckets[i]!++;
        break;
      }
    }
  }

  #seriesOf(labels: RequestLabels): Series {
    const key = keyOf(labels);
    let series = this.#series.get(key);
    if (!series) this.#series.set(key, (series = { labels, codes: new Map(), buckets: new Float64Array(DURATION_BUCKETS.length), count: 0, sum: 0 }));
    return series;
  }

  #bounded(labels: RequestLabels): RequestLabels {
    const verb = VERBS.has(labels.verb) ? labels.verb : 'OTHER';
    if (labels.resource === '' || !this.isServed(labels)) return { verb, group: '', version: '', resource: '', subresource: '', scope: '' };
    return { ...labels, verb };
  }

  render(): string {
    const lines: string[] = [];
    const all = [...this.#series.values()];
    lines.push('# HELP apiserver_request_total Requests answered, by verb, group, version, resource, scope and code.', '# TYPE apiserver_request_total counter');
    for (const { labels, codes } of all) for (const [code, count] of codes) lines.push(`apiserver_request_total{code="${code}",${render(labels)}} ${count}`);
    lines.push('# HELP apiserver_request_duration_seconds Time from the first byte of a request to its answer.', '# TYPE apiserver_request_duration_seconds histogram');
    for (const { labels, buckets, count, sum } of all) {
      const text = render(labels);
      let cumulative = 0;
      DURATION_BUCKETS.forEach((bound, i) => {
        cumulative += buckets[i]!;
        lines.push(`apiserver_request_duration_seconds_bucket{${text},le="${bound}"} ${cumulative}`);
      });
      lines.push(`apiserver_request_duration_seconds_bucket{${text},le="+Inf"} ${count}`, `apiserver_request_duration_seconds_sum{${text}} ${sum}`, `apiserver_request_duration_seconds_count{${text}} ${count}`);
    }
    lines.push('# HELP apiserver_current_inflight_requests Requests being served now, by kind.', '# TYPE apiserver_current_inflight_requests gauge',
      `apiserver_current_inflight_requests{request_kind="mutating"} ${this.inflightMutating}`, `apiserver_current_inflight_requests{request_kind="readOnly"} ${this.inflightReadOnly}`);
    for (const collector of this.#collectors) {
      const text = collector();
      if (text !== '') lines.push(text);
    }
    lines.push(...processLines());
    return `${lines.join('\n')}\n`;
  }
}

function keyOf({ verb, group, version, resource, subresource, scope }: RequestLabels): string {
  return `${verb} ${group}/${version}/${resource}/${subresource} ${scope}`;
}

function render({ verb, group, version, resource, subresource, scope }: RequestLabels): string {
  return `component="apiserver",dry_run="",group="${group}",resource="${resource}",scope="${scope}",subresource="${subresource}",verb="${verb}",version="${version}"`;
}

function processLines(): string[] {
  const cpu = cpuUsage();
  return [
    '# HELP process_cpu_seconds_total Processor time of this process in seconds.', '# TYPE process_cpu_seconds_total counter',
    `process_cpu_seconds_total ${(cpu.user + cpu.system) / 1e6}`,
    '# HELP process_resident_memory_bytes Resident memory in bytes.', '# TYPE process_resident_memory_bytes gauge', `process_resident_memory_bytes ${memoryUsage.rss()}`,
    '# HELP process_start_time_seconds When the process began, in seconds since the epoch.', '# TYPE process_start_time_seconds gauge',
    `process_start_time_seconds ${Date.now() / 1000 - uptime()}`,
  ];
}
