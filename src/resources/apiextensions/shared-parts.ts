/**
 * Parts that all versions of a definition share. Upstream stores them once for the whole definition, and errors have these paths:
 * 'spec.validation', 'spec.subresources', 'spec.additionalPrinterColumns', 'spec.selectableFields'.
 */
import type { CustomResourceDefinitionVersion } from '#api/types.ts';
import { semanticEqual } from '../strategy.ts';

interface SharedParts {
  readonly schema: boolean;
  readonly subresources: boolean;
  readonly additionalPrinterColumns: boolean;
  readonly selectableFields: boolean;
}

export function sharedParts(versions: readonly Partial<CustomResourceDefinitionVersion>[]): SharedParts {
  const alike = (part: keyof SharedParts): boolean =>
    versions.every((version) => semanticEqual(version[part], versions[0]![part]));
  return {
    schema: alike('schema'),
    subresources: alike('subresources'),
    additionalPrinterColumns: alike('additionalPrinterColumns'),
    selectableFields: alike('selectableFields'),
  };
}
