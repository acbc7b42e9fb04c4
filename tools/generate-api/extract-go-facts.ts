/**
 * Extracts from a checkout of upstream's Go types the facts that neither OpenAPI nor the protobuf tables hold: whether absence differs
 * from the zero value (a pointer), whether JSON omits the zero value, which structs are embedded, and the values of string enumerations.
 * Only names, numbers and flags are kept. Run by hand for a new Kubernetes release:
 *   node tools/generate-api/extract-go-facts.ts <directory>   writes tools/generate-api/go-facts.json
 * The directory holds the modules api, apimachinery, apiextensions-apiserver and kube-aggregator side by side.
 *
 * A type is one string of fields 'jsonName=number' followed by flags: '*' pointer, '-' omitempty, '0' omitzero; '^Type=number' is an
 * embedded struct; '+' stands for apiVersion and kind.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

interface PackageFacts {
  readonly types: Record<string, string>;
  readonly enums: Record<string, string[]>;
  /** 'Type.field' → enumeration. */
  readonly enumFields: Record<string, string>;
}

function definitionPrefix(modulePath: string): string {
  return `io.k8s.${modulePath.replaceAll('/', '.')}`;
}

function structFields(body: string): { type: string; tag: string }[] {
  return [...body.matchAll(/^\t(?:\w+[ \t]+)?([^\s/`][^`\n]*?)[ \t]*`([^`\n]*)`/gm)]
    .map((match) => ({ type: match[1]!, tag: match[2]! }));
}

function tagValue(tag: string, key: string): string | undefined {
  return new RegExp(`(?:^|\\s)${key}:"([^"]*)"`).exec(tag)?.[1];
}

function structFacts(typeName: string, body: string, enumFields: Record<string, string>): string {
  const facts: string[] = [];
  for (const { type, tag } of structFields(body)) {
    const json = tagValue(tag, 'json');
    if (json === undefined || json === '-') continue;
    const number = /^\w+,(\d+)/.exec(tagValue(tag, 'protobuf') ?? '')?.[1] ?? '';
    const [jsonName, ...options] = json.split(',');
    if (jsonName === '') {
      facts.push(type.endsWith('TypeMeta') ? '+' : `^${type}=${number}`);
      continue;
    }
    const flags = (type.startsWith('*') ? '*' : '') + (options.includes('omitempty') ? '-' : '') + (options.includes('omitzero') ? '0' : '');
    facts.push(`${jsonName}=${number}${flags}`);
    enumFields[`${typeName}.${jsonName}`] = type.replace(/^(\*|\[\])/, '');
  }
  return facts.join(' ');
}

function enumValues(text: string, enums: Record<string, string[]>): void {
  for (const match of text.matchAll(/\/\/ \+enum\n(?:\/\/.*\n)*type (\w+) string/g)) enums[match[1]!] ??= [];
  for (const match of text.matchAll(/^\s*(?:const )?\w+\s+(\w+)\s+= "([^"]*)"/gm)) enums[match[1]!]?.push(match[2]!);
}

function packageFacts(folder: string): PackageFacts {
  const types: Record<string, string> = {};
  const enums: Record<string, string[]> = {};
  const candidates: Record<string, string> = {};
  const texts = readdirSync(folder).filter((file) => file.endsWith('.go')).toSorted().map((file) => readFileSync(join(folder, file), 'utf8'));
  for (const text of texts) {
    for (const match of text.matchAll(/^type (\w+) struct \{\n([\s\S]*?)^\}/gm)) types[match[1]!] = structFacts(match[1]!, match[2]!, candidates);
    enumValues(text, enums);
  }
  return { types, enums, enumFields: Object.fromEntries(Object.entries(candidates).filter(([, type]) => enums[type])) };
}

function main(root: string): void {
  const facts: Record<string, PackageFacts> = {};
  const folders = new Set(readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /^types.*\.go$|^(controller_ref|meta|watch|type|micro_time|time|intstr)\.go$/.test(entry.name)).map((entry) => entry.parentPath));
  for (const folder of [...folders].toSorted()) {
    const found = packageFacts(folder);
    if (Object.keys(found.types).length > 0) facts[definitionPrefix(folder.slice(root.length).replace(/^\//, ''))] = found;
  }
  writeFileSync(join(dirname(import.meta.filename), 'go-facts.json'), `${JSON.stringify(facts, null, 1)}\n`);
}

main(process.argv[2] ?? '');
