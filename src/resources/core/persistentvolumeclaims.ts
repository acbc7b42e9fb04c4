/** PersistentVolumeClaim. */
import type { PersistentVolumeClaim, PersistentVolumeClaimSpec } from '#api/types.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { checkImmutable, IMMUTABLE } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, Path, SPEC, STATUS } from '../field-path.ts';
import { checkQuantity, compareQuantities, isNative } from '../resource-list.ts';
import { keepAllButStatus, keepField, semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkClaimSpec, claimSpecWarnings, defaultClaimSpec } from './claim-spec.ts';
import { accessModesText, classAnnotationWarnings } from './persistentvolumes.ts';
import { roundUp } from './pod/defaults.ts';

const CLASS_ANNOTATION = 'volume.beta.kubernetes.io/storage-class';
const RESIZE_STATES = [
  'ControllerResizeInProgress',
  'ControllerResizeInfeasible',
  'NodeResizeInProgress',
  'NodeResizeInfeasible',
  'NodeResizePending',
];

export const persistentvolumeclaims = defineResource<PersistentVolumeClaim>({
  group: '',
  plural: 'persistentvolumeclaims',
  applyDefaults: (claim) => {
    const spec = (claim.spec ??= {});
    claim.status ??= {};
    claim.status.phase ||= 'Pending';
    defaultClaimSpec(spec);
    roundUp(spec.resources?.requests);
    nullGroups(spec);
  },
  prepareForCreate: (claim) => {
    claim.status = { phase: 'Pending' };
    // Cross-namespace data sources are disabled.
    if (claim.spec?.dataSourceRef?.namespace) delete claim.spec.dataSourceRef;
    dropForeignSource(claim.spec!);
    fillSources(claim.spec!);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    if (next.spec?.dataSourceRef?.namespace && !previous.spec?.dataSourceRef) delete next.spec.dataSourceRef;
    if (!previous.spec?.dataSource && !previous.spec?.dataSourceRef) dropForeignSource(next.spec!);
    // A client that knows only one of the fields omits the other.
    fillSources(next.spec!);
  },
  validate: (claim) => {
    const errors = new Errors();
    checkClaimSpec(claim.spec, SPEC, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkClaimSpec(next.spec, SPEC, errors);
    checkUpdate(next, previous, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => {
      const errors = new Errors();
      checkStatus(next, errors);
      return errors.list;
    },
  },
  warnings: (claim) => [...classAnnotationWarnings(claim), ...claimSpecWarnings(claim.spec, 'spec')],
  table: {
    columns: columns(
      'Name',
      'Status',
      'Volume',
      'Capacity',
      'Access Modes',
      'StorageClass',
      'VolumeAttributesClass',
      'Age',
      'VolumeMode:wide',
    ),
    row: (claim, context) => {
      const { spec = {}, status = {} } = claim;
      const bound = Boolean(spec.volumeName);
      return [
        nameOf(claim),
        claim.metadata?.deletionTimestamp ? 'Terminating' : (status.phase ?? ''),
        spec.volumeName ?? '',
        bound ? (status.capacity?.['storage'] ?? '0') : '',
        bound ? accessModesText(status.accessModes) : '',
        claim.metadata?.annotations?.[CLASS_ANNOTATION] ?? spec.storageClassName ?? '',
        spec.volumeAttributesClassName ?? '<unset>',
        formatAge(claim, context),
        spec.volumeMode ?? '<unset>',
      ];
    },
  },
});

/** Written as null in a reference without it. */
function nullGroups({ dataSource, dataSourceRef }: PersistentVolumeClaimSpec): void {
  for (const source of [dataSource, dataSourceRef] as ({ apiGroup?: string | null } | undefined)[])
    if (source) source.apiGroup ??= null;
}

/** dataSource cannot express everything that dataSourceRef can. */
function dropForeignSource(spec: PersistentVolumeClaimSpec): void {
  if (spec.dataSource && !spec.dataSourceRef && !isOldSource(spec.dataSource)) delete spec.dataSource;
}

/** dataSource and dataSourceRef default to each other. */
function fillSources(spec: PersistentVolumeClaimSpec): void {
  const { dataSource, dataSourceRef } = spec;
  const copy = ({
    apiGroup,
    kind,
    name,
  }: {
    readonly apiGroup?: string;
    readonly kind: string;
    readonly name: string;
  }): { kind: string; name: string } => Object.assign({ apiGroup: apiGroup ?? null }, { kind, name });
  if (dataSource && !dataSourceRef) spec.dataSourceRef = copy(dataSource);
  else if (dataSourceRef && !dataSource && !dataSourceRef.namespace) spec.dataSource = copy(dataSourceRef);
}

function isOldSource(source: { apiGroup?: string; kind?: string }): boolean {
  return (
    (!source.apiGroup && source.kind === 'PersistentVolumeClaim') ||
    (source.apiGroup === 'snapshot.storage.k8s.io' && source.kind === 'VolumeSnapshot')
  );
}

function checkUpdate(next: PersistentVolumeClaim, previous: PersistentVolumeClaim, errors: Errors): void {
  const spec = next.spec ?? {},
    stored = previous.spec ?? {};
  const rest = { ...spec },
    before = { ...stored };
  if (!stored.volumeName && spec.volumeName) before.volumeName = spec.volumeName;
  const oldClass = previous.metadata?.annotations?.[CLASS_ANNOTATION],
    newClass = next.metadata?.annotations?.[CLASS_ANNOTATION];
  const upgraded =
    oldClass !== undefined &&
    stored.storageClassName === undefined &&
    spec.storageClassName === oldClass &&
    (newClass === undefined || newClass === oldClass);
  if (upgraded) delete rest.storageClassName;
  else {
    if (oldClass !== newClass)
      errors.invalid(METADATA.child('annotations').child(CLASS_ANNOTATION), newClass ?? '', IMMUTABLE);
    if (
      spec.storageClassName !== undefined &&
      stored.storageClassName === undefined &&
      (oldClass === undefined || oldClass === spec.storageClassName)
    )
      delete rest.storageClassName;
  }
  if (next.status?.phase === 'Bound') {
    if (rest.resources?.requests)
      rest.resources = {
        ...rest.resources,
        requests: { ...rest.resources.requests, ...pick(stored.resources?.requests, 'storage') },
      };
    if (rest.volumeAttributesClassName !== undefined) {
      if (stored.volumeAttributesClassName === undefined) delete rest.volumeAttributesClassName;
      else rest.volumeAttributesClassName = stored.volumeAttributesClassName;
    }
  }
  if (!semanticEqual(rest, before))
    errors.forbidden(
      SPEC,
      `spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n${differences(before, rest)}`,
    );
  checkSize(next, previous, errors);
  checkImmutable(spec.volumeMode, stored.volumeMode, Path.root('volumeMode'), errors);
  if (
    stored.volumeAttributesClassName !== undefined &&
    spec.volumeAttributesClassName !== stored.volumeAttributesClassName
  ) {
    if (spec.volumeAttributesClassName === undefined)
      errors.forbidden(
        SPEC.child('volumeAttributesClassName'),
        'update from non-nil value to nil is forbidden',
      );
    else if (spec.volumeAttributesClassName === '')
      errors.forbidden(
        SPEC.child('volumeAttributesClassName'),
        'update from non-nil value to an empty string is forbidden',
      );
  }
}

function pick(amounts: Record<string, string> | undefined, name: string): Record<string, string> {
  return amounts?.[name] === undefined ? {} : { [name]: amounts[name] };
}

function differences(before: object, after: object): string {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])]
    .map((field) => ({
      field,
      a: (before as Record<string, unknown>)[field],
      b: (after as Record<string, unknown>)[field],
    }))
    .filter(({ a, b }) => !semanticEqual(a, b))
    .map(({ field, a, b }) => `- ${field}: ${JSON.stringify(a)}\n+ ${field}: ${JSON.stringify(b)}\n`)
    .join('');
}

/** A claim may shrink to a size above its capacity, to recover from a failed expansion. */
function checkSize(next: PersistentVolumeClaim, previous: PersistentVolumeClaim, errors: Errors): void {
  const size = next.spec?.resources?.requests?.['storage'] ?? '0',
    before = previous.spec?.resources?.requests?.['storage'] ?? '0';
  if (compareQuantities(size, before) >= 0) return;
  if (compareQuantities(size, previous.status?.capacity?.['storage'] ?? '0') <= 0)
    errors.forbidden(
      SPEC.child('resources').child('requests').child('storage'),
      'field can not be less than status.capacity',
    );
}

function checkStatus(claim: PersistentVolumeClaim, errors: Errors): void {
  const { status = {} } = claim;
  if (!claim.spec?.accessModes?.length) errors.required(Path.root('Spec').child('accessModes'));
  for (const name in status.capacity)
    checkQuantity(name, status.capacity[name]!, STATUS.child('capacity').key(name), errors);
  for (const [name, state] of Object.entries(status.allocatedResourceStatuses ?? {})) {
    const path = STATUS.child('allocatedResourceStatus');
    checkResourceKey(name, path, errors);
    if (!RESIZE_STATES.includes(state)) errors.notSupported(path, name, RESIZE_STATES);
  }
  for (const [name, amount] of Object.entries(status.allocatedResources ?? {})) {
    const path = STATUS.child('allocatedResources');
    checkResourceKey(name, path, errors);
    checkQuantity('storage', amount, path.key(name), errors);
  }
}

function checkResourceKey(name: string, path: Path, errors: Errors): void {
  const problems = validateQualifiedName(name);
  errors.invalidEach(path, name, problems);
  if (problems.length === 0 && isNative(name) && name !== 'storage')
    errors.notSupported(path, name, ['storage']);
}
