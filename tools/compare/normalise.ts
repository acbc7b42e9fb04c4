/**
 * Takes out of an answer what two servers must differ in: uids, times of now, resource versions, continue tokens, names and addresses that the
 * server chose, signed tokens, the server's own address. What the request itself gave stays as it is. Everything else is left to be compared.
 */
import { decodeBody } from './encode.ts';
import type { Answer } from './connection.ts';
import { metricShapes } from './metrics.ts';

export interface Normalised {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: unknown;
}

interface NormaliseOptions {
  /** 'https://127.0.0.1:6443' */
  readonly server: string;
  /** Times within a day of it are now. */
  readonly nowMs: number;
  /** The step's path and body, references not resolved: a value that stands in them was not chosen by the server. */
  readonly request: string;
}

/** Of the connection, or of the moment. */
const IGNORED_HEADERS = new Set([
  'date',
  'content-length',
  'connection',
  'transfer-encoding',
  'keep-alive',
  'trailer',
  'server',
]);
/** Only whether they are there counts. */
const PRESENT_HEADERS = new Set([
  'audit-id',
  'etag',
  'last-modified',
  'x-kubernetes-pf-flowschema-uid',
  'x-kubernetes-pf-prioritylevel-uid',
]);

export function normalise(answer: Answer, options: NormaliseOptions): Normalised {
  if (answer.broken !== undefined) return { status: 0, headers: {}, body: `(no answer: ${answer.broken})` };
  const text = textNormaliser(options);
  const headers = Object.entries(answer.headers)
    .filter(([name]) => !IGNORED_HEADERS.has(name))
    .map(
      ([name, values]) =>
        [
          name,
          PRESENT_HEADERS.has(name)
            ? '(present)'
            : name === 'warning'
              ? warningsOf(values).map(text).toSorted()
              : values.length === 1
                ? text(values[0]!)
                : values.map(text).toSorted(),
        ] as const,
    );
  return {
    status: answer.status,
    headers: Object.fromEntries(headers),
    body: normaliseBody(decodeBody(answer), { ...options, text }),
  };
}

/** Several may stand in one header, which is the same to clients. */
function warningsOf(values: readonly string[]): string[] {
  return values.flatMap((value) => value.match(/\d+ \S+ "(?:[^"\\]|\\.)*"/g) ?? [value]);
}

interface Context extends NormaliseOptions {
  readonly text: (text: string) => string;
}

/** A body that has been parsed. Exported for tests. */
export function normaliseBody(
  body: unknown,
  options: NormaliseOptions & { readonly text?: (text: string) => string },
): unknown {
  const context = { ...options, text: options.text ?? textNormaliser(options) };
  if (typeof body === 'string' && body.startsWith('# HELP')) return metricShapes(body);
  return walk(hasOwnWords(body) ? withoutDescriptions(body) : body, '', context);
}

/** Documents and tables whose descriptions are each server's own words. */
function hasOwnWords(body: unknown): boolean {
  return (
    typeof body === 'object' &&
    body !== null &&
    ('openapi' in body ||
      'swagger' in body ||
      'columnDefinitions' in body ||
      [body].flat().some((event: { object?: { kind?: unknown } } | null) => event?.object?.kind === 'Table'))
  );
}

const UUID = /\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b/g;
const TIME = /\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(?:Z|[+-]\d\d:?\d\d)?/g;
const JWT = /\beyJ[\w-]+\.[\w-]+\.[\w-]+/g;
/** Of the default range of service addresses. */
const SERVICE_IP = /\b10\.96\.\d+\.\d+\b/g;
const DAY_MS = 86_400_000;

function textNormaliser({ server, nowMs, request }: NormaliseOptions): (text: string) => string {
  const { host } = new URL(server);
  return (text) =>
    text
      .replaceAll(host, '<server>')
      .replace(JWT, '<token>')
      .replace(SERVICE_IP, (ip) => (request.includes(ip) ? ip : '<ip>'))
      .replace(/\bkube-api-access-[a-z0-9]{5}\b/g, 'kube-api-access-<generated>')
      .replace(/\bhash=[0-9A-Fa-f]{16,}/g, 'hash=<hash>')
      .replace(/X509SHA256=[0-9a-f]{64}/g, 'X509SHA256=<digest>')
      .replace(UUID, (uid) => (request.includes(uid) ? uid : '<uid>'))
      .replace(TIME, (time, fraction: string | undefined) => {
        const near = Math.abs(Date.parse(time.replace(' ', 'T')) - nowMs) < DAY_MS;
        return near && !request.includes(time)
          ? `<now${fraction === undefined ? '' : `.${'s'.repeat(fraction.length - 1)}`}>`
          : time;
      })
      .replace(
        /(resource ?version[^\d]{0,30}|too old resource version: |current: ?|revision )\d+( \(\d+\))?/gi,
        (whole, before: string, _more, at) => (at >= 0 && !request.includes(whole) ? `${before}<rv>` : whole),
      );
}

function walk(value: unknown, key: string, context: Context): unknown {
  if (typeof value === 'string') return normaliseText(value, key, context);
  if (typeof value === 'number') return normaliseNumber(value, key, context);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value))
    return RULE_KEYS.has(key) ? inOrder(value) : value.map((item) => walk(item, key, context));
  return walkObject(value as Record<string, unknown>, context);
}

function walkObject(object: Record<string, unknown>, context: Context): Record<string, unknown> {
  const { name, generateName } = object;
  const generated =
    typeof name === 'string' &&
    typeof generateName === 'string' &&
    generateName !== '' &&
    name.startsWith(generateName) &&
    !context.request.includes(`"${name}"`);
  const entries = Object.entries(object).map(([key, value]) => [
    context.text(key),
    generated && key === 'name' ? `${generateName}<generated>` : walk(value, key, context),
  ]);
  return Object.fromEntries(entries) as Record<string, unknown>;
}

/** What reviews list in no order of meaning: upstream's is that of a Go map. */
const RULE_KEYS = new Set(['resourceRules', 'nonResourceRules']);

function inOrder(rules: readonly unknown[]): unknown[] {
  return rules.toSorted((left, right) => (JSON.stringify(left) < JSON.stringify(right) ? -1 : 1));
}

/** Self-chosen addresses; tried where the request does not name them. */
const ADDRESS_KEYS = new Set(['clusterIP', 'clusterIPs']);
/** What /version says of the program itself. */
const VERSION_KEYS = new Set([
  'gitVersion',
  'gitCommit',
  'gitTreeState',
  'buildDate',
  'goVersion',
  'compiler',
  'platform',
]);
/** A dry run of upstream's names ports past the range, from 32769 on. */
const LAST_DRY_PORT = 32_800;
const PORT_KEYS = new Set(['nodePort', 'healthCheckNodePort']);

function normaliseText(text: string, key: string, context: Context): string {
  if (
    (key === 'resourceVersion' || key === 'resourceVersionMatch' || key === 'storageVersionHash') &&
    /^\d+$/.test(text) &&
    text !== '0' &&
    !context.request.includes(text)
  )
    return '<rv>';
  if (key === 'cells') return normaliseCell(text, context);
  if (VERSION_KEYS.has(key)) return '<version>';
  if (key === 'continue' && text !== '') return '<continue>';
  if (key === 'message') return normaliseMessage(text, context);
  if (ADDRESS_KEYS.has(key) && /^[\d.]+$|:/.test(text) && !context.request.includes(text)) return '<ip>';
  return context.text(text);
}

/** Which port of its range the server took for a service is its own affair. */
function normaliseMessage(text: string, { request, text: inText }: Context): string {
  return inText(text).replace(/(?<=nodePort: \{\w+ )3\d{4}(?=\})/g, (port) =>
    request.includes(port) ? port : '<port>',
  );
}

/** Of a table: ages, and the addresses and ports of services. */
function normaliseCell(text: string, { request, text: inText }: Context): string {
  if (/^(\d+[smhdy])+$/.test(text)) return '<age>';
  return inText(text).replace(/:(3\d{4})\//g, (whole, port: string) =>
    request.includes(port) ? whole : ':<port>/',
  );
}

function normaliseNumber(value: number, key: string, { server, request }: Context): unknown {
  if (PORT_KEYS.has(key) && value >= 30_000 && value <= LAST_DRY_PORT && !request.includes(String(value)))
    return '<port>';
  return /port$/i.test(key) && String(value) === new URL(server).port ? '<server port>' : value;
}

function withoutDescriptions(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutDescriptions);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => !(key === 'description' && typeof item === 'string'))
      .map(([key, item]) => [key, withoutDescriptions(item)]),
  );
}
