/**
 * CBOR for clients, enabled by --feature-gates=CBORServingAndStorage=true: request bodies are translated to JSON before, and responses to CBOR after
 * the rest of the server. Forwarded traffic (proxies, streams, extension servers) is unchanged.
 */
import { decodeCbor, encodeCbor, encodeCborItem, CborError } from '#machinery/codec/cbor.ts';
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import { parseApiVersion, type KubeObject } from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { schemaForKind } from '#api/schemas.ts';
import { CONNECTED } from './request-info.ts';
import type { ApiHandler, ApiRequest, ApiResponse, ResponseSink } from './request.ts';
import { parseAccept } from '#machinery/accept.ts';
import { parseRequestInfo } from './request-info.ts';
import { compressed } from './response.ts';

const CBOR = 'application/cbor';
const CBOR_SEQUENCE = 'application/cbor-seq';
const APPLY_CBOR = 'application/apply-patch+cbor';
const APPLY_JSON = 'application/apply-patch+yaml';

/** isForeign: paths served by another server. */
export function withCbor(handler: ApiHandler, isForeign: (path: string) => boolean): ApiHandler {
  return async (request) => {
    const wants = unlessUnreadable(() => prefersCbor(request.headers['accept']), false),
      sends = contentType(request);
    if (
      (!wants && sends !== CBOR && sends !== APPLY_CBOR) ||
      isForeign(request.path) ||
      unlessUnreadable(() => isPassedOn(request), true)
    )
      return handler(request);
    const response = await handler(new TranslatedRequest(request, { wants, sends }));
    const answer = wants ? translated(response) : response;
    return compressed(answer, request);
  };
}

/** What cannot be read the handler refuses. */
function unlessUnreadable(read: () => boolean, otherwise: boolean): boolean {
  try {
    return read();
  } catch (error) {
    if (!isStatusError(error)) throw error;
    return otherwise;
  }
}

function contentType({ headers }: ApiRequest): string {
  return (headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
}

function prefersCbor(accept: string | undefined): boolean {
  if (accept === undefined || !accept.includes('cbor')) return false;
  const known = parseAccept(accept).find(({ type }) =>
    /^(\*\/\*|application\/(\*|json|yaml|vnd\.kubernetes\.protobuf|cbor|cbor-seq))$/.test(type),
  );
  return known?.type === CBOR || known?.type === CBOR_SEQUENCE;
}

/** Responses with a single format, and those of other servers. */
function isPassedOn(request: ApiRequest): boolean {
  if (!/^\/apis?(\/|$)/.test(request.path)) return true;
  const { isResourceRequest, resource, subresource } = parseRequestInfo(request);
  return isResourceRequest && CONNECTED.has(`${resource}/${subresource}`);
}

/** The same request in JSON. */
class TranslatedRequest implements ApiRequest {
  readonly #inner: ApiRequest;
  readonly #isCbor: boolean;
  readonly headers: ApiRequest['headers'];

  constructor(inner: ApiRequest, { wants, sends }: { readonly wants: boolean; readonly sends: string }) {
    this.#inner = inner;
    this.#isCbor = sends === CBOR || sends === APPLY_CBOR;
    this.headers = {
      ...inner.headers,
      // Compression is applied to the final encoding.
      'accept-encoding': undefined,
      ...(wants ? { accept: jsonAccept(inner.headers['accept'] ?? '') } : {}),
      ...(this.#isCbor
        ? {
            'content-type': sends === APPLY_CBOR ? APPLY_JSON : 'application/json',
            'content-length': undefined,
          }
        : {}),
    };
  }

  get method(): string {
    return this.#inner.method;
  }
  get path(): string {
    return this.#inner.path;
  }
  get query(): string {
    return this.#inner.query;
  }
  get remoteAddress(): string {
    return this.#inner.remoteAddress;
  }
  get clientCertificate(): ApiRequest['clientCertificate'] {
    return this.#inner.clientCertificate;
  }
  get clientCertificateError(): string | undefined {
    return this.#inner.clientCertificateError;
  }
  get expiredNode(): ApiRequest['expiredNode'] {
    return this.#inner.expiredNode;
  }
  get frontProxyCertificate(): ApiRequest['frontProxyCertificate'] {
    return this.#inner.frontProxyCertificate;
  }
  get user(): ApiRequest['user'] {
    return this.#inner.user;
  }
  onAbort(callback: () => void): void {
    this.#inner.onAbort(callback);
  }

  onSent(callback: () => void): void {
    if (this.#inner.onSent) this.#inner.onSent(callback);
    else callback();
  }

  headerValues(name: string): readonly string[] {
    const value = this.#inner.headers[name];
    return this.#inner.headerValues?.(name) ?? (value === undefined ? [] : [value]);
  }

  async body(limitBytes: number): Promise<Buffer> {
    const bytes = await this.#inner.body(limitBytes);
    if (!this.#isCbor || bytes.length === 0) return bytes;
    try {
      return Buffer.from(JSON.stringify(decodeCbor(bytes)));
    } catch (error) {
      if (!(error instanceof CborError)) throw error;
      throw statusErrors.badRequest(`error decoding CBOR: ${error.message}`);
    }
  }
}

/** Replaces CBOR as the first type by JSON as the first type, keeping its parameters. */
function jsonAccept(accept: string): string {
  return accept.replaceAll(CBOR_SEQUENCE, 'application/json').replaceAll(CBOR, 'application/json');
}

function translated(response: ApiResponse): ApiResponse {
  const { status, headers, body } = response;
  const type = headers['content-type'] ?? '';
  if (!type.startsWith('application/json')) return response;
  if (typeof body === 'function')
    return {
      status,
      headers: { ...headers, 'content-type': CBOR_SEQUENCE },
      body: (sink) => body(new SequenceSink(sink)),
    };
  const bytes = Buffer.isBuffer(body) ? body : Buffer.concat(body as Buffer[]);
  if (bytes.length === 0) return response;
  const parameters = type.slice('application/json'.length);
  const { etag: _, ...kept } = headers;
  return {
    status,
    headers: { ...kept, 'content-type': `${CBOR}${parameters}` },
    body: encodeTyped(JSON.parse(bytes.toString()) as KubeObject),
  };
}

function schemaOf({ apiVersion = '', kind = '' }: KubeObject): ObjectSchema | undefined {
  return schemaForKind({ ...parseApiVersion(apiVersion), kind });
}

function encodeTyped(object: KubeObject): Buffer {
  return encodeCbor(object, schemaOf(object));
}

interface WatchEvent {
  readonly type: string;
  readonly object: KubeObject;
}

const EVENT_HEAD = Buffer.from([0xa2]);
const key = (name: string): Buffer => encodeCborItem(name, undefined);

/** {"type": …, "object": …}, the object with its bytes as bytes. */
function encodeEvent({ type, object }: WatchEvent): Buffer {
  return Buffer.concat([
    EVENT_HEAD,
    key('type'),
    encodeCborItem(type, undefined),
    key('object'),
    encodeCborItem(object, schemaOf(object)),
  ]);
}

const NEWLINE = 0x0a;

/** Lines of JSON in, items of CBOR out. */
class SequenceSink implements ResponseSink {
  readonly #inner: ResponseSink;
  #partial: Buffer | undefined;

  constructor(inner: ResponseSink) {
    this.#inner = inner;
  }

  get bufferedBytes(): number {
    return this.#inner.bufferedBytes;
  }
  get closed(): boolean {
    return this.#inner.closed;
  }
  drained(): Promise<void> {
    return this.#inner.drained();
  }
  end(): void {
    this.#inner.end();
  }
  onClose(callback: () => void): void {
    this.#inner.onClose(callback);
  }

  write(chunk: Buffer): boolean {
    const bytes = this.#partial ? Buffer.concat([this.#partial, chunk]) : chunk;
    const items: Buffer[] = [];
    let start = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
      items.push(encodeEvent(JSON.parse(bytes.subarray(start, end).toString()) as WatchEvent));
      start = end + 1;
    }
    this.#partial = start < bytes.length ? Buffer.from(bytes.subarray(start)) : undefined;
    return items.length === 0 ? !this.closed : this.#inner.write(Buffer.concat(items));
  }
}
