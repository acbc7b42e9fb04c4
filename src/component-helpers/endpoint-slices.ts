/** Which Service an EndpointSlice is of. */
import type { EndpointSlice } from '#api/types.ts';

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';

/** 'namespace/name'; without a name where the label is missing. */
export function serviceOfSlice({ metadata }: EndpointSlice): string {
  return `${metadata?.namespace}/${metadata?.labels?.[SERVICE_NAME_LABEL] ?? ''}`;
}

/** The index of EndpointSlices by Service: of an informer that several share, an index is one function. */
export function indexByService(slice: EndpointSlice): readonly string[] {
  return [serviceOfSlice(slice)];
}
