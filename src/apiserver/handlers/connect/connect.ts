/**
 * Requests served by a node, a pod or a service rather than from the store: pods/{log,exec,attach,portforward,proxy}, nodes/proxy,
 * services/proxy. The pipeline authenticates, authorizes and admits them (CONNECT), then passes them to ConnectHandlers, which the rest of this
 * folder implements.
 */
import type { Duplex } from 'node:stream';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { ApiRequest, ApiResponse } from '../../http/request.ts';
import type { InternalApi } from '../../registry/loopback-client.ts';
import type { RequestInfo } from '../../http/request-info.ts';

export interface ConnectCall {
  readonly request: ApiRequest;
  /** info.resource and info.subresource name the target; info.rest is the proxied path; info.query holds the first value of each parameter, request.query all of them. */
  readonly info: RequestInfo;
  readonly user: UserInfo;
  /** The pod, node or service. For services and nodes of the form scheme:name:port the name is parsed by the handler and this is undefined. */
  readonly object: KubeObject | undefined;
  readonly internal: InternalApi;
}

export interface ConnectHandlers {
  /** A plain HTTP request. A thrown StatusError is the response. */
  request(call: ConnectCall): Promise<ApiResponse>;
  /** An HTTP/1.1 upgrade (SPDY/3.1, WebSocket). A StatusError thrown before anything was written is sent by the caller; after that the handler owns the socket. */
  upgrade(call: ConnectCall, stream: { readonly socket: Duplex; readonly head: Buffer }): Promise<void>;
}
