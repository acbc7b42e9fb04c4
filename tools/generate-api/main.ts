/**
 * Generates src/api/generated from the specifications beside the repository.
 *   node tools/generate-api/main.ts           write what changed
 *   node tools/generate-api/main.ts --check   exit 1 when the committed output is stale
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { grpcDescriptor } from './grpc.ts';
import { readProtoPackages, sourcePresent } from './source.ts';

const outputRoot = join(import.meta.dirname, '../../src/api/generated');

function generate(): Map<string, string> {
  const output = new Map<string, string>();
  const packages = readProtoPackages();
  for (const [file, name] of [['cri-v1', 'runtime.v1'], ['device-plugin-v1beta1', 'v1beta1'], ['kms-v2', 'v2']] as const) {
    output.set(`${file}.json`, `${JSON.stringify(grpcDescriptor(name, packages[name]!))}\n`);
  }
  return output;
}

function committedFiles(): string[] {
  if (!existsSync(outputRoot)) return [];
  return readdirSync(outputRoot, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(outputRoot.length + 1));
}

function staleFiles(output: ReadonlyMap<string, string>): string[] {
  const changed = [...output.keys()].filter((file) => {
    const path = join(outputRoot, file);
    return !existsSync(path) || readFileSync(path, 'utf8') !== output.get(file);
  });
  return [...changed, ...committedFiles().filter((file) => !output.has(file))];
}

function write(output: ReadonlyMap<string, string>, stale: readonly string[]): void {
  for (const file of stale) {
    const path = join(outputRoot, file);
    const text = output.get(file);
    if (text === undefined) { rmSync(path); continue; }
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

function main(): void {
  if (!sourcePresent()) { console.log('skipped: ../shared absent'); return; }
  const output = generate();
  const stale = staleFiles(output);
  if (!process.argv.includes('--check')) { write(output, stale); console.log(`generated: ${output.size} files, ${stale.length} changed`); return; }
  if (stale.length === 0) { console.log(`fresh: ${output.size} files`); return; }
  console.log(`stale: ${stale.join(', ')}; run node tools/generate-api/main.ts`);
  process.exitCode = 1;
}

main();
