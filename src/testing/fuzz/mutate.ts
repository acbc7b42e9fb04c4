/** What a hostile or broken client makes of a good body: one fault or a few, of the value, of its text, or of its bytes. Pure and seeded. */
import { setOwn } from '#machinery/json.ts';
import type { Random } from '#stdx/random.ts';
import { below, pick, randomJson } from './random-values.ts';

type Path = readonly (string | number)[];

const ODD_TEXTS = [
  '',
  ' ',
  '\0',
  'a'.repeat(300),
  'A',
  '-',
  'a.b',
  'a/b',
  '../..',
  '..',
  '.',
  '%00',
  '*',
  'é',
  '\u{1f600}',
  '\ud800',
  '__proto__',
  'constructor',
  'toString',
  'null',
  'true',
  '1',
  '-1',
  '1e400',
  '0x7f',
  '1.2.3.4',
  '::1',
  'fe80::1%eth0',
  '10.0.0.0/33',
  'x=y',
  '$(A)',
  '(a+)+$',
  'a'.repeat(64),
  '2026-13-45T99:99:99Z',
  '2026-01-02T03:04:05Z',
  '9223372036854775808',
  '1Gi',
  '-1Ei',
  '100%',
  '-5%',
  'self.x',
  'object.a.b.c',
  '[',
  '{}',
  '\\',
  '"',
  "'",
  '\r\nx: y',
  'metadata',
  'default',
  'kube-system',
  'http',
  'TCP',
  'Always',
  'None',
];
const ODD_NUMBERS = [
  0,
  -1,
  1,
  0.5,
  65_535,
  65_536,
  2 ** 31,
  -(2 ** 31) - 1,
  2 ** 53,
  2 ** 63,
  1e308,
  -0,
  1e-7,
];
const ODD_VALUES: readonly unknown[] = [
  null,
  true,
  false,
  [],
  {},
  [[]],
  [null],
  [{}],
  { a: null },
  ...ODD_NUMBERS,
  ...ODD_TEXTS,
];

/** Long enough that anything worse than linear in it is felt. */
const LONG_TEXTS: readonly (() => string)[] = [
  'a',
  '1',
  '-',
  '.',
  '/',
  ' ',
  '=',
  ',',
  ':',
  '(',
  '\\',
  '"',
  'é',
  '0.',
  'a.',
  'a,',
  '%',
  '[',
  '{',
  '1h',
  '*/',
  '1,',
  '::',
  '$(',
  '$$',
  'A-',
  '\n',
  "'",
  '!',
  '~1',
  'a=b,',
  '1Ki',
  '0x',
  '9e',
  '+',
].map((unit) => () => unit.repeat(100_000 / unit.length));

export function longText(random: Random): string {
  return (
    pick(random, ['', 'a', '1', '-', '^', '"', '10.0.0.0/', '2026-01-02T03:04:05.']) +
    pick(random, LONG_TEXTS)() +
    pick(random, ['', '!', 'x', '1', '$', '"', '\0'])
  );
}

/** Every place in the value, itself too. */
function placesOf(value: unknown, path: Path = [], found: Path[] = []): Path[] {
  found.push(path);
  if (typeof value === 'object' && value !== null && path.length < 40)
    for (const [key, item] of Object.entries(value))
      placesOf(item, [...path, Array.isArray(value) ? Number(key) : key], found);
  return found;
}

export function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const part of path) current = (current as Record<string, unknown> | undefined | null)?.[part];
  return current;
}

/** Changes the value in place, but for the whole being replaced: answers the new one. */
export function mutateValue(value: unknown, random: Random): unknown {
  const path = pick(random, placesOf(value));
  if (path.length === 0) return random() < 0.1 ? pick(random, ODD_VALUES) : value;
  const parent = valueAt(value, path.slice(0, -1)) as Record<string | number, unknown>,
    key = path.at(-1)!;
  switch (below(random, 9)) {
    case 0:
      if (Array.isArray(parent)) parent.splice(key as number, 1);
      else delete parent[key];
      break;
    case 1:
      if (Array.isArray(parent)) parent.push(structuredClone(parent[key]));
      else parent[`${key}x`] = parent[key];
      break;
    case 2:
      parent[key] = { [key]: parent[key] };
      break;
    case 3:
      parent[key] = [parent[key]];
      break;
    case 4:
      parent[key] = random() < 0.03 ? longText(random) : randomJson({ random });
      break;
    case 5:
      if (!Array.isArray(parent))
        setOwn(parent, pick(random, ODD_TEXTS.slice(0, 24)), structuredClone(parent[key]));
      break;
    default:
      parent[key] = structuredClone(pick(random, ODD_VALUES));
  }
  return value;
}

/** How deep a hostile text nests: beyond what is taken. */
const DEPTHS = [10, 63, 65, 500, 1001, 5000, 12_000];

/** Faults that no JSON value has: repeated fields, broken syntax, huge numbers, deep nesting. */
export function mutateText(text: string, random: Random): string {
  const at = below(random, text.length + 1);
  switch (below(random, 10)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return (
        text.slice(0, at) +
        pick(random, [
          '{',
          '}',
          '[',
          ']',
          ',',
          ':',
          '"',
          '\\',
          '\\u',
          '\\ud800',
          '\0',
          '\ufeff',
          ' ',
          '\u2028',
          'NaN',
          '-',
          '1e9999',
          '/**/',
          "'",
        ]) +
        text.slice(at)
      );
    case 2:
      return text.replace('{', `{"metadata":{"name":"a"},`);
    case 3:
      return text.replace(/"([a-z]+)":/, '"$1":null,"$1":');
    case 4:
      return text.replace(/:"[^"]*"/, `:${'['.repeat(pick(random, DEPTHS))}`);
    case 5: {
      const depth = pick(random, DEPTHS);
      return text.replace(/:"[^"]*"/, `:${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`);
    }
    case 6:
      return text.replace(
        /:"[^"]*"/,
        `:${pick(random, ['1'.repeat(400), '1e400', '-0', '01', '1.', '.5', '+1', '9223372036854775807', '18446744073709551616', '0.1e-400', '"\\ud83d"', '"\\u0000"', 'tru', 'nul'])}`,
      );
    case 7:
      return `${text}${pick(random, [' ', '\n', 'x', '{}', '\0', text])}`;
    case 8:
      return text.slice(0, at) + text.slice(at + 1 + below(random, 8));
    default:
      return pick(random, [
        '',
        ' ',
        'null',
        '[]',
        '{}',
        '""',
        '0',
        'true',
        '\ufeff{}',
        '{"kind":',
        '{"apiVersion":"v1","kind":"List","items":[]}',
        '{"apiVersion":"v1","kind":"Status"}',
        '--- ',
        'a: &a [*a]',
        'a: *b',
        '<<: 1',
        '!!binary x',
        '? [a]\n: b',
      ]);
  }
}

export function mutateBytes(bytes: Buffer, random: Random): Buffer {
  const copy = Buffer.from(bytes);
  if (copy.length === 0) return Buffer.from([below(random, 256)]);
  switch (below(random, 5)) {
    case 0:
      return copy.subarray(0, below(random, copy.length));
    case 1:
      return Buffer.concat([copy, copy.subarray(below(random, copy.length))]);
    case 2: {
      const at = below(random, copy.length);
      return Buffer.concat([
        copy.subarray(0, at),
        Buffer.from(
          Array.from({ length: 1 + below(random, 6) }, () =>
            pick(random, [0, 1, 0x0a, 0x7f, 0x80, 0xff, below(random, 256)]),
          ),
        ),
        copy.subarray(at),
      ]);
    }
    default:
      for (let times = 1 + below(random, 3); times > 0; times--)
        copy[below(random, copy.length)] = pick(random, [
          0,
          0x22,
          0x7f,
          0x80,
          0xc3,
          0xff,
          below(random, 256),
        ]);
      return copy;
  }
}
