/** The table of KubeletConfiguration's fields in docs/kubelet-configuration.md is that of KUBELET_FIELDS. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import type { ConfigFields } from '#machinery/config/fields.ts';
import { KUBELET_FIELDS } from './kubelet.ts';

const PAGE = new URL('../../../docs/kubelet-configuration.md', import.meta.url);
const HEAD = '| field | Capstan |\n|---|---|\n';

function rows(fields: ConfigFields, prefix = ''): string[] {
  return Object.entries(fields).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    if ('fields' in field) return rows(field.fields, `${path}.`);
    return [`| \`${path}\` | ${handling(field)} |\n`];
  });
}

function handling({ flag, only, unused, holds }: Exclude<ConfigFields[string], { fields: unknown }>): string {
  const value = `\`${JSON.stringify(holds)}\``;
  if (flag !== undefined) return `acted on, as \`--${flag}\``;
  if (only !== undefined) return `${value}; anything else is refused: ${only}`;
  return `without effect${holds === undefined ? '' : `, unless it is ${value}`}: ${unused}`;
}

/** The table begins after the head and ends the page. */
function fresh(page: string): string {
  const at = page.indexOf(HEAD);
  assert.ok(at > 0, 'docs/kubelet-configuration.md has no table of fields');
  return `${page.slice(0, at)}${HEAD}${rows(KUBELET_FIELDS).join('')}`;
}

test('docs/kubelet-configuration.md has every field as it is handled', () => {
  const page = readFileSync(PAGE, 'utf8');
  if (process.env['UPDATE'] === '1') writeFileSync(PAGE, fresh(page));
  else assert.equal(page, fresh(page), 'run it again with UPDATE=1 to write the page');
});
