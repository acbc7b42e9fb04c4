/**
 * What is compared: scenarios, each a list of requests that both servers get in the same order. Scenarios are data; they say nothing about how
 * requests are sent (connection.ts), run (runner.ts) or judged (diff.ts).
 */

/** Sent as JSON unless `encode` says otherwise; a string or bytes are sent as they are. */
export type Body = object | string | Buffer;

export interface Step {
  /** Later steps refer to this one's answer by it: '{{made.metadata.uid}}' anywhere in path, headers or body; '{{made|status}}' is its code. */
  readonly as?: string;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Body;
  /** How an object body is written. Default json. */
  readonly encode?: 'json' | 'yaml' | 'cbor' | 'protobuf';
  /** Sent without the kubeconfig's credentials. */
  readonly anonymous?: boolean;
  /** Sent one after the other once this step's answer has begun: what a watch should see. */
  readonly during?: readonly Step[];
  /** Where it fails on either side the scenario ends: what follows would mean nothing. */
  readonly must?: boolean;
  /** Prepares only: its answer is compared by its status alone. */
  readonly quiet?: boolean;
}

export interface Scenario {
  /** 'create/apps/v1/Deployment/spec.replicas/negative': what --only selects by. */
  readonly name: string;
  /** The API group, or a subject such as 'discovery', that findings are listed under. */
  readonly area: string;
  readonly steps: readonly Step[];
}

/** What this run's objects are called; both servers get the same. */
export interface RunNames {
  /** A short word unique to the run, fit for names. */
  readonly token: string;
  /** The namespace that setup makes; it has a ServiceAccount default. */
  readonly namespace: string;
}

export type ScenarioSource = (names: RunNames) => readonly Scenario[];

const REFERENCE = /\{\{([^{}|]+?)(?:\|(status|header:[a-z-]+))?\}\}/g;

/** What earlier steps of a scenario have answered, by their `as`. */
export interface Captured {
  readonly status: number;
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly body: unknown;
}

/** Replaces references. A text that is one reference and nothing else becomes the value itself, whatever its type; a value that is absent becomes ''. */
export function resolveReferences<T>(value: T, answers: ReadonlyMap<string, Captured>): T {
  return replace(value, answers) as T;
}

function replace(value: unknown, answers: ReadonlyMap<string, Captured>): unknown {
  if (typeof value === 'string') return value.includes('{{') ? replaceInText(value, answers) : value;
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value;
  if (Array.isArray(value)) return value.map((item) => replace(item, answers));
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, replace(item, answers)]));
}

function replaceInText(text: string, answers: ReadonlyMap<string, Captured>): unknown {
  const whole = [...text.matchAll(REFERENCE)];
  if (whole.length === 1 && whole[0]![0] === text) return lookUp(whole[0]!, answers) ?? '';
  return text.replace(REFERENCE, (...match) =>
    String(lookUp(match as unknown as RegExpMatchArray, answers) ?? ''),
  );
}

function lookUp(match: RegExpMatchArray, answers: ReadonlyMap<string, Captured>): unknown {
  const [name, ...path] = (match[1] ?? '').split('.');
  const answer = answers.get(name ?? '');
  if (match[2] === 'status') return answer?.status;
  if (match[2]?.startsWith('header:')) return answer?.headers[match[2].slice('header:'.length)]?.[0];
  let value: unknown = answer?.body;
  for (const part of path) value = (value as Record<string, unknown> | undefined | null)?.[part];
  return value;
}
