/** The 403 response of the authorize stage, in upstream's words (apiserver's responsewriters.Forbidden). */
import { statusErrors, StatusError } from '#machinery/errors.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from '#machinery/authorization.ts';

/** 'User "jane" cannot list resource "pods" in API group "" in the namespace "default"' */
function forbiddenMessage(attributes: AuthorizationAttributes): string {
  const who = `User ${JSON.stringify(attributes.user.name)} cannot ${attributes.verb}`;
  if (!attributes.isResourceRequest) return `${who} path ${JSON.stringify(attributes.path)}`;
  const resource =
    attributes.subresource === '' ? attributes.resource : `${attributes.resource}/${attributes.subresource}`;
  const where =
    attributes.namespace === ''
      ? 'at the cluster scope'
      : `in the namespace ${JSON.stringify(attributes.namespace)}`;
  return `${who} resource ${JSON.stringify(resource)} in API group ${JSON.stringify(attributes.group)} ${where}`;
}

export function forbiddenError(attributes: AuthorizationAttributes, reason: string): StatusError {
  const message = reason === '' ? forbiddenMessage(attributes) : `${forbiddenMessage(attributes)}: ${reason}`;
  const of = attributes.isResourceRequest
    ? { group: attributes.group, resource: attributes.resource, name: attributes.name }
    : { group: '', resource: '', name: '' };
  return statusErrors.forbidden(of, message);
}

/** A refusal by the authorize stage, unlike one of a later stage. */
export class NotAuthorized extends StatusError {}

/** The response to a refused request: 403, or 500 after an authorizer's error. */
export function refusal(
  attributes: AuthorizationAttributes,
  { reason, error }: AuthorizationDecision,
): StatusError {
  return error === undefined
    ? new NotAuthorized(forbiddenError(attributes, reason).status)
    : statusErrors.internal(error);
}
