/** The interface by which the pipeline and the verbs report one audited request. */
import type { Duplex } from 'node:stream';
import type { Status } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ApiResponse } from '../http/request.ts';

/** Calls out of order do nothing. */
export interface AuditRecord {
  /** The first value of a key stays. A level: only at that level and above. Bound: may be handed on. */
  readonly annotate: (key: string, value: string, level?: 'Metadata' | 'Request') => void;
  /** The body as it was decoded, before anything changes it. */
  readonly received: (object: KubeObject, applyDefaults?: (object: KubeObject) => void) => void;
  /** A patch, which is not an object. */
  patched(patch: unknown): void;
  /** Before compression. */
  answering(response: ApiResponse): void;
  /** In place of answering(); unexpected = a fault of the server's. */
  failed(status: Status, options: { readonly unexpected: boolean }): void;
  /** The response is sent: a stream is followed to its end. */
  answered(response: ApiResponse): ApiResponse | Promise<ApiResponse>;
  /** The connection was upgraded to a stream. */
  upgraded(socket: Duplex): void;
}
