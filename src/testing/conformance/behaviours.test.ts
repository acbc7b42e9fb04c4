/** The table of behaviours against the published list (where the facts are at hand), and against the tests that are there. */
import assert from 'node:assert/strict';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { it } from 'node:test';
import { BEHAVIOURS, type Proof } from './behaviours.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const LIST = join(ROOT, '../shared/kubernetes-1.36/conformance-behaviours.md');

function titlesOf(part: string, wanted: (proof: Proof) => boolean): string[] {
  return BEHAVIOURS.filter((one) => one.part === part)
    .flatMap(({ behaviours }) => behaviours.filter(([, proof]) => wanted(proof)).map(([title]) => title))
    .toSorted();
}

it(
  'the table has every title of the published list, as often',
  { skip: existsSync(LIST) ? false : 'the published list of behaviours is not at hand' },
  () => {
    const published = new Map<string, string[]>();
    let part: string[] = [];
    for (const line of readFileSync(LIST, 'utf8').split('\n')) {
      const heading = /^## sig-(\S+)/.exec(line);
      if (heading) published.set(heading[1] ?? '', (part = []));
      const title = /^- \*\*(.*?)\*\* — /.exec(line)?.[1];
      if (title !== undefined) part.push(title);
    }
    assert.deepEqual(
      BEHAVIOURS.map((one) => one.part),
      [...published.keys()],
    );
    for (const [name, titles] of published)
      assert.deepEqual(
        titlesOf(name, () => true),
        titles.toSorted(),
        name,
      );
  },
);

function testsIn(pattern: string): string[] {
  const files = globSync(pattern, { cwd: import.meta.dirname });
  return files
    .flatMap((file) =>
      [
        ...readFileSync(join(import.meta.dirname, file), 'utf8').matchAll(
          /\bit\(\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"),/g,
        ),
      ].map(([, single, double = '']) => single?.replaceAll("\\'", "'") ?? double),
    )
    .toSorted();
}

it('every title shown here has a test of that name, and every test is in the table', () => {
  for (const { part } of BEHAVIOURS)
    assert.deepEqual(
      testsIn(`${part}*.test.ts`),
      titlesOf(part, (proof) => proof.kind === 'here' && !proof.real),
      part,
    );
  assert.deepEqual(
    testsIn('real/*.test.ts'),
    BEHAVIOURS.flatMap(({ part }) =>
      titlesOf(part, (proof) => proof.kind === 'here' && proof.real === true),
    ).toSorted(),
  );
});

it('files that show others are there', () => {
  for (const { behaviours } of BEHAVIOURS)
    for (const [title, proof] of behaviours)
      if (proof.kind === 'elsewhere')
        assert.ok(existsSync(join(ROOT, proof.file)), `${title}: ${proof.file}`);
});
