/** The options of verbs, from query parameters and bodies, checked with upstream's words. */
import { fieldErrors, statusErrors, type FieldError, type StatusError } from '#machinery/errors.ts';
import { parseFieldSelector, type FieldSelector } from '#machinery/fields.ts';
import { parseLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import type { DecodeMode } from '#machinery/decode.ts';
import { validateFieldManager } from '#machinery/metadata-validation.ts';
import type { Endpoint } from './endpoints.ts';
import type { RequestContext } from '../context.ts';
import { isTrue, queryValues, type Query } from '../http/request-info.ts';

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

/** Options of lists and of verbs that begin with one. */
export function parseListOptions(endpoint: Endpoint, query: Query): ListOptions {
  const numbers = parseNumbers(query),
    selectors = parseSelectors(query);
  refuse(listErrors(query), 'ListOptions');
  requireKnownFields(endpoint, selectors.fieldSelector);
  return {
    ...selectors,
    ...numbers,
    ...commonOptions(query),
    resourceVersion: parseResourceVersion(query['resourceVersion'], badRevision),
  };
}

function listErrors({
  resourceVersion,
  resourceVersionMatch: match,
  continue: token,
  sendInitialEvents,
}: Query): FieldError[] {
  const errors: FieldError[] = [];
  if (match) {
    if (!resourceVersion)
      errors.push(
        fieldErrors.forbidden(
          'resourceVersionMatch',
          'resourceVersionMatch is forbidden unless resourceVersion is provided',
        ),
      );
    if (token)
      errors.push(
        fieldErrors.forbidden(
          'resourceVersionMatch',
          'resourceVersionMatch is forbidden when continue is provided',
        ),
      );
    if (match !== 'Exact' && match !== 'NotOlderThan')
      errors.push(fieldErrors.notSupported('resourceVersionMatch', match, ['Exact', 'NotOlderThan', '']));
    if (match === 'Exact' && resourceVersion === '0')
      errors.push(
        fieldErrors.forbidden(
          'resourceVersionMatch',
          'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
      );
  }
  if (sendInitialEvents !== undefined)
    errors.push(fieldErrors.forbidden('sendInitialEvents', 'sendInitialEvents is forbidden for list'));
  return errors;
}

/** Without watch=true in the query, as in paths of the oldest form, options are validated as a list's. */
export function parseWatchOptions(endpoint: Endpoint, query: Query): WatchOptions {
  const numbers = parseNumbers(query),
    selectors = parseSelectors(query);
  const asksToWatch = isTrue(query['watch']);
  const asked = asksToWatch ? withInitialEvents(query) : query;
  refuse(asksToWatch ? watchErrors(asked) : listErrors(query), 'ListOptions');
  requireKnownFields(endpoint, selectors.fieldSelector);
  return {
    ...selectors,
    ...numbers,
    ...commonOptions(query),
    resourceVersion: parseResourceVersion(query['resourceVersion']),
    sendInitialEvents:
      asked['sendInitialEvents'] === undefined ? undefined : isTrue(asked['sendInitialEvents']),
    allowBookmarks: query['allowWatchBookmarks'] !== undefined && isTrue(query['allowWatchBookmarks']),
  };
}

/** Clients older than the option start at no or any version: they receive initial events and the bookmark that ends them. */
function withInitialEvents(query: Query): Query {
  const { resourceVersion, resourceVersionMatch, sendInitialEvents } = query;
  if (sendInitialEvents !== undefined || resourceVersionMatch || (resourceVersion && resourceVersion !== '0'))
    return query;
  return { ...query, sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' };
}

function watchErrors({
  resourceVersionMatch: match,
  continue: token,
  sendInitialEvents,
}: Query): FieldError[] {
  const errors: FieldError[] = [];
  if (sendInitialEvents !== undefined && match !== 'NotOlderThan') {
    errors.push(
      fieldErrors.forbidden(
        'resourceVersionMatch',
        'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
      ),
    );
  }
  if (!match) return errors;
  if (sendInitialEvents === undefined)
    errors.push(
      fieldErrors.forbidden(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
      ),
    );
  if (match !== 'NotOlderThan')
    errors.push(fieldErrors.notSupported('resourceVersionMatch', match, ['NotOlderThan']));
  if (token)
    errors.push(
      fieldErrors.forbidden(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden when continue is provided',
      ),
    );
  return errors;
}

function parseNumbers(query: Query): Pick<ListOptions, 'limit' | 'timeoutSeconds'> {
  return {
    timeoutSeconds: integer(query['timeoutSeconds']) ?? 0,
    limit: Math.max(integer(query['limit']) ?? 0, 0),
  };
}

function parseSelectors(query: Query): Pick<ListOptions, 'labelSelector' | 'fieldSelector'> {
  const { labelSelector, fieldSelector } = query;
  return {
    labelSelector: labelSelector ? narrowing(parseLabelSelector(labelSelector)) : undefined,
    fieldSelector: fieldSelector ? narrowing(parseFieldSelector(fieldSelector)) : undefined,
  };
}

function narrowing<S extends LabelSelector | FieldSelector>(selector: S): S | undefined {
  return selector.isEverything ? undefined : selector;
}

function commonOptions(query: Query): Pick<ListOptions, 'resourceVersionMatch' | 'continue'> {
  return {
    resourceVersionMatch: (query['resourceVersionMatch'] ?? '') as ListOptions['resourceVersionMatch'],
    continue: query['continue'] ?? '',
  };
}

function refuse(errors: readonly FieldError[], kind: string): void {
  if (errors.length > 0) throw statusErrors.invalid({ group: 'meta.k8s.io', kind, name: '' }, errors);
}

function badRevision(why: string): StatusError {
  return statusErrors.badRequest(`invalid resource version: ${why}`);
}

const MAX_UINT64 = 2n ** 64n - 1n,
  MAX_INT64 = 2n ** 63n - 1n;
const OUT_OF_RANGE = 'value out of range',
  NO_NUMBER = 'invalid syntax';

/** refusal: the error of one that is no number; lists are more explicit than gets and watches. */
export function parseResourceVersion(
  text: string | undefined,
  refusal: (why: string) => StatusError = statusErrors.badRequest,
): number | undefined {
  if (text === undefined || text === '') return undefined;
  const fault = !/^[0-9]+$/.test(text)
    ? NO_NUMBER
    : isLong(text) && BigInt(text) > MAX_UINT64
      ? OUT_OF_RANGE
      : undefined;
  if (fault !== undefined)
    throw refusal(
      `resourceVersion: Invalid value: ${JSON.stringify(text)}: strconv.ParseUint: parsing ${JSON.stringify(text)}: ${fault}`,
    );
  return Number(text);
}

/** Beyond the exact range of numbers, the nearest one. */
function integer(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const fault = !/^[-+]?[0-9]+$/.test(text)
    ? NO_NUMBER
    : isLong(text) && isBeyondInt64(text)
      ? OUT_OF_RANGE
      : undefined;
  if (fault !== undefined)
    throw statusErrors.badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: ${fault}`);
  return Number(text);
}

/** Too many digits to be sure that it is small. */
function isLong(text: string): boolean {
  return text.length > 15;
}

function isBeyondInt64(text: string): boolean {
  const value = BigInt(text.replace(/^\+/, ''));
  return value > MAX_INT64 || value < -MAX_INT64 - 1n;
}

function requireKnownFields(endpoint: Endpoint, selector: FieldSelector | undefined): void {
  for (const { field } of selector?.requirements ?? [])
    if (!endpoint.selectableFields.has(field)) throw statusErrors.badRequest(unknownField(endpoint, field));
}

function unknownField({ resource: { behaviour }, apiVersion }: Endpoint, field: string): string {
  if (behaviour.unknownFieldSelector) return behaviour.unknownFieldSelector(field, apiVersion);
  return behaviour.fieldSelectors
    ? `field label not supported: ${field}`
    : `${JSON.stringify(field)} is not a known field selector: only "metadata.name", "metadata.namespace"`;
}

export interface MutationOptions {
  readonly dryRun: boolean;
  readonly fieldValidation: DecodeMode;
  readonly fieldManager: string;
}

const MODES: Readonly<Record<string, DecodeMode>> = { Strict: 'strict', Warn: 'warn', Ignore: 'ignore' };

export function parseMutationOptions(
  { request, info: { query } }: RequestContext,
  kind: 'CreateOptions' | 'UpdateOptions' | 'PatchOptions',
): MutationOptions {
  const validation = query['fieldValidation'],
    fieldManager = query['fieldManager'] ?? '';
  const dryRun = query['dryRun'] === undefined ? NONE : queryValues(request.query, 'dryRun');
  const patch = kind === 'PatchOptions' ? checkPatchOptions(request.headers['content-type'], query) : NONE;
  if (dryRun.length === 0 && !validation && !fieldManager && patch.length === 0) return NO_OPTIONS;
  const errors: FieldError[] = [...patch];
  if (fieldManager) errors.push(...validateFieldManager(fieldManager, 'fieldManager'));
  errors.push(...checkDryRun(dryRun));
  if (validation && !MODES[validation])
    errors.push(fieldErrors.notSupported('fieldValidation', validation, ['', 'Ignore', 'Strict', 'Warn']));
  refuse(errors, kind);
  return {
    dryRun: dryRun.length > 0,
    fieldValidation: validation ? MODES[validation]! : 'warn',
    fieldManager,
  };
}

const NONE: readonly never[] = [];

/** The values are judged as one: 'All' and another is no dry run of anything. */
export function checkDryRun(values: readonly string[]): FieldError[] {
  return values.every((value) => value === 'All')
    ? []
    : [fieldErrors.notSupported('dryRun', values, ['All'])];
}

/** Options allowed and required for an apply only. */
function checkPatchOptions(contentType: string | undefined, query: Query): readonly FieldError[] {
  if (contentType?.startsWith('application/apply-patch'))
    return query['fieldManager']
      ? NONE
      : [fieldErrors.required('fieldManager', 'is required for apply patch')];
  return query['force'] === undefined
    ? NONE
    : [fieldErrors.forbidden('force', 'may not be specified for non-apply patch')];
}

const NO_OPTIONS: MutationOptions = { dryRun: false, fieldValidation: 'warn', fieldManager: '' };

/** Default field manager: the program's name in the user agent, as upstream. */
export function parseManager(context: RequestContext, fieldManager: string): string {
  if (fieldManager !== '') return fieldManager;
  const userAgent = context.request.headers['user-agent'] ?? '';
  if (userAgent === lastUserAgent) return lastManager;
  lastManager = managerOfAgent(userAgent) || 'unknown';
  lastUserAgent = userAgent;
  return lastManager;
}

let lastUserAgent = '',
  lastManager = 'unknown';

/** The part before the first '/'. Headers are read as bytes; the program's name is UTF-8. */
function managerOfAgent(userAgent: string): string {
  const name = userAgent.split('/', 1)[0]!;
  return /[^ -~]/.test(name)
    ? Buffer.from(Buffer.from(name, 'latin1').toString())
        .subarray(0, MAXIMUM_MANAGER_BYTES)
        .toString()
        .replaceAll(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, '')
    : name.slice(0, MAXIMUM_MANAGER_BYTES);
}

const MAXIMUM_MANAGER_BYTES = 128;
