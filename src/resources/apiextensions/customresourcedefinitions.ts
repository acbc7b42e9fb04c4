/**
 * CustomResourceDefinition: names, versions, scope, conversion and the outline of schemas. Whether a schema is structural, its CEL rules and
 * its defaults are checked by the API server's custom resources, which compile them anyway.
 */
import type { CustomResourceDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion } from '#api/types.ts';
import { validateDNS1035Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { checkClientConfig } from '../admissionregistration/webhooks.ts';
import { checkImmutable, eachRepeated } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, type Path, SPEC, STATUS } from '../field-path.ts';
import { bumpGeneration, keepAllButStatus, keepField, startGeneration } from '../strategy.ts';
import { columns, nameOf } from '../tables.ts';

/** Put on by the API server, taken off when the last custom resource is gone. */
export const CLEANUP_FINALIZER = 'customresourcecleanup.apiextensions.k8s.io';
const COLUMN_TYPES = ['boolean', 'date', 'integer', 'number', 'string'];
const COLUMN_FORMATS = ['', 'byte', 'date', 'date-time', 'double', 'float', 'int32', 'int64', 'password'];
const SELECTABLE_MAX = 8;
const APPROVED = 'api-approved.kubernetes.io';

export const customresourcedefinitions = defineResource<CustomResourceDefinition>({
  group: 'apiextensions.k8s.io',
  plural: 'customresourcedefinitions',
  allowUnconditionalUpdate: false,
  applyDefaults: ({ spec }) => {
    if (!spec) return;
    const names = spec.names ?? (spec.names = {} as CustomResourceDefinitionSpec['names']);
    if (names.kind) {
      names.singular ||= names.kind.toLowerCase();
      names.listKind ||= `${names.kind}List`;
    }
    spec.conversion ??= { strategy: 'None' };
    const service = spec.conversion.webhook?.clientConfig?.service;
    if (service) service.port ??= 443;
  },
  prepareForCreate: (definition) => {
    delete definition.status;
    startGeneration(definition);
    // The names controller accepts the names, or not, and writes the rest of the status.
    const storage = definition.spec?.versions?.filter(({ storage: stores }) => stores).map(({ name }) => name) ?? [];
    definition.status = { storedVersions: storage, acceptedNames: { plural: '', kind: '' } };
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
    for (const { name, storage } of next.spec?.versions ?? []) {
      const stored = next.status?.storedVersions ?? [];
      if (storage && !stored.includes(name)) next.status = { ...next.status, storedVersions: [...stored, name] };
    }
  },
  validate: (definition) => {
    const errors = new Errors();
    checkName(definition, errors);
    checkSpec(definition.spec ?? ({} as CustomResourceDefinitionSpec), errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors(), spec = next.spec ?? ({} as CustomResourceDefinitionSpec), stored = previous.spec;
    checkSpec(spec, errors);
    checkImmutable(spec.group, stored?.group, SPEC.child('group'), errors);
    checkImmutable(spec.names?.plural, stored?.names?.plural, SPEC.child('names').child('plural'), errors);
    const established = previous.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True');
    if (established) {
      checkImmutable(spec.scope, stored?.scope, SPEC.child('scope'), errors);
      checkImmutable(spec.names?.kind, stored?.names?.kind, SPEC.child('names').child('kind'), errors);
    }
    for (const version of next.status?.storedVersions ?? []) {
      if (!spec.versions?.some(({ name }) => name === version)) errors.invalid(STATUS.child('storedVersions'), version, `missing from spec.versions; ${version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${version} and removes ${version} from status.storedVersions`);
    }
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatus },
  warnings: (definition) => (definition.spec?.versions ?? []).flatMap((version, i) => (version.deprecated === true && version.deprecationWarning === '' ? [`spec.versions[${i}].deprecationWarning: empty`] : [])),
  table: { columns: columns('Name', 'Created At:date'), row: (definition) => [nameOf(definition), definition.metadata?.creationTimestamp ?? null] },
});

function checkName(definition: CustomResourceDefinition, errors: Errors): void {
  const { group = '', names } = definition.spec ?? ({} as Partial<CustomResourceDefinitionSpec>), name = nameOf(definition);
  const required = `${names?.plural ?? ''}.${group}`;
  if (name !== required) errors.invalid(METADATA.child('name'), name, `must be spec.names.plural+"."+spec.group`);
  const reserved = group === 'k8s.io' || group === 'kubernetes.io' || group.endsWith('.k8s.io') || group.endsWith('.kubernetes.io');
  const approval = definition.metadata?.annotations?.[APPROVED];
  if (reserved && !approval) errors.required(METADATA.child('annotations').key(APPROVED), `protected groups must have approval annotation "${APPROVED}", see https://github.com/kubernetes/enhancements/pull/1111`);
  else if (reserved && !approval!.startsWith('unapproved') && !URL.canParse(approval!)) errors.invalid(METADATA.child('annotations').key(APPROVED), approval, `protected groups must have approval annotation "${APPROVED}" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111`);
}

function checkSpec(spec: CustomResourceDefinitionSpec, errors: Errors): void {
  if (!spec.group) errors.required(SPEC.child('group'));
  else {
    errors.invalidEach(SPEC.child('group'), spec.group, validateDNS1123Subdomain(spec.group));
    if (!spec.group.includes('.')) errors.invalid(SPEC.child('group'), spec.group, 'should be a domain with at least one dot');
  }
  if (!spec.scope) errors.required(SPEC.child('scope'));
  else if (spec.scope !== 'Cluster' && spec.scope !== 'Namespaced') errors.notSupported(SPEC.child('scope'), spec.scope, ['Cluster', 'Namespaced']);
  checkVersions(spec, errors);
  checkNames(spec, errors);
  checkConversion(spec, errors);
}

const VERSION_MAX = 63;

function checkVersions(spec: CustomResourceDefinitionSpec, errors: Errors): void {
  const versions = spec.versions ?? [], path = SPEC.child('versions'), names = new Set<string>();
  versions.forEach((version, i) => {
    const at = path.index(i);
    if (names.has(version.name)) errors.invalid(path, '<value omitted>', 'must contain unique version names');
    names.add(version.name);
    const problems = validateDNS1035Label(version.name ?? '');
    if (problems.length > 0 || (version.name ?? '').length > VERSION_MAX) errors.invalidEach(at.child('name'), version.name, problems);
    checkVersion(version, at, errors);
  });
  const storing = versions.filter(({ storage }) => storage).length;
  if (storing !== 1) errors.invalid(path, '<value omitted>', 'must have exactly one version marked as storage version');
  if (versions.length > 0 && spec.preserveUnknownFields === true) errors.invalid(SPEC.child('preserveUnknownFields'), true, 'must be false in order to use defaults in the schema');
}

function checkVersion(version: CustomResourceDefinitionVersion, at: Path, errors: Errors): void {
  if (version.served && !version.schema?.openAPIV3Schema) errors.required(at.child('schema').child('openAPIV3Schema'), 'schemas are required');
  else if (version.schema?.openAPIV3Schema && version.schema.openAPIV3Schema.type !== 'object') {
    errors.invalid(at.child('schema').child('openAPIV3Schema').child('type'), version.schema.openAPIV3Schema.type ?? '', 'must be object at the root');
  }
  if (version.deprecationWarning !== undefined) {
    if (!version.deprecated) errors.invalid(at.child('deprecationWarning'), version.deprecationWarning, 'can only be set for deprecated versions');
    if (version.deprecationWarning.length > 256) errors.tooLong(at.child('deprecationWarning'), 256);
    if (version.deprecationWarning === '') errors.invalid(at.child('deprecationWarning'), '', 'must not be empty if specified');
  }
  version.additionalPrinterColumns?.forEach((column, i) => {
    const path = at.child('additionalPrinterColumns').index(i);
    if (!column.name) errors.required(path.child('name'));
    if (!column.type) errors.required(path.child('type'), `must be one of ${COLUMN_TYPES.join(',')}`);
    else if (!COLUMN_TYPES.includes(column.type)) errors.invalid(path.child('type'), column.type, `must be one of ${COLUMN_TYPES.join(',')}`);
    if (column.format && !COLUMN_FORMATS.includes(column.format)) errors.invalid(path.child('format'), column.format, `must be one of ${COLUMN_FORMATS.filter((format) => format !== '').join(',')}`);
    checkSimplePath(column.jsonPath, path.child('jsonPath'), errors);
  });
  const scale = version.subresources?.scale, path = at.child('subresources').child('scale');
  if (scale) {
    checkScalePath(scale.specReplicasPath, '.spec.', path.child('specReplicasPath'), errors);
    checkScalePath(scale.statusReplicasPath, '.status.', path.child('statusReplicasPath'), errors);
    if (scale.labelSelectorPath && !/^\.(spec|status)\./.test(scale.labelSelectorPath)) errors.invalid(path.child('labelSelectorPath'), scale.labelSelectorPath, 'should be a json path under either .status or .spec');
  }
  const selectable = version.selectableFields ?? [];
  if (selectable.length > SELECTABLE_MAX) errors.tooMany(at.child('selectableFields'), selectable.length, SELECTABLE_MAX);
  selectable.forEach((field, i) => checkSimplePath(field.jsonPath, at.child('selectableFields').index(i).child('jsonPath'), errors));
}

function checkSimplePath(jsonPath: string | undefined, path: Path, errors: Errors): void {
  if (!jsonPath) errors.required(path);
  else if (!jsonPath.startsWith('.')) errors.invalid(path, jsonPath, 'must be a simple json path starting with .');
}

function checkScalePath(jsonPath: string | undefined, root: string, path: Path, errors: Errors): void {
  if (!jsonPath) errors.required(path);
  else if (!jsonPath.startsWith(root)) errors.invalid(path, jsonPath, `should be a json path under ${root.slice(0, -1)}`);
  else if (jsonPath.includes('[')) errors.invalid(path, jsonPath, 'should be a json path without array notation');
}

function checkNames(spec: CustomResourceDefinitionSpec, errors: Errors): void {
  const { names } = spec, path = SPEC.child('names');
  if (!names?.plural) errors.required(path.child('plural'));
  if (!names?.singular) errors.required(path.child('singular'));
  if (!names?.kind) errors.required(path.child('kind'));
  if (!names?.listKind) errors.required(path.child('listKind'));
  if (!names) return;
  for (const field of ['plural', 'singular'] as const) if (names[field]) errors.invalidEach(path.child(field), names[field], validateDNS1035Label(names[field]));
  for (const field of ['kind', 'listKind'] as const) if (names[field]) errors.invalidEach(path.child(field), names[field], validateDNS1035Label(names[field].toLowerCase()).map((problem) => `may have mixed case, but should otherwise match: ${problem}`));
  for (const field of ['shortNames', 'categories'] as const) names[field]?.forEach((name, i) => errors.invalidEach(path.child(field).index(i), name, validateDNS1035Label(name)));
  if (names.kind && names.kind === names.listKind) errors.invalid(path.child('listKind'), names.listKind, 'kind and listKind may not be the same');
}

function checkConversion({ conversion, preserveUnknownFields }: CustomResourceDefinitionSpec, errors: Errors): void {
  if (!conversion) return;
  const path = SPEC.child('conversion');
  if (conversion.strategy !== 'Webhook') {
    if (conversion.strategy !== 'None') errors.notSupported(path.child('strategy'), conversion.strategy ?? '', ['None', 'Webhook']);
    if (conversion.webhook) errors.forbidden(path.child('webhook'), 'should not be set when strategy is not set to Webhook');
    return;
  }
  if (preserveUnknownFields) errors.invalid(path.child('strategy'), conversion.strategy, 'must be None if spec.preserveUnknownFields is true');
  const versions = conversion.webhook?.conversionReviewVersions ?? [], at = path.child('webhook');
  if (!conversion.webhook?.clientConfig) errors.required(at.child('clientConfig'), 'required when strategy is set to Webhook');
  else checkClientConfig(conversion.webhook.clientConfig, at.child('clientConfig'), errors);
  if (versions.length === 0) errors.required(at.child('conversionReviewVersions'));
  else if (!versions.some((version) => version === 'v1' || version === 'v1beta1')) errors.invalid(at.child('conversionReviewVersions'), versions, 'must include at least one of v1, v1beta1');
  eachRepeated(versions, (version, i) => errors.invalid(at.child('conversionReviewVersions').index(i), version, 'duplicate version'));
}
