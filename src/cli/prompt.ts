/** Prompts for a password at the terminal without echo; or reads it from standard input where that is no terminal. */
import { openSync } from 'node:fs';
import { ReadStream as TtyReadStream } from 'node:tty';
import { UserError } from '#deploy/data-dir.ts';

const MAX_PASSWORD_BYTES = 1024;

/** One line of standard input; undefined when there is none. */
export async function readLine(): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (chunk.includes(10) || size > MAX_PASSWORD_BYTES) break;
  }
  const [line = ''] = Buffer.concat(chunks).toString('utf8').split(/\r?\n/, 1);
  return line === '' ? undefined : line;
}

/** Reads from the controlling terminal, whatever standard input is; UserError without one. */
export function askPassword(question: string): Promise<string> {
  const terminal = openTerminal();
  if (!terminal)
    throw new UserError('There is no terminal to ask for the password at: use --password-stdin.');
  return new Promise((resolve, reject) => {
    let typed = '';
    const end = (): void => {
      terminal.setRawMode(false);
      terminal.destroy();
      process.stderr.write('\n');
    };
    process.stderr.write(question);
    terminal.setRawMode(true);
    terminal.setEncoding('utf8');
    terminal.on('data', (text: string) => {
      for (const character of text) {
        if (character === '\r' || character === '\n') {
          end();
          return resolve(typed);
        }
        if (character === '\u0003' || (character === '\u0004' && typed === '')) {
          end();
          return reject(new UserError('Interrupted.'));
        }
        typed =
          character === '\u007f' || character === '\b' ? [...typed].slice(0, -1).join('') : typed + character;
      }
    });
    terminal.once('error', reject);
  });
}

function openTerminal(): TtyReadStream | undefined {
  try {
    return new TtyReadStream(openSync('/dev/tty', 'r+'));
  } catch {
    return undefined;
  }
}
