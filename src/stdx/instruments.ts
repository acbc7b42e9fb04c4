/**
 * Counters, gauges and histograms in Prometheus' text format. Counting is cheap: callers can keep a series instead of looking
 * it up; rendering happens on a scrape. Series are never removed, so label values must not be chosen by clients.
 */

/** Labels in a fixed order, as rendered: 'decision="allowed",name="rbac",type="RBAC"'; '' = none. */
export type Labels = string;

/** One label with its value, quoted. */
export function label(name: string, value: string): Labels {
  return `${name}=${JSON.stringify(value)}`;
}

/** 'name{labels} value' */
export function seriesLine(name: string, labels: Labels, value: number): string {
  return labels === '' ? `${name} ${value}` : `${name}{${labels}} ${value}`;
}

/** A number with labels, changed in place. */
export interface Value {
  value: number;
}

abstract class Family {
  readonly name: string;
  readonly #help: string;
  readonly #type: 'counter' | 'gauge';
  protected readonly series = new Map<Labels, Value>();

  constructor(name: string, help: string, type: 'counter' | 'gauge') {
    this.name = name;
    this.#help = help;
    this.#type = type;
  }

  of(labels: Labels): Value {
    let known = this.series.get(labels);
    if (!known) this.series.set(labels, (known = { value: 0 }));
    return known;
  }

  get(labels: Labels): number {
    return this.series.get(labels)?.value ?? 0;
  }

  render(): string[] {
    return [
      `# HELP ${this.name} ${this.#help}`,
      `# TYPE ${this.name} ${this.#type}`,
      ...Array.from(this.series, ([labels, { value }]) => seriesLine(this.name, labels, value)),
    ];
  }
}

export class Counter extends Family {
  constructor(name: string, help: string) {
    super(name, help, 'counter');
  }

  add(labels: Labels, count = 1): void {
    this.of(labels).value += count;
  }
}

export class Gauge extends Family {
  constructor(name: string, help: string) {
    super(name, help, 'gauge');
  }

  set(labels: Labels, value: number): void {
    this.of(labels).value = value;
  }

  /** All series. */
  replace(all: readonly { readonly labels: Labels; readonly value: number }[]): void {
    this.series.clear();
    for (const { labels, value } of all) this.set(labels, value);
  }

  /** The only series. */
  only(labels: Labels, value: number): void {
    this.series.clear();
    this.set(labels, value);
  }
}

/** The observations of one label set. */
export class Distribution {
  readonly #bounds: readonly number[];
  readonly #buckets: Float64Array;
  #count = 0;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#buckets = new Float64Array(bounds.length);
  }

  /** times: records the same value this often. */
  observe(value: number, times = 1): void {
    this.#count += times;
    this.#sum += value * times;
    const bounds = this.#bounds;
    for (let i = 0; i < bounds.length; i++) {
      if (value <= bounds[i]!) {
        this.#buckets[i]! += times;
        return;
      }
    }
  }

  lines(name: string, labels: Labels): string[] {
    const prefix = labels === '' ? '' : `${labels},`;
    let cumulative = 0;
    const lines = this.#bounds.map(
      (bound, i) => `${name}_bucket{${prefix}le="${bound}"} ${(cumulative += this.#buckets[i]!)}`,
    );
    lines.push(
      `${name}_bucket{${prefix}le="+Inf"} ${this.#count}`,
      seriesLine(`${name}_sum`, labels, this.#sum),
      seriesLine(`${name}_count`, labels, this.#count),
    );
    return lines;
  }
}

export class Histogram {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #series = new Map<Labels, Distribution>();

  constructor(name: string, { help, bounds }: { readonly help: string; readonly bounds: readonly number[] }) {
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
  }

  of(labels: Labels): Distribution {
    let known = this.#series.get(labels);
    if (!known) this.#series.set(labels, (known = new Distribution(this.#bounds)));
    return known;
  }

  observe(labels: Labels, value: number): void {
    this.of(labels).observe(value);
  }

  render(): string[] {
    return [
      `# HELP ${this.#name} ${this.#help}`,
      `# TYPE ${this.#name} histogram`,
      ...Array.from(this.#series).flatMap(([labels, values]) => values.lines(this.#name, labels)),
    ];
  }
}
