/**
 * Validates the metadata of every object on create and update, with upstream's messages (apimachinery's api/validation as of 1.36).
 * Resources choose the rule for names; all other rules are the same.
 */
import { fieldErrors, type FieldError } from './errors.ts';
import { deepEqual } from './json.ts';
import {
  maskTrailingDash,
  validateDNS1035Label,
  validateDNS1123Label,
  validateDNS1123Subdomain,
  validateLabelValue,
  validatePathSegmentName,
  validatePathSegmentPrefix,
  validateQualifiedName,
} from './names.ts';
import { parseApiVersion, type ManagedFieldsEntry, type ObjectMeta, type OwnerReference } from './object.ts';

type NameRule =
  | 'dns-subdomain'
  | 'dns-label'
  | 'dns-1035-label'
  | 'path-segment'
  | ((name: string) => string[]);

interface MetadataRules {
  readonly namespaced: boolean;
  /** Default 'dns-subdomain'. */
  readonly nameRule?: NameRule | undefined;
  /** Default 'metadata'. Templates inside objects have other paths. */
  readonly field?: string;
}

export const TOTAL_ANNOTATION_SIZE_LIMIT_BYTES = 256 * 1024;
const FIELD_IMMUTABLE = 'field is immutable';
const FINALIZER_ORPHAN = 'orphan';
const FINALIZER_FOREGROUND = 'foregroundDeletion';

/** Errors of a name; with prefix, of a generateName. */
function validateName(rule: NameRule, name: string, options: { readonly prefix?: boolean } = {}): string[] {
  const checked = options.prefix ? maskTrailingDash(name) : name;
  switch (rule) {
    case 'dns-subdomain':
      return validateDNS1123Subdomain(checked);
    case 'dns-label':
      return validateDNS1123Label(checked);
    case 'dns-1035-label':
      return validateDNS1035Label(checked);
    case 'path-segment':
      return options.prefix ? validatePathSegmentPrefix(name) : validatePathSegmentName(name);
    default:
      return rule(checked);
  }
}

/** On create, after a name was generated for generateName. */
export function validateObjectMeta(
  meta: ObjectMeta,
  { namespaced, nameRule = 'dns-subdomain', field = 'metadata' }: MetadataRules,
): FieldError[] {
  const errors: FieldError[] = [];
  const invalidEach = (name: string, value: unknown, problems: readonly string[]): void => {
    for (const problem of problems) errors.push(fieldErrors.invalid(`${field}.${name}`, value, problem));
  };
  if (meta.generateName)
    invalidEach(
      'generateName',
      meta.generateName,
      validateName(nameRule, meta.generateName, { prefix: true }),
    );
  if (meta.name) invalidEach('name', meta.name, validateName(nameRule, meta.name));
  else errors.push(fieldErrors.required(`${field}.name`, 'name or generateName is required'));
  if (!namespaced) {
    if (meta.namespace) errors.push(fieldErrors.forbidden(`${field}.namespace`, 'not allowed on this type'));
  } else if (meta.namespace) invalidEach('namespace', meta.namespace, validateDNS1123Label(meta.namespace));
  else errors.push(fieldErrors.required(`${field}.namespace`));
  return errors.concat(
    generationErrors(meta, field),
    validateLabels(meta.labels, `${field}.labels`),
    validateAnnotations(meta.annotations, `${field}.annotations`),
    validateOwnerReferences(meta.ownerReferences, `${field}.ownerReferences`),
    validateFinalizers(meta.finalizers, `${field}.finalizers`),
    validateManagedFields(meta.managedFields, `${field}.managedFields`),
  );
}

/** On update: next is the requested, previous the stored object. */
export function validateObjectMetaUpdate(
  next: ObjectMeta,
  previous: ObjectMeta,
  { field = 'metadata' }: { readonly field?: string } = {},
): FieldError[] {
  const errors: FieldError[] = [];
  if (previous.deletionTimestamp)
    errors.push(
      ...validateNoNewFinalizers(next.finalizers ?? [], previous.finalizers ?? [], `${field}.finalizers`),
    );
  if (!next.resourceVersion)
    errors.push(
      fieldErrors.invalid(
        `${field}.resourceVersion`,
        next.resourceVersion ?? '',
        'must be specified for an update',
      ),
    );
  errors.push(...generationErrors(next, field));
  if ((next.generation ?? 0) < (previous.generation ?? 0))
    errors.push(fieldErrors.invalid(`${field}.generation`, next.generation ?? 0, 'must not be decremented'));
  for (const name of ['name', 'namespace', 'uid'] as const)
    errors.push(...validateImmutable(next[name] ?? '', previous[name] ?? '', `${field}.${name}`));
  for (const name of ['creationTimestamp', 'deletionTimestamp', 'deletionGracePeriodSeconds'] as const) {
    errors.push(...validateImmutable(next[name], previous[name], `${field}.${name}`));
  }
  return errors.concat(
    validateLabels(next.labels, `${field}.labels`),
    validateAnnotations(next.annotations, `${field}.annotations`),
    validateOwnerReferences(next.ownerReferences, `${field}.ownerReferences`),
    validateManagedFields(next.managedFields, `${field}.managedFields`),
  );
}

function generationErrors(meta: ObjectMeta, field: string): FieldError[] {
  return (meta.generation ?? 0) < 0
    ? [fieldErrors.invalid(`${field}.generation`, meta.generation, 'must be greater than or equal to 0')]
    : [];
}

function validateImmutable(next: unknown, previous: unknown, field: string): FieldError[] {
  return deepEqual(next, previous) ? [] : [fieldErrors.invalid(field, next, FIELD_IMMUTABLE)];
}

export function validateLabels(
  labels: Readonly<Record<string, string>> | undefined,
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  for (const [key, value] of Object.entries(labels ?? {})) {
    for (const problem of validateQualifiedName(key)) errors.push(fieldErrors.invalid(field, key, problem));
    for (const problem of validateLabelValue(value)) errors.push(fieldErrors.invalid(field, value, problem));
  }
  return errors;
}

/** Keys are qualified names in any case; the total size of keys and values is bounded. */
export function validateAnnotations(
  annotations: Readonly<Record<string, string>> | undefined,
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  let totalBytes = 0;
  for (const [key, value] of Object.entries(annotations ?? {})) {
    totalBytes += Buffer.byteLength(key) + Buffer.byteLength(value);
    for (const problem of validateQualifiedName(key.toLowerCase()))
      errors.push(fieldErrors.invalid(field, key, problem));
  }
  if (totalBytes > TOTAL_ANNOTATION_SIZE_LIMIT_BYTES)
    errors.push(fieldErrors.tooLong(field, TOTAL_ANNOTATION_SIZE_LIMIT_BYTES));
  return errors;
}

function validateFinalizers(finalizers: readonly string[] | undefined, field: string): FieldError[] {
  const errors: FieldError[] = [];
  for (const finalizer of finalizers ?? []) {
    for (const problem of validateQualifiedName(finalizer))
      errors.push(fieldErrors.invalid(field, finalizer, problem));
  }
  if (finalizers?.includes(FINALIZER_ORPHAN) && finalizers.includes(FINALIZER_FOREGROUND)) {
    errors.push(
      fieldErrors.invalid(
        field,
        finalizers,
        `finalizer ${FINALIZER_ORPHAN} and ${FINALIZER_FOREGROUND} cannot be both set`,
      ),
    );
  }
  return errors;
}

const STANDARD_FINALIZERS: readonly string[] = ['kubernetes', FINALIZER_ORPHAN, FINALIZER_FOREGROUND];

/** Names without a domain are reserved for the server. */
export function validateStandardFinalizers(finalizers: readonly string[], field: string): FieldError[] {
  return finalizers.flatMap((finalizer, i) =>
    finalizer.includes('/') || STANDARD_FINALIZERS.includes(finalizer)
      ? []
      : [
          fieldErrors.invalid(
            `${field}[${i}]`,
            finalizer,
            'name is neither a standard finalizer name nor is it fully qualified',
          ),
        ],
  );
}

function validateNoNewFinalizers(
  next: readonly string[],
  previous: readonly string[],
  field: string,
): FieldError[] {
  const added = [...new Set(next)].filter((finalizer) => !previous.includes(finalizer)).toSorted();
  if (added.length === 0) return [];
  const list = `[]string{${added.map((finalizer) => JSON.stringify(finalizer)).join(', ')}}`;
  return [
    fieldErrors.forbidden(
      field,
      `no new finalizers can be added if the object is being deleted, found new finalizers ${list}`,
    ),
  ];
}

function validateOwnerReferences(
  references: readonly OwnerReference[] | undefined,
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  let controller = '';
  for (const reference of references ?? []) {
    errors.push(...ownerReferenceErrors(reference, field));
    if (!reference.controller) continue;
    const name = `${reference.kind}/${reference.name}`;
    if (controller === '') controller = name;
    else
      errors.push(
        fieldErrors.invalid(
          field,
          references,
          `Only one reference can have Controller set to true. Found "true" in references for ${controller} and ${name}`,
        ),
      );
  }
  return errors;
}

function ownerReferenceErrors(
  { apiVersion = '', kind = '', name = '', uid = '' }: Partial<OwnerReference>,
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  // An invalid version has none.
  const { group, version } =
    apiVersion.split('/').length > 2 ? { group: '', version: '' } : parseApiVersion(apiVersion);
  if (version === '')
    errors.push(fieldErrors.invalid(`${field}.apiVersion`, apiVersion, 'version must not be empty'));
  if (kind === '') errors.push(fieldErrors.invalid(`${field}.kind`, kind, 'must not be empty'));
  if (name === '') errors.push(fieldErrors.invalid(`${field}.name`, name, 'must not be empty'));
  if (uid === '') errors.push(fieldErrors.invalid(`${field}.uid`, uid, 'must not be empty'));
  if (group === '' && version === 'v1' && kind === 'Event')
    errors.push(
      fieldErrors.invalid(
        field,
        { apiVersion, kind, name, uid },
        '/v1, Kind=Event is disallowed from being an owner',
      ),
    );
  return errors;
}

function validateManagedFields(
  entries: readonly ManagedFieldsEntry[] | undefined,
  field: string,
): FieldError[] {
  const errors: FieldError[] = [];
  for (const [index, entry] of (entries ?? []).entries()) {
    const place = `${field}[${index}]`;
    if (entry.operation !== 'Apply' && entry.operation !== 'Update')
      errors.push(
        fieldErrors.invalid(`${place}.operation`, entry.operation ?? '', 'must be `Apply` or `Update`'),
      );
    if (entry.fieldsType && entry.fieldsType !== 'FieldsV1')
      errors.push(fieldErrors.invalid(`${place}.fieldsType`, entry.fieldsType, 'must be `FieldsV1`'));
    errors.push(...validateFieldManager(entry.manager ?? '', `${place}.manager`));
    if (Buffer.byteLength(entry.subresource ?? '') > 256)
      errors.push(fieldErrors.tooLong(`${place}.subresource`, 256));
  }
  return errors;
}

const PRINTABLE_ASCII = /^[ -~]*$/;

/** Also the rule of the query parameter fieldManager. */
export function validateFieldManager(manager: string, field: string): FieldError[] {
  // No further errors for a text that is too long: one error per invalid character, each with the whole text, exhausts memory.
  if (Buffer.byteLength(manager) > 128) return [fieldErrors.tooLong(field, 128)];
  const errors: FieldError[] = [];
  if (PRINTABLE_ASCII.test(manager)) return errors;
  let position = 0;
  for (const character of manager) {
    if (/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/u.test(character)) {
      const code = character.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
      errors.push(
        fieldErrors.invalid(field, manager, `invalid character U+${code} (at position ${position})`),
      );
    }
    position += Buffer.byteLength(character);
  }
  return errors;
}
