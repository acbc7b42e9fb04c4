/** No files import each other in a circle, types included. An import() that is called later closes no circle. */
import type { Finding, Law, Sources } from './law.ts';

export const importCycles: Law = {
  name: 'import-cycles',
  about: 'no files import each other in a circle, types included',
  find: (sources) =>
    circles(sources).map((files): Finding => {
      const [first = '', ...others] = files.toSorted();
      return { path: first, line: 1, text: `imports itself by way of ${others.join(', ')}` };
    }),
};

interface Visit {
  readonly order: number;
  lowest: number;
  onStack: boolean;
}

/** Strongly connected components of more than one file, after Tarjan. */
function circles(sources: Sources): string[][] {
  const visits = new Map<string, Visit>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (path: string): Visit => {
    const own: Visit = { order: visits.size, lowest: visits.size, onStack: true };
    visits.set(path, own);
    stack.push(path);
    for (const { file, dynamic } of sources.get(path)?.imports ?? []) {
      if (dynamic || !sources.has(file)) continue;
      const known = visits.get(file);
      if (!known) own.lowest = Math.min(own.lowest, visit(file).lowest);
      else if (known.onStack) own.lowest = Math.min(own.lowest, known.order);
    }
    if (own.lowest === own.order) {
      const members = stack.splice(stack.lastIndexOf(path));
      for (const member of members) visits.get(member)!.onStack = false;
      if (members.length > 1) found.push(members);
    }
    return own;
  };
  for (const path of sources.keys()) if (!visits.has(path)) visit(path);
  return found;
}
