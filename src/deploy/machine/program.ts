/** The command line of a Capstan program: this one, or the one of another checkout with the Node.js that came with it. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { NODE_FLAGS } from '../daemon.ts';

/** Directory of this program. */
export const PROGRAM_DIR = resolve(import.meta.dirname, '../../..');

interface ProgramOptions {
  /** Directory of another Capstan. Default: this one. */
  readonly checkout?: string | undefined;
  /** Node.js of one that came without. Default: the one that runs this. */
  readonly node?: string | undefined;
}

export function capstanCommand(
  words: readonly string[],
  { checkout, node = process.execPath }: ProgramOptions = {},
): [string, ...string[]] {
  const main = join(checkout ?? PROGRAM_DIR, 'src/cli/main.ts');
  return [nodeOf(checkout) ?? node, ...NODE_FLAGS, main, ...words];
}

function nodeOf(checkout: string | undefined): string | undefined {
  const own = checkout && join(checkout, `node_modules/node-linux-${process.arch}/bin/node`);
  return own && existsSync(own) ? own : undefined;
}
