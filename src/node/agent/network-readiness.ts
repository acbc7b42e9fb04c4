/**
 * Whether this node can give pods a network, and why not: one state for the Node's condition Ready and for the pods' workers, as upstream's network error of
 * the runtime. Pods of the host's network do not need it.
 *
 *   no pod range yet (the node's program) ──┐
 *   NetworkReady=false (the runtime)      ──┴─► problem ──change──► Ready condition, pods that wait
 */

/** Who has found the problem. */
type Source = 'pod-range' | 'runtime';

export class NetworkReadiness {
  readonly #problems = new Map<Source, string>();
  readonly #listeners = new Set<() => void>();

  /** In the words of the Node's condition Ready. The first that was found has priority. */
  get problem(): string | undefined {
    const [first] = this.#problems.values();
    return first;
  }

  /** undefined: it is solved. */
  report(source: Source, problem: string | undefined): void {
    const before = this.problem;
    if (problem === undefined) this.#problems.delete(source);
    else this.#problems.set(source, problem);
    if (this.problem !== before) for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }
}

/** Upstream's text. */
export function networkNotReady(reason: string, message: string): string {
  return `container runtime network not ready: NetworkReady=false reason:${reason} message:${message}`;
}

/** A pod waits for it; the worker emits upstream's event. */
export class NetworkNotReadyError extends Error {
  constructor(problem: string) {
    super(`network is not ready: ${problem}`);
    this.name = 'NetworkNotReadyError';
  }
}
