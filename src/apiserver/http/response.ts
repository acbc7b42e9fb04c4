/** Responses: headers, errors as Status objects, compression, pretty printing. */
import { createGzip, gzip } from 'node:zlib';
import { lengthOf } from '#stdx/body-parts.ts';
import { StatusError, statusErrors, type Status } from '#machinery/errors.ts';
import { FieldSelectorError } from '#machinery/fields.ts';
import { LabelSelectorError } from '#machinery/labels.ts';
import { StoreError } from '#storage/store.ts';
import { encodeObject } from './codecs.ts';
import type { ApiRequest, ApiResponse, ResponseSink } from './request.ts';
import { negotiateLeniently, wantsPretty } from './negotiation.ts';
import { queryValues, type Query } from './request-info.ts';

export const CONTENT_TYPE_JSON = 'application/json';

/** Bodies above this are compressed for clients that accept it: upstream's threshold. */
const GZIP_THRESHOLD_BYTES = 128 * 1024;
/** The fastest of zlib's levels that upstream uses too. */
const GZIP_LEVEL = 1;

export function jsonResponse(status: number, body: Buffer | readonly Buffer[]): ApiResponse {
  return {
    status,
    headers: { 'content-type': CONTENT_TYPE_JSON, 'cache-control': 'no-cache, private' },
    body,
  };
}

export function textResponse(
  status: number,
  text: string,
  contentType = 'text/plain; charset=utf-8',
): ApiResponse {
  return {
    status,
    headers: {
      'content-type': contentType,
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-cache, private',
    },
    body: Buffer.from(text),
  };
}

/** For unknown paths outside every API group: plain text, no Status. */
export function pageNotFound(): ApiResponse {
  return textResponse(404, '404 page not found\n');
}

export function successStatus(details: Status['details']): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Success',
    ...(details ? { details } : {}),
    code: 200,
  };
}

/** Anything thrown as the Status it means; undefined = a fault of the server's. */
export function statusOf(error: unknown): Status | undefined {
  if (error instanceof StatusError) return error.status;
  if (error instanceof LabelSelectorError || error instanceof FieldSelectorError)
    return statusErrors.badRequest(error.message).status;
  if (error instanceof StoreError) return statusOfStoreError(error);
  return undefined;
}

function statusOfStoreError(error: StoreError): Status | undefined {
  switch (error.code) {
    case 'compacted':
      return statusErrors.expired('The resourceVersion for the provided list is too old.').status;
    case 'too-large':
      return statusErrors.requestEntityTooLarge(error.message).status;
    case 'no-space':
    case 'read-only':
    case 'io':
      return statusErrors.unavailable(`the store cannot take writes: ${error.message}`).status;
    case 'closed':
    case 'unavailable':
    case 'locked':
      return statusErrors.unavailable(`the store is not available: ${error.message}`).status;
    default:
      return undefined;
  }
}

export function errorResponse(status: Status, request: ApiRequest): ApiResponse {
  const encoding = negotiateLeniently(request.headers['accept']);
  const pretty = wantsPretty(queryValues(request.query, 'pretty')[0], request.headers['user-agent']);
  const { body, contentType } = encodeObject({ ...status }, encoding, { pretty });
  const headers: Record<string, string> = {
    'content-type': contentType,
    'cache-control': 'no-cache, private',
  };
  const retryAfter = status.details?.retryAfterSeconds;
  if (retryAfter) headers['retry-after'] = String(retryAfter);
  return { status: status.code, headers, body };
}

export function prettyJson(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value, undefined, 2)}\n`);
}

export function isPretty(query: Query, request: ApiRequest): boolean {
  return wantsPretty(query['pretty'], request.headers['user-agent']);
}

/** Compresses a big whole body when the client accepts it, off the event loop: from parts that are ready, at once, or piece by piece while it is sent. */
export function compressed(response: ApiResponse, request: ApiRequest): ApiResponse | Promise<ApiResponse> {
  const accepted = request.headers['accept-encoding'];
  if (accepted === undefined || typeof response.body === 'function' || !accepted.includes('gzip'))
    return response;
  const pieces = Buffer.isBuffer(response.body) ? [response.body] : (response.body as readonly Buffer[]);
  const size = lengthOf(pieces);
  if (size < GZIP_THRESHOLD_BYTES || response.headers['content-encoding'] !== undefined) return response;
  const headers = { ...response.headers, 'content-encoding': 'gzip', vary: 'Accept-Encoding' };
  if (response.gzipped)
    return response.gzipped().then((body) => ({ status: response.status, headers, body }));
  if (size > GZIP_AT_ONCE_BYTES)
    return { status: response.status, headers, body: (sink) => compressInto(sink, pieces) };
  const whole = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces as Buffer[], size);
  return new Promise((resolve, reject) =>
    gzip(whole, { level: GZIP_LEVEL }, (error, body) => {
      if (error) reject(error);
      else resolve({ status: response.status, headers, body });
    }),
  );
}

/** More than this is never laid out whole: that would hold up everybody else. */
const GZIP_AT_ONCE_BYTES = 2 * 1024 * 1024;
/** Handed to the compressor at a time; many pieces are small. */
const GZIP_CHUNK_BYTES = 256 * 1024;

function compressInto(sink: ResponseSink, pieces: readonly Buffer[]): void {
  const stream = createGzip({ level: GZIP_LEVEL, chunkSize: GZIP_CHUNK_BYTES });
  stream.on('data', (chunk: Buffer) => {
    if (sink.write(chunk)) return;
    stream.pause();
    void sink.drained().then(() => stream.resume());
  });
  stream.on('end', () => sink.end());
  stream.on('error', () => sink.end());
  sink.onClose(() => stream.destroy());
  let next = 0;
  const proceed = (): void => {
    while (!stream.destroyed && next < pieces.length) {
      const from = next;
      let bytes = 0;
      while (next < pieces.length && bytes < GZIP_CHUNK_BYTES) bytes += pieces[next++]!.length;
      const isRoom = stream.write(
        next - from === 1 ? pieces[from]! : Buffer.concat(pieces.slice(from, next), bytes),
      );
      if (!isRoom) return void stream.once('drain', proceed);
    }
    if (!stream.destroyed) stream.end();
  };
  proceed();
}
