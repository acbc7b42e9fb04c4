/** The query and the lines of GET /capstan/history, for both sides. */
import { statusErrors } from '#machinery/errors.ts';
import type { Change, Gap } from '#history/change.ts';
import type { HistoryQuery } from '#history/read-history.ts';
import { resourceNamed } from '#history/resource-name.ts';
import type { KubeObject } from '#machinery/object.ts';

/** As given on the command line, times in milliseconds. */
export interface AskedHistory {
  readonly resource: string;
  readonly name?: string | undefined;
  readonly namespace?: string | undefined;
  readonly sinceMs?: number | undefined;
  readonly untilMs?: number | undefined;
  readonly untilRevision?: number | undefined;
  /** With objects. */
  readonly values: boolean;
}

export type HistoryLine =
  | { readonly type: 'change' | 'before'; readonly change: SeenChange }
  | { readonly type: 'gap'; readonly gap: Gap }
  | {
      readonly type: 'end';
      readonly from?: { readonly revision: number; readonly timeMs?: number | undefined } | undefined;
      /** The server has a change log. */
      readonly logged: boolean;
    }
  | { readonly type: 'error'; readonly message: string };

export interface SeenChange extends Omit<Change, 'value'> {
  readonly object?: KubeObject | undefined;
}

export function queryOf({ values, ...given }: AskedHistory): string {
  const all = { ...given, values: values ? 'true' : undefined };
  const set = Object.entries(all).filter(([, value]) => value !== undefined);
  return new URLSearchParams(set.map(([key, value]): [string, string] => [key, String(value)])).toString();
}

/** Throws a StatusError. */
export function parseQuery(text: string): HistoryQuery {
  const query = new URLSearchParams(text);
  const name = query.get('resource') ?? '';
  const resource = resourceNamed(name);
  if (!resource)
    throw statusErrors.badRequest(
      `there is no resource ${JSON.stringify(name)}: name it like kubectl does, custom resources as PLURAL.GROUP`,
    );
  return {
    prefix: resource.prefix,
    matches: matcher(resource.prefix, {
      name: query.get('name') ?? undefined,
      namespace: query.get('namespace') ?? undefined,
      namespaced: resource.namespaced,
    }),
    sinceMs: numberIn(query, 'sinceMs'),
    untilMs: numberIn(query, 'untilMs'),
    untilRevision: numberIn(query, 'untilRevision'),
    values: query.get('values') === 'true',
  };
}

interface Matched {
  readonly name: string | undefined;
  readonly namespace: string | undefined;
  readonly namespaced: boolean | undefined;
}

/** Keys end in 'NAMESPACE/NAME', or 'NAME' where there is no namespace. */
function matcher(prefix: string, { name, namespace, namespaced }: Matched): HistoryQuery['matches'] {
  const start = namespace === undefined || namespaced === false ? undefined : `${prefix}${namespace}/`;
  return (key) => {
    const isInNamespace =
      start === undefined || key.startsWith(start) || (namespaced === undefined && isOf(key, namespace!));
    return isInNamespace && (name === undefined || key.slice(key.lastIndexOf('/') + 1) === name);
  };
}

/** Of all resources and of custom ones: a namespace's own objects, and those without a namespace. */
function isOf(key: string, namespace: string): boolean {
  return key.includes(`/${namespace}/`);
}

function numberIn(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw statusErrors.badRequest(`${name} is ${JSON.stringify(text)}; it should be a whole number`);
  return value;
}

export function lineOf(line: HistoryLine): string {
  return `${JSON.stringify(line)}\n`;
}

/** json: the object, which is not parsed for this. */
export function changeLine(
  type: 'change' | 'before',
  { value: _, ...head }: Change,
  json: Buffer | undefined,
): string {
  const text = JSON.stringify(head);
  const change = json ? `${text.slice(0, -1)},"object":${json.toString()}}` : text;
  return `{"type":"${type}","change":${change}}\n`;
}
