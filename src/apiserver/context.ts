/** State of one request, shared by the pipeline's stages and the verbs. State of the server: server-core.ts. */
import type { UserInfo } from '#machinery/object.ts';
import type { Annotate } from './admission/plugin.ts';
import type { AuditRecord } from './audit/audit-record.ts';
import type { ApiRequest } from './http/request.ts';
import type { FlowIdentity } from './flowcontrol/flow-identity.ts';
import type { RequestInfo } from './http/request-info.ts';

export interface RequestContext {
  readonly request: ApiRequest;
  readonly info: RequestInfo;
  /** Set by the authenticate stage, replaced by impersonate. */
  user: UserInfo;
  /** Set where user is another than authenticated: who acts as them, and the verb of constrained impersonation that let them ('' = the plain verb impersonate). */
  impersonator?: { readonly user: UserInfo; readonly constraint: string };
  readonly warnings: string[];
  /** Set by who audits: adds to this request's event, see AdmissionAttributes. */
  annotate?: Annotate | undefined;
  /** Set by the audit stage for requests that the policy wants. */
  audit?: AuditRecord | undefined;
  /** Authentication's annotations for the audit event. */
  auditAnnotations?: Readonly<Record<string, string>> | undefined;
  readonly auditId: string;
  /** Given back when the request ends. */
  release: (() => void) | undefined;
  /** How long it waited for a seat. */
  queuedMs: number;
  /** Set by the limit stage: response headers of Priority and Fairness. */
  flow: FlowIdentity | undefined;
  /** By the server's monotonic clock. */
  readonly startedMs: number;
}
