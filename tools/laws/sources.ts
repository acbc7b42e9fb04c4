/**
 * The tree's TypeScript files as the laws see them: what each exports and imports. Read by patterns, not by a parser: the formatter puts every
 * declaration of a module at the start of a line. Generated files and the fixtures of tests are left out.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

export const root = resolve(import.meta.dirname, '../..');

interface Import {
  /** Path of the imported file from the root; absent for packages. */
  readonly file: string;
  /** Names as the other file exports them; '*' for all of them. */
  readonly names: readonly string[];
  /** Only when something is called: import(). */
  readonly dynamic: boolean;
}

interface Export {
  readonly name: string;
  /** From 1. */
  readonly line: number;
}

export interface Source {
  /** From the root: 'src/stdx/log.ts'. */
  readonly path: string;
  readonly text: string;
  readonly imports: readonly Import[];
  readonly exports: readonly Export[];
  readonly isTest: boolean;
}

/** Tests, suites, and what only they use. */
const TEST_FILE = /\.(test|suite)\.ts$|\/testdata\/|\/testing\//;
const LEFT_OUT = /\/generated\/|\/testdata\//;

const STATIC =
  /^(?:import|export)\s+(?:type\s+)?(?:([\w$]+)\s*,?\s*)?(?:(\*)(?:\s+as\s+[\w$]+)?|\{([^}]*)\})?\s*(?:from\s+)?'([^']+)';/gm;
const DYNAMIC = /\bimport\(\s*'([^']+)'\s*\)/g;
const DECLARATION =
  /^export (?:default )?(?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|const|let|interface|type) ([\w$]+)/gm;

/** Every file of these folders, by its path. */
export function readSources(folders: readonly string[] = ['src', 'tools', 'bench']): Map<string, Source> {
  const paths = globSync(
    folders.map((folder) => `${folder}/**/*.ts`),
    { cwd: root },
  ).filter((path) => !LEFT_OUT.test(path));
  return new Map(
    paths.sort().map((path) => [path, parseSource(path, readFileSync(join(root, path), 'utf8'))]),
  );
}

export function parseSource(path: string, text: string): Source {
  return {
    path,
    text,
    imports: importsOf(path, text),
    exports: exportsOf(text),
    isTest: TEST_FILE.test(path),
  };
}

function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  for (const [, byDefault, all, names, target = ''] of text.matchAll(STATIC)) {
    const file = fileOf(path, target);
    if (file === undefined) continue;
    const named = (names ?? '').split(',').flatMap((name) => importedName(name) ?? []);
    found.push({
      file,
      dynamic: false,
      names: [...(byDefault ? ['default'] : []), ...(all ? ['*'] : []), ...named],
    });
  }
  for (const [, target = ''] of text.matchAll(DYNAMIC)) {
    const file = fileOf(path, target);
    if (file !== undefined) found.push({ file, names: ['*'], dynamic: true });
  }
  return found;
}

/** 'type Foo as Bar' → 'Foo'. */
function importedName(text: string): string | undefined {
  return /^\s*(?:type\s+)?([\w$]+)/.exec(text)?.[1];
}

function exportsOf(text: string): Export[] {
  const found: Export[] = [];
  let line = 1;
  let at = 0;
  for (const match of text.matchAll(DECLARATION)) {
    for (; at < match.index; at++) if (text.charCodeAt(at) === 10) line++;
    found.push({ name: match[1] ?? '', line });
  }
  return found;
}

function fileOf(path: string, target: string): string | undefined {
  if (target.startsWith('#')) return `src/${target.slice(1)}`;
  return target.startsWith('.') ? relative(root, resolve(root, dirname(path), target)) : undefined;
}
