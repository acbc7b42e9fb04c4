/** Field selectors: the text form of `fieldSelector=` (=, ==, !=; '\', ',' and '=' escaped by '\'), after apimachinery's fields package. */

interface FieldRequirement {
  readonly field: string;
  readonly operator: '=' | '!=';
  readonly value: string;
}

/** An invalid selector, with upstream's message. A server returns it as 400 BadRequest. */
export class FieldSelectorError extends Error {
  override readonly name = 'FieldSelectorError';
}

/** All requirements must match. Immutable. The resource knows which fields exist. */
export class FieldSelector {
  readonly requirements: readonly FieldRequirement[];

  constructor(requirements: readonly FieldRequirement[]) {
    this.requirements = requirements;
  }

  static readonly everything = new FieldSelector([]);

  get isEverything(): boolean {
    return this.requirements.length === 0;
  }

  /** valueOf returns the object's value of a field, '' when it is unset. */
  matches(valueOf: (field: string) => string): boolean {
    for (const { field, operator, value } of this.requirements)
      if ((valueOf(field) === value) !== (operator === '=')) return false;
    return true;
  }

  /** The value that a requirement demands for a field: metadata.name makes a list a get. */
  exactValue(field: string): string | undefined {
    return this.requirements.find(
      (requirement) => requirement.field === field && requirement.operator === '=',
    )?.value;
  }

  toString(): string {
    return this.requirements
      .map(({ field, operator, value }) => `${field}${operator}${escapeFieldValue(value)}`)
      .join(',');
  }
}

/** Maximum per selector: each requirement is evaluated for every object of a list and every event of a watch. */
const MAXIMUM_REQUIREMENTS = 1000;

export function parseFieldSelector(text: string): FieldSelector {
  // A term without field and value has no effect.
  const terms = splitTerms(text);
  if (terms.length > MAXIMUM_REQUIREMENTS)
    throw new FieldSelectorError(
      `a selector of ${terms.length} requirements: at most ${MAXIMUM_REQUIREMENTS} are taken`,
    );
  const requirements = terms
    .toSorted()
    .filter((term) => term !== '')
    .map((term) => parseTerm(term, text))
    .filter(({ field, value }) => field !== '' || value !== '');
  return requirements.length === 0 ? FieldSelector.everything : new FieldSelector(requirements);
}

function escapeFieldValue(value: string): string {
  return value.replace(/[\\,=]/g, '\\$&');
}

/** Splits at unescaped commas; escapes are kept. */
function splitTerms(text: string): string[] {
  const terms: string[] = [];
  let start = 0;
  for (let index = 0; index < text.length; index++) {
    if (text[index] === '\\') index++;
    else if (text[index] === ',') {
      terms.push(text.slice(start, index));
      start = index + 1;
    }
  }
  terms.push(text.slice(start));
  return terms;
}

function parseTerm(term: string, whole: string): FieldRequirement {
  const found = /!=|==|=/.exec(term);
  if (!found) throw new FieldSelectorError(`invalid selector: '${whole}'; can't understand '${term}'`);
  return {
    field: term.slice(0, found.index),
    operator: found[0] === '!=' ? '!=' : '=',
    value: unescapeFieldValue(term.slice(found.index + found[0].length)),
  };
}

function unescapeFieldValue(text: string): string {
  if (!/[\\,=]/.test(text)) return text;
  let value = '';
  let escaped = false;
  for (const character of text) {
    const special = character === '\\' || character === ',' || character === '=';
    if (escaped && !special)
      throw new FieldSelectorError(`invalid field selector: invalid escape sequence: \\${character}`);
    if (!escaped && character === '\\') {
      escaped = true;
      continue;
    }
    if (!escaped && special)
      throw new FieldSelectorError(
        `invalid field selector: unescaped character in value: ${character.codePointAt(0)}`,
      );
    value += character;
    escaped = false;
  }
  if (escaped) throw new FieldSelectorError('invalid field selector: invalid escape sequence: \\');
  return value;
}
