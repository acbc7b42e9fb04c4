/**
 * Checks the laws: habits of this code that a machine can check (list.ts). Prints each breach; exit 1 when there is one.
 * Usage: node tools/laws/main.ts [--fix] [--only LAW]   (--fix mends what can be mended and lowers allowed.json to what is left)
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { excess, lowered, slack, type Allowed } from './allowance.ts';
import type { Finding, Law, Sources } from './law.ts';
import { laws } from './list.ts';
import { parseSource, readSources, root } from './sources.ts';

const ALLOWED_FILE = join(import.meta.dirname, 'allowed.json');
const fixes = process.argv.includes('--fix');
const only = process.argv.includes('--only') ? process.argv[process.argv.indexOf('--only') + 1] : undefined;

function main(): void {
  const sources = readSources();
  const allowed = JSON.parse(readFileSync(ALLOWED_FILE, 'utf8')) as Allowed;
  const next: Record<string, Allowed[string]> = { ...allowed };
  let breaches = 0;
  for (const law of laws.filter(({ name }) => only === undefined || name === only)) {
    if (fixes) mend(law, sources);
    const findings = law.find(sources);
    const excessive = excess(findings, allowed[law.name]);
    for (const { path, line, text } of excessive) console.error(`${path}:${line}: ${law.name}: ${text}`);
    breaches += excessive.length;
    const gone = slack(findings, allowed[law.name]);
    if (gone > 0 && !fixes) console.log(`laws: ${law.name}: ${gone} fewer than allowed; --fix lowers it`);
    next[law.name] = lowered(findings, allowed[law.name]);
  }
  if (fixes) writeFileSync(ALLOWED_FILE, `${JSON.stringify(next, null, 2)}\n`);
  console.log(breaches === 0 ? 'laws: kept' : `laws: ${breaches} breach${breaches === 1 ? '' : 'es'}`);
  process.exitCode = breaches === 0 ? 0 : 1;
}

function mend(law: Law, sources: Map<string, ReturnType<typeof parseSource>>): void {
  if (!law.fix) return;
  for (const [path, findings] of Map.groupBy(law.find(sources as Sources), (one: Finding) => one.path)) {
    const text = law.fix(sources.get(path)!, findings);
    writeFileSync(join(root, path), text);
    sources.set(path, parseSource(path, text));
  }
}

main();
