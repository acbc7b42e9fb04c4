/** Attributes and decisions of authorization, after upstream's authorizer.Attributes and authorizer.Decision. Types only. */
import type { UserInfo } from './object.ts';
import type { SelectorRequirement } from './selector-requirements.ts';

export interface AuthorizationAttributes {
  readonly user: UserInfo;
  /** 'get', 'list', 'watch', 'create', … for resources; the lower-case HTTP method for other paths. */
  readonly verb: string;
  readonly isResourceRequest: boolean;
  /** '' for the core group; '*' in a review means all. */
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  /** '' when none. */
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** The URL path, without query. */
  readonly path: string;
  readonly fieldSelector?: readonly SelectorRequirement[] | undefined;
  readonly labelSelector?: readonly SelectorRequirement[] | undefined;
}

export interface AuthorizationDecision {
  readonly decision: 'allow' | 'deny' | 'no-opinion';
  /** Shown to the client behind 'User "x" cannot …: ' when not allowed; '' when there is nothing to say. */
  readonly reason: string;
  /** The error of an authorizer (a failed webhook). With any verdict but 'allow' the request is answered 500 with it, as upstream. */
  readonly error?: string;
}
