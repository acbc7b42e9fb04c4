/** Audit events (audit.k8s.io/v1 Event) as plain data in upstream's order of fields, the fields taken from a request, and the legacy text form. */
import type { Status } from '#machinery/errors.ts';
import type { KubeObject, UserInfo } from '#machinery/object.ts';
import type { ApiRequest } from '../http/request.ts';
import type { RequestInfo } from '../http/request-info.ts';
import type { AuditLevel, AuditStage } from './policy.ts';

interface AuditUser {
  username?: string;
  uid?: string;
  groups?: readonly string[];
  extra?: Readonly<Record<string, readonly string[]>>;
}

export interface ObjectReference {
  resource?: string;
  namespace?: string;
  name?: string;
  uid?: string;
  apiGroup?: string;
  apiVersion?: string;
  resourceVersion?: string;
  subresource?: string;
}

export interface AuditEvent {
  readonly kind: 'Event';
  readonly apiVersion: 'audit.k8s.io/v1';
  readonly level: AuditLevel;
  readonly auditID: string;
  readonly stage: AuditStage;
  readonly requestURI: string;
  readonly verb: string;
  readonly user: AuditUser;
  readonly impersonatedUser?: AuditUser;
  readonly authenticationMetadata?: { readonly impersonationConstraint: string };
  readonly sourceIPs?: readonly string[];
  readonly userAgent?: string;
  readonly objectRef?: ObjectReference;
  readonly responseStatus?: Partial<Status>;
  readonly requestObject?: unknown;
  readonly responseObject?: unknown;
  readonly requestReceivedTimestamp: string;
  readonly stageTimestamp: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

const MAX_USER_AGENT_LENGTH = 1024;

export function createAuditUser({ name, uid, groups, extra }: UserInfo): AuditUser {
  return {
    ...(name ? { username: name } : {}),
    ...(uid ? { uid } : {}),
    ...(groups.length > 0 ? { groups } : {}),
    ...(extra && Object.keys(extra).length > 0 ? { extra } : {}),
  };
}

export function readUserAgent({ headers }: ApiRequest): string {
  const agent = headers['user-agent'] ?? '';
  return agent.length > MAX_USER_AGENT_LENGTH
    ? `${agent.slice(0, MAX_USER_AGENT_LENGTH)}...TRUNCATED`
    : agent;
}

/** Addresses from proxy headers and, last, the peer. Only the last one is verified. */
export function sourceIPs({ headers, remoteAddress }: ApiRequest): string[] {
  const addresses = (headers['x-forwarded-for'] ?? '')
    .split(',')
    .map((text) => text.trim())
    .filter((text) => /^[0-9a-fA-F.:]+$/.test(text));
  const real = headers['x-real-ip']?.trim();
  if (real !== undefined && /^[0-9a-fA-F.:]+$/.test(real) && !addresses.includes(real)) addresses.push(real);
  const peer = remoteAddress.replace(/^::ffff:(?=\d+\.)/, '');
  if (peer !== '' && addresses.at(-1) !== peer) addresses.push(peer);
  return addresses;
}

export function createObjectRef({
  isResourceRequest,
  resource,
  namespace,
  name,
  group,
  version,
  subresource,
}: RequestInfo): ObjectReference | undefined {
  if (!isResourceRequest) return undefined;
  return {
    ...(resource ? { resource } : {}),
    ...(namespace ? { namespace } : {}),
    ...(name ? { name } : {}),
    ...(group ? { apiGroup: group } : {}),
    ...(version ? { apiVersion: version } : {}),
    ...(subresource ? { subresource } : {}),
  };
}

/** Object fields taken from the body, where the URL lacks them. In the order of fields of an event. */
export function completeRef(
  ref: ObjectReference | undefined,
  object: KubeObject,
): ObjectReference | undefined {
  const { metadata } = object;
  if (!ref || !metadata || typeof metadata !== 'object') return ref;
  const { resource, apiGroup, apiVersion, subresource } = ref;
  const namespace = ref.namespace ?? metadata.namespace,
    name = ref.name ?? metadata.name,
    uid = ref.uid ?? metadata.uid,
    resourceVersion = ref.resourceVersion ?? metadata.resourceVersion;
  return {
    ...(resource ? { resource } : {}),
    ...(namespace ? { namespace } : {}),
    ...(name ? { name } : {}),
    ...(uid ? { uid } : {}),
    ...(apiGroup ? { apiGroup } : {}),
    ...(apiVersion ? { apiVersion } : {}),
    ...(resourceVersion ? { resourceVersion } : {}),
    ...(subresource ? { subresource } : {}),
  };
}

/** Removes managedFields from an object or a list; returns the same object if it has none. */
export function withoutManagedFields(value: unknown): unknown {
  const object = value as { metadata?: { managedFields?: unknown }; items?: unknown } | undefined;
  if (typeof object !== 'object' || object === null) return value;
  let result: Record<string, unknown> = object as Record<string, unknown>;
  if (object.metadata?.managedFields !== undefined) {
    const { managedFields: _, ...metadata } = object.metadata;
    result = { ...result, metadata };
  }
  if (Array.isArray(object.items)) result = { ...result, items: object.items.map(withoutManagedFields) };
  return result;
}

/** The older of the log's two formats: one line of words. */
export function legacyLine({
  requestReceivedTimestamp,
  auditID,
  stage,
  sourceIPs: ips,
  verb,
  user,
  impersonatedUser,
  userAgent = '',
  objectRef,
  requestURI,
  responseStatus,
}: AuditEvent): string {
  const q = JSON.stringify;
  const list = (items: readonly string[]): string => items.map((item) => q(item)).join(',');
  const groups = user.username && user.groups?.length ? list(user.groups) : '<none>';
  const asGroups = impersonatedUser?.groups ? list(impersonatedUser.groups) : '<lookup>';
  return (
    `${requestReceivedTimestamp} AUDIT: id=${q(auditID)} stage=${q(stage)} ip=${q(ips?.[0] ?? '<unknown>')} method=${q(verb)} user=${q(user.username ?? '<none>')} groups=${q(groups)}` +
    ` as=${q(impersonatedUser ? (impersonatedUser.username ?? '') : '<self>')} asgroups=${q(asGroups)} user-agent=${q(userAgent)} namespace=${q(objectRef?.namespace ?? '<none>')} uri=${q(requestURI)}` +
    ` response="${responseStatus ? (responseStatus.code ?? 0) : '<deferred>'}"`
  );
}
