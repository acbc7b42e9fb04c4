/** Hostnames of listeners and routes. '' is every host; '*.example.org' any number of labels before the suffix, as Gateway API has it. Pure. */

/** What both take; undefined: nothing. */
export function intersectHostnames(a: string, b: string): string | undefined {
  if (a === b || b === '') return a;
  if (a === '') return b;
  if (isWithin(a, b)) return a;
  return isWithin(b, a) ? b : undefined;
}

function isWithin(inner: string, outer: string): boolean {
  return (
    outer.startsWith('*.') && inner.replace(/^\*/, '').endsWith(outer.slice(1)) && inner !== outer.slice(2)
  );
}
