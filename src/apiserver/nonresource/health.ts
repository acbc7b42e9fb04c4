/** /healthz, /livez and /readyz: named checks, upstream's text format, ?verbose and ?exclude, one path for each check. */
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import { Counter, Gauge, label } from '#stdx/instruments.ts';
import { queryValues } from '../http/request-info.ts';
import { pageNotFound, textResponse } from '../http/response.ts';

const ROOTS = ['healthz', 'livez', 'readyz'] as const;

export interface HealthCheck {
  readonly name: string;
  /** Undefined when all is well, else why not. Cheap and synchronous. */
  check(): string | undefined;
}

/** The one check among them that is no hook. */
const AUTOREGISTER = 'autoregister-completion';

/** Upstream's names of post-start hooks that exist here too. */
export const POST_START_HOOKS: readonly string[] = [
  'start-apiserver-admission-initializer',
  'generic-apiserver-start-informers',
  'priority-and-fairness-config-consumer',
  'priority-and-fairness-filter',
  'storage-object-count-tracker-hook',
  'start-apiextensions-informers',
  'start-apiextensions-controllers',
  'crd-informer-synced',
  'start-system-namespaces-controller',
  'start-cluster-authentication-info-controller',
  'start-kube-apiserver-identity-lease-controller',
  'start-kube-apiserver-identity-lease-garbage-collector',
  'storage-readiness',
  'start-legacy-token-tracking-controller',
  'start-service-ip-repair-controllers',
  'rbac/bootstrap-roles',
  'scheduling/bootstrap-system-priority-classes',
  'priority-and-fairness-config-producer',
  'bootstrap-controller',
  'start-kubernetes-service-cidr-controller',
  'aggregator-reload-proxy-client-cert',
  'start-kube-aggregator-informers',
  'apiservice-status-local-available-controller',
  'apiservice-status-remote-available-controller',
  'apiservice-registration-controller',
  'apiservice-wait-for-first-sync',
  'apiservice-discovery-controller',
  'kube-apiserver-autoregistration',
  AUTOREGISTER,
  'apiservice-openapi-controller',
  'apiservice-openapiv3-controller',
].map((hook) => (hook === AUTOREGISTER ? hook : `poststarthook/${hook}`));

export class HealthChecks {
  readonly #healthz: HealthCheck[] = [];
  readonly #start: HealthCheck[] = [];
  readonly #readyOnly: HealthCheck[] = [];
  readonly #readyLast: HealthCheck[] = [];
  readonly #results = new Gauge(
    'kubernetes_healthcheck',
    'What a health check last came to: 1 where all is well, by name and type.',
  );
  readonly #counts = new Counter(
    'kubernetes_healthchecks_total',
    'Health checks made, by name, type and status.',
  );

  add(check: HealthCheck): void {
    this.#healthz.push(check);
  }

  /** Counts for /readyz alone. */
  addReadiness(check: HealthCheck): void {
    this.#readyOnly.push(check);
  }

  /** Likewise, after everything else. */
  addReadinessLast(check: HealthCheck): void {
    this.#readyLast.push(check);
  }

  /** A post-start hook: /livez reports it as healthy while it runs, without a time limit. */
  addStart(check: HealthCheck): void {
    this.#start.push(check);
  }

  isReady(): boolean {
    return this.#of('readyz').every(({ check }) => check() === undefined);
  }

  /** The current result of every check and of the requested ones: /metrics/slis. */
  metrics(): string {
    for (const type of ROOTS) for (const check of this.#of(type)) this.#run(type, check);
    return `${[...this.#results.render(), ...this.#counts.render()].join('\n')}\n`;
  }

  #run(type: string, { name, check }: HealthCheck): string | undefined {
    const problem = check(),
      labels = `${label('name', name)},${label('type', type)}`;
    this.#results.set(labels, problem === undefined ? 1 : 0);
    this.#counts.add(
      `${label('name', name)},status="${problem === undefined ? 'success' : 'error'}",${label('type', type)}`,
    );
    return problem;
  }

  paths(): string[] {
    return ROOTS.flatMap((root) => [`/${root}`, ...this.#of(root).map(({ name }) => `/${root}/${name}`)]);
  }

  #of(root: string): HealthCheck[] {
    if (root === 'livez')
      return [
        ...this.#healthz,
        ...this.#start.map(({ name }): HealthCheck => ({ name, check: () => undefined })),
      ];
    return root === 'readyz'
      ? [...this.#healthz, ...this.#readyOnly, ...this.#start, ...this.#readyLast]
      : [...this.#healthz, ...this.#start];
  }

  respond({ info, request }: RequestContext): ApiResponse {
    const [, root, ...rest] = info.path.split('/');
    const checks = this.#of(root!);
    const single = rest.join('/');
    if (rest.length > 0) {
      const check = checks.find(({ name }) => name === single);
      if (!check) return pageNotFound();
      const problem = this.#run(root!, check);
      return problem === undefined
        ? textResponse(200, 'ok')
        : textResponse(500, `internal server error: ${problem}\n`);
    }
    const excluded = new Set(queryValues(request.query, 'exclude'));
    const unknown = Array.from(excluded).filter((name) => !checks.some((check) => check.name === name));
    return report(root!, {
      checks,
      run: (check) => this.#run(root!, check),
      excluded,
      unknown,
      verbose: info.query['verbose'] !== undefined,
    });
  }
}

interface Asked {
  readonly checks: readonly HealthCheck[];
  run(check: HealthCheck): string | undefined;
  readonly excluded: ReadonlySet<string>;
  readonly unknown: readonly string[];
  readonly verbose: boolean;
}

function report(root: string, { checks, run, excluded, unknown, verbose }: Asked): ApiResponse {
  const lines: string[] = [];
  let failed = false;
  for (const check of checks) {
    const { name } = check;
    if (excluded.has(name)) {
      lines.push(`[+]${name} excluded: ok\n`);
      continue;
    }
    const problem = run(check);
    if (problem === undefined) lines.push(`[+]${name} ok\n`);
    else {
      failed = true;
      lines.push(`[-]${name} failed: reason withheld\n`);
    }
  }
  if (unknown.length > 0)
    lines.push(
      `warn: some health checks cannot be excluded: no matches for ${unknown.map((name) => JSON.stringify(name)).join(', ')}\n`,
    );
  if (failed) return textResponse(500, `${lines.join('')}${root} check failed\n`);
  return textResponse(200, verbose ? `${lines.join('')}${root} check passed\n` : 'ok');
}
