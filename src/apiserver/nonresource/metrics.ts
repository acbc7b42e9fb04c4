/**
 * The server's metrics in Prometheus' text format, with upstream's names and buckets. Counting is cheap; rendering happens on a scrape. Components with
 * many metrics of their own keep them and add their lines by collect().
 */
import {
  Counter,
  Distribution,
  Gauge,
  Histogram,
  label,
  seriesLine,
  type Labels,
  type Value,
} from '#stdx/instruments.ts';
import { StabilityMarks } from './metric-stability.ts';
import { StoreMetrics } from './store-metrics.ts';
import { processLines } from '#stdx/process-metrics.ts';

const DURATION_BUCKETS = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60,
];
const SLI_BUCKETS = DURATION_BUCKETS.slice(2);
const RESPONSE_SIZE_BUCKETS = [1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/** 50 kB and every further 100 kB up to the largest body. */
const BODY_SIZE_BUCKETS = Array.from({ length: 31 }, (_, i) => 50_000 + i * 100_000);
/** Of authentication and authorization: doubled from a millisecond on. */
const DOUBLING_BUCKETS = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);
const EVENT_SIZE_BUCKETS = Array.from({ length: 8 }, (_, i) => 1024 * 2 ** i);
const ADMISSION_BUCKETS = [0.005, 0.025, 0.1, 0.5, 1, 2.5];
const WATCH_LIST_BUCKETS = [0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 15, 20, 30, 45, 60];
/** A slice of a scrape's work. */
const SLICE_MS = 8;
const HOUR = 3600,
  DAY = 24 * HOUR;
const CERTIFICATE_BUCKETS = [
  0,
  HOUR / 2,
  HOUR,
  2 * HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  4 * DAY,
  7 * DAY,
  30 * DAY,
  90 * DAY,
  180 * DAY,
  360 * DAY,
];

export interface RequestLabels {
  readonly verb: string;
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly scope: '' | 'cluster' | 'namespace' | 'resource';
}

interface Observation {
  readonly code: number;
  readonly seconds: number;
  /** Of these, spent waiting for a seat: no fault of what serves the request. */
  readonly queuedSeconds: number;
  /** As the client announced it. */
  readonly bodyBytes: number | undefined;
  /** Undefined for streams. */
  readonly responseBytes: number | undefined;
}

interface Series {
  readonly labels: RequestLabels;
  readonly codes: Map<number, number>;
  readonly seconds: Distribution;
  readonly sliSeconds: Distribution;
  readonly responseBytes: Distribution;
}

/** What watchers of one resource count. */
export interface WatchSeries {
  readonly events: Value;
  readonly bytes: Distribution;
  readonly cutOff: Value;
}

export type Collector = () => string;

/** Verbs that are used as labels unchanged: a client may send any method. */
const VERBS = new Set([
  'GET',
  'HEAD',
  'LIST',
  'WATCH',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'DELETECOLLECTION',
  'OPTIONS',
  'CONNECT',
]);
const BODY_VERBS: Readonly<Record<string, string>> = {
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
  DELETECOLLECTION: 'deletecollection',
};

/** By priority and fairness, and by the request timeout. */
const CUT_OFF = new Set([429, 504]);

function terminationLabels(
  { group, resource, scope, subresource, verb, version }: RequestLabels,
  code: number,
): Labels {
  return [
    label('code', String(code)),
    label('component', 'apiserver'),
    label('group', group),
    label('resource', resource),
    label('scope', scope),
    label('subresource', subresource),
    label('verb', verb),
    label('version', version),
  ].join(',');
}

export class Metrics {
  readonly #series = new Map<string, Series>();
  readonly #collectors: Collector[] = [];
  /** Which resources exist: paths that name others are counted together, or clients could make up series without end. */
  isServed: (labels: RequestLabels) => boolean = () => true;
  inflightReadOnly = 0;
  inflightMutating = 0;
  /** Requests that wait for a seat. */
  readonly queued = { readOnly: 0, mutating: 0 };
  readonly store = new StoreMetrics();
  readonly watchListSeconds = new Histogram('apiserver_watch_list_duration_seconds', {
    help: 'Time from a watch list request to the end of the objects there were, by group, version, resource and scope.',
    bounds: WATCH_LIST_BUCKETS,
  });
  readonly handshakeErrors = new Counter(
    'apiserver_tls_handshake_errors_total',
    'TLS handshakes that failed.',
  );
  readonly authenticationSeconds = new Histogram('authentication_duration_seconds', {
    help: 'Time authentication took, by its result.',
    bounds: DOUBLING_BUCKETS,
  });
  readonly authorizationSeconds = new Histogram('authorization_duration_seconds', {
    help: 'Time authorization took, by its result.',
    bounds: DOUBLING_BUCKETS,
  });
  readonly authorizationAttempts = new Counter(
    'authorization_attempts_total',
    'Requests by what authorization came to.',
  );
  readonly certificateSeconds = new Histogram('apiserver_client_certificate_expiration_seconds', {
    help: 'How much longer the client certificates of requests live.',
    bounds: CERTIFICATE_BUCKETS,
  });
  readonly pluginSeconds = new Histogram('apiserver_admission_controller_admission_duration_seconds', {
    help: 'Time of each admission plugin, by name, operation, type and whether it refused.',
    bounds: ADMISSION_BUCKETS,
  });
  readonly admissionSeconds = new Histogram('apiserver_admission_step_admission_duration_seconds', {
    help: 'Time of all admission plugins of a request, by operation, type and whether one refused.',
    bounds: ADMISSION_BUCKETS,
  });
  readonly #longRunning = new Gauge(
    'apiserver_longrunning_requests',
    'Watches and streams under way, by verb, group, version, resource, scope.',
  );
  readonly #deprecated = new Gauge(
    'apiserver_requested_deprecated_apis',
    'Deprecated APIs that were asked for since the start, by group, version, resource.',
  );
  readonly #bodyBytes = new Histogram('apiserver_request_body_size_bytes', {
    help: 'Sizes of bodies sent by clients, by resource and verb.',
    bounds: BODY_SIZE_BUCKETS,
  });
  readonly #watchEvents = new Counter(
    'apiserver_watch_events_total',
    'Events sent to watchers, by group, version and resource.',
  );
  readonly #watchBytes = new Histogram('apiserver_watch_events_sizes', {
    help: 'Sizes in bytes of events sent to watchers, by group, version and resource.',
    bounds: EVENT_SIZE_BUCKETS,
  });
  readonly #endedWatchers = new Counter(
    'apiserver_terminated_watchers_total',
    'Watchers that were cut off because they read too slowly, by group and resource.',
  );
  constructor() {
    this.handshakeErrors.add('', 0);
  }

  readonly #terminations = new Counter(
    'apiserver_request_terminations_total',
    'Requests that the server refused or cut off in self-defense: 429 and 504.',
  );
  readonly #leaveReadOnly = (): void => void this.inflightReadOnly--;
  readonly #leaveMutating = (): void => void this.inflightMutating--;

  /** Counts a request as running; returns the function that ends it. */
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

  observe(
    labels: RequestLabels,
    { code, seconds, queuedSeconds, bodyBytes, responseBytes }: Observation,
  ): void {
    const series = this.#series.get(keyOf(labels)) ?? this.#seriesOf(this.#bounded(labels));
    series.codes.set(code, (series.codes.get(code) ?? 0) + 1);
    series.seconds.observe(seconds);
    series.sliSeconds.observe(seconds - queuedSeconds);
    if (responseBytes !== undefined) series.responseBytes.observe(responseBytes);
    const { verb, group, resource } = series.labels;
    if (CUT_OFF.has(code)) this.#terminations.add(terminationLabels(series.labels, code));
    if (bodyBytes && resource !== '' && BODY_VERBS[verb])
      this.#bodyBytes.observe(
        `${label('group', group)},${label('resource', resource)},verb="${BODY_VERBS[verb]}"`,
        bodyBytes,
      );
  }

  /** A long-running request whose response has started; returns the function to call once at its end. */
  longRunning(labels: RequestLabels): () => void {
    const running = this.#longRunning.of(requestLabels(this.#bounded(labels)));
    running.value++;
    return () => void running.value--;
  }

  /** removedRelease: '1.37'; '' where it stays. */
  deprecatedApi(
    {
      group,
      version,
      resource,
      subresource,
    }: Pick<RequestLabels, 'group' | 'version' | 'resource' | 'subresource'>,
    removedRelease: string,
  ): void {
    this.#deprecated.set(
      `${label('group', group)},${label('removed_release', removedRelease)},${label('resource', resource)},${label('subresource', subresource)},${label('version', version)}`,
      1,
    );
  }

  /** Counters of the watchers of a resource; kept while one watches. */
  watchSeries({
    group,
    version,
    resource,
  }: {
    readonly group: string;
    readonly version: string;
    readonly resource: string;
  }): WatchSeries {
    const labels: Labels = `${label('group', group)},${label('resource', resource)},${label('version', version)}`;
    return {
      events: this.#watchEvents.of(labels),
      bytes: this.#watchBytes.of(labels),
      cutOff: this.#endedWatchers.of(`${label('group', group)},${label('resource', resource)}`),
    };
  }

  #seriesOf(labels: RequestLabels): Series {
    const key = keyOf(labels);
    let series = this.#series.get(key);
    if (!series) {
      series = {
        labels,
        codes: new Map(),
        seconds: new Distribution(DURATION_BUCKETS),
        sliSeconds: new Distribution(SLI_BUCKETS),
        responseBytes: new Distribution(RESPONSE_SIZE_BUCKETS),
      };
      this.#series.set(key, series);
    }
    return series;
  }

  #bounded(labels: RequestLabels): RequestLabels {
    const verb = VERBS.has(labels.verb) ? labels.verb : 'OTHER';
    if (labels.resource === '' || !this.isServed(labels))
      return { verb, group: '', version: '', resource: '', subresource: '', scope: '' };
    return { ...labels, verb };
  }

  /** Resets request metrics: upstream's response to DELETE /metrics. */
  reset(): void {
    this.#series.clear();
  }

  /** A scrape's page. It may have tens of thousands of lines, so it yields to other work. */
  async render(): Promise<string> {
    const marks = new StabilityMarks(),
      parts: string[] = [];
    let end = performance.now() + SLICE_MS;
    for (const part of this.#parts()) {
      if (part !== '') parts.push(marks.mark(part));
      if (performance.now() < end) continue;
      await new Promise((resolve) => setImmediate(resolve));
      end = performance.now() + SLICE_MS;
    }
    return `${[...parts, ...marks.lines()].join('\n')}\n`;
  }

  /** Whole lines each, without the last one's end. */
  *#parts(): Generator<string> {
    yield* this.#requestParts();
    yield [
      '# HELP apiserver_current_inflight_requests Requests being served now, by kind.',
      '# TYPE apiserver_current_inflight_requests gauge',
      `apiserver_current_inflight_requests{request_kind="mutating"} ${this.inflightMutating}`,
      `apiserver_current_inflight_requests{request_kind="readOnly"} ${this.inflightReadOnly}`,
      '# HELP apiserver_current_inqueue_requests Requests that wait for a seat now, by kind.',
      '# TYPE apiserver_current_inqueue_requests gauge',
      `apiserver_current_inqueue_requests{request_kind="mutating"} ${this.queued.mutating}`,
      `apiserver_current_inqueue_requests{request_kind="readOnly"} ${this.queued.readOnly}`,
    ].join('\n');
    for (const family of [
      this.#terminations,
      this.#longRunning,
      this.#deprecated,
      this.#bodyBytes,
      this.#watchEvents,
      this.#watchBytes,
      this.watchListSeconds,
      this.handshakeErrors,
      this.#endedWatchers,
      this.authenticationSeconds,
      this.authorizationSeconds,
      this.authorizationAttempts,
      this.certificateSeconds,
      this.pluginSeconds,
      this.admissionSeconds,
    ])
      yield family.render().join('\n');
    for (const collector of this.#collectors) yield collector().trimEnd();
    yield processLines().join('\n');
  }

  *#requestParts(): Generator<string> {
    const all = [...this.#series.values()];
    yield '# HELP apiserver_request_total Requests answered, by verb, group, version, resource, scope and code.\n# TYPE apiserver_request_total counter';
    for (const { labels, codes } of all)
      yield Array.from(codes, ([code, count]) =>
        seriesLine(
          'apiserver_request_total',
          `code="${code}",${requestLabels(labels, { dryRun: true })}`,
          count,
        ),
      ).join('\n');
    yield '# HELP apiserver_request_duration_seconds Time from the first byte of a request to its answer.\n# TYPE apiserver_request_duration_seconds histogram';
    for (const { labels, seconds } of all)
      yield seconds
        .lines('apiserver_request_duration_seconds', requestLabels(labels, { dryRun: true }))
        .join('\n');
    yield '# HELP apiserver_request_sli_duration_seconds The same without the time a request waited for a seat.\n# TYPE apiserver_request_sli_duration_seconds histogram';
    for (const { labels, sliSeconds } of all)
      yield sliSeconds.lines('apiserver_request_sli_duration_seconds', requestLabels(labels)).join('\n');
    yield '# HELP apiserver_response_sizes Sizes in bytes of answers that are no streams.\n# TYPE apiserver_response_sizes histogram';
    for (const { labels, responseBytes } of all)
      yield responseBytes.lines('apiserver_response_sizes', requestLabels(labels)).join('\n');
  }
}

function keyOf({ verb, group, version, resource, subresource, scope }: RequestLabels): string {
  return `${verb} ${group}/${version}/${resource}/${subresource} ${scope}`;
}

function requestLabels(
  { verb, group, version, resource, subresource, scope }: RequestLabels,
  { dryRun = false }: { readonly dryRun?: boolean } = {},
): Labels {
  return `component="apiserver",${dryRun ? 'dry_run="",' : ''}group="${group}",resource="${resource}",scope="${scope}",subresource="${subresource}",verb="${verb}",version="${version}"`;
}
