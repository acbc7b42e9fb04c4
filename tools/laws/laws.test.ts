import assert from 'node:assert/strict';
import { test } from 'node:test';
import { excess, folderOf, lowered, slack } from './allowance.ts';
import { dateFormats } from './date-formats.ts';
import { docComments } from './doc-comments.ts';
import { fencing } from './fencing.ts';
import { glossary } from './glossary.ts';
import { importCycles } from './import-cycles.ts';
import type { Finding, Law } from './law.ts';
import { laws } from './list.ts';
import { listedTests } from './listed-tests.ts';
import { pluralLiterals } from './plural-literals.ts';
import { parseSource, readSources, type Source } from './sources.ts';
import { testHelpers } from './test-helpers.ts';
import { unusedExports } from './unused-exports.ts';

function tree(files: Readonly<Record<string, string>>): Map<string, Source> {
  return new Map(Object.entries(files).map(([path, text]) => [path, parseSource(path, text)]));
}
const found = (law: Law, files: Readonly<Record<string, string>>): string[] =>
  law.find(tree(files)).map(({ path, line, text }) => `${path}:${line}: ${text}`);

test('imports and exports are read in every form', () => {
  const { imports, exports } = parseSource(
    'src/a/x.ts',
    [
      "import one, { two, type Three as Four } from './y.ts';",
      "import type { Five } from '#b/z.ts';",
      "import * as all from '../c/w.ts';",
      "import 'node:fs';",
      "export { six } from './y.ts';",
      "export type * from '#b/z.ts';",
      "const later = (): unknown => import('./v.ts');",
      'export async function f(): Promise<void> {}',
      'export const g = 1;',
      'export abstract class H {}',
      'export interface I {}',
      '  export function notAtTheStart() {}',
    ].join('\n'),
  );
  assert.deepEqual(
    imports.map(({ file, names, dynamic }) => [file, names.join(), dynamic]),
    [
      ['src/a/y.ts', 'default,two,Three', false],
      ['src/b/z.ts', 'Five', false],
      ['src/c/w.ts', '*', false],
      ['src/a/y.ts', 'six', false],
      ['src/b/z.ts', '*', false],
      ['src/a/v.ts', '*', true],
    ],
  );
  assert.deepEqual(
    exports.map(({ name, line }) => `${line} ${name}`),
    ['8 f', '9 g', '10 H', '11 I'],
  );
});

test('unused exports are found, and lose their word', () => {
  const x = '/** Doc. */\nexport function used(): void {}\nexport const unused = 1;\n';
  const files = { 'src/a/x.ts': x, 'src/a/y.ts': "import { used } from './x.ts';\n" };
  assert.deepEqual(found(unusedExports, files), ['src/a/x.ts:3: unused is exported and nobody imports it']);
  const sources = tree(files);
  const fixed = unusedExports.fix!(sources.get('src/a/x.ts')!, unusedExports.find(sources));
  assert.equal(fixed, '/** Doc. */\nexport function used(): void {}\nconst unused = 1;\n');
});

test('circles of imports are found, also of types; later imports close none', () => {
  const files = {
    'src/a/x.ts': "import type { Y } from './y.ts';\n",
    'src/a/y.ts': "import { z } from './z.ts';\n",
    'src/a/z.ts': "import { x } from './x.ts';\n",
    'src/a/v.ts': "import { w } from './w.ts';\n",
    'src/a/w.ts': "const v = () => import('./v.ts');\n",
  };
  assert.deepEqual(found(importCycles, files), [
    'src/a/x.ts:1: imports itself by way of src/a/y.ts, src/a/z.ts',
  ]);
});

test('test helpers stay out of production code', () => {
  const text = "import { h } from './testing/h.ts';\n";
  assert.deepEqual(found(testHelpers, { 'src/a/x.ts': text, 'src/a/x.test.ts': text }), [
    'src/a/x.ts:1: imports the test helper src/a/testing/h.ts',
  ]);
});

test('two doc comments in a row are found, but not a header before the first', () => {
  const text = '/** The file. */\n/** Of a. */\nconst a = 1;\n/** Old. */\n/** New. */\nconst b = 2;\n';
  assert.deepEqual(found(docComments, { 'src/a/x.ts': text }), ['src/a/x.ts:4: two doc comments in a row']);
});

test('dates are formatted in one place', () => {
  const text = 'const now = new Date(0).toISOString();\n';
  assert.deepEqual(
    found(dateFormats, { 'src/a/x.ts': text, 'src/machinery/time.ts': text, 'src/a/x.test.ts': text }),
    ['src/a/x.ts:1: formats a date by .toISOString(…)'],
  );
});

test('plurals stay where single resources are known', () => {
  const text = "const a = 'pods';\nconst b = 'a pods';\nconst c = 'widgets';\n";
  const files = { 'src/apiserver/handlers/x.ts': text, 'src/apiserver/registry/core/x.ts': text };
  assert.deepEqual(found(pluralLiterals, files), [
    "src/apiserver/handlers/x.ts:1: names the resource 'pods'",
  ]);
});

test('entries of lists have tests: beside them, or by what they export or are called', () => {
  const list = 'src/scheduler/plugins/list.ts';
  const files = {
    [list]: "import { a } from './a.ts';\nimport { b } from './b.ts';\nimport { c } from './c.ts';\n",
    'src/scheduler/plugins/a.ts': 'export const a = 1;\n',
    'src/scheduler/plugins/a.test.ts': '',
    'src/scheduler/plugins/b.ts': "export const b = {\n  name: 'Bee',\n};\n",
    'src/scheduler/plugins/c.ts': 'export const c = 1;\n',
    'src/scheduler/schedule.test.ts': "test('Bee', () => {});\n",
  };
  assert.deepEqual(found(listedTests, files), [
    `src/scheduler/plugins/c.ts:1: is in ${list} and has no test`,
  ]);
});

test('replaced words are found', () => {
  assert.deepEqual(found(glossary, { 'src/a/x.ts': '// demandName is here\n' }), [
    "src/a/x.ts:1: 'demandName' should be: requireX, parseX, validateX",
  ]);
});

test('what runs under leader election makes no client of its own', () => {
  const text = 'const api = createClient(transport, {});\n';
  const files = {
    'src/controllers/apps/x.ts': text,
    'src/controllers/apps/x.test.ts': text,
    'src/cmd/scheduler/x.ts': text,
    'src/cmd/controller-manager/x.ts': `${text}const fenced = fencedClient(api, mayWrite);\n`,
    'src/node/x.ts': text,
  };
  assert.deepEqual(found(fencing, files), [
    'src/controllers/apps/x.ts:1: makes a connection by createClient(…)',
    'src/cmd/scheduler/x.ts:1: makes a connection by createClient(…)',
  ]);
});

test('what is allowed is counted by folder and only shrinks', () => {
  assert.equal(folderOf('src/apiserver/authz/x.ts'), 'src/apiserver/authz');
  assert.equal(folderOf('src/apiserver/server.ts'), 'src/apiserver');
  assert.equal(folderOf('src/node/agent/pod/x.ts'), 'src/node');
  assert.equal(folderOf('tools/laws/x.ts'), 'tools/laws');
  const at = (path: string): Finding => ({ path, line: 1, text: '' });
  const findings = [at('src/a/x.ts'), at('src/a/y.ts'), at('src/b/z.ts')];
  assert.deepEqual(excess(findings, { 'src/a': 2, 'src/b': 1 }), []);
  assert.deepEqual(excess(findings, { 'src/a': 1, 'src/b': 1 }), [at('src/a/x.ts'), at('src/a/y.ts')]);
  assert.equal(slack(findings, { 'src/a': 3, 'src/b': 1, 'src/c': 4 }), 5);
  assert.deepEqual(lowered(findings, { 'src/a': 3, 'src/c': 4 }), { 'src/a': 2 });
});

test('every law is listed and finds its way through the whole tree', () => {
  const sources = readSources();
  assert.ok(sources.size > 1000);
  assert.equal(new Set(laws.map(({ name }) => name)).size, laws.length);
  for (const law of laws) assert.doesNotThrow(() => law.find(sources), law.name);
});
