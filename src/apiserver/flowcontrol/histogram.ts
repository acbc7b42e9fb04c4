/** The two kinds of histograms of flow control: of single observations, and of a ratio weighted by time. */

export class Histogram {
  readonly bounds: readonly number[];
  readonly #counts: Float64Array;
  #count = 0;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = new Float64Array(bounds.length);
  }

  get count(): number {
    return this.#count;
  }

  observe(value: number, weight = 1): void {
    this.#count += weight;
    this.#sum += value * weight;
    const { bounds } = this;
    for (let i = 0; i < bounds.length; i++) {
      if (value <= bounds[i]!) {
        this.#counts[i]! += weight;
        return;
      }
    }
  }

  /** labels: 'a="b",c="d"' */
  lines(name: string, labels: string): string[] {
    const lines: string[] = [];
    let cumulative = 0;
    this.bounds.forEach((bound, i) => {
      cumulative += this.#counts[i]!;
      lines.push(`${name}_bucket{${labels},le="${bound}"} ${cumulative}`);
    });
    lines.push(
      `${name}_bucket{${labels},le="+Inf"} ${this.#count}`,
      `${name}_sum{${labels}} ${this.#sum}`,
      `${name}_count{${labels}} ${this.#count}`,
    );
    return lines;
  }
}

/** As if the ratio were observed at the end of every nanosecond. */
export class TimingRatio {
  readonly #histogram: Histogram;
  #ratio = 0;
  #sinceMs: number;

  constructor(bounds: readonly number[], nowMs: number) {
    this.#histogram = new Histogram(bounds);
    this.#sinceMs = nowMs;
  }

  set(ratio: number, nowMs: number): void {
    if (nowMs > this.#sinceMs) {
      this.#histogram.observe(this.#ratio, Math.round((nowMs - this.#sinceMs) * 1e6));
      this.#sinceMs = nowMs;
    }
    this.#ratio = ratio;
  }

  lines(name: string, { labels, nowMs }: { readonly labels: string; readonly nowMs: number }): string[] {
    this.set(this.#ratio, nowMs);
    return this.#histogram.lines(name, labels);
  }
}
