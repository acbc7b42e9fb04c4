/** Turns the discovery documents into the facts of #api/resources.ts and the typed references of #api/refs.ts. */
import type { TypeModel } from './model.ts';
import { readDiscovery, readPathsReturningDeleted } from './source.ts';
import { fileStem } from './types.ts';

interface ApiResource {
  readonly name: string;
  readonly singularName: string;
  readonly namespaced: boolean;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly storageVersionHash?: string;
}

interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly subresources?: readonly object[];
}

interface Group {
  readonly name: string;
  readonly preferredVersion: string;
  readonly versions: readonly string[];
}

interface Discovery {
  readonly groups: readonly Group[];
  readonly resources: readonly Resource[];
}

export function readResources(): Discovery {
  const listed = readDiscovery<{
    groups: { name: string; versions: { version: string }[]; preferredVersion: { version: string } }[];
  }>('apis.json').groups;
  const groups = [
    { name: '', preferredVersion: 'v1', versions: ['v1'] },
    ...listed.map(({ name, versions, preferredVersion }) => ({
      name,
      preferredVersion: preferredVersion.version,
      versions: versions.map(({ version }) => version),
    })),
  ];
  const returningDeleted = readPathsReturningDeleted();
  return {
    groups,
    resources: groups.flatMap(({ name, versions }) =>
      versions.flatMap((version) => resourcesOf({ group: name, version, returningDeleted })),
    ),
  };
}

function resourcesOf({
  group,
  version,
  returningDeleted,
}: {
  group: string;
  version: string;
  returningDeleted: ReadonlySet<string>;
}): Resource[] {
  const file = group === '' ? `api__${version}.json` : `apis__${group}__${version}.json`;
  const { resources } = readDiscovery<{ resources: ApiResource[] }>(file);
  return resources
    .filter(({ name }) => !name.includes('/'))
    .map((resource) => {
      const subresources = resources
        .filter(({ name }) => name.startsWith(`${resource.name}/`))
        .map(subresourceFacts);
      const path = `/${group === '' ? 'api' : `apis/${group}`}/${version}/${resource.namespaced ? 'namespaces/{namespace}/' : ''}${resource.name}/{name}`;
      return {
        group,
        version,
        plural: resource.name,
        singular: resource.singularName,
        kind: resource.kind,
        namespaced: resource.namespaced,
        verbs: resource.verbs,
        ...(resource.shortNames && { shortNames: resource.shortNames }),
        ...(resource.categories && { categories: resource.categories }),
        ...(resource.storageVersionHash !== undefined && { storageVersionHash: resource.storageVersionHash }),
        ...(returningDeleted.has(path) && { returnsDeleted: true }),
        ...(subresources.length > 0 && { subresources }),
      };
    });
}

function subresourceFacts(resource: ApiResource): object {
  return {
    name: resource.name.slice(resource.name.indexOf('/') + 1),
    kind: resource.kind,
    ...(resource.group !== undefined && { group: resource.group }),
    ...(resource.version !== undefined && { version: resource.version }),
    verbs: resource.verbs,
  };
}

export function resourceTable({ groups, resources }: Discovery): string {
  const lines = (items: readonly object[]): string => items.map((item) => JSON.stringify(item)).join(',\n');
  return `{"groups":[\n${lines(groups)}\n],"resources":[\n${lines(resources)}\n]}\n`;
}

export function refsFile({ groups, resources }: Discovery, models: readonly TypeModel[]): string {
  const packages = new Map(
    models.flatMap((model) =>
      model.kinds.map(
        ({ group, version, kind }) => [`${group}/${version}/${kind}`, model.packageName] as const,
      ),
    ),
  );
  const names = new Set<string>();
  const used = new Set<string>();
  const lines = resources.map((resource) => {
    const packageName = packages.get(`${resource.group}/${resource.version}/${resource.kind}`);
    if (packageName === undefined)
      throw new Error(`No type for ${resource.plural} of ${resource.group}/${resource.version}`);
    used.add(packageName);
    const preferred =
      groups.find(({ name }) => name === resource.group)!.preferredVersion === resource.version;
    const name = refName(resource, { preferred, names });
    names.add(name);
    const { group, version, plural, kind, namespaced } = resource;
    return `export const ${name}: Ref<${typeNamespace(packageName)}.${kind}> = { group: '${group}', version: '${version}', plural: '${plural}', kind: '${kind}', namespaced: ${namespaced} };\n`;
  });
  const imports = [...used]
    .toSorted()
    .map((name) => `import type * as ${typeNamespace(name)} from './types/${fileStem(name)}.ts';\n`);
  return `// Generated by tools/generate-api. Do not edit.\nimport type { Ref } from '../ref.ts';\n${imports.join('')}\n${lines.join('')}`;
}

const typeNamespace = (packageName: string): string =>
  fileStem(packageName).replace(/-(\w)/, (_, letter: string) => letter.toUpperCase());

/** The plural in camel case (replicaSets, csiDrivers); other than preferred versions with the version behind, a taken name with the group before. */
function refName(
  { group, version, plural, kind }: Resource,
  { preferred, names }: { preferred: boolean; names: ReadonlySet<string> },
): string {
  const stem = kind.replace(/^([A-Z]+)(?=[A-Z][a-z]|$)|^[A-Z]/, (letters) => letters.toLowerCase());
  const common = [...stem].findIndex((letter, index) => letter.toLowerCase() !== plural[index]);
  const camel = common < 0 ? stem + plural.slice(stem.length) : stem.slice(0, common) + plural.slice(common);
  const name = preferred ? camel : camel + version[0]!.toUpperCase() + version.slice(1);
  return names.has(name) ? `${group.split('.')[0]}${name[0]!.toUpperCase()}${name.slice(1)}` : name;
}
