/** The spec of persistent volume claims and of claim templates (StatefulSets, ephemeral volumes). */
import { validateDNS1123Label } from '#machinery/names.ts';
import type { PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate } from '#api/types.ts';
import {
  checkAnnotations,
  checkDnsSubdomain,
  checkLabels,
  checkLabelSelector,
  checkOptionalEnum,
} from '../checks.ts';
import { checkPositiveQuantity, parseResourceQuantity } from '../resource-list.ts';
import type { Errors, Path } from '../field-path.ts';

const ACCESS_MODES = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];
export const VOLUME_MODES = ['Block', 'Filesystem'];

export function defaultClaimSpec(spec: Partial<PersistentVolumeClaimSpec>): void {
  spec.volumeMode ??= 'Filesystem';
}

export function checkAccessModes(modes: readonly string[], path: Path, errors: Errors): void {
  for (const mode of modes)
    if (!ACCESS_MODES.includes(mode)) errors.notSupported(path.child('accessModes'), mode, ACCESS_MODES);
  if (
    modes.includes('ReadWriteOncePod') &&
    modes.some((mode) => mode !== 'ReadWriteOncePod' && ACCESS_MODES.includes(mode))
  ) {
    errors.forbidden(path.child('accessModes'), 'may not use ReadWriteOncePod with other access modes');
  }
}

export function checkClaimSpec(
  given: PersistentVolumeClaimSpec | undefined,
  path: Path,
  errors: Errors,
): void {
  const spec = given ?? {};
  if (!spec.accessModes?.length)
    errors.required(path.child('accessModes'), 'at least 1 access mode is required');
  checkLabelSelector(spec.selector, path.child('selector'), errors);
  checkAccessModes(spec.accessModes ?? [], path, errors);
  const size = spec.resources?.requests?.['storage'];
  if (size === undefined) errors.required(path.child('resources').key('storage'));
  else checkPositiveQuantity(size, path.child('resources').key('storage'), errors);
  if (spec.storageClassName) checkDnsSubdomain(spec.storageClassName, path, 'storageClassName', errors);
  checkOptionalEnum(spec.volumeMode, VOLUME_MODES, path, 'volumeMode', errors);
  checkSources(spec, path, errors);
  if (spec.volumeAttributesClassName)
    checkDnsSubdomain(spec.volumeAttributesClassName, path, 'volumeAttributesClassName', errors);
}

function checkSources(
  { dataSource, dataSourceRef }: PersistentVolumeClaimSpec,
  path: Path,
  errors: Errors,
): void {
  if (dataSource) checkSource(dataSource, path.child('dataSource'), errors);
  if (dataSourceRef) {
    checkSource(dataSourceRef, path.child('dataSourceRef'), errors);
    if (dataSourceRef.namespace)
      errors.invalidEach(
        path.child('dataSourceRef').child('namespace'),
        dataSourceRef.namespace,
        validateDNS1123Label(dataSourceRef.namespace),
      );
  }
  if (!dataSource || !dataSourceRef) return;
  // Upstream shows the place, which is nothing in JSON.
  const source = {};
  if (dataSourceRef.namespace)
    errors.invalid(path, source, 'may not be specified when dataSourceRef.namespace is specified');
  else if (
    (dataSource.apiGroup ?? '') !== (dataSourceRef.apiGroup ?? '') ||
    dataSource.kind !== dataSourceRef.kind ||
    dataSource.name !== dataSourceRef.name
  )
    errors.invalid(path, source, 'must match dataSourceRef');
}

function checkSource(
  source: { name?: string; kind?: string; apiGroup?: string },
  path: Path,
  errors: Errors,
): void {
  if (!source.name) errors.required(path.child('name'));
  if (!source.kind) errors.required(path.child('kind'));
  if (!source.apiGroup && source.kind !== 'PersistentVolumeClaim')
    errors.invalid(
      path,
      source.kind ?? '',
      "must be 'PersistentVolumeClaim' when referencing the default apiGroup",
    );
  if (source.apiGroup) checkDnsSubdomain(source.apiGroup, path, 'apiGroup', errors);
}

/** Fractional bytes are invalid. */
export function claimSpecWarnings(spec: PersistentVolumeClaimSpec | undefined, path: string): string[] {
  return (['requests', 'limits'] as const).flatMap((field) =>
    fractionalBytesWarnings(spec?.resources?.[field]?.['storage'], `${path}.resources.${field}[storage]`),
  );
}

export function fractionalBytesWarnings(amount: string | undefined, path: string): string[] {
  const isFraction =
    amount?.endsWith('m') === true && parseResourceQuantity(amount).milliValue() % 1000 !== 0;
  return isFraction
    ? [`${path}: fractional byte value ${JSON.stringify(amount)} is invalid, must be an integer`]
    : [];
}

export function checkClaimTemplate(
  template: PersistentVolumeClaimTemplate,
  path: Path,
  errors: Errors,
): void {
  const { annotations, labels, ...rest } = template.metadata ?? {};
  checkAnnotations(annotations, path.child('metadata').child('annotations'), errors);
  checkLabels(labels, path.child('metadata').child('labels'), errors);
  for (const [field, value] of Object.entries(rest))
    if (value !== undefined && value !== null)
      errors.forbidden(path.child('metadata').child(field), 'cannot be set');
  checkClaimSpec(template.spec, path.child('spec'), errors);
}
