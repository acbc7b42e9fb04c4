/** The evaluator's syntax errors in the words that cel-go's parser has for them, as far as one error tells what the parser met. */

/** What matches() is rewritten to before the check, since the evaluator's own is not linear; no author has written it. */
export const LINEAR_MATCHES = 'matchesInLinearTime';

const BEGINNINGS = "'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
const SIGNS: Readonly<Record<string, string>> = { RPAREN: ')', RBRACKET: ']', RBRACE: '}', COLON: ':' };

/** text: the evaluator's; start: where it stands in the expression. */
export function syntaxWording(
  text: string,
  { expression, start }: { readonly expression: string; readonly start: number },
): string {
  const before = expression.slice(0, start).trimEnd(),
    token = /^(?:\w+|==|!=|<=|>=|&&|\|\||.)/.exec(expression.slice(start))?.[0];
  const met = token === undefined ? '<EOF>' : token;
  const [, expected, got] = /^Expected (\w+), got (\w+)$/.exec(text) ?? [];
  if (expected === 'IDENTIFIER' && before.endsWith('.'))
    return `no viable alternative at input '.${token ?? ''}'`;
  const sign = expected && SIGNS[expected];
  if (sign && got === 'EOF')
    return sign === ':' ? `mismatched input '<EOF>' expecting ':'` : `missing '${sign}' at '<EOF>'`;
  if (text.startsWith('Unexpected token: ')) return beginning({ before, met });
  if (
    text.startsWith('Unexpected character: ') &&
    start > 0 &&
    token !== undefined &&
    /^[\w)\]}]/.test(token)
  ) {
    return `${expression.slice(start + token.length).trim() === '' ? 'extraneous' : 'mismatched'} input '${token}' expecting <EOF>`;
  }
  return text;
}

/** Where an expression should begin, or what it stands in end. */
function beginning({ before, met }: { readonly before: string; readonly met: string }): string {
  const isEnd = met === '<EOF>';
  if (isEnd && /\[[^\]]*,$/.test(before)) return "missing ']' at '<EOF>'";
  const inCall = /\w\($/.test(before),
    inIndex = /[\w)\]]\[$/.test(before);
  const verb = !isEnd || before.endsWith('!') ? 'extraneous' : 'mismatched';
  return `${verb} input '${met}' expecting {'[', '{', '(', ${inCall ? "')', " : ''}'.', '-', '!', ${inIndex ? "'?', " : ''}${BEGINNINGS}`;
}
