/** The options of verbs, from query parameters and bodies, checked with upstream's words. */
import { fieldErrors, statusErrors, type FieldError, type StatusError } from '#machinery/errors.ts';
import { parseFieldSelector, type FieldSelector } from '#machinery/fields.ts';
import { parseLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import type { DecodeMode } from '#machinery/decode.ts';
import { validateFieldManager } from '#machinery/metadata-validation.ts';
import type { Endpoint } from '../catalogue.ts';
import type { RequestContext } from '../context.ts';
import { isTrue, type Query } from '../request-info.ts';

export interface ListOptions {
  readonly labelSelector: LabelSelector | undefined;
  readonly fieldSelector: FieldSelector | undefined;
  /** undefined = not given. */
  readonly resourceVersion: number | undefined;
  readonly resourceVersionMatch: '' | 'Exact' | 'NotOlderThan';
  /** 0 = all. */
  readonly limit: number;
  readonly continue: string;
  /** 0 = the server's choice. */
  readonly timeoutSeconds: number;
}

export interface WatchOptions extends ListOptions {
  readonly allowBookmarks: boolean;
  readonly sendInitialEvents: boolean | undefined;
}

export function parseListOptions(endpoint: Endpoint, query: Query): ListOptions {
  const options: ListOptions = {
    labelSelector: query['labelSelector'] ? narrowing(parseLabelSelector(query['labelSelector'])) : undefined,
    fieldSelector: query['fieldSelector'] ? fieldSelectorOf(endpoint, query['fieldSelector']) : undefined,
    resourceVersion: parseResourceVersion(query['resourceVersion'], isTrue(query['watch'] ?? 'false') ? statusErrors.unexpected : badRevision),
    resourceVersionMatch: (query['resourceVersionMatch'] ?? '') as ListOptions['resourceVersionMatch'],
    limit: Math.max(integer(query['limit']) ?? 0, 0),
    continue: query['continue'] ?? '',
    timeoutSeconds: integer(query['timeoutSeconds']) ?? 0,
  };
  return options;
}

function narrowing(selector: LabelSelector): LabelSelector | undefined {
  return selector.isEverything ? undefined : selector;
}

export function checkListOptions(options: ListOptions, query: Query): void {
  const errors: FieldError[] = [];
  const { resourceVersionMatch: match } = options;
  if (match !== '') {
    if (options.resourceVersion === undefined) errors.push(fieldErrors.forbidden('resourceVersionMatch', 'resourceVersionMatch is forbidden unless resourceVersion is provided'));
    if (options.continue !== '') errors.push(fieldErrors.forbidden('resourceVersionMatch', 'resourceVersionMatch is forbidden when continue is provided'));
    if (match !== 'Exact' && match !== 'NotOlderThan') errors.push(fieldErrors.notSupported('resourceVersionMatch', match, ['Exact', 'NotOlderThan', '']));
    if (match === 'Exact' && options.resourceVersion === 0) errors.push(fieldErrors.forbidden('resourceVersionMatch', 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'));
  }
  if (query['sendInitialEvents'] !== undefined) errors.push(fieldErrors.forbidden('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
  refuse(errors, 'ListOptions');
}

export function parseWatchOptions(endpoint: Endpoint, query: Query): WatchOptions {
  const list = parseListOptions(endpoint, query);
  const sendInitialEvents = query['sendInitialEvents'] === undefined ? undefined : isTrue(query['sendInitialEvents']);
  const errors: FieldError[] = [];
  const match = list.resourceVersionMatch;
  if (sendInitialEvents !== undefined && match !== 'NotOlderThan') {
    errors.push(fieldErrors.forbidden('resourceVersionMatch', 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan'));
  }
  if (match !== '') {
    if (sendInitialEvents === undefined) errors.push(fieldErrors.forbidden('resourceVersionMatch', 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'));
    if (match !== 'NotOlderThan') errors.push(fieldErrors.notSupported('resourceVersionMatch', match, ['NotOlderThan']));
  }
  if (list.continue !== '') errors.push(fieldErrors.forbidden('resourceVersionMatch', 'resourceVersionMatch is forbidden when continue is provided'));
  refuse(errors, 'ListOptions');
  return { ...list, sendInitialEvents, allowBookmarks: query['allowWatchBookmarks'] !== undefined && isTrue(query['allowWatchBookmarks']), timeoutSeconds: list.timeoutSeconds };
}

function refuse(errors: readonly FieldError[], kind: string): void {
  if (errors.length > 0) throw statusErrors.invalid({ group: 'meta.k8s.io', kind, name: '' }, errors);
}

function badRevision(why: string): StatusError {
  return statusErrors.badRequest(`invalid resource version: ${why}`);
}

/** refusal: upstream takes one that is no number for the client's fault in a list, and for nobody's in a get or watch. */
export function parseResourceVersion(text: string | undefined, refusal: (why: string) => StatusError = statusErrors.unexpected): number | undefined {
  if (text === undefined || text === '') return undefined;
  if (!/^[0-9]{1,15}$/.test(text)) throw refusal(`resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: ${/^[0-9]+$/.test(text) ? OUT_OF_RANGE : NO_NUMBER}`);
  return Number(text);
}

const OUT_OF_RANGE = 'value out of range', NO_NUMBER = 'invalid syntax';

function integer(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[-+]?[0-9]{1,15}$/.test(text)) throw statusErrors.badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: ${/^[-+]?[0-9]+$/.test(text) ? OUT_OF_RANGE : NO_NUMBER}`);
  return Number(text);
}

function fieldSelectorOf(endpoint: Endpoint, text: string): FieldSelector | undefined {
  const selector = parseFieldSelector(text);
  for (const { field } of selector.requirements) {
    if (endpoint.selectableFields.has(field)) continue;
    throw statusErrors.badRequest(endpoint.resource.behaviour.fieldSelectors
      ? `field label not supported: ${field}`
      : `${JSON.stringify(field)} is not a known field selector: only "metadata.name", "metadata.namespace"`);
  }
  return selector.isEverything ? undefined : selector;
}

export interface MutationOptions { readonly dryRun: boolean; readonly fieldValidation: DecodeMode; readonly fieldManager: string }

const MODES: Readonly<Record<string, DecodeMode>> = { Strict: 'strict', Warn: 'warn', Ignore: 'ignore' };

export function parseMutationOptions({ request, info: { query } }: RequestContext, kind: 'CreateOptions' | 'UpdateOptions' | 'PatchOptions'): MutationOptions {
  const validation = query['fieldValidation'], fieldManager = query['fieldManager'] ?? '';
  const dryRun = query['dryRun'] === undefined ? NONE : valuesOf(request.query, 'dryRun');
  const patch = kind === 'PatchOptions' ? checkPatchOptions(request.headers['content-type'], query) : NONE;
  if (dryRun.length === 0 && !validation && !fieldManager && patch.length === 0) return NO_OPTIONS;
  const errors: FieldError[] = [...patch];
  if (fieldManager) errors.push(...validateFieldManager(fieldManager, 'fieldManager'));
  errors.push(...checkDryRun(dryRun));
  if (validation && !MODES[validation]) errors.push(fieldErrors.notSupported('fieldValidation', validation, ['', 'Ignore', 'Strict', 'Warn']));
  refuse(errors, kind);
  return { dryRun: dryRun.length > 0, fieldValidation: validation ? MODES[validation]! : 'warn', fieldManager };
}

const NONE: readonly never[] = [];

/** Every value of a parameter, in order; the parsed query has the first alone. */
export function valuesOf(query: string, name: string): string[] {
  return new URLSearchParams(query).getAll(name);
}

/** The values are judged as one: 'All' and another is no dry run of anything. */
export function checkDryRun(values: readonly string[]): FieldError[] {
  return values.every((value) => value === 'All') ? [] : [fieldErrors.notSupported('dryRun', values, ['All'])];
}

/** What only an apply may say, and what it must. */
function checkPatchOptions(contentType: string | undefined, query: Query): readonly FieldError[] {
  if (contentType?.startsWith('application/apply-patch')) return query['fieldManager'] ? NONE : [fieldErrors.required('fieldManager', 'is required for apply patch')];
  return query['force'] === undefined ? NONE : [fieldErrors.forbidden('force', 'may not be specified for non-apply patch')];
}

const NO_OPTIONS: MutationOptions = { dryRun: false, fieldValidation: 'warn', fieldManager: '' };

/** Who a writer is where it does not say: the program's name in its user agent, as upstream takes it. */
export function managerOf(context: RequestContext, fieldManager: string): string {
  if (fieldManager !== '') return fieldManager;
  const userAgent = context.request.headers['user-agent'] ?? '';
  if (userAgent === lastUserAgent) return lastManager;
  lastManager = (userAgent.split('/')[0] ?? '').slice(0, 128) || 'unknown';
  lastUserAgent = userAgent;
  return lastManager;
}

let lastUserAgent = '', lastManager = 'unknown';
