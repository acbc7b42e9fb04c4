/** /healthz, /livez and /readyz: named checks, upstream's text answers, ?verbose and ?exclude, one path for each check. */
import { statusErrors } from '#machinery/errors.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http.ts';
import { textResponse } from '../respond.ts';

export interface HealthCheck {
  readonly name: string;
  /** Undefined when all is well, else why not. Cheap and synchronous. */
  check(): string | undefined;
}

export class HealthChecks {
  readonly #healthz: HealthCheck[] = [];
  readonly #readyOnly: HealthCheck[] = [];

  add(check: HealthCheck): void {
    this.#healthz.push(check);
  }

  /** Counts for /readyz alone. */
  addReadiness(check: HealthCheck): void {
    this.#readyOnly.push(check);
  }

  isReady(): boolean {
    return [...this.#healthz, ...this.#readyOnly].every(({ check }) => check() === undefined);
  }

  paths(): string[] {
    const of = (root: string, checks: readonly HealthCheck[]): string[] => [root, ...checks.map(({ name }) => `${root}/${name}`)];
    return [...of('/healthz', this.#healthz), ...of('/livez', this.#healthz), ...of('/readyz', [...this.#healthz, ...this.#readyOnly])];
  }

  respond({ info, request }: RequestContext): ApiResponse {
    const [, root, ...rest] = info.path.split('/');
    const checks = root === 'readyz' ? [...this.#healthz, ...this.#readyOnly] : this.#healthz;
    const single = rest.join('/');
    if (single !== '') {
      const check = checks.find(({ name }) => name === single);
      if (!check) throw statusErrors.pathNotFound();
      const problem = check.check();
      return problem === undefined ? textResponse(200, 'ok') : textResponse(500, `internal server error: ${problem}\n`);
    }
    const excluded = new Set(new URLSearchParams(request.query).getAll('exclude'));
    const unknown = Array.from(excluded).filter((name) => !checks.some((check) => check.name === name));
    return report(root!, { checks, excluded, unknown, verbose: info.query['verbose'] !== undefined });
  }
}

function report(root: string, { checks, excluded, unknown, verbose }: { readonly checks: readonly HealthCheck[]; readonly excluded: ReadonlySet<string>; readonly unknown: readonly string[]; readonly verbose: boolean }): ApiResponse {
  const lines: string[] = [];
  let failed = false;
  for (const { name, check } of checks) {
    if (excluded.has(name)) {
      lines.push(`[+]${name} excluded: ok\n`);
      continue;
    }
    const problem = check();
    if (problem === undefined) lines.push(`[+]${name} ok\n`);
    else {
      failed = true;
      lines.push(`[-]${name} failed: reason withheld\n`);
    }
  }
  if (unknown.length > 0) lines.push(`warn: some health checks cannot be excluded: no matches for ${unknown.map((name) => JSON.stringify(name)).join(', ')}\n`);
  if (failed) return textResponse(500, `${lines.join('')}${root} check failed\n`);
  return textResponse(200, verbose ? `${lines.join('')}${root} check passed\n` : 'ok');
}
