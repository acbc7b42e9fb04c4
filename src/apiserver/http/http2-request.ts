/** A request over HTTP/2 as the API pipeline sees it: the stream's, with the identity of its connection. */
import type { Readable } from 'node:stream';
import { RequestBodyError, type Http2Request } from '#http2/exchange.ts';
import { statusErrors } from '#machinery/errors.ts';
import type { Peer } from './peer.ts';
import type { ApiRequest } from './request.ts';

export class Http2ApiRequest implements ApiRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly #request: Http2Request;
  readonly #peer: Peer;

  constructor(request: Http2Request, peer: Peer) {
    this.method = request.method;
    this.path = request.path;
    this.query = request.query;
    this.headers = request.headers;
    this.#request = request;
    this.#peer = peer;
  }

  get remoteAddress(): string {
    return this.#peer.remoteAddress;
  }
  get clientCertificate(): ApiRequest['clientCertificate'] {
    return this.#peer.certificate;
  }
  get clientCertificateError(): string | undefined {
    return this.#peer.certificateError;
  }
  get expiredNode(): ApiRequest['expiredNode'] {
    return this.#peer.expiredNode;
  }
  get frontProxyCertificate(): ApiRequest['frontProxyCertificate'] {
    return this.#peer.frontProxy;
  }

  headerValues(name: string): readonly string[] {
    return this.#request.headerValues(name);
  }

  body(limitBytes: number): Promise<Buffer> {
    return this.#request.body(limitBytes).catch(throwAsStatus);
  }

  bodyStream(): Readable {
    return this.#request.bodyStream();
  }

  onAbort(callback: () => void): void {
    this.#request.onAbort(callback);
  }

  onSent(callback: () => void): void {
    this.#request.onSent(callback);
  }
}

function throwAsStatus(error: unknown): never {
  if (!(error instanceof RequestBodyError)) throw error;
  throw error.code === 'too-large'
    ? statusErrors.requestEntityTooLarge(error.message)
    : statusErrors.badRequest(error.message);
}
