/** The Accept header: media ranges with their parameters, in upstream's order. */
import { statusErrors } from './errors.ts';

/** Limit, because sorting by Accept's rule is quadratic. Clients send a handful. */
const MAX_CLAUSES = 200;

interface Clause {
  readonly type: string;
  readonly parameters: Record<string, string>;
  readonly quality: number;
}

/** In order of preference. As upstream, quality 0 does not exclude a range: it is last. */
export function parseAccept(accept: string): Clause[] {
  const texts = accept.split(',', MAX_CLAUSES + 1);
  if (texts.length > MAX_CLAUSES)
    throw statusErrors.badRequest(`the Accept header holds more than ${MAX_CLAUSES} media ranges`);
  const sorted: Clause[] = [];
  for (const text of texts) {
    const clause = clauseOf(text);
    // The comparison is not transitive, so the sorting algorithm is part of the rule.
    let at = sorted.length;
    while (at > 0 && isBefore(clause, sorted[at - 1]!)) at--;
    sorted.splice(at, 0, clause);
  }
  return sorted;
}

function clauseOf(text: string): Clause {
  const [type = '', ...rest] = text.split(';').map((part) => part.trim());
  const parameters: Record<string, string> = {};
  for (const part of rest) {
    const equals = part.indexOf('=');
    if (equals > 0)
      parameters[part.slice(0, equals).trimEnd()] = part
        .slice(equals + 1)
        .trim()
        .replace(/^"|"$/g, '');
  }
  const quality = Number(parameters['q'] ?? 1);
  return {
    type: type === '*' ? '*/*' : type.toLowerCase(),
    parameters,
    quality: Number.isFinite(quality) ? quality : 0,
  };
}

function isBefore(left: Clause, right: Clause): boolean {
  return (
    left.quality > right.quality ||
    (!left.type.startsWith('*/') && right.type.startsWith('*/')) ||
    (!left.type.endsWith('/*') && right.type.endsWith('/*'))
  );
}
