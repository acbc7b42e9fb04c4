/** The refusal admission plugins throw, as upstream's admission.NewForbidden words it. */
import { statusErrors, type StatusError } from '#machinery/errors.ts';
import type { AdmissionAttributes } from './plugin.ts';

export function forbid(attributes: AdmissionAttributes, why: string): StatusError {
  const { gvr, name, object } = attributes;
  const shownName =
    name || object?.metadata?.name || object?.metadata?.generateName || 'Unknown/errorGettingName';
  return statusErrors.forbidden({ group: gvr.group, resource: gvr.resource, name: shownName }, why);
}

/** 'resource' or 'resource.group' without subresource: handles() of most plugins. */
export function isTarget(
  target: { readonly group: string; readonly resource: string; readonly subresource: string },
  group: string,
  resource: string,
  subresource = '',
): boolean {
  return target.group === group && target.resource === resource && target.subresource === subresource;
}

/** One message unchanged, several in brackets: the format of Go's aggregated errors. */
export function aggregate(messages: readonly string[]): string {
  return messages.length === 1 ? messages[0]! : `[${messages.join(', ')}]`;
}
