/** OpenAPI of a group version that a part of this program serves beside the built-in API: its types are in the generated tables, its paths are not. */
import { createHash } from 'node:crypto';
import type { ResourceFacts } from '#api/resources.ts';
import { resourcePaths, type Paths } from './paths.ts';
import { componentSchemas, type JsonSchema, type SchemaStyle } from './schemas.ts';
import { buildV2Document } from './v2.ts';
import { buildDocument, definitionOfKind, definitionsIn } from './v3.ts';

export interface HostedDocuments {
  readonly v3: { readonly bytes: Buffer; readonly hash: string };
  /** What is merged into the document of the whole API. */
  readonly v2: {
    readonly paths: Readonly<Record<string, object>>;
    readonly definitions: Readonly<Record<string, JsonSchema>>;
  };
}

/** All of one group and version. */
export function hostedDocuments(resources: readonly ResourceFacts[]): HostedDocuments {
  const paths = Object.assign(
    {},
    ...resources.map((facts) => resourcePaths(facts, { definitionOf: definitionOfKind })),
  ) as Paths;
  const bytes = Buffer.from(
    JSON.stringify(buildDocument(paths, schemas(resources, { paths, style: { openapi: 3 } }))),
  );
  const v2 = buildV2Document(paths, schemas(resources, { paths, style: { openapi: 2 } }));
  return {
    v3: { bytes, hash: createHash('sha512').update(bytes).digest('hex').toUpperCase() },
    v2: { paths: v2.paths, definitions: v2.definitions },
  };
}

/** Clients find a kind's schema by its kinds, which the tables omit for types outside of the published documents. */
function schemas(
  resources: readonly ResourceFacts[],
  { paths, style }: { readonly paths: Paths; readonly style: SchemaStyle },
): Record<string, JsonSchema> {
  const all = componentSchemas(definitionsIn(paths), style);
  for (const { group, version, kind } of resources)
    for (const name of [kind, `${kind}List`]) {
      const definition = definitionOfKind({ group, version, kind: name });
      const schema = all[definition];
      if (schema)
        all[definition] = { ...schema, 'x-kubernetes-group-version-kind': [{ group, version, kind: name }] };
    }
  return all;
}
