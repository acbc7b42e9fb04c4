/**
 * What differs between two normalised answers. Where the codes differ nothing else is compared; failures are compared by reason, message and causes
 * (as a set, since upstream's order is not always its own), successes value by value.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Normalised } from './normalise.ts';

export type DifferenceKind = 'status' | 'header' | 'reason' | 'message' | 'cause' | 'body' | 'order';

export interface Difference {
  readonly kind: DifferenceKind;
  /** Where: a header's name, 'spec.containers[0].image', a cause's field. */
  readonly path: string;
  /** In words; '(absent)' where there is nothing. */
  readonly reference: string;
  readonly subject: string;
}

const ABSENT = '(absent)';
/** Differences of one body that are told apart; further ones are counted. */
const MAX_BODY_DIFFERENCES = 60;

export function compareAnswers(reference: Normalised, subject: Normalised): Difference[] {
  if (reference.status !== subject.status)
    return [
      { kind: 'status', path: '', reference: describeAnswer(reference), subject: describeAnswer(subject) },
    ];
  const headers = compareHeaders(reference.headers, subject.headers);
  const body =
    isFailure(reference.body) && isFailure(subject.body)
      ? compareFailures(reference.body, subject.body)
      : compareBodies(reference.body, subject.body);
  return [...headers, ...body];
}

/** '422 Invalid: …' in one line. */
export function describeAnswer({ status, body }: Normalised): string {
  if (isFailure(body)) return `${status} ${body.reason ?? ''}: ${body.message ?? ''}`;
  if (typeof body === 'string') return `${status} ${JSON.stringify(body.slice(0, 300))}`;
  const kind = (body as { kind?: unknown } | null)?.kind;
  return `${status}${typeof kind === 'string' ? ` ${kind}` : ''}`;
}

interface Cause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}
interface Failure {
  readonly kind: 'Status';
  readonly reason?: string;
  readonly message?: string;
  readonly details?: { readonly causes?: readonly Cause[] };
}

function isFailure(body: unknown): body is Failure {
  return (
    typeof body === 'object' &&
    body !== null &&
    (body as { kind?: unknown }).kind === 'Status' &&
    (body as { status?: unknown }).status === 'Failure'
  );
}

function compareHeaders(reference: Normalised['headers'], subject: Normalised['headers']): Difference[] {
  const names = [...new Set([...Object.keys(reference), ...Object.keys(subject)])].toSorted();
  return names.flatMap((name) => {
    const [ours, theirs] = [asList(subject[name]), asList(reference[name])];
    const missing = without(theirs, ours),
      extra = without(ours, theirs);
    if (missing.length === 0 && extra.length === 0) return [];
    if (name !== 'warning')
      return [
        {
          kind: 'header' as const,
          path: name,
          reference: theirs.join(' | ') || ABSENT,
          subject: ours.join(' | ') || ABSENT,
        },
      ];
    return pairUp(missing, extra).map(([left, right]) => ({
      kind: 'header' as const,
      path: name,
      reference: left ?? ABSENT,
      subject: right ?? ABSENT,
    }));
  });
}

function asList(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

function compareFailures(reference: Failure, subject: Failure): Difference[] {
  const causes = compareCauses(reference.details?.causes ?? [], subject.details?.causes ?? []);
  const reason =
    reference.reason === subject.reason
      ? []
      : [
          {
            kind: 'reason' as const,
            path: '',
            reference: reference.reason ?? ABSENT,
            subject: subject.reason ?? ABSENT,
          },
        ];
  // An Invalid's message repeats its causes.
  const message =
    reference.message === subject.message || causes.length > 0
      ? []
      : [
          {
            kind: sameWords(reference.message, subject.message) ? ('order' as const) : ('message' as const),
            path: '',
            reference: reference.message ?? ABSENT,
            subject: subject.message ?? ABSENT,
          },
        ];
  return [...reason, ...causes, ...message, ...compareBodies(withoutWords(reference), withoutWords(subject))];
}

function sameWords(left: string | undefined, right: string | undefined): boolean {
  const words = (text: string | undefined): string =>
    (text ?? '')
      .split(/, |[[\]]/)
      .toSorted()
      .join(', ');
  return words(left) === words(right);
}

function withoutWords({ reason: _reason, message: _message, ...rest }: Failure): object {
  const { causes: _causes, ...details } = rest.details ?? {};
  return rest.details ? { ...rest, details } : rest;
}

function compareCauses(reference: readonly Cause[], subject: readonly Cause[]): Difference[] {
  const missing = without(reference, subject),
    extra = without(subject, reference);
  const differences: Difference[] = [];
  for (const cause of missing) {
    const sameField = extra.findIndex(
      ({ field, reason }) => field === cause.field && reason === cause.reason,
    );
    const at = sameField >= 0 ? sameField : extra.findIndex(({ field }) => field === cause.field);
    const [other] = at >= 0 ? extra.splice(at, 1) : [];
    differences.push({
      kind: 'cause',
      path: cause.field ?? '',
      reference: describeCause(cause),
      subject: other ? describeCause(other) : ABSENT,
    });
  }
  return [
    ...differences,
    ...extra.map((cause) => ({
      kind: 'cause' as const,
      path: cause.field ?? '',
      reference: ABSENT,
      subject: describeCause(cause),
    })),
  ];
}

function describeCause({ reason, message }: Cause): string {
  return `${reason ?? ''}: ${message ?? ''}`;
}

/** What `from` has more of than `taken`, each as often as it is too many. */
function without<T>(from: readonly T[], taken: readonly T[]): T[] {
  const rest = [...taken];
  return from.filter((item) => {
    const at = rest.findIndex((other) => isDeepStrictEqual(item, other));
    if (at < 0) return true;
    rest.splice(at, 1);
    return false;
  });
}

function pairUp<T>(left: readonly T[], right: readonly T[]): [T | undefined, T | undefined][] {
  return Array.from({ length: Math.max(left.length, right.length) }, (_, at) => [left[at], right[at]]);
}

export function compareBodies(reference: unknown, subject: unknown): Difference[] {
  const found: Difference[] = [];
  compareValues(reference, subject, '', found);
  if (found.length === 0) compareOrder(reference, subject, '', found);
  if (found.length <= MAX_BODY_DIFFERENCES) return found;
  return [
    ...found.slice(0, MAX_BODY_DIFFERENCES),
    {
      kind: 'body',
      path: '(more)',
      reference: `${found.length - MAX_BODY_DIFFERENCES} further differences`,
      subject: '',
    },
  ];
}

function compareValues(reference: unknown, subject: unknown, path: string, found: Difference[]): void {
  if (Object.is(reference, subject)) return;
  if (Array.isArray(reference) && Array.isArray(subject))
    return compareLists(reference, subject, path, found);
  if (isObject(reference) && isObject(subject)) {
    for (const key of new Set([...Object.keys(reference), ...Object.keys(subject)])) {
      compareValues(reference[key], subject[key], childPath(path, key), found);
    }
    return;
  }
  if (isDeepStrictEqual(reference, subject)) return;
  found.push({ kind: 'body', path, reference: describe(reference), subject: describe(subject) });
}

/** Lists whose items have names are aligned by them; others, and the cells of tables, by place. */
function compareLists(
  reference: readonly unknown[],
  subject: readonly unknown[],
  path: string,
  found: Difference[],
): void {
  const [left, right] = path.endsWith('cells') ? [] : [byIdentity(reference), byIdentity(subject)];
  if (!left || !right) {
    for (let at = 0; at < Math.max(reference.length, subject.length); at += 1)
      compareValues(reference[at], subject[at], `${path}[${at}]`, found);
    return;
  }
  for (const key of new Set([...left.keys(), ...right.keys()]))
    compareValues(left.get(key), right.get(key), `${path}[${key}]`, found);
  const common = [...left.keys()].filter((key) => right.has(key));
  const order = [...right.keys()].filter((key) => left.has(key));
  if (common.join('\0') !== order.join('\0'))
    found.push({
      kind: 'order',
      path,
      reference: common.join(', ').slice(0, 300),
      subject: order.join(', ').slice(0, 300),
    });
}

function byIdentity(list: readonly unknown[]): Map<string, unknown> | undefined {
  const map = new Map<string, unknown>();
  for (const item of list) {
    const identity = identityOf(item);
    if (identity === undefined || map.has(identity)) return undefined;
    map.set(identity, item);
  }
  return map;
}

function identityOf(item: unknown): string | undefined {
  if (typeof item === 'string') return item;
  if (!isObject(item)) return undefined;
  const metadata = isObject(item['metadata']) ? item['metadata'] : {};
  const parts = [
    metadata['namespace'],
    metadata['name'],
    item['name'],
    item['resource'],
    item['type'],
    item['manager'],
    item['operation'],
    item['subresource'],
  ].filter((part) => typeof part === 'string');
  return parts.length === 0 ? undefined : parts.join('/');
}

function compareOrder(reference: unknown, subject: unknown, path: string, found: Difference[]): void {
  if (Array.isArray(reference) && Array.isArray(subject))
    return reference.forEach((item, at) => compareOrder(item, subject[at], `${path}[${at}]`, found));
  if (!isObject(reference) || !isObject(subject)) return;
  const [left, right] = [Object.keys(reference), Object.keys(subject)];
  if (left.join('\0') !== right.join('\0'))
    found.push({
      kind: 'order',
      path,
      reference: left.join(', ').slice(0, 300),
      subject: right.join(', ').slice(0, 300),
    });
  for (const key of left) compareOrder(reference[key], subject[key], childPath(path, key), found);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function childPath(path: string, key: string): string {
  const part = /^[\w$-]+$/.test(key) ? key : JSON.stringify(key);
  return path === '' ? part : `${path}.${part}`;
}

function describe(value: unknown): string {
  if (value === undefined) return ABSENT;
  const text = JSON.stringify(value);
  return text.length > 400 ? `${text.slice(0, 400)}…` : text;
}
