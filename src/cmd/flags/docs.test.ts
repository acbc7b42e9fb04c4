import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { API_SERVER_FLAGS } from '../apiserver/flags.ts';
import { CONTROLLER_MANAGER_FLAGS } from '../controller-manager/flags.ts';
import { DNS_FLAGS } from '../dns/flags.ts';
import { NODE_FLAGS } from '../node/flags.ts';
import { PROXY_FLAGS } from '../proxy/flags.ts';
import { SCHEDULER_FLAGS } from '../scheduler/flags.ts';
import type { FlagTable } from './define.ts';

const PAGE = new URL('../../../docs/coming-from-kubeadm.md', import.meta.url);
const TABLES: Readonly<Record<string, FlagTable>> = {
  apiserver: API_SERVER_FLAGS,
  'controller-manager': CONTROLLER_MANAGER_FLAGS,
  scheduler: SCHEDULER_FLAGS,
  node: NODE_FLAGS,
  proxy: PROXY_FLAGS,
  dns: DNS_FLAGS,
};

/** The page with the table of each component as the flags have it: from its marker to the next empty line. */
function fresh(page: string): string {
  return Object.entries(TABLES).reduce((text, [name, table]) => {
    const marker = `<!-- flags of ${name} -->`;
    assert.ok(text.includes(marker), `docs/coming-from-kubeadm.md has no marker ${marker}`);
    const [before = '', after = ''] = text.split(marker);
    const rest = after.replace(/^\n*(\|.*\n)*\n*/, '');
    return [
      before,
      marker,
      '\n\n| flags | Capstan |\n|---|---|\n',
      ...flagRows(table).map((row) => `${row}\n`),
      rest,
    ].join('');
  }, page);
}

/** Rows of a table with the columns flags and Capstan. */
function flagRows(table: FlagTable): string[] {
  const entries = Object.entries(table);
  const names = (wanted: (flag: FlagTable[string]) => boolean): string[] =>
    entries.filter(([, flag]) => wanted(flag)).map(([name]) => `\`--${name}\``);
  return [
    row(
      names((flag) => !flag.hidden && !flag.own),
      'the same',
    ),
    row(
      names((flag) => flag.own === true),
      'of Capstan only',
    ),
    ...entries.flatMap(([name, { refusal }]) =>
      refusal?.accepts === undefined
        ? []
        : [row([`\`--${name}=${refusal.accepts}\``], `nothing else: ${refusal.why}`)],
    ),
    ...Array.from(refusals(table), ([why, flags]) => row(flags, `refused: ${why}`)),
  ].filter((line) => line !== '');
}

function row(flags: readonly string[], text: string): string {
  return flags.length === 0 ? '' : `| ${flags.join(', ')} | ${text} |`;
}

/** Flags by why they are refused. */
function refusals(table: FlagTable): Map<string, string[]> {
  const byReason = new Map<string, string[]>();
  for (const [name, { refusal }] of Object.entries(table)) {
    if (!refusal || refusal.accepts !== undefined) continue;
    byReason.set(refusal.why, [...(byReason.get(refusal.why) ?? []), `\`--${name}\``]);
  }
  return byReason;
}

test('docs/coming-from-kubeadm.md has every flag as its table has it', () => {
  const page = readFileSync(PAGE, 'utf8');
  if (process.env['UPDATE'] === '1') writeFileSync(PAGE, fresh(page));
  else assert.equal(page, fresh(page), 'run it again with UPDATE=1 to write the page');
});
