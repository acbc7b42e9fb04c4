/** The paths /healthz, /livez and /readyz of a component: named checks in upstream's format, with ?verbose, ?exclude and one path per check; and their results as metrics. */
import { Counter, Gauge, label } from '#stdx/instruments.ts';

export interface ComponentCheck {
  readonly name: string;
  /** Affects readiness only. Default: liveness too. */
  readonly readyOnly?: boolean;
  /** Undefined when healthy, otherwise the reason. Cheap and synchronous. */
  check(): string | undefined;
}

const ROOTS = ['healthz', 'livez', 'readyz'] as const;
type Root = (typeof ROOTS)[number];

interface HealthAnswer {
  readonly status: 200 | 404 | 500;
  readonly text: string;
}

export class ComponentHealth {
  readonly #checks: readonly ComponentCheck[];
  readonly #results = new Gauge(
    'kubernetes_healthcheck',
    'What a health check last came to: 1 where all is well, by name and type.',
  );
  readonly #counts = new Counter(
    'kubernetes_healthchecks_total',
    'Health checks made, by name, type and status.',
  );

  constructor(checks: readonly ComponentCheck[]) {
    this.#checks = [{ name: 'ping', check: () => undefined }, ...checks];
  }

  /** Undefined: no such path. */
  answer(path: string, query: URLSearchParams): HealthAnswer | undefined {
    const [, root = '', ...rest] = path.split('/');
    if (!isRoot(root)) return undefined;
    const single = rest.join('/');
    if (single === '') return this.#all(root, query);
    const check = this.#of(root).find(({ name }) => name === single);
    if (!check) return { status: 404, text: '404 page not found\n' };
    const problem = this.#run(root, check);
    return problem === undefined
      ? { status: 200, text: 'ok' }
      : { status: 500, text: `internal server error: ${problem}\n` };
  }

  /** /metrics/slis */
  slis(): string[] {
    for (const root of ROOTS) for (const check of this.#of(root)) this.#run(root, check);
    return [...this.#results.render(), ...this.#counts.render()];
  }

  paths(): string[] {
    return ROOTS.map((root) => `/${root}`);
  }

  #of(root: Root): readonly ComponentCheck[] {
    return root === 'readyz' ? this.#checks : this.#checks.filter(({ readyOnly }) => !readyOnly);
  }

  #run(root: Root, { name, check }: ComponentCheck): string | undefined {
    const problem = check();
    const labels = `${label('name', name)},${label('type', root)}`;
    this.#results.set(labels, problem === undefined ? 1 : 0);
    const status = problem === undefined ? 'success' : 'error';
    this.#counts.add(`${label('name', name)},${label('status', status)},${label('type', root)}`);
    return problem;
  }

  #all(root: Root, query: URLSearchParams): HealthAnswer {
    const excluded = new Set(query.getAll('exclude'));
    let failed = false;
    const lines = this.#of(root).map((check) => {
      if (excluded.has(check.name)) return `[+]${check.name} excluded: ok\n`;
      const problem = this.#run(root, check);
      if (problem === undefined) return `[+]${check.name} ok\n`;
      failed = true;
      return `[-]${check.name} failed: reason withheld\n`;
    });
    if (failed) return { status: 500, text: `${lines.join('')}${root} check failed\n` };
    return { status: 200, text: query.has('verbose') ? `${lines.join('')}${root} check passed\n` : 'ok' };
  }
}

function isRoot(text: string): text is Root {
  return (ROOTS as readonly string[]).includes(text);
}
