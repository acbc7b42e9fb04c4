/** Tokens between one kubectl command and the next: a file each, mode 0600, in a folder of mode 0700 ($XDG_CACHE_HOME/capstan/login). No passwords. */
import { createHash } from 'node:crypto';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';

export interface Token {
  readonly token: string;
  /** RFC 3339. */
  readonly expirationTimestamp: string;
  /** Of OpenID Connect. */
  readonly refreshToken?: string;
  /** Whose it is, for people. */
  readonly who?: string;
}

/** A token this close to its end would not survive the request. */
const MARGIN_MS = 10_000;

export class TokenCache {
  readonly #path: string;

  /** key: identifies this login. */
  constructor(key: readonly string[]) {
    this.#path = join(
      folder(),
      `${createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 32)}.json`,
    );
  }

  /** Also an expired one: its refresh token may be valid. undefined for none, or for a file that others can read or that is damaged. */
  read(): Token | undefined {
    try {
      const { mode, uid } = statSync(this.#path);
      if ((mode & 0o077) !== 0 || (process.getuid && uid !== process.getuid())) return undefined;
      const token = JSON.parse(readFileSync(this.#path, 'utf8')) as Token;
      return typeof token.token === 'string' && Number.isFinite(Date.parse(token.expirationTimestamp))
        ? token
        : undefined;
    } catch {
      return undefined;
    }
  }

  readValid(nowMs = Date.now()): Token | undefined {
    const token = this.read();
    return token && Date.parse(token.expirationTimestamp) - MARGIN_MS > nowMs ? token : undefined;
  }

  write(token: Token): void {
    const dir = folder();
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const { mode, uid } = lstatSync(dir);
    if ((mode & 0o077) !== 0 || (process.getuid && uid !== process.getuid()))
      throw new UserError(
        `${dir} should be a folder that only you may open (chmod 700): no token was written there.`,
      );
    writeFileAtomic(this.#path, `${JSON.stringify(token)}\n`);
  }

  /** How many there were. */
  static forgetAll(): number {
    let names: string[];
    try {
      names = readdirSync(folder()).filter((name) => name.endsWith('.json'));
    } catch {
      return 0;
    }
    for (const name of names) rmSync(join(folder(), name), { force: true });
    return names.length;
  }
}

function folder(): string {
  return join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'capstan', 'login');
}
