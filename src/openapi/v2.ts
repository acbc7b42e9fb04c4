/**
 * The OpenAPI v2 document (Swagger) of the whole API, translated from the v3 documents: older clients and validators read it.
 * Parameters are written out at each operation; upstream shares them by reference.
 */
import type { Operation, Parameter, PathItem, Paths } from './paths.ts';
import { componentSchemas, type JsonSchema } from './schemas.ts';
import { definitionsIn, openapiV3Document, openapiV3Paths, type Serves } from './v3.ts';

export interface OpenapiV2Document {
  readonly swagger: '2.0';
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Record<string, object>;
  readonly definitions: Record<string, JsonSchema>;
  readonly securityDefinitions: object;
  readonly security: readonly object[];
}

/** Media types in upstream's order. */
const mediaOrder = [
  'text/plain',
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  'application/cbor',
  'application/json;stream=watch',
  'application/vnd.kubernetes.protobuf;stream=watch',
  'application/cbor-seq',
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
  'application/apply-patch+cbor',
];

export function openapiV2Document(serves?: Serves): OpenapiV2Document {
  const paths = Object.assign(
    {},
    ...openapiV3Paths(serves).map((name) => openapiV3Document(name)!.paths),
  ) as Paths;
  return buildV2Document(paths, componentSchemas(definitionsIn(paths), { openapi: 2 }));
}

/** definitions are already in the form of v2. */
export function buildV2Document(paths: Paths, definitions: Record<string, JsonSchema>): OpenapiV2Document {
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version: 'unversioned' },
    paths: Object.fromEntries(
      Object.entries(paths)
        .toSorted(([left], [right]) => (left < right ? -1 : 1))
        .map(([path, item]) => [path, v2PathItem(item)]),
    ),
    definitions,
    securityDefinitions: {
      BearerToken: {
        type: 'apiKey',
        in: 'header',
        name: 'authorization',
        description: 'A bearer token in the Authorization header.',
      },
    },
    security: [{ BearerToken: [] }],
  };
}

function v2PathItem(item: PathItem): object {
  return Object.fromEntries(
    Object.entries(item).map(([key, value]) =>
      key === 'parameters'
        ? [key, (value as readonly Parameter[]).map(v2Parameter)]
        : [key, v2Operation(value as Operation)],
    ),
  );
}

function v2Operation(operation: Operation): object {
  const { parameters = [], requestBody, responses, ...rest } = operation;
  const bodyTypes = Object.keys(requestBody?.content ?? {});
  const answerTypes = Object.keys(responses['200']?.content ?? {});
  const body = requestBody && {
    in: 'body',
    name: 'body',
    ...(requestBody.required && { required: true }),
    schema: v2Schema(Object.values(requestBody.content)[0]!.schema),
  };
  return {
    ...rest,
    schemes: ['https'],
    ...consumes(operation, { bodyTypes, answerTypes }),
    ...(answerTypes.length > 0 && { produces: inOrder(answerTypes) }),
    ...((body || parameters.length > 0) && {
      parameters: [...(body ? [body] : []), ...parameters.map(v2Parameter)],
    }),
    responses: Object.fromEntries(
      Object.entries(responses).map(([code, { description, content }]) => [
        code,
        {
          description,
          ...(content && { schema: v2Schema(Object.values(content)[0]!.schema) }),
        },
      ]),
    ),
  };
}

/** Non-resource operations list what they consume and produce; those without an API content type list neither. */
function consumes(
  operation: Operation,
  { bodyTypes, answerTypes }: { bodyTypes: readonly string[]; answerTypes: readonly string[] },
): { consumes?: readonly string[] } {
  if (bodyTypes.length > 0) return { consumes: inOrder(bodyTypes) };
  if (operation['x-kubernetes-action'] !== undefined) return { consumes: ['*/*'] };
  const isDiscovery = answerTypes.includes('application/json') && !operation.tags.includes('WellKnown');
  return isDiscovery ? { consumes: inOrder(answerTypes) } : {};
}

function v2Parameter({ schema, ...rest }: Parameter): object {
  return { ...rest, ...schema };
}

function v2Schema(schema: JsonSchema): JsonSchema {
  const reference = schema['$ref'];
  return typeof reference === 'string'
    ? { $ref: reference.replace('#/components/schemas/', '#/definitions/') }
    : schema;
}

function inOrder(types: readonly string[]): string[] {
  return types.toSorted((left, right) => mediaOrder.indexOf(left) - mediaOrder.indexOf(right));
}
