/**
 * Status errors: the table of reason → code → message, with upstream's messages (apimachinery's api/errors), and the error class
 * that servers return and clients throw.
 */
import { groupResourceString } from './object.ts';

interface StatusCause {
  reason?: string;
  message?: string;
  field?: string;
}
export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: StatusCause[];
  retryAfterSeconds?: number;
}
export interface Status {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: Record<string, unknown>;
  status: 'Success' | 'Failure';
  message?: string;
  reason?: string;
  details?: StatusDetails;
  code: number;
}

type StatusReason =
  | 'BadRequest'
  | 'Unauthorized'
  | 'Forbidden'
  | 'NotFound'
  | 'AlreadyExists'
  | 'Conflict'
  | 'Gone'
  | 'Invalid'
  | 'ServerTimeout'
  | 'Timeout'
  | 'TooManyRequests'
  | 'MethodNotAllowed'
  | 'NotAcceptable'
  | 'RequestEntityTooLarge'
  | 'UnsupportedMediaType'
  | 'InternalError'
  | 'Expired'
  | 'ServiceUnavailable'
  | 'StoreReadError'
  | 'Unknown';

export class StatusError extends Error {
  readonly status: Status;
  constructor(status: Status, cause?: unknown) {
    super(status.message ?? status.reason ?? 'unknown', { cause });
    this.name = 'StatusError';
    this.status = status;
  }
  get code(): number {
    return this.status.code;
  }
  get reason(): string {
    return this.status.reason ?? '';
  }
}

interface ResourceName {
  readonly group: string;
  readonly resource: string;
  readonly name: string;
}

function failure(code: number, reason: StatusReason, message: string, details?: StatusDetails): StatusError {
  return new StatusError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason,
    ...(details ? { details } : {}),
    code,
  });
}

function detailsOf({ group, resource, name }: ResourceName): StatusDetails {
  return { ...(name ? { name } : {}), ...(group ? { group } : {}), ...(resource ? { kind: resource } : {}) };
}

export const statusErrors = {
  notFound: (of: ResourceName) =>
    failure(
      404,
      'NotFound',
      `${groupResourceString(of.resource, of.group)} ${JSON.stringify(of.name)} not found`,
      detailsOf(of),
    ),
  /** For a path that is not an API path. */
  pathNotFound: () => failure(404, 'NotFound', 'the server could not find the requested resource', {}),
  alreadyExists: (of: ResourceName) =>
    failure(
      409,
      'AlreadyExists',
      `${groupResourceString(of.resource, of.group)} ${JSON.stringify(of.name)} already exists`,
      detailsOf(of),
    ),
  conflict: (
    of: ResourceName,
    why = 'the object has been modified; please apply your changes to the latest version and try again',
  ) =>
    failure(
      409,
      'Conflict',
      `Operation cannot be fulfilled on ${groupResourceString(of.resource, of.group)} ${JSON.stringify(of.name)}: ${why}`,
      detailsOf(of),
    ),
  badRequest: (message: string) => failure(400, 'BadRequest', message),
  unauthorized: (message = 'Unauthorized') => failure(401, 'Unauthorized', message),
  forbidden: (of: ResourceName, why: string) =>
    failure(
      403,
      'Forbidden',
      of.resource === ''
        ? `forbidden: ${why}`
        : of.name === ''
          ? `${groupResourceString(of.resource, of.group)} is forbidden: ${why}`
          : `${groupResourceString(of.resource, of.group)} ${JSON.stringify(of.name)} is forbidden: ${why}`,
      detailsOf(of),
    ),
  /** kind is the Kind ('Deployment'), as in upstream's Invalid errors. */
  invalid(
    of: { readonly group: string; readonly kind: string; readonly name: string },
    errors: readonly FieldError[],
  ): StatusError {
    const shown = shownErrors(errors);
    const causes = shown.map(({ error, body }) => ({
      reason: error.type,
      message: body,
      field: error.field,
    }));
    const list = listText(shown, errors.length - shown.length);
    const qualifiedKind = of.group === '' ? of.kind : `${of.kind}.${of.group}`;
    return failure(
      422,
      'Invalid',
      `${qualifiedKind} ${JSON.stringify(of.name)} is invalid${list ? `: ${list}` : ''}`,
      {
        ...(of.name ? { name: of.name } : {}),
        ...(of.group ? { group: of.group } : {}),
        ...(of.kind ? { kind: of.kind } : {}),
        causes,
      },
    );
  },
  methodNotAllowed: (of: { readonly group: string; readonly resource: string }, verb: string) =>
    failure(
      405,
      'MethodNotAllowed',
      `${verb} is not supported on resources of kind "${groupResourceString(of.resource, of.group)}"`,
      { ...(of.group ? { group: of.group } : {}), kind: of.resource },
    ),
  /** For a path that is served with other methods. */
  pathMethodNotAllowed: () =>
    failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {}),
  notAcceptable: (accepted: readonly string[]) =>
    failure(406, 'NotAcceptable', `only the following media types are accepted: ${accepted.join(', ')}`),
  /** As notAcceptable, for a route that produces none of the accepted types. */
  noRepresentation: (produced: readonly string[]) =>
    failure(
      406,
      'NotAcceptable',
      `406: Not Acceptable\n\nAvailable representations: ${produced.join(', ')}`,
      {},
    ),
  /** A list as one object, or an object as a list. */
  otherShape: (message: string) => failure(406, 'NotAcceptable', message),
  /** As unsupportedMediaType, for a route that does not accept the body's type. */
  unreadableRepresentation: () => failure(415, 'UnsupportedMediaType', '415: Unsupported Media Type', {}),
  unsupportedMediaType: (accepted: readonly string[]) =>
    failure(
      415,
      'UnsupportedMediaType',
      `the body of the request was in an unknown format - accepted media types include: ${accepted.join(', ')}`,
    ),
  requestEntityTooLarge: (message: string) =>
    failure(413, 'RequestEntityTooLarge', `Request entity too large: ${message}`),
  /** Without retryAfterSeconds there is no Retry-After. */
  tooManyRequests: (message: string, retryAfterSeconds?: number) =>
    failure(
      429,
      'TooManyRequests',
      message,
      retryAfterSeconds === undefined ? undefined : retryAfterSeconds ? { retryAfterSeconds } : {},
    ),
  /** A watch or list from a compacted revision. */
  expired: (message: string) => failure(410, 'Expired', message),
  gone: (message: string) => failure(410, 'Gone', message),
  timeout: (message: string, retryAfterSeconds = 0) =>
    failure(504, 'Timeout', `Timeout: ${message}`, retryAfterSeconds ? { retryAfterSeconds } : {}),
  serverTimeout: (
    of: { readonly group: string; readonly resource: string },
    operation: string,
    retryAfterSeconds = 1,
  ) =>
    failure(
      500,
      'ServerTimeout',
      `The ${operation} operation against ${groupResourceString(of.resource, of.group)} could not be completed at this time, please try again.`,
      { kind: of.resource, retryAfterSeconds },
    ),
  internal: (message: string) =>
    failure(500, 'InternalError', `Internal error occurred: ${message}`, { causes: [{ message }] }),
  unavailable: (message: string) => failure(503, 'ServiceUnavailable', message),
} as const;

/** Replaces confidential values in messages, as upstream does. */
export const REDACTED = '<secret contents redacted>';

/** One invalid field, after apimachinery's field.Error. type is the cause's reason ('FieldValueRequired', …). */
export interface FieldError {
  readonly type:
    | 'FieldValueNotFound'
    | 'FieldValueRequired'
    | 'FieldValueDuplicate'
    | 'FieldValueInvalid'
    | 'FieldValueNotSupported'
    | 'FieldValueForbidden'
    | 'FieldValueTooLong'
    | 'FieldValueTooMany'
    | 'InternalError'
    | 'FieldValueTypeInvalid';
  /** 'spec.containers[0].name' */
  readonly field: string;
  readonly badValue?: unknown;
  readonly detail: string;
}

export const fieldErrors = {
  required: (field: string, detail = ''): FieldError => ({ type: 'FieldValueRequired', field, detail }),
  invalid: (field: string, badValue: unknown, detail: string): FieldError => ({
    type: 'FieldValueInvalid',
    field,
    badValue,
    detail,
  }),
  typeInvalid: (field: string, badValue: unknown, detail: string): FieldError => ({
    type: 'FieldValueTypeInvalid',
    field,
    badValue,
    detail,
  }),
  duplicate: (field: string, badValue: unknown): FieldError => ({
    type: 'FieldValueDuplicate',
    field,
    badValue,
    detail: '',
  }),
  notFound: (field: string, badValue: unknown): FieldError => ({
    type: 'FieldValueNotFound',
    field,
    badValue,
    detail: '',
  }),
  forbidden: (field: string, detail: string): FieldError => ({ type: 'FieldValueForbidden', field, detail }),
  notSupported: (field: string, badValue: unknown, valid: readonly string[]): FieldError => ({
    type: 'FieldValueNotSupported',
    field,
    badValue,
    detail:
      valid.length > 0
        ? `supported values: ${[...valid].map((value) => JSON.stringify(value)).join(', ')}`
        : '',
  }),
  tooLong: (field: string, maxLength: number): FieldError => ({
    type: 'FieldValueTooLong',
    field,
    badValue: '<value omitted>',
    detail: maxLength === 1 ? 'may not be more than 1 byte' : `may not be more than ${maxLength} bytes`,
  }),
  tooMany: (field: string, actual: number, maximum: number): FieldError => ({
    type: 'FieldValueTooMany',
    field,
    badValue: actual,
    detail: `must have at most ${maximum} item${maximum === 1 ? '' : 's'}`,
  }),
  internal: (field: string, detail: string): FieldError => ({ type: 'InternalError', field, detail }),
} as const;

const PHRASES: Readonly<Record<FieldError['type'], string>> = {
  FieldValueNotFound: 'Not found',
  FieldValueRequired: 'Required value',
  FieldValueDuplicate: 'Duplicate value',
  FieldValueInvalid: 'Invalid value',
  FieldValueNotSupported: 'Unsupported value',
  FieldValueForbidden: 'Forbidden',
  FieldValueTooLong: 'Too long',
  FieldValueTooMany: 'Too many',
  InternalError: 'Internal error',
  FieldValueTypeInvalid: 'Invalid value',
};

const WITHOUT_VALUE = new Set<FieldError['type']>([
  'FieldValueRequired',
  'FieldValueForbidden',
  'FieldValueTooLong',
  'InternalError',
]);

/** For badValue: the error does not show the value. */
export const OMITTED = Symbol('omitted');

/** One error is 'field: body', several are '[…, …]'. A duplicate error appears once here and twice among the causes. */
export function fieldErrorsText(errors: readonly FieldError[]): string {
  const shown = shownErrors(errors);
  return listText(shown, errors.length - shown.length);
}

/** Limits on the number of reported errors of one object and the length of their messages: an object of 3 MB can have hundreds of thousands, each as long as the object. */
const MAX_SHOWN_ERRORS = 1000,
  MAX_SHOWN_LENGTH = 256 * 1024;

interface ShownError {
  readonly error: FieldError;
  readonly body: string;
}

/** The first one is always included. */
function shownErrors(errors: readonly FieldError[]): ShownError[] {
  const shown: ShownError[] = [];
  let length = 0;
  for (const error of errors) {
    if (shown.length >= MAX_SHOWN_ERRORS || length > MAX_SHOWN_LENGTH) break;
    const body = fieldErrorBody(error);
    length += body.length + error.field.length;
    shown.push({ error, body });
  }
  return shown;
}

function listText(shown: readonly ShownError[], more: number): string {
  const texts = [...new Set(shown.map(({ error, body }) => `${error.field}: ${body}`))];
  if (more > 0) texts.push(`and ${more} more`);
  return texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`;
}

/** The text after the field: 'Invalid value: "x": must be …'. */
export function fieldErrorBody(error: FieldError): string {
  const head =
    WITHOUT_VALUE.has(error.type) || error.badValue === OMITTED
      ? PHRASES[error.type]
      : `${PHRASES[error.type]}: ${renderBadValue(error.badValue)}`;
  return error.detail === '' ? head : `${head}: ${error.detail}`;
}

/** As Go's %q: only non-printable characters differ from JSON. */
function goQuoted(text: string): string {
  const quoted = JSON.stringify(text);
  // oxlint-disable-next-line no-control-regex
  if (!/[\x00-\x1f\x7f]/.test(text)) return quoted;
  return quoted
    .replaceAll('\x7f', String.raw`\x7f`)
    .replaceAll(/\\(?:u00([01][0-9a-f])|.)/g, (escape, hex?: string) =>
      hex === undefined ? escape : (NAMED_ESCAPES[hex] ?? `\\x${hex}`),
    );
}

const NAMED_ESCAPES: Readonly<Record<string, string>> = { '07': String.raw`\a`, '0b': String.raw`\v` };

function renderBadValue(value: unknown): string {
  if (value === undefined || value === null) return 'null';
  return typeof value === 'string'
    ? goQuoted(value)
    : typeof value === 'object'
      ? goJson(value)
      : String(value);
}

/** As Go writes JSON: safe inside HTML. */
function goJson(value: object): string {
  return JSON.stringify(value).replaceAll(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

export function isStatusError(error: unknown, reason?: StatusReason): error is StatusError {
  return error instanceof StatusError && (reason === undefined || error.status.reason === reason);
}
