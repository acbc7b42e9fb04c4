/**
 * CustomResourceDefinition: names, versions, scope, conversion and the basic form of schemas. definition-checks.ts checks structural schemas, CEL rules and
 * defaults.
 */
import type {
  CustomResourceDefinition,
  CustomResourceDefinitionNames,
  CustomResourceDefinitionSpec,
  CustomResourceDefinitionVersion,
} from '#api/types.ts';
import { parseUrl } from '#machinery/go-url.ts';
import { validateDNS1035Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { checkClientConfig, checkReviewVersions } from '../admissionregistration/webhooks.ts';
import { checkEnum, checkImmutable, invalidJoined } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, type Path, SPEC, STATUS } from '../field-path.ts';
import { bumpGeneration, keepAllButStatus, keepField, semanticEqual, startGeneration } from '../strategy.ts';
import { columns, nameOf } from '../tables.ts';
import { checkDefinition, readInnerSchemas, unrecognizedFormats } from './definition-checks.ts';
import { sharedParts } from './shared-parts.ts';
import { beginDeletion } from './termination.ts';

const COLUMN_TYPES = ['boolean', 'date', 'integer', 'number', 'string'];
const COLUMN_FORMATS = ['byte', 'date', 'date-time', 'double', 'float', 'int32', 'int64', 'password'];
const APPROVED = 'api-approved.kubernetes.io';

export const customresourcedefinitions = defineResource<CustomResourceDefinition>({
  group: 'apiextensions.k8s.io',
  plural: 'customresourcedefinitions',
  allowUnconditionalUpdate: false,
  beginDeletion,
  applyDefaults: (definition) => {
    const { spec, status } = definition;
    if (!spec) return;
    // Stored objects have no missing fields.
    if (status && !status.storedVersions?.length)
      status.storedVersions =
        spec.versions
          ?.filter(({ storage }) => storage)
          .slice(0, 1)
          .map(({ name }) => name) ?? [];
    const names = spec.names ?? (spec.names = {} as CustomResourceDefinitionSpec['names']);
    if (names.kind) {
      names.singular ||= names.kind.toLowerCase();
      names.listKind ||= `${names.kind}List`;
    }
    spec.conversion ??= { strategy: 'None' };
    const service = spec.conversion.webhook?.clientConfig?.service;
    if (service) service.port ??= 443;
    readInnerSchemas(definition);
  },
  prepareForCreate: (definition) => {
    delete definition.status;
    startGeneration(definition);
    // The names controller accepts or rejects the names, and writes the rest of the status.
    const storage =
      definition.spec?.versions?.filter(({ storage: stores }) => stores).map(({ name }) => name) ?? [];
    // Upstream writes null for what is empty, which the API's types do not have.
    Object.assign(definition, {
      status: {
        conditions: null,
        acceptedNames: { plural: '', kind: '' },
        storedVersions: storage.length > 0 ? storage.slice(0, 1) : null,
      },
    });
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
    for (const { name, storage } of next.spec?.versions ?? []) {
      const stored = next.status?.storedVersions ?? [];
      if (storage && !stored.includes(name))
        next.status = { ...next.status, storedVersions: [...stored, name] };
    }
  },
  validate: (definition) => {
    const errors = new Errors();
    checkName(definition, errors);
    checkSpec(definition.spec ?? ({} as CustomResourceDefinitionSpec), errors);
    checkStoredVersions(definition, errors);
    checkApproval(definition, errors);
    if (definition.spec?.preserveUnknownFields === true) errors.invalid(PRESERVES, true, NOT_PRESERVED);
    return [...errors.list, ...checkDefinition(definition)];
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors(),
      spec = next.spec ?? ({} as CustomResourceDefinitionSpec),
      stored = previous.spec;
    checkSpec(spec, errors);
    if (
      previous.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True')
    ) {
      checkImmutable(spec.scope, stored?.scope, SPEC.child('scope'), errors);
      checkImmutable(spec.names?.kind, stored?.names?.kind, SPEC.child('names').child('kind'), errors);
    }
    checkImmutable(spec.group, stored?.group, SPEC.child('group'), errors);
    checkImmutable(spec.names?.plural, stored?.names?.plural, SPEC.child('names').child('plural'), errors);
    checkStoredVersions(next, errors);
    if (!semanticEqual(approvalOf(next), approvalOf(previous))) checkApproval(next, errors);
    if (spec.preserveUnknownFields === true && stored?.preserveUnknownFields !== true)
      errors.invalid(PRESERVES, true, NOT_PRESERVED);
    return [...errors.list, ...checkDefinition(next, previous)];
  },
  warnings: (next, previous) => {
    const known = new Set(previous ? unrecognizedFormats(previous) : []);
    return unrecognizedFormats(next)
      .filter((format) => !known.has(format))
      .map((format) => `unrecognized format ${JSON.stringify(format)}`);
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next) => {
      const errors = new Errors(),
        names = next.status?.acceptedNames;
      if (names) checkNamesForm(names, STATUS.child('acceptedNames'), errors);
      return errors.list;
    },
  },
  table: {
    columns: columns('Name', 'Created At:date'),
    row: (definition) => [nameOf(definition), definition.metadata?.creationTimestamp ?? null],
  },
});

const PRESERVES = SPEC.child('preserveUnknownFields');
const NOT_PRESERVED =
  'cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead';

function checkName(definition: CustomResourceDefinition, errors: Errors): void {
  const { group = '', names } = definition.spec ?? ({} as Partial<CustomResourceDefinitionSpec>),
    name = nameOf(definition);
  if (name !== '' && name !== `${names?.plural ?? ''}.${group}`)
    errors.invalid(METADATA.child('name'), name, `must be spec.names.plural+"."+spec.group`);
}

function approvalOf({ metadata }: CustomResourceDefinition): string | undefined {
  return metadata?.annotations?.[APPROVED];
}

/** Protected API groups (*.k8s.io) need an approval annotation. */
function checkApproval(definition: CustomResourceDefinition, errors: Errors): void {
  const group = definition.spec?.group ?? '',
    approval = approvalOf(definition),
    at = METADATA.child('annotations').key(APPROVED);
  if (!/^(?:.*\.)?(?:k8s|kubernetes)\.io$/.test(group)) return;
  if (!approval) {
    errors.required(
      at,
      `protected groups must have approval annotation "${APPROVED}", see https://github.com/kubernetes/enhancements/pull/1111`,
    );
    return;
  }
  const { scheme, host, problem } = parseUrl(approval);
  if (approval.startsWith('unapproved') || (problem === undefined && scheme !== '' && host !== '')) return;
  errors.invalid(
    at,
    approval,
    `protected groups must have approval annotation "${APPROVED}" with either a URL or a reason starting with "unapproved", see https://github.com/kubernetes/enhancements/pull/1111`,
  );
}

function checkSpec(spec: CustomResourceDefinitionSpec, errors: Errors): void {
  if (!spec.group) errors.required(SPEC.child('group'));
  else {
    const problems = validateDNS1123Subdomain(spec.group);
    if (problems.length > 0) invalidJoined(SPEC.child('group'), spec.group, problems, errors);
    else if (!spec.group.includes('.'))
      errors.invalid(SPEC.child('group'), spec.group, 'should be a domain with at least one dot');
  }
  checkEnum(spec.scope, ['Cluster', 'Namespaced'], SPEC, 'scope', errors);
  checkVersions(spec, errors);
  checkNames(spec, errors);
  checkConversion(spec, errors);
}

function checkVersions(spec: CustomResourceDefinitionSpec, errors: Errors): void {
  const versions = spec.versions ?? [],
    path = SPEC.child('versions'),
    shared = sharedParts(versions);
  versions.forEach(({ schema }, i) => {
    if (!schema?.openAPIV3Schema) errors.required(path.index(i).child('schema').child('openAPIV3Schema'));
  });
  versions.forEach((version, i) => {
    const at = path.index(i);
    invalidJoined(at.child('name'), version.name ?? '', validateDNS1035Label(version.name ?? ''), errors);
    checkDeprecation(version, at.child('deprecationWarning'), errors);
    if (!shared.subresources) checkSubresources(version.subresources, at.child('subresources'), errors);
    if (!shared.additionalPrinterColumns)
      checkColumns(version.additionalPrinterColumns, at.child('additionalPrinterColumns'), errors);
  });
  if (new Set(versions.map(({ name }) => name)).size < versions.length)
    errors.invalid(path, versions, 'must contain unique version names');
  if (versions.filter(({ storage }) => storage).length !== 1)
    errors.invalid(path, spec.versions ?? null, 'must have exactly one version marked as storage version');
  const first = versions[0];
  if (!first) return;
  if (first.name) invalidJoined(SPEC.child('version'), first.name, validateDNS1035Label(first.name), errors);
  if (shared.subresources) checkSubresources(first.subresources, SPEC.child('subresources'), errors);
  if (shared.additionalPrinterColumns)
    checkColumns(first.additionalPrinterColumns, SPEC.child('additionalPrinterColumns'), errors);
}

const WARNING_MAX_BYTES = 256;

function checkDeprecation(
  { deprecated, deprecationWarning: warning }: CustomResourceDefinitionVersion,
  at: Path,
  errors: Errors,
): void {
  if (warning === undefined) return;
  if (!deprecated) {
    errors.invalid(at, warning, 'can only be set for deprecated versions');
    return;
  }
  if (Buffer.byteLength(warning) > WARNING_MAX_BYTES)
    errors.invalid(at, warning, `must be <= ${WARNING_MAX_BYTES} characters long`);
  if (warning === '') errors.invalid(at, warning, 'must not be an empty string');
  const unprintable = warning.search(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/u);
  if (unprintable >= 0)
    errors.invalid(
      at,
      warning,
      `must only contain printable UTF-8 characters; non-printable character found at index ${Buffer.byteLength(warning.slice(0, unprintable))}`,
    );
}

function checkColumns(
  columnsOf: CustomResourceDefinitionVersion['additionalPrinterColumns'],
  path: Path,
  errors: Errors,
): void {
  columnsOf?.forEach((column, i) => {
    const at = path.index(i);
    if (!column.name) errors.required(at.child('name'));
    if (!column.type) errors.required(at.child('type'), `must be one of ${COLUMN_TYPES.join(',')}`);
    else if (!COLUMN_TYPES.includes(column.type))
      errors.invalid(at.child('type'), column.type, `must be one of ${COLUMN_TYPES.join(',')}`);
    if (column.format && !COLUMN_FORMATS.includes(column.format))
      errors.invalid(at.child('format'), column.format, `must be one of ${COLUMN_FORMATS.join(',')}`);
    checkSimplePath(column.jsonPath, at.child('JSONPath'), errors);
  });
}

function checkSubresources(
  subresources: CustomResourceDefinitionVersion['subresources'],
  path: Path,
  errors: Errors,
): void {
  const scale = subresources?.scale,
    at = path.child('scale');
  if (!scale) return;
  checkScalePath(scale.specReplicasPath, ['.spec'], at.child('specReplicasPath'), errors);
  checkScalePath(scale.statusReplicasPath, ['.status'], at.child('statusReplicasPath'), errors);
  if (scale.labelSelectorPath)
    checkScalePath(scale.labelSelectorPath, ['.spec', '.status'], at.child('labelSelectorPath'), errors);
}

/** Returns false on an error. */
function checkSimplePath(jsonPath: string | undefined, path: Path, errors: Errors): boolean {
  if (!jsonPath) errors.required(path);
  else if (!jsonPath.startsWith('.'))
    errors.invalid(path, jsonPath, 'must be a simple json path starting with .');
  else return true;
  return false;
}

function checkScalePath(
  jsonPath: string | undefined,
  roots: readonly string[],
  path: Path,
  errors: Errors,
): void {
  if (!checkSimplePath(jsonPath, path, errors) || roots.some((root) => jsonPath!.startsWith(`${root}.`)))
    return;
  errors.invalid(
    path,
    jsonPath,
    `should be a json path under ${roots.length > 1 ? `either ${roots.join(' or ')}` : roots[0]}`,
  );
}

function checkNames({ names }: CustomResourceDefinitionSpec, errors: Errors): void {
  const path = SPEC.child('names');
  for (const field of ['plural', 'singular', 'kind', 'listKind'] as const)
    if (!names?.[field]) errors.required(path.child(field));
  if (names) checkNamesForm(names, path, errors);
}

function checkNamesForm(names: CustomResourceDefinitionNames, path: Path, errors: Errors): void {
  for (const field of ['plural', 'singular'] as const)
    if (names[field])
      invalidJoined(path.child(field), names[field], validateDNS1035Label(names[field]), errors);
  for (const field of ['kind', 'listKind'] as const) {
    const problems = names[field] ? validateDNS1035Label(names[field].toLowerCase()) : [];
    if (problems.length > 0)
      errors.invalid(
        path.child(field),
        names[field],
        `may have mixed case, but should otherwise match: ${problems.join(',')}`,
      );
  }
  names.shortNames?.forEach((name, i) =>
    invalidJoined(path.child('shortNames').index(i), name, validateDNS1035Label(name), errors),
  );
  if (names.kind && names.kind === names.listKind)
    errors.invalid(path.child('listKind'), names.listKind, 'kind and listKind may not be the same');
  names.categories?.forEach((name, i) =>
    invalidJoined(path.child('categories').index(i), name, validateDNS1035Label(name), errors),
  );
}

/** Storage migration may remove versions from the list, but not the storage version. */
function checkStoredVersions({ spec, status }: CustomResourceDefinition, errors: Errors): void {
  const stored = status?.storedVersions ?? [],
    path = STATUS.child('storedVersions'),
    versions = spec?.versions ?? [];
  if (stored.length === 0) {
    errors.invalid(path, status?.storedVersions ?? null, 'must have at least one stored version');
    return;
  }
  const left = new Set(stored);
  for (const { name, storage } of versions) {
    // A duplicate version is checked twice.
    if (!left.delete(name) && storage) errors.invalid(path, stored, `must have the storage version ${name}`);
  }
  stored.forEach((version, i) => {
    if (versions.some(({ name }) => name === version)) return;
    errors.invalid(
      path.index(i),
      version,
      `missing from spec.versions; ${version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in ${version} and removes ${version} from status.storedVersions`,
    );
  });
}

function checkConversion(
  { conversion, preserveUnknownFields }: CustomResourceDefinitionSpec,
  errors: Errors,
): void {
  if (!conversion) return;
  const path = SPEC.child('conversion'),
    { strategy, webhook } = conversion,
    versions = webhook?.conversionReviewVersions ?? [];
  // As in upstream.
  const clientAt = path.child('webhookClientConfig'),
    versionsAt = path.child('conversionReviewVersions');
  if (strategy !== 'None' && preserveUnknownFields === true)
    errors.invalid(path.child('strategy'), strategy, 'must be None if spec.preserveUnknownFields is true');
  checkEnum(strategy, ['None', 'Webhook'], path, 'strategy', errors);
  if (strategy !== 'Webhook') {
    if (webhook?.clientConfig)
      errors.forbidden(clientAt, 'should not be set when strategy is not set to Webhook');
    if (versions.length > 0)
      errors.forbidden(versionsAt, 'should not be set when strategy is not set to Webhook');
    return;
  }
  if (!webhook?.clientConfig) errors.required(clientAt, 'required when strategy is set to Webhook');
  else checkClientConfig(webhook.clientConfig, clientAt, errors);
  if (versions.length === 0) errors.required(versionsAt);
  else checkReviewVersions(versions, versionsAt, errors);
}
