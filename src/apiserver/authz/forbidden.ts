/** The 403 answer of the authorize stage, in upstream's words (apiserver's responsewriters.Forbidden). */
import { statusErrors, StatusError } from '#machinery/errors.ts';
import type { AuthorizationAttributes, AuthorizationDecision } from './authorizer.ts';

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

/** The authorize stage's own refusal, unlike what a later stage forbids. */
export class NotAuthorized extends StatusError {}

/** What a request that was not allowed is answered: 403, or 500 where an authorizer could not say. */
export function refusal(
  attributes: AuthorizationAttributes,
  { reason, error }: AuthorizationDecision,
): StatusError {
  return error === undefined
    ? new NotAuthorized(forbiddenError(attributes, reason).status)
    : statusErrors.internal(error);
}
