/** Warning headers of one response: each text once, one per line, bounded in total. After upstream's warning recorder. */
import type { ApiResponse } from './request.ts';

/** Beyond this many characters of text every warning is cut to MAX_ITEM, and those that come after the bound are left out. */
const MAX_TOTAL = 4 * 1024;
const MAX_ITEM = 256;

const HEADER = 'warning';

/** Adds them to the warnings of a backend's response. */
export function warn(response: ApiResponse, warnings: readonly string[]): void {
  const { headers, repeated } = response;
  const lines = [
    ...(repeated?.[HEADER] ?? (headers[HEADER] === undefined ? [] : [headers[HEADER]])),
    ...warningLines(warnings),
  ];
  if (lines.length === 0) return;
  if (lines.length === 1) {
    headers[HEADER] = lines[0]!;
    return;
  }
  delete headers[HEADER];
  response.repeated = { ...repeated, [HEADER]: lines };
}

/** Values of the header; warnings that are empty are none. */
export function warningLines(warnings: readonly string[]): string[] {
  const texts = [...new Set(warnings)].filter((text) => text !== '');
  const total = texts.reduce((sum, text) => sum + lengthOf(text), 0);
  return (total <= MAX_TOTAL ? texts : truncated(texts)).map((text) => `299 - ${quoted(text)}`);
}

/** In characters as people count them. */
function lengthOf(text: string): number {
  let length = 0;
  for (const _ of text) length++;
  return length;
}

function truncated(texts: readonly string[]): string[] {
  const kept: string[] = [];
  let written = 0;
  for (const text of texts) {
    if (written >= MAX_TOTAL) break;
    const cut = [...text].slice(0, MAX_ITEM);
    written += cut.length;
    kept.push(cut.join(''));
  }
  return kept;
}

/** Header values are single lines: what would end one is a blank. Other characters go as UTF-8, whose bytes listeners are given as Latin-1. */
function quoted(text: string): string {
  const line = text
    .replaceAll(/\p{Cc}/gu, ' ')
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"');
  return `"${Buffer.from(line).toString('latin1')}"`;
}
