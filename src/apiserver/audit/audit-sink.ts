/** The interface of auditing for the pipeline and the verbs. Implemented by auditor.ts; absent without a policy. */
import type { Status } from '#machinery/errors.ts';
import type { RequestContext } from '../context.ts';

export interface AuditSink {
  /** After authentication, before anything is done. Sets context.audit when the policy wants this request. Throws or rejects when the event must be stored and cannot be. */
  begin(context: RequestContext): void | Promise<void>;
  /** Unauthenticated: the request ends with this status. */
  unauthenticated(context: RequestContext, status: Status): void | Promise<void>;
}
