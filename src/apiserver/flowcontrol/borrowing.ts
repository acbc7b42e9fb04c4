/**
 * Borrowing of seats between priority levels: unused seats are lent to levels with demand, within the limits of each. Every period the seats are
 * divided in proportion to smoothed demand. Pure except for SeatDemand's own state. After KEP-1040.
 */

interface Claim {
  readonly lower: number;
  readonly upper: number;
  readonly target: number;
}

interface Allocation {
  readonly seats: readonly number[];
  /** Seats given for each seat of demand. */ readonly fairFraction: number;
}

/** Levels without demand keep a minimal weight in the division of spare seats. */
const LEAST_TARGET = 1e-6;

/**
 * Seats that sum up to total: for each claim its target times one fraction common to all, but not below lower or above upper. undefined
 * when the bounds do not allow for that sum.
 */
export function divideSeats(total: number, claims: readonly Claim[]): Allocation | undefined {
  const targets = claims.map(({ target }) => Math.max(target, LEAST_TARGET));
  const sumAt = (fraction: number): number =>
    claims.reduce((sum, { lower, upper }, i) => sum + clamp(targets[i]! * fraction, lower, upper), 0);
  // Between two neighbouring bounds the sum grows in a straight line.
  const bounds = claims
    .flatMap(({ lower, upper }, i) => [lower / targets[i]!, upper / targets[i]!])
    .toSorted((left, right) => left - right);
  const slack = 1e-6 * Math.max(1, total);
  if (claims.length === 0 || sumAt(0) > total + slack || sumAt(bounds.at(-1)!) < total - slack)
    return undefined;
  let from = 0;
  for (const bound of bounds) {
    if (sumAt(bound) >= total) {
      const start = sumAt(from),
        growth = sumAt(bound) - start;
      const fairFraction =
        growth <= 0 ? bound : from + (bound - from) * Math.min(1, Math.max(0, (total - start) / growth));
      return {
        fairFraction,
        seats: claims.map(({ lower, upper }, i) => clamp(targets[i]! * fairFraction, lower, upper)),
      };
    }
    from = bound;
  }
  return {
    fairFraction: from,
    seats: claims.map(({ lower, upper }, i) => clamp(targets[i]! * from, lower, upper)),
  };
}

function clamp(value: number, lower: number, upper: number): number {
  return Math.min(upper, Math.max(lower, value));
}

/** Half-life of a remembered peak: five minutes of periods. */
const SMOOTHING = 0.977;

/** How many seats a level's requests would take if they were to be had: its peak, average and deviation of a period, smoothed over periods. */
export class SeatDemand {
  #seats = 0;
  #sinceMs: number;
  #startedMs: number;
  #integral = 0;
  #squares = 0;
  #peak = 0;
  highWatermark = 0;
  average = 0;
  deviation = 0;
  smoothed = 0;

  constructor(nowMs: number) {
    this.#sinceMs = this.#startedMs = nowMs;
  }

  get seats(): number {
    return this.#seats;
  }

  add(seats: number, nowMs: number): void {
    this.#count(nowMs);
    this.#seats += seats;
    if (this.#seats > this.#peak) this.#peak = this.#seats;
  }

  endPeriod(nowMs: number): void {
    this.#count(nowMs);
    const ms = nowMs - this.#startedMs;
    if (ms > 0) {
      this.average = this.#integral / ms;
      this.deviation = Math.sqrt(Math.max(0, this.#squares / ms - this.average ** 2));
    }
    this.highWatermark = this.#peak;
    const envelope = this.average + this.deviation;
    this.smoothed = Math.max(envelope, SMOOTHING * this.smoothed + (1 - SMOOTHING) * envelope);
    this.#startedMs = nowMs;
    this.#integral = this.#squares = 0;
    this.#peak = this.#seats;
  }

  #count(nowMs: number): void {
    const ms = nowMs - this.#sinceMs;
    if (ms <= 0) return;
    this.#sinceMs = nowMs;
    this.#integral += this.#seats * ms;
    this.#squares += this.#seats * this.#seats * ms;
  }
}
