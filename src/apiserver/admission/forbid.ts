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

/** Among several default classes upstream chooses the newest, then the first by name. */
export function newestDefault<T extends { metadata?: { name?: string; creationTimestamp?: string | null } }>(
  candidates: readonly T[],
): T | undefined {
  return candidates.toSorted((left, right) => {
    const [a, b] = [left.metadata?.creationTimestamp ?? '', right.metadata?.creationTimestamp ?? ''];
    if (a !== b) return a > b ? -1 : 1;
    return (left.metadata?.name ?? '') < (right.metadata?.name ?? '') ? -1 : 1;
  })[0];
}
