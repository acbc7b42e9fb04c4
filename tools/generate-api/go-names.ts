/** How Go's error messages write the types of fields, for extract-go-facts.ts. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';

export interface GoName {
  readonly text: string;
  /** A type that is no struct has a name in it. */ readonly isNamed: boolean;
}

/** How Go's errors write a type; packages go by the last part of their path. */
export function goName(
  type: string,
  {
    folder,
    imports,
    named,
  }: {
    readonly folder: string;
    readonly imports: ReadonlyMap<string, string>;
    readonly named: ReadonlySet<string>;
  },
): GoName {
  const place = { folder, imports, named };
  if (type.startsWith('*')) return goName(type.slice(1), place);
  if (type.startsWith('[]')) {
    const item = goName(type.slice(2), place);
    return { ...item, text: `[]${item.text}` };
  }
  const map = /^map\[([^\]]+)\](.+)$/.exec(type);
  if (map) {
    const [key, value] = [goName(map[1]!, place), goName(map[2]!, place)];
    return { text: `map[${key.text}]${value.text}`, isNamed: key.isNamed || value.isNamed };
  }
  if (/^[a-z]\w*$/.test(type)) return { text: type === 'byte' ? 'uint8' : type, isNamed: false };
  const [alias, name = alias] = type.split('.') as [string, string?];
  const home = type.includes('.') ? (imports.get(alias) ?? alias) : folder;
  return { text: `${home.slice(home.lastIndexOf('/') + 1)}.${name}`, isNamed: named.has(`${home}.${name}`) };
}

/** 'metav1' → 'apimachinery/pkg/apis/meta/v1' */
export function importsOf(text: string): Map<string, string> {
  return new Map(
    [...text.matchAll(/^(?:import)?\s+(?:(\w+) )?"k8s\.io\/([^"]+)"$/gm)].map(([, alias, path]) => [
      alias ?? path!.slice(path!.lastIndexOf('/') + 1),
      path!,
    ]),
  );
}

/** 'api/core/v1.Protocol' */
export function namedTypes(root: string): Set<string> {
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile() && entry.name.endsWith('.go') && !entry.name.endsWith('_test.go'),
  );
  return new Set(
    files.flatMap(({ parentPath, name }) =>
      [
        ...readFileSync(join(parentPath, name), 'utf8').matchAll(
          /^type (\w+) (?:string|bool|u?int\d*|\[\]|map\[)/gm,
        ),
      ].map((match) => `${relative(root, parentPath)}.${match[1]}`),
    ),
  );
}
