/** Lists of completion indexes as text: '1,3-5,7'. */

interface Interval {
  readonly from: number;
  readonly to: number;
}

/** An Error with the API's message. */
function parseInterval(text: string, completions: number): Interval {
  const limits = text.split('-');
  if (limits.length > 2)
    throw new Error(
      `the fragment ${JSON.stringify(text)} violates the requirement that an index interval can have at most two parts separated by '-'`,
    );
  const [from = 0, to = from] = limits.map((limit) => {
    if (!/^[0-9]+$/.test(limit))
      throw new Error(`cannot convert string to integer for index: ${JSON.stringify(limit)}`);
    if (Number(limit) >= completions) throw new Error(`too large index: ${JSON.stringify(limit)}`);
    return Number(limit);
  });
  if (limits.length > 1 && from >= to)
    throw new Error(`non-increasing order, previous: ${from}, current: ${to}`);
  return { from, to };
}

interface IndexList {
  readonly total: number;
  readonly problem?: string;
}

/** Number of indexes in the list, or the error. */
export function readIndexes(text: string, completions: number): IndexList {
  let total = 0,
    last = -1;
  if (text === '') return { total };
  try {
    for (const part of text.split(',')) {
      const { from, to } = parseInterval(part, completions);
      if (last >= from) throw new Error(`non-increasing order, previous: ${last}, current: ${from}`);
      total += to - from + 1;
      last = to;
    }
    return { total };
  } catch (error) {
    return { total: 0, problem: (error as Error).message };
  }
}

/** The first index in both lists. Invalid intervals are skipped. */
export function sharedIndex(left: string, right: string, completions: number): number | undefined {
  const [ours, theirs] = [intervalsOf(left, completions), intervalsOf(right, completions)];
  for (let i = 0, j = 0; i < ours.length && j < theirs.length;) {
    const a = ours[i]!,
      b = theirs[j]!;
    if (a.from <= b.to && b.from <= a.to) return Math.max(a.from, b.from);
    if (a.from <= b.from) i++;
    else j++;
  }
  return undefined;
}

function intervalsOf(text: string, completions: number): Interval[] {
  if (text === '') return [];
  return text.split(',').flatMap((part) => {
    try {
      return [parseInterval(part, completions)];
    } catch {
      return [];
    }
  });
}
