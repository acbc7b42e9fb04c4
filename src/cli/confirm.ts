/** Asks for confirmation before something is removed for good. */
import { createInterface } from 'node:readline/promises';
import { UserError } from '#deploy/data-dir.ts';

/** what: 'the cluster in /x and all its data'. Throws UserError without a terminal, and for any answer but yes. */
export async function confirmRemoval(what: string): Promise<void> {
  if (!process.stdin.isTTY) throw new UserError(`This removes ${what}: give --yes to confirm.`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    if ((await prompt.question(`Remove ${what}? Type yes: `)).trim() !== 'yes')
      throw new UserError('Nothing was removed.');
  } finally {
    prompt.close();
  }
}

/** what: 'upgrade 5 machines'. The same for a change that can be taken back. */
export async function confirmChange(what: string): Promise<void> {
  if (!process.stdin.isTTY) throw new UserError(`This will ${what}: give --yes to confirm.`);
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  try {
    if ((await prompt.question(`This will ${what}. Type yes: `)).trim() !== 'yes')
      throw new UserError('Nothing was changed.');
  } finally {
    prompt.close();
  }
}
