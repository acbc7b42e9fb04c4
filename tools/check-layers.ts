/**
 * Checks every import under src/ against tools/layers.json: rooms import only rooms below them, external packages only where they are allowed,
 * across rooms by '#room/…', inside a room by a relative path. Tests (*.test.ts, *.suite.ts) may use #testing, #cmd and development packages too.
 * Usage: node tools/check-layers.ts   (prints each breach; exit 1 when there is one)
 */
import { readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { builtinModules } from 'node:module';

interface Layers {
  readonly rooms: Readonly<Record<string, readonly string[]>>;
  /** By room: its folders and which of each other they import. Files beside the folders may import all and be imported by all. */
  readonly folders: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
  readonly packages: Readonly<Record<string, readonly string[]>>;
  readonly testsMayAlsoImport: readonly string[];
}

const root = resolve(import.meta.dirname, '..');
const source = join(root, 'src');
const layers = JSON.parse(readFileSync(join(root, 'tools/layers.json'), 'utf8')) as Layers;
const developmentPackages = Object.keys(
  (
    JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>;
    }
  ).devDependencies,
);
/** Tests, suites, benchmarks of a room, and what only they use. */
const TEST_FILE = /\.(test|suite|bench)\.ts$|\/testdata\/|\/testing\/|\/(test-|fake-|testing)[^/]*\.ts$/;
const IMPORT =
  /^\s*(?:import|export)\s(?:[^'";]*?\sfrom\s)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)/gm;

function layerBreaches(): string[] {
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter(
    (file) => file.endsWith('.ts') && !file.startsWith('api/generated'),
  );
  return files.flatMap((file) =>
    importsOf(readFileSync(join(source, file), 'utf8')).flatMap((target) => {
      const problem = breach(file, target);
      return problem ? [`src/${file}: ${problem}`] : [];
    }),
  );
}

function importsOf(text: string): string[] {
  return [...text.matchAll(IMPORT)]
    .map((match) => match[1] ?? match[2] ?? '')
    .filter((target) => target !== '');
}

function breach(file: string, target: string): string | undefined {
  const room = file.split('/')[0] ?? '';
  const isTest = TEST_FILE.test(file);
  if (target.startsWith('#')) return roomBreach(room, target.slice(1).split('/')[0] ?? '', isTest);
  if (target.startsWith('.')) {
    const inside = relative(source, resolve(source, dirname(file), target)).split('/')[0];
    if (inside !== room && inside !== '..') return `imports '${target}' across rooms: write '#${inside}/…'`;
    return isTest ? undefined : folderBreach(file, relative(source, resolve(source, dirname(file), target)));
  }
  return packageBreach(file, target, isTest);
}

/** Inside a room with a folder table. */
function folderBreach(file: string, target: string): string | undefined {
  const room = file.split('/')[0] ?? '';
  const table = layers.folders[room];
  const [from, to] = [file, target].map((path) => table && folderOf(path, { room, table }));
  if (!table || from === undefined || to === undefined || from === to || table[from]?.includes(to))
    return undefined;
  return `folder '${from}' may not import folder '${to}' (allowed: ${table[from]?.join(', ') || 'none'})`;
}

/** The deepest folder of the table that the file is in; undefined beside the folders. */
function folderOf(
  path: string,
  { room, table }: { readonly room: string; readonly table: Readonly<Record<string, readonly string[]>> },
): string | undefined {
  return Object.keys(table)
    .filter((folder) => path.startsWith(`${room}/${folder}/`))
    .sort((a, b) => b.length - a.length)[0];
}

function roomBreach(room: string, target: string, isTest: boolean): string | undefined {
  const allowed = layers.rooms[room];
  if (!allowed) return `room '${room}' is not in tools/layers.json`;
  if (
    target === room ||
    allowed.includes('*') ||
    allowed.includes(target) ||
    (isTest && layers.testsMayAlsoImport.includes(target))
  )
    return undefined;
  return `room '${room}' may not import room '${target}' (allowed: ${allowed.join(', ') || 'none'})`;
}

function packageBreach(file: string, target: string, isTest: boolean): string | undefined {
  if (target.startsWith('node:') || builtinModules.includes(target)) return undefined;
  const name = target.startsWith('@')
    ? target.split('/').slice(0, 2).join('/')
    : (target.split('/')[0] ?? '');
  if (developmentPackages.includes(name))
    return isTest || file.startsWith('testing/')
      ? undefined
      : `imports development package '${name}' outside tests`;
  const places = layers.packages[name];
  if (!places) return `package '${name}' is not listed in tools/layers.json`;
  return isTest ||
    file.startsWith('testing/') ||
    places.some((place) => file.startsWith(`${place}/`) || file.startsWith(`${place}.`))
    ? undefined
    : `package '${name}' is allowed only in ${places.join(', ')}`;
}

if (import.meta.main) {
  const breaches = layerBreaches();
  for (const line of breaches) console.error(line);
  console.log(
    breaches.length === 0
      ? 'layers: clean'
      : `layers: ${breaches.length} breach${breaches.length === 1 ? '' : 'es'}`,
  );
  process.exitCode = breaches.length === 0 ? 0 : 1;
}
