/**
 * CustomResourceDefinitions as upstream stores them: in v1beta1, with fields common to all versions at the top level, though that version is no
 * longer served. Read only: upstream reads v1 as well, which this server writes.
 */
import type { KubeObject } from '#machinery/object.ts';

type Json = Record<string, unknown>;

/** Fields of the spec that stand for every version where they are given. */
const COMMON = [
  ['validation', 'schema'],
  ['subresources', 'subresources'],
  ['additionalPrinterColumns', 'additionalPrinterColumns'],
  ['selectableFields', 'selectableFields'],
] as const;

export function definitionFromV1beta1(object: KubeObject): KubeObject {
  const { version, versions, conversion, preserveUnknownFields, ...spec } = (object['spec'] ?? {}) as Json;
  const common: Json = {};
  for (const [from, to] of COMMON) {
    if (spec[from] !== undefined) common[to] = spec[from];
    delete spec[from];
  }
  const list = (versions as Json[] | undefined) ?? [{ name: version, served: true, storage: true }];
  return {
    ...object,
    apiVersion: 'apiextensions.k8s.io/v1',
    spec: {
      ...spec,
      versions: list.map((one) => withPaths({ ...one, ...common })),
      ...(conversion === undefined ? {} : { conversion: createConversion(conversion as Json) }),
      ...(preserveUnknownFields === true ? { preserveUnknownFields } : {}),
    },
  };
}

function withPaths(version: Json): Json {
  const columns = version['additionalPrinterColumns'] as Json[] | undefined;
  if (!columns) return version;
  return {
    ...version,
    additionalPrinterColumns: columns.map(({ JSONPath: jsonPath, ...column }) => ({ ...column, jsonPath })),
  };
}

function createConversion({ webhookClientConfig, conversionReviewVersions, ...conversion }: Json): Json {
  if (webhookClientConfig === undefined && conversionReviewVersions === undefined) return conversion;
  return {
    ...conversion,
    webhook: {
      ...(webhookClientConfig === undefined ? {} : { clientConfig: webhookClientConfig }),
      ...(conversionReviewVersions === undefined ? {} : { conversionReviewVersions }),
    },
  };
}
