/** Regular expressions, in linear time. */
import { RE2JS } from 're2js';
import { traversal, type Meter } from '../budget.ts';
import { ONE, PATTERN } from '../estimates.ts';
import { bounded, times, TRAVERSAL, type Estimate, type Size } from '../sizes.ts';
import { fail, type Add } from './add.ts';

/** Compiled patterns, up to this many; rules use few and the same ones. */
const MAX_PATTERNS = 500;
const patterns = new Map<string, RE2JS>();

export function compiledPattern(pattern: string): RE2JS {
  let compiled = patterns.get(pattern);
  if (!compiled) {
    try {
      compiled = RE2JS.compile(pattern);
    } catch (error) {
      fail(`error parsing regexp: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (patterns.size >= MAX_PATTERNS) patterns.clear();
    patterns.set(pattern, compiled!);
  }
  return compiled!;
}

/** A pattern costs its length at each place of the text. */
function patternCost(text: Size, pattern: Size): number {
  return bounded(times(bounded(text.max + 1), TRAVERSAL) * times(pattern.max, PATTERN));
}

const matchPattern: Estimate = ({ target, args }) =>
  args.length === 1 ? { cost: patternCost(target.size, args[0]!.size) } : ONE;
const findPattern: Estimate = ({ target: { size }, args: [pattern] }) =>
  pattern ? { cost: patternCost(size, pattern.size), size: { min: 0, max: size.max } } : ONE;

export function addRegularExpressions(add: Add): void {
  const search = (text: string, pattern: string, meter: Meter): RE2JS => {
    meter.charge(traversal(text.length + 1) * Math.ceil(pattern.length * 0.25));
    return compiledPattern(pattern);
  };
  const findAll = (
    text: string,
    pattern: string,
    { most, meter }: { readonly most: number; readonly meter: Meter },
  ): string[] => {
    const matcher = search(text, pattern, meter).matcher(text),
      found: string[] = [];
    while ((most < 0 || found.length < most) && matcher.find()) found.push(matcher.group() ?? '');
    return found;
  };
  add(`string.matches(string): bool`, {
    estimate: matchPattern,
    run: (text: string, pattern: string, meter: Meter) => search(text, pattern, meter).matcher(text).find(),
  });
  add(`matches(string, string): bool`, (text: string, pattern: string, meter: Meter) =>
    search(text, pattern, meter).matcher(text).find(),
  );
  add('string.find(string): string', {
    estimate: findPattern,
    run: (text: string, pattern: string, meter: Meter) => findAll(text, pattern, { most: 1, meter })[0] ?? '',
  });
  add('string.findAll(string): list<string>', {
    estimate: findPattern,
    run: (text: string, pattern: string, meter: Meter) => findAll(text, pattern, { most: -1, meter }),
  });
  add('string.findAll(string, int): list<string>', {
    estimate: findPattern,
    run: (text: string, pattern: string, most: bigint, meter: Meter) =>
      findAll(text, pattern, { most: Number(most), meter }),
  });
}
