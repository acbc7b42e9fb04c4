/**
 * The file of --basic-auth-file: one user a line, CSV, '"HASH",user,uid,"group1,group2"' with a hash as password-hash.ts describes; uid and groups
 * may be left out, lines that begin with # are comments. `capstan user hash-password` makes such lines. The file is read again when it changes.
 */
import { createHmac, randomBytes } from 'node:crypto';
import type { UserInfo } from '#machinery/object.ts';
import type { Logger } from '#stdx/log.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Authenticated } from '../authenticator.ts';
import { ReloadedFile } from '../reloaded-file.ts';
import { parseCsv } from '../static-token-file.ts';
import { Gate } from './gate.ts';
import {
  createDecoy,
  defaultDecoy,
  matchesHash,
  parsePasswordHash,
  type PasswordHash,
} from './password-hash.ts';
import { WrongPassword, type PasswordBackend, type PasswordCredentials } from './password-backend.ts';

interface Entry {
  readonly hash: PasswordHash;
  readonly authenticated: Authenticated;
}

interface Content {
  readonly users: ReadonlyMap<string, Entry>;
  /** As costly as the file's hashes, so that an unknown name takes as long as a known one. */
  readonly decoys: readonly PasswordHash[];
}

/** Each uses one of libuv's four threads and up to 256 MiB. */
const HASHES_AT_ONCE = 2;
const HASHES_WAITING = 128;

export class PasswordFile implements PasswordBackend {
  readonly name = 'basic';
  readonly #file: ReloadedFile<Content>;
  readonly #gate = new Gate({ atOnce: HASHES_AT_ONCE, maxWaiting: HASHES_WAITING });
  readonly #decoyKey = randomBytes(32);

  /** Throws an Error naming file and record. */
  constructor(path: string, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#file = new ReloadedFile({ path, log, clock, parse: (text) => parseUsers(path, text) });
  }

  get generation(): number {
    return this.#file.generation;
  }

  async check({ username, password }: PasswordCredentials): Promise<Authenticated | undefined> {
    const { users, decoys } = this.#file.value;
    const entry = users.get(username);
    const matches = await this.#gate.run(() =>
      matchesHash(password, entry?.hash ?? this.#decoyFor(username, decoys)),
    );
    if (!entry) return undefined;
    if (!matches) throw new WrongPassword('the password is wrong');
    return entry.authenticated;
  }

  async close(): Promise<void> {
    this.#file.close();
  }

  /** Loads a changed file now. */
  look(): void {
    this.#file.look();
  }

  /** The same name always has the same one: two guesses at it take the same time. */
  #decoyFor(username: string, decoys: readonly PasswordHash[]): PasswordHash {
    const pick = createHmac('sha256', this.#decoyKey).update(username).digest().readUInt32BE();
    return decoys[pick % decoys.length]!;
  }
}

/** Throws an Error naming the record. */
export function parseUsers(path: string, text: string): Content {
  const users = new Map<string, Entry>();
  for (const [index, record] of records(path, text).entries()) {
    const at = `password file '${path}', record ${index + 1}`;
    const [hash = '', name = '', uid = '', groups = ''] = record;
    if (record.length < 2 || record.length > 4)
      throw new Error(
        `${at}: it has ${record.length} columns; it should have 2 to 4 (password hash, user name, uid, groups)`,
      );
    if (name === '' || name.includes(':'))
      throw new Error(
        `${at}: the user name is ${name === '' ? 'empty' : 'one with a colon, which HTTP basic authentication cannot carry'}`,
      );
    if (users.has(name)) throw new Error(`${at}: user ${JSON.stringify(name)} appears twice`);
    const user: UserInfo = {
      name,
      ...(uid === '' ? {} : { uid }),
      groups: groups
        .split(',')
        .map((group) => group.trim())
        .filter((group) => group !== ''),
    };
    users.set(name, { hash: hashOf(hash, at), authenticated: { user } });
  }
  const decoys = [...users.values()].map(({ hash }) => createDecoy(hash));
  return { users, decoys: decoys.length > 0 ? decoys : [defaultDecoy()] };
}

function records(path: string, text: string): string[][] {
  try {
    return parseCsv(text);
  } catch {
    throw new Error(`password file '${path}' has a line with quotes that do not match`);
  }
}

function hashOf(text: string, at: string): PasswordHash {
  try {
    return parsePasswordHash(text);
  } catch (error) {
    throw new Error(`${at}: ${(error as Error).message}`, { cause: error });
  }
}
