/**
 * The OpenAPI v3 documents of the built-in API, one per group and version as upstream's, derived from schemas and discovery data. buildDocument also
 * builds those of custom resources.
 */
import { createHash } from 'node:crypto';
import type { GroupVersion, GroupVersionKind } from '#machinery/object.ts';
import { describeParameter, descriptionsVersion } from './descriptions.ts';
import {
  groupName,
  groupVersionPath,
  operationPrefix,
  resourcePaths,
  computeTag,
  type Operation,
  type Paths,
} from './paths.ts';
import { componentSchemas, schemaReference, type JsonSchema } from './schemas.ts';
import { apiGroups, builtinResources, enabledByDefault } from '#api/resources.ts';
import { definitionForKind, servedSchemaTable } from '#api/schemas.ts';

export interface OpenapiV3Document {
  readonly openapi: '3.0.0';
  readonly info: { readonly title: string; readonly version: string };
  readonly paths: Paths;
  readonly components: { readonly schemas?: Record<string, JsonSchema>; readonly securitySchemes?: object };
}

/** Which versions are served; default: the stable ones. */
export type Serves = (gv: GroupVersion) => boolean;

const metaV1 = 'io.k8s.apimachinery.pkg.apis.meta.v1';
const info = { title: 'Kubernetes', version: 'unversioned' };
const style = { openapi: 3 } as const;
/** Raise it when the builders change a document's content: clients cache documents by hash. */
const builderVersion = 1;
const serverPaths = ['.well-known/openid-configuration', 'logs', 'openid/v1/jwks', 'version'];

/** The names of the documents ('api', 'api/v1', 'apis/apps', 'apis/apps/v1', 'version', …) in order. */
export function openapiV3Paths(serves: Serves = ({ version }) => enabledByDefault(version)): string[] {
  const groups = apiGroups.map(({ name, versions }) => ({
    group: name,
    versions: versions.filter((version) => serves({ group: name, version })),
  }));
  const names = groups
    .filter(({ versions }) => versions.length > 0)
    .flatMap(({ group, versions }) => [
      group === '' ? 'api' : `apis/${group}`,
      ...versions.map((version) => groupVersionPath({ group, version })),
    ]);
  return [...names, 'apis', ...serverPaths].toSorted();
}

/** The response of GET /openapi/v3. A document's hash depends on its content only, so that it may be cached for ever. */
export function openapiV3Index(serves?: Serves): { paths: Record<string, { serverRelativeURL: string }> } {
  return {
    paths: Object.fromEntries(
      openapiV3Paths(serves).map((path) => [
        path,
        { serverRelativeURL: `/openapi/v3/${path}?hash=${openapiV3Hash(path)}` },
      ]),
    ),
  };
}

let tablesHash: string | undefined;

export function openapiV3Hash(path: string): string {
  tablesHash ??= createHash('sha256')
    .update(
      JSON.stringify([
        servedSchemaTable(),
        apiGroups,
        builtinResources,
        descriptionsVersion(),
        builderVersion,
      ]),
    )
    .digest('hex');
  return createHash('sha256').update(tablesHash).update(path).digest('hex').toUpperCase();
}

/** A document by its name in the index; undefined for a name that is not there. Not cached: a server should keep the encoded bytes. */
export function openapiV3Document(path: string): OpenapiV3Document | undefined {
  if (serverPaths.includes(path)) return serverDocument(path);
  if (path === 'apis')
    return discoveryDocument('/apis/', { id: 'getAPIVersions', tag: 'apis', kind: 'APIGroupList' });
  if (path === 'api')
    return discoveryDocument('/api/', { id: 'getCoreAPIVersions', tag: 'core', kind: 'APIVersions' });
  const [root, first = '', second] = path.split('/') as [string, string?, string?];
  if (root === 'api') return first === 'v1' ? groupVersionDocument({ group: '', version: 'v1' }) : undefined;
  const group = apiGroups.find(({ name }) => name === first && name !== '');
  if (root !== 'apis' || !group) return undefined;
  if (second === undefined)
    return discoveryDocument(`/${path}/`, {
      id: `get${groupName(first)}APIGroup`,
      tag: computeTag({ group: first }),
      kind: 'APIGroup',
    });
  return group.versions.includes(second)
    ? groupVersionDocument({ group: first, version: second })
    : undefined;
}

function groupVersionDocument(gv: GroupVersion): OpenapiV3Document {
  const resources = builtinResources.filter(
    ({ group, version }) => group === gv.group && version === gv.version,
  );
  const discovery = discoveryPath(
    `/${groupVersionPath(gv)}/`,
    { id: `get${operationPrefix(gv)}APIResources`, tag: computeTag(gv), kind: 'APIResourceList' },
    ['application/cbor'],
  );
  const paths = Object.assign(
    {},
    discovery,
    ...resources.map((facts) => resourcePaths(facts, { definitionOf: definitionOfKind })),
  ) as Paths;
  const listsKind = (group: string, version: string): boolean =>
    (group === '' && version === 'v1') || (group === gv.group && version === gv.version);
  return buildDocument(paths, componentSchemas(definitionsIn(paths), { ...style, listsKind }));
}

export function definitionOfKind(kind: GroupVersionKind): string {
  const definition = definitionForKind(kind);
  if (definition === undefined)
    throw new Error(`No type for kind ${kind.kind} of ${kind.group}/${kind.version}`);
  return definition;
}

/** Assembles a document; sorts its paths. */
export function buildDocument(paths: Paths, schemas: Record<string, JsonSchema>): OpenapiV3Document {
  return {
    openapi: '3.0.0',
    info,
    paths: Object.fromEntries(Object.entries(paths).toSorted(([left], [right]) => (left < right ? -1 : 1))),
    components: {
      ...(Object.keys(schemas).length > 0 && { schemas }),
      securitySchemes: {
        BearerToken: {
          type: 'apiKey',
          in: 'header',
          name: 'authorization',
          description: 'A bearer token in the Authorization header.',
        },
      },
    },
  };
}

/** The definitions that paths, or any part of a document, refer to. */
export function definitionsIn(paths: unknown): Set<string> {
  const found = new Set<string>();
  const visited = new Set<unknown>();
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null || visited.has(value)) return;
    visited.add(value);
    for (const [key, inner] of Object.entries(value)) {
      if (key === '$ref') found.add(String(inner).slice(String(inner).lastIndexOf('/') + 1));
      else visit(inner);
    }
  };
  visit(paths);
  return found;
}

function discoveryDocument(
  path: string,
  options: { id: string; tag: string; kind: string },
): OpenapiV3Document {
  const paths = discoveryPath(path, options, []);
  return buildDocument(
    paths,
    componentSchemas(definitionsIn(paths), {
      ...style,
      listsKind: (group, version) => group === '' && version === 'v1',
    }),
  );
}

function discoveryPath(
  path: string,
  { id, tag, kind }: { id: string; tag: string; kind: string },
  moreTypes: readonly string[],
): Paths {
  const schema = schemaReference(`${metaV1}.${kind}`, style);
  const types = [...moreTypes, 'application/json', 'application/vnd.kubernetes.protobuf', 'application/yaml'];
  const description =
    kind === 'APIResourceList'
      ? 'Lists the resources of this version.'
      : kind === 'APIGroup'
        ? 'Describes this group and its versions.'
        : 'Lists the versions that are served.';
  const operation: Operation = {
    description,
    operationId: id,
    tags: [tag],
    responses: {
      200: { description: 'OK', content: Object.fromEntries(types.map((type) => [type, { schema }])) },
      401: { description: 'Unauthorized' },
    },
  };
  return { [path]: { get: operation } };
}

/** Paths outside the API: logs, token keys, version. */
function serverDocument(name: string): OpenapiV3Document {
  const operation = (
    id: string,
    tag: string,
    more: { description: string; content?: Record<string, { schema: JsonSchema }> },
  ): Operation => ({
    description: more.description,
    operationId: id,
    tags: [tag],
    responses: {
      ...(more.content && { 200: { description: 'OK', content: more.content } }),
      401: { description: 'Unauthorized' },
    },
  });
  if (name === 'version') {
    const schema = schemaReference('io.k8s.apimachinery.pkg.version.Info', style);
    const paths: Paths = {
      '/version/': {
        get: operation('getCodeVersion', 'version', {
          description: 'Tells the version of this server.',
          content: { 'application/json': { schema } },
        }),
      },
    };
    return buildDocument(paths, componentSchemas(definitionsIn(paths), style));
  }
  if (name === 'logs') {
    const logpath = {
      name: 'logpath',
      in: 'path' as const,
      description: describeParameter('logpath'),
      required: true as const,
      schema: { type: 'string', uniqueItems: true },
    };
    return buildDocument(
      {
        '/logs/': { get: operation('logFileListHandler', 'logs', { description: 'Lists log files.' }) },
        '/logs/{logpath}': {
          get: operation('logFileHandler', 'logs', { description: 'Reads a log file.' }),
          parameters: [logpath],
        },
      },
      {},
    );
  }
  if (name === '.well-known/openid-configuration') {
    const content = { 'application/json': { schema: { type: 'string' } } };
    return buildDocument(
      {
        '/.well-known/openid-configuration/': {
          get: operation('getServiceAccountIssuerOpenIDConfiguration', 'WellKnown', {
            description: 'Describes the issuer of service account tokens (OpenID Connect discovery).',
            content,
          }),
        },
      },
      {},
    );
  }
  const content = { 'application/jwk-set+json': { schema: { type: 'string' } } };
  return buildDocument(
    {
      '/openid/v1/jwks/': {
        get: operation('getServiceAccountIssuerOpenIDKeyset', 'openid', {
          description: 'The public keys that verify service account tokens, as a JSON Web Key Set.',
          content,
        }),
      },
    },
    {},
  );
}
