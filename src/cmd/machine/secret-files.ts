/** The secrets of init and join from files or standard input: what stands on a command line is seen by everybody on the machine. */
import { readFileSync } from 'node:fs';
import { UserError } from '#deploy/data-dir.ts';
import { errorMessage } from '#stdx/log.ts';

interface SecretFlags {
  readonly token?: string;
  /** A path, or '-' for standard input. */
  readonly tokenFile?: string;
  readonly certificateKey?: string;
  /** A path, or '-' for standard input. */
  readonly certificateKeyFile?: string;
}

const STDIN = '-';
/** Of a file with a token or a key, of which each is shorter. */
const MAXIMUM_LENGTH = 4096;

/** The flags with what the files hold. A UserError for a file that cannot be read, or given beside the secret itself. */
export function withSecretFiles<Flags extends SecretFlags>(flags: Flags): Flags {
  const { tokenFile, certificateKeyFile } = flags;
  if (tokenFile === STDIN && certificateKeyFile === STDIN)
    throw new UserError('--token-file and --certificate-key-file cannot both be standard input.');
  return {
    ...flags,
    ...secret('token', { given: flags.token, file: tokenFile, flag: '--token' }),
    ...secret('certificateKey', {
      given: flags.certificateKey,
      file: certificateKeyFile,
      flag: '--certificate-key',
    }),
  };
}

function secret(
  name: 'token' | 'certificateKey',
  {
    given,
    file,
    flag,
  }: { readonly given: string | undefined; readonly file: string | undefined; readonly flag: string },
): Partial<SecretFlags> {
  if (file === undefined) return {};
  if (given !== undefined) throw new UserError(`${flag} and ${flag}-file exclude each other.`);
  return { [name]: readSecret(file, `${flag}-file`) };
}

function readSecret(file: string, flag: string): string {
  const what = file === STDIN ? `standard input (${flag} -)` : `${flag} ${file}`;
  let content: string;
  try {
    content = readFileSync(file === STDIN ? 0 : file, 'utf8');
  } catch (error) {
    throw new UserError(`${what} cannot be read: ${errorMessage(error)}.`, error);
  }
  const value = content.trim();
  if (value === '') throw new UserError(`${what} is empty.`);
  if (value.length > MAXIMUM_LENGTH || /\s/.test(value))
    throw new UserError(`${what} holds more than one word.`);
  return value;
}
