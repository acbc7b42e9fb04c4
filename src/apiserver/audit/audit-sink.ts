/** What the pipeline and the verbs tell of a request that is audited. auditor.ts implements it; without a policy there is none and nothing is asked. */
import type { Duplex } from 'node:stream';
import type { Status } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';

export interface AuditSink {
  /** After authentication, before anything is done. Sets context.audit when the policy wants this request. Throws or rejects when the event must be stored and cannot be. */
  begin(context: RequestContext): void | Promise<void>;
  /** Nobody known: the request ends with this status. */
  unauthenticated(context: RequestContext, status: Status): void | Promise<void>;
}

/** Of one request. Calls out of order do nothing. */
export interface AuditRecord {
  /** The first value of a key stays. A level: only at that level and above. Bound: may be handed on. */
  readonly annotate: (key: string, value: string, level?: 'Metadata' | 'Request') => void;
  /** The body as it was decoded, before anything changes it. */
  readonly received: (object: KubeObject, applyDefaults?: (object: KubeObject) => void) => void;
  /** A patch, which is no object of its own. */
  patched(patch: unknown): void;
  /** Before the answer is compressed. */
  answering(response: ApiResponse): void;
  /** In place of answering(); unexpected = a fault of the server's. */
  failed(status: Status, options: { readonly unexpected: boolean }): void;
  /** The answer goes out: a stream is followed to its end. */
  answered(response: ApiResponse): ApiResponse | Promise<ApiResponse>;
  /** The connection has become a stream. */
  upgraded(socket: Duplex): void;
}
