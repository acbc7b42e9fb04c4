/** Warning headers of one answer: each text once, all together within a bound. After upstream's warning recorder. */

/** Beyond this many characters of text every warning is cut to MAX_ITEM, and those that come after the bound are left out. */
const MAX_TOTAL = 4 * 1024;
const MAX_ITEM = 256;

/** The value of the header; warnings that are empty are none. Answers '' for nothing. */
export function warningHeader(warnings: readonly string[]): string {
  const texts = [...new Set(warnings)].filter((text) => text !== '');
  const total = texts.reduce((sum, text) => sum + text.length, 0);
  return (total <= MAX_TOTAL ? texts : truncated(texts)).map((text) => `299 - ${quoted(text)}`).join(', ');
}

function truncated(texts: readonly string[]): string[] {
  const kept: string[] = [];
  let written = 0;
  for (const text of texts) {
    if (written >= MAX_TOTAL) break;
    const cut = text.slice(0, MAX_ITEM);
    written += cut.length;
    kept.push(cut);
  }
  return kept;
}

/** Header values are single lines of visible characters. */
function quoted(text: string): string {
  return `"${text.replaceAll(/[^\x20-\x7e]/g, ' ').replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}
