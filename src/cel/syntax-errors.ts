/** Syntax errors with the texts of cel-go's parser, as far as one error determines them. */
import { SyntaxIssue } from './errors.ts';
import type { Token } from './lexer.ts';

const BEGINNINGS = "'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";

const problem = (text: string, { at }: Token): SyntaxIssue => new SyntaxIssue(`Syntax error: ${text}`, at);

/** A sign that must come next does not. */
export function missingSign(sign: string, met: Token): SyntaxIssue {
  return met.kind === 'end' && sign !== ':'
    ? problem(`missing '${sign}' at '<EOF>'`, met)
    : problem(`mismatched input '${met.text}' expecting '${sign}'`, met);
}

export function missingField(met: Token): SyntaxIssue {
  return problem(`no viable alternative at input '.${met.kind === 'end' ? '' : met.text}'`, met);
}

/** Extra input after the expression. */
export function trailing(met: Token, next: Token | undefined): SyntaxIssue {
  const isLast = next === undefined || next.kind === 'end';
  return problem(`${isLast ? 'extraneous' : 'mismatched'} input '${met.text}' expecting <EOF>`, met);
}

/** At the start of an expression. within: its enclosing construct. */
export function missingExpression(
  met: Token,
  {
    before,
    within,
  }: { readonly before: Token | undefined; readonly within: 'call' | 'index' | 'list' | undefined },
): SyntaxIssue {
  const isEnd = met.kind === 'end';
  if (isEnd && within === 'list' && before?.text === ',') return problem("missing ']' at '<EOF>'", met);
  const verb = !isEnd || before?.text === '!' ? 'extraneous' : 'mismatched';
  const isFirst = before?.text === '(' || before?.text === '[';
  return problem(
    `${verb} input '${met.text}' expecting {'[', '{', '(', ${within === 'call' && isFirst ? "')', " : ''}'.', '-', '!', ${within === 'index' && isFirst ? "'?', " : ''}${BEGINNINGS}`,
    met,
  );
}
