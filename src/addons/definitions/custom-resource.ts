/**
 * CustomResourceDefinitions of add-ons: schemas from short words, and their installation. An add-on applies its definitions when it begins to lead, so an upgrade brings
 * the fields of the new version; what an administrator added beside them stays.
 */
import type { CustomResourceDefinition, JSONSchemaProps } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import type { Clock } from '#stdx/clock.ts';

type Schema = JSONSchemaProps;

interface DefinitionOptions {
  readonly ref: ResourceRef;
  readonly singular: string;
  /** The only name that an object may have. */
  readonly onlyName?: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  /** Of spec; a status without a schema of its own takes any fields. */
  readonly spec: Schema;
  /** Default: true. */
  readonly isSpecRequired?: boolean;
  readonly status?: Schema;
  /** 'Name:.json.path' or 'Name:type:.json.path', beside the name and the age. */
  readonly columns?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export const DEFINITION_MANAGER = 'capstan-addon-definitions';
const ESTABLISHED_POLL_MS = 50;
const ESTABLISHED_TIMEOUT_MS = 30_000;

export const text = (more: Schema = {}): Schema => ({ type: 'string', ...more });
export const flag = (more: Schema = {}): Schema => ({ type: 'boolean', ...more });
export const integer = (more: Schema = {}): Schema => ({ type: 'integer', format: 'int32', ...more });
export const oneOf = (...values: readonly string[]): Schema => ({
  type: 'string',
  enum: values as unknown as Schema['enum'] & object,
});
export const listOf = (items: Schema, more: Schema = {}): Schema => ({ type: 'array', items, ...more });
export const mapOf = (values: Schema): Schema => ({ type: 'object', additionalProperties: values });
export const record = (
  properties: Readonly<Record<string, Schema>>,
  { required, ...more }: { readonly required?: readonly string[] } & Omit<Schema, 'required'> = {},
): Schema => ({
  type: 'object',
  properties: { ...properties },
  ...(required ? { required: [...required] } : {}),
  ...more,
});

/** metav1.LabelSelector. */
export const LABEL_SELECTOR: Schema = record(
  {
    matchLabels: mapOf(text()),
    matchExpressions: listOf(
      record({ key: text(), operator: text(), values: listOf(text()) }, { required: ['key', 'operator'] }),
    ),
  },
  { 'x-kubernetes-map-type': 'atomic' },
);

/** metav1.Condition, as a list by type. */
export const CONDITIONS: Schema = listOf(
  record(
    {
      type: text({ maxLength: 316 }),
      status: oneOf('True', 'False', 'Unknown'),
      observedGeneration: { type: 'integer', format: 'int64', minimum: 0 },
      lastTransitionTime: text({ format: 'date-time' }),
      reason: text({ minLength: 1, maxLength: 1024 }),
      message: text({ maxLength: 32_768 }),
    },
    { required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'] },
  ),
  { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] },
);

export function customResource({
  ref: { group, version, plural, kind, namespaced },
  singular,
  onlyName,
  shortNames = [],
  categories = [],
  spec,
  isSpecRequired = true,
  status = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
  columns = [],
  annotations,
}: DefinitionOptions): CustomResourceDefinition {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: {
      name: `${plural}.${group}`,
      labels: { 'app.kubernetes.io/managed-by': 'capstan' },
      ...(annotations ? { annotations: { ...annotations } } : {}),
    },
    spec: {
      group,
      scope: namespaced ? 'Namespaced' : 'Cluster',
      names: {
        plural,
        singular,
        kind,
        listKind: `${kind}List`,
        ...(shortNames.length > 0 ? { shortNames: [...shortNames] } : {}),
        ...(categories.length > 0 ? { categories: [...categories] } : {}),
      },
      versions: [
        {
          name: version,
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: record(
              { apiVersion: text(), kind: text(), metadata: metadataOf(onlyName), spec, status },
              isSpecRequired ? { required: ['spec'] } : {},
            ),
          },
          subresources: { status: {} },
          additionalPrinterColumns: [
            ...columns.map(printerColumn),
            { name: 'Age', type: 'date', jsonPath: '.metadata.creationTimestamp' },
          ],
        },
      ],
    },
  };
}

function metadataOf(onlyName: string | undefined): Schema {
  return onlyName === undefined ? { type: 'object' } : record({ name: oneOf(onlyName) });
}

function printerColumn(column: string): { name: string; type: string; jsonPath: string } {
  const [name = '', ...rest] = column.split(':');
  const [type, jsonPath] = rest.length === 2 ? rest : ['string', ...rest];
  return { name, type: type!, jsonPath: jsonPath ?? '' };
}

/** Resolves when all are served. */
export async function installDefinitions(
  { api, clock, signal }: { readonly api: Client; readonly clock: Clock; readonly signal: AbortSignal },
  definitions: readonly CustomResourceDefinition[],
): Promise<void> {
  for (const definition of definitions) {
    const name = definition.metadata?.name ?? '';
    await api.patch(
      customResourceDefinitions,
      { name },
      { type: 'apply', patch: definition, fieldManager: DEFINITION_MANAGER, force: true },
    );
    await established({ api, clock, signal }, name);
  }
}

async function established(
  { api, clock, signal }: Parameters<typeof installDefinitions>[0],
  name: string,
): Promise<void> {
  const deadline = clock.monotonic() + ESTABLISHED_TIMEOUT_MS;
  for (;;) {
    const { status } = await api.get(customResourceDefinitions, { name });
    if (isConditionTrue(status?.conditions, 'Established')) return;
    if (clock.monotonic() > deadline)
      throw new Error(`${name} is not established after ${ESTABLISHED_TIMEOUT_MS / 1000} s`);
    await clock.sleep(ESTABLISHED_POLL_MS, signal);
  }
}
