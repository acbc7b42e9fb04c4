/** The metrics of one component: its parts register collectors, a scrape renders all of them. */

/** Rendered in the order of adding. */
export class MetricsRegistry {
  readonly #collectors: (() => readonly string[])[] = [];

  /** lines: whole families, with # HELP and # TYPE, called at each scrape. */
  collect(lines: () => readonly string[]): void {
    this.#collectors.push(lines);
  }

  /** Registers instruments, which render themselves. */
  add(...instruments: readonly { render(): readonly string[] }[]): void {
    for (const instrument of instruments) this.collect(() => instrument.render());
  }

  render(): string {
    return `${this.#collectors.flatMap((lines) => lines()).join('\n')}\n`;
  }
}

/** `count` buckets, each `factor` times the previous: upstream's ExponentialBuckets. */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  const bounds: number[] = [];
  for (let bound = start; bounds.length < count; bound *= factor) bounds.push(Number(bound.toPrecision(12)));
  return bounds;
}

/** `count` buckets with equal `width`: upstream's LinearBuckets. */
export function linearBuckets(start: number, width: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => start + i * width);
}
