/** How the tokens of one issuer fare, and how its keys are fetched, under upstream's names. Issuers are shown as hashes: their URLs may tell of tenants. */
import { createHash } from 'node:crypto';
import { SERVER_ID_LABEL } from '../../nonresource/server-id.ts';

type Result = 'success' | 'failure';

/** Upper bounds of the time to verify, in seconds: a millisecond to 16 s. */
const BUCKETS = Array.from({ length: 15 }, (_, power) => 0.001 * 2 ** power);
const BASE = 'apiserver_authentication_jwt_authenticator';

interface Latency {
  readonly buckets: Float64Array;
  count: number;
  sum: number;
}

export class IssuerMetrics {
  readonly #issuer: string;
  readonly #latency: Record<Result, Latency> = { success: emptyLatency(), failure: emptyLatency() };
  readonly #fetchedMs: Partial<Record<Result, number>> = {};
  #keySetHash: string | undefined;

  constructor(url: string) {
    this.#issuer = hashOf(url);
  }

  verified(result: Result, ms: number): void {
    const latency = this.#latency[result];
    const bucket = BUCKETS.findIndex((bound) => ms / 1000 <= bound);
    if (bucket >= 0) latency.buckets[bucket]!++;
    latency.count++;
    latency.sum += ms / 1000;
  }

  /** keySet: the document, when it was good. */
  fetched(nowMs: number, keySet: string | undefined): void {
    this.#fetchedMs[keySet === undefined ? 'failure' : 'success'] = nowMs;
    if (keySet !== undefined) this.#keySetHash = hashOf(keySet);
  }

  render(): string[] {
    const label = `jwt_issuer_hash="${this.#issuer}"`;
    const lines: string[] = [];
    for (const [result, { buckets, count, sum }] of Object.entries(this.#latency)) {
      if (count === 0) continue;
      let cumulative = 0;
      BUCKETS.forEach((bound, index) =>
        lines.push(
          `${BASE}_latency_seconds_bucket{${label},result="${result}",le="${bound}"} ${(cumulative += buckets[index]!)}`,
        ),
      );
      lines.push(
        `${BASE}_latency_seconds_bucket{${label},result="${result}",le="+Inf"} ${count}`,
        `${BASE}_latency_seconds_sum{${label},result="${result}"} ${sum}`,
        `${BASE}_latency_seconds_count{${label},result="${result}"} ${count}`,
      );
    }
    for (const [result, ms] of Object.entries(this.#fetchedMs))
      lines.push(
        `${BASE}_jwks_fetch_last_timestamp_seconds{${SERVER_ID_LABEL},${label},result="${result}"} ${ms / 1000}`,
      );
    if (this.#keySetHash !== undefined)
      lines.push(
        `${BASE}_jwks_fetch_last_key_set_info{${SERVER_ID_LABEL},${label},hash="${this.#keySetHash}"} 1`,
      );
    return lines;
  }
}

/** Of all issuers: lines of one metric are adjacent, under its heading. */
export function renderIssuers(metrics: readonly IssuerMetrics[]): string {
  const all = metrics.flatMap((one) => one.render());
  return Object.entries(HEADINGS)
    .flatMap(([name, [type, help]]) => [
      `# HELP ${BASE}_${name} ${help}`,
      `# TYPE ${BASE}_${name} ${type}`,
      ...all.filter((line) => line.startsWith(`${BASE}_${name}`)),
    ])
    .join('\n');
}

const HEADINGS: Readonly<Record<string, readonly [string, string]>> = {
  latency_seconds: ['histogram', 'Time to verify a token that was not remembered, by issuer.'],
  jwks_fetch_last_timestamp_seconds: ['gauge', "When an issuer's keys were fetched last, by result."],
  jwks_fetch_last_key_set_info: ['gauge', "An issuer's keys as they are in use."],
};

function emptyLatency(): Latency {
  return { buckets: new Float64Array(BUCKETS.length), count: 0, sum: 0 };
}

function hashOf(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}
