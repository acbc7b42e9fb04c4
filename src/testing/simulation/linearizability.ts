/**
 * Decides whether a concurrent history of one object is linearizable: the search of Wing and Gong, with Lowe's memory of states.
 * It knows nothing of Kubernetes: the model says what an operation does. register.ts is the model of one key.
 *
 *   an operation may be next if none that must precede it is left: it started before every operation that is left has ended
 *   next one chosen ─▶ legal in this state? ─▶ (set of chosen operations, state) seen before? ─▶ go on │ take back
 */

export interface Operation {
  readonly startMs: number;
  /** Infinity: it has no end that anybody knows. */
  readonly endMs: number;
  /** It may have had no effect at all, and its end does not count. Default: false. */
  readonly optional?: boolean | undefined;
}

export interface Model<State, Op extends Operation> {
  readonly initial: State;
  /** The state after the operation, undefined where its result cannot come about in this state. */
  step(state: State, operation: Op): State | undefined;
  /** Equal for equal states. */
  keyOf(state: State): string;
}

type Verdict<Op> =
  | { readonly kind: 'linearizable' }
  /** The longest prefix that could be put in order, and what was left when the search got no further. */
  | { readonly kind: 'not-linearizable'; readonly order: readonly Op[]; readonly left: readonly Op[] }
  /** More than `states` states would have to be looked at. */
  | { readonly kind: 'undecided'; readonly states: number };

/** States that are looked at for one history before it is left undecided. */
const MAX_STATES = 200_000;

interface Frame<State> {
  readonly state: State;
  /** Index of the operation that led here, -1 at the root. */
  readonly chosen: number;
  readonly candidates: readonly number[];
  next: number;
}

export function checkLinearizable<State, Op extends Operation>(
  history: readonly Op[],
  model: Model<State, Op>,
  { maxStates = MAX_STATES }: { readonly maxStates?: number | undefined } = {},
): Verdict<Op> {
  const operations = history.toSorted((a, b) => a.startMs - b.startMs);
  return new Search(operations, model).run(maxStates);
}

class Search<State, Op extends Operation> {
  readonly #operations: readonly Op[];
  readonly #model: Model<State, Op>;
  readonly #done: Uint8Array;
  readonly #seen = new Set<string>();
  #longest: readonly number[] = [];
  /** Operations that are not optional and not chosen. */
  #required: number;

  constructor(operations: readonly Op[], model: Model<State, Op>) {
    this.#operations = operations;
    this.#model = model;
    this.#done = new Uint8Array(operations.length);
    this.#required = operations.filter(({ optional }) => !optional).length;
  }

  run(maxStates: number): Verdict<Op> {
    const stack: Frame<State>[] = [this.#frame(this.#model.initial, -1)];
    for (;;) {
      if (this.#required === 0) return { kind: 'linearizable' };
      const top = stack.at(-1)!;
      const index = top.candidates[top.next++];
      if (index === undefined) {
        stack.pop();
        if (stack.length === 0) return this.#refused();
        this.#mark(top.chosen, false);
        continue;
      }
      const state = this.#model.step(top.state, this.#operations[index]!);
      if (state === undefined) continue;
      this.#mark(index, true);
      const key = this.#keyOf(state);
      if (this.#seen.has(key)) {
        this.#mark(index, false);
        continue;
      }
      if (this.#seen.size >= maxStates) return { kind: 'undecided', states: maxStates };
      this.#seen.add(key);
      stack.push(this.#frame(state, index));
      if (stack.length - 1 > this.#longest.length) this.#longest = stack.slice(1).map(({ chosen }) => chosen);
    }
  }

  #frame(state: State, chosen: number): Frame<State> {
    return { state, chosen, candidates: this.#candidates(), next: 0 };
  }

  /** In the order of their start, so that histories without concurrency need no search. */
  #candidates(): number[] {
    const found: number[] = [];
    let firstEnd = Infinity;
    for (let i = this.#firstLeft(); i < this.#operations.length; i++) {
      const { startMs, endMs, optional } = this.#operations[i]!;
      if (startMs > firstEnd) break;
      if (this.#done[i]) continue;
      found.push(i);
      if (!optional) firstEnd = Math.min(firstEnd, endMs);
    }
    return found;
  }

  #firstLeft(): number {
    const first = this.#done.indexOf(0);
    return first < 0 ? this.#operations.length : first;
  }

  #mark(index: number, done: boolean): void {
    this.#done[index] = done ? 1 : 0;
    if (!this.#operations[index]!.optional) this.#required += done ? -1 : 1;
  }

  /** The operations that are done are a run from the first on, and few beyond it. */
  #keyOf(state: State): string {
    const first = this.#firstLeft();
    const beyond: number[] = [];
    for (let i = first; i < this.#done.length; i++) if (this.#done[i]) beyond.push(i);
    return `${first} ${beyond.join()} ${this.#model.keyOf(state)}`;
  }

  #refused(): Verdict<Op> {
    const chosen = new Set(this.#longest);
    return {
      kind: 'not-linearizable',
      order: this.#longest.map((index) => this.#operations[index]!),
      left: this.#operations.filter((_, index) => !chosen.has(index)),
    };
  }
}
