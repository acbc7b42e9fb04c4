/** The request as webhooks and policies receive it: the fields of an AdmissionReview beside the objects, and `request` of expressions. */
import type { GroupVersionKind, GroupVersionResource, UserInfo } from '#machinery/object.ts';
import type { Match } from './matching.ts';
import { requestName, type AdmissionAttributes } from './plugin.ts';

/** As authentication.k8s.io/v1 UserInfo. */
interface RequestUserInfo {
  readonly username?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>> | undefined;
}

interface AdmissionRequest {
  readonly kind: GroupVersionKind;
  readonly resource: GroupVersionResource;
  readonly subResource?: string;
  readonly requestKind: GroupVersionKind;
  readonly requestResource: GroupVersionResource;
  readonly requestSubResource?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly operation: string;
  readonly userInfo: RequestUserInfo;
  readonly dryRun: boolean;
  readonly options: Readonly<Record<string, unknown>> | null;
}

/** seen: the resource the webhook or policy matched; requestKind and requestResource name the original. */
export function admissionRequest(attributes: AdmissionAttributes, seen: Match): AdmissionRequest {
  const { gvr, gvk, subresource, namespace, operation, user, dryRun } = attributes;
  const name = requestName(attributes);
  return {
    kind: kindFields(seen.gvk),
    resource: resourceFields(seen.gvr),
    ...(subresource && { subResource: subresource }),
    requestKind: kindFields(gvk),
    requestResource: resourceFields(gvr),
    ...(subresource && { requestSubResource: subresource }),
    ...(name && { name }),
    ...(namespace && { namespace }),
    operation,
    userInfo: userInfo(user),
    dryRun,
    options: optionsOf(attributes),
  };
}

function kindFields({ group, version, kind }: GroupVersionKind): GroupVersionKind {
  return { group, version, kind };
}

function resourceFields({ group, version, resource }: GroupVersionResource): GroupVersionResource {
  return { group, version, resource };
}

function userInfo({ name, uid, groups, extra }: UserInfo): RequestUserInfo {
  return {
    ...(name && { username: name }),
    ...(uid && { uid }),
    ...(groups.length > 0 && { groups }),
    extra,
  };
}

const OPTIONS_KINDS: Readonly<Record<string, string>> = {
  CREATE: 'CreateOptions',
  UPDATE: 'UpdateOptions',
  DELETE: 'DeleteOptions',
};

/** Options of the operation, not of the request: a patch is an update or, by apply, a create. CONNECT has its options as the object. */
function optionsOf({ operation, options }: AdmissionAttributes): Readonly<Record<string, unknown>> | null {
  const kind = OPTIONS_KINDS[operation];
  if (kind === undefined) return null;
  const { force: _, ...rest } = options;
  return { ...rest, kind, apiVersion: 'meta.k8s.io/v1' };
}
