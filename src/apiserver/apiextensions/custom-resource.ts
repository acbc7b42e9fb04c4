/** One version of a custom resource as the record that the API server's verbs work with: what resource.ts is to built-in ones. */
import { createHash } from 'node:crypto';
import { statusErrors, fieldErrors, type FieldError } from '#machinery/errors.ts';
import { deepEqual, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';
import type { CustomResourceDefinition, CustomResourceDefinitionVersion } from '#api/types.ts';
import { parseStability } from '#api/resources.ts';
import type { HookContext, ResourceBehaviour, ScaleSubresource } from '#resources/define.ts';
import type { Resource, ServedSubresource, ServedVersion } from '#resources/resource.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { compileRules } from '#resources/apiextensions/rules-on-demand.ts';
import { specScaleErrors, statusScaleErrors, type ScalePaths } from './scale-checks.ts';
import { normalise } from './coerce.ts';
import { customTable } from './custom-table.ts';
import { simplePath, valueAt } from './json-path.ts';
import { toStructural, type Structural } from '#machinery/structural.ts';
import {
  compileValidator,
  validateEmbedded,
  validateListTypes,
} from '#resources/apiextensions/schema-validation.ts';
import { compareVersions } from './version-order.ts';

const VERBS = ['delete', 'deletecollection', 'get', 'list', 'patch', 'create', 'update', 'watch'];
const TERMINATING_VERBS = ['delete', 'deletecollection', 'get', 'list', 'watch'];
const PART_VERBS = ['get', 'patch', 'update'];

export function createStructural(
  version: CustomResourceDefinitionVersion,
  { preservesAll }: { readonly preservesAll: boolean },
): Structural {
  const schema = (version.schema?.openAPIV3Schema ?? {
    type: 'object',
    'x-kubernetes-preserve-unknown-fields': true,
  }) as JsonObject;
  return toStructural(preservesAll ? { ...schema, 'x-kubernetes-preserve-unknown-fields': true } : schema);
}

export function customStoragePrefix({ spec }: CustomResourceDefinition): string {
  return `/registry/${spec.group}/${spec.names.plural}/`;
}

/** definition: with accepted names. */
export function customResource(
  definition: CustomResourceDefinition,
  version: CustomResourceDefinitionVersion,
  node: Structural,
): Resource {
  const { spec } = definition;
  const {
    group,
    names: { plural },
  } = spec;
  const names = definition.status?.acceptedNames ?? spec.names;
  const terminating = isConditionTrue(definition.status?.conditions, 'Terminating');
  const storage = spec.versions.find((candidate) => candidate.storage)?.name ?? version.name;
  const gvk = { group, version: version.name, kind: names.kind };
  const hasStatus = version.subresources?.status !== undefined;
  const scale = version.subresources?.scale && scaleOf(version.subresources.scale);
  const served: ServedVersion = {
    version: version.name,
    apiVersion: formatApiVersion(gvk),
    kind: names.kind,
    verbs: terminating ? TERMINATING_VERBS : VERBS,
    subresources: mapSubresources(gvk, { hasStatus, hasScale: scale !== undefined }),
    stability: parseStability(version.name),
    storageVersionHash: createHash('sha256')
      .update(`${group}/${storage}/${names.kind}`)
      .digest()
      .subarray(0, 8)
      .toString('base64'),
    returnsDeleted: false,
  };
  const behaviour: ResourceBehaviour = {
    group,
    plural,
    allowUnconditionalUpdate: false,
    fieldSelectors: {},
    ...(version.deprecated && {
      deprecation: version.deprecationWarning ?? findDeprecation(spec, { version, kind: names.kind }),
    }),
  };
  const { validate, validateStatus } = validatorsOf(node, version.subresources?.scale);
  return {
    group,
    plural,
    singular: names.singular ?? '',
    kind: names.kind,
    namespaced: spec.scope === 'Namespaced',
    shortNames: names.shortNames ?? [],
    categories: names.categories ?? [],
    versions: [served],
    storageApiVersion: formatApiVersion({ group, version: storage }),
    storagePrefix: customStoragePrefix(definition),
    hasStatus,
    scale,
    virtual: false,
    behaviour,
    table: customTable(version.additionalPrinterColumns),
    applyDefaults: (object) => normalise(object, node),
    prepareForCreate: (object) => {
      if (terminating) throw createWhileTerminating();
      if (hasStatus) delete object['status'];
      object.metadata!.generation = 1;
    },
    prepareForUpdate: (next, previous) => prepareForUpdate(next, previous, hasStatus),
    prepareForStatusUpdate,
    validate: (object, { warn }) => validate(object, undefined, { warn }),
    validateUpdate: validate,
    validateStatusUpdate: validateStatus,
    warnings: () => [],
    convert: (object) => object,
    served: (name) => (name === version.name ? served : undefined),
  };
}

/** Names the best version that is served and not on its way out. */
function findDeprecation(
  { group, versions }: CustomResourceDefinition['spec'],
  { version, kind }: { readonly version: CustomResourceDefinitionVersion; readonly kind: string },
): string {
  const [best] = versions
    .filter(({ served, deprecated }) => served && !deprecated)
    .map(({ name }) => name)
    .toSorted(compareVersions);
  const isBetter = best !== undefined && compareVersions(best, version.name) < 0;
  return `${group}/${version.name} ${kind} is deprecated${isBetter ? `; use ${group}/${best} ${kind}` : ''}`;
}

function createWhileTerminating(): Error {
  const error = statusErrors.methodNotAllowed({ group: '', resource: '' }, 'create');
  error.message = error.status.message = 'create not allowed while custom resource definition is terminating';
  return error;
}

function mapSubresources(
  { group, version, kind }: { readonly group: string; readonly version: string; readonly kind: string },
  { hasStatus, hasScale }: { readonly hasStatus: boolean; readonly hasScale: boolean },
): Map<string, ServedSubresource> {
  const found = new Map<string, ServedSubresource>();
  if (hasStatus) found.set('status', { name: 'status', group, version, kind, verbs: PART_VERBS });
  if (hasScale)
    found.set('scale', {
      name: 'scale',
      group: 'autoscaling',
      version: 'v1',
      kind: 'Scale',
      verbs: PART_VERBS,
    });
  return found;
}

// ---------------------------------------------------------------------------------------------------------------- writes

/** The generation counts changes except of metadata, and of status where it is a subresource. */
function prepareForUpdate(next: KubeObject, previous: KubeObject, hasStatus: boolean): void {
  if (hasStatus) {
    if (previous['status'] === undefined) delete next['status'];
    else next['status'] = previous['status'];
  }
  const before = previous.metadata?.generation ?? 0;
  next.metadata!.generation = deepEqual(contentOf(next, hasStatus), contentOf(previous, hasStatus))
    ? before
    : before + 1;
}

function contentOf(object: KubeObject, hasStatus: boolean): JsonObject {
  const { metadata: _, ...content } = object as JsonObject;
  if (hasStatus) delete content['status'];
  return content;
}

/** Only the status of the sent object is used, and its managedFields. */
function prepareForStatusUpdate(next: KubeObject, previous: KubeObject): void {
  const { status } = next as { status?: unknown };
  const managedFields = next.metadata?.managedFields;
  const { resourceVersion } = next.metadata ?? {};
  for (const field of Object.keys(next)) delete next[field];
  Object.assign(next, previous);
  const { managedFields: _, ...metadata } = previous.metadata!;
  next.metadata = {
    ...metadata,
    ...(managedFields && { managedFields }),
    ...(resourceVersion && { resourceVersion }),
  };
  if (status === undefined) delete next['status'];
  else next['status'] = status;
}

/** Values that rules cannot read: rules are not evaluated. */
const BLOCKING = new Set<FieldError['type']>([
  'FieldValueNotSupported',
  'FieldValueRequired',
  'FieldValueTooLong',
  'FieldValueTooMany',
  'FieldValueTypeInvalid',
]);

type Validate = (
  object: KubeObject,
  previous: KubeObject | undefined,
  context: Pick<HookContext, 'warn'>,
) => FieldError[];

/** validateStatus: for the status subresource, only the status is validated, except by rules. */
function validatorsOf(
  node: Structural,
  scale: ScalePaths | undefined,
): { readonly validate: Validate; readonly validateStatus: Validate } {
  const validateValues = compileValidator(node),
    statusNode = node.properties.get('status');
  const validateStatusValues = statusNode && compileValidator(statusNode);
  const rules = compileRules(node);
  const finish = (
    errors: FieldError[],
    object: KubeObject,
    previous: KubeObject | undefined,
    warn: HookContext['warn'],
  ): FieldError[] => {
    for (const error of validateEmbedded(object, node)) errors.push(error);
    const listErrors = validateListTypes(object, node);
    // List errors of the stored object stay allowed.
    if (listErrors.length > 0 && (previous === undefined || validateListTypes(previous, node).length === 0))
      for (const error of listErrors) errors.push(error);
    if (!rules) return errors;
    if (errors.some(({ type }) => BLOCKING.has(type))) {
      errors.push(
        fieldErrors.invalid(
          '<nil>',
          null,
          'some validation rules were not checked because the object was invalid; correct the existing errors to complete validation',
        ),
      );
    } else for (const error of rules(object, previous, warn)) errors.push(error);
    return errors;
  };
  return {
    validate: (object, previous, { warn }) => {
      const errors = validateValues(object, previous);
      if (scale) errors.push(...specScaleErrors(object, scale), ...statusScaleErrors(object, scale));
      return finish(errors, object, previous, warn);
    },
    validateStatus: (object, previous, { warn }) => {
      const { status } = object as { readonly status?: unknown };
      const errors =
        status === undefined || !validateStatusValues
          ? []
          : validateStatusValues(status, previous?.['status']).map((error) => ({
              ...error,
              field: within('status', error.field),
            }));
      if (scale) errors.push(...statusScaleErrors(object, scale));
      return finish(errors, object, previous, warn);
    },
  };
}

function within(parent: string, field: string): string {
  return field === '<nil>' || field === ''
    ? parent
    : field.startsWith('[')
      ? parent + field
      : `${parent}.${field}`;
}

// ----------------------------------------------------------------------------------------------------------------- scale

function scaleOf({
  specReplicasPath,
  statusReplicasPath,
  labelSelectorPath,
}: ScalePaths): ScaleSubresource<KubeObject> {
  const specPath = simplePath(specReplicasPath) ?? [],
    statusPath = simplePath(statusReplicasPath) ?? [],
    selectorPath = labelSelectorPath ? (simplePath(labelSelectorPath) ?? []) : [];
  return {
    get: (object) => {
      const specReplicas = valueAt(object, specPath);
      if (typeof specReplicas !== 'number')
        throw statusErrors.internal(
          `the spec replicas field ${JSON.stringify(specReplicasPath)} does not exist`,
        );
      const statusReplicas = valueAt(object, statusPath),
        selector = selectorPath.length > 0 ? valueAt(object, selectorPath) : '';
      return {
        specReplicas,
        statusReplicas: typeof statusReplicas === 'number' ? statusReplicas : 0,
        selector: typeof selector === 'string' ? selector : '',
      };
    },
    setReplicas: (object, replicas) => {
      let parent: JsonObject = object as JsonObject;
      for (const name of specPath.slice(0, -1)) {
        if (!isJsonObject(parent[name])) parent[name] = {};
        parent = parent[name] as JsonObject;
      }
      parent[specPath.at(-1)!] = replicas;
    },
    replicasPath: specPath,
  };
}
