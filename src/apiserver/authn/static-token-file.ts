/** The file of --token-auth-file: one 'token,user,uid,"group1,group2"' a line (CSV). Read again when it changes, which upstream does not do. */
import type { UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { Authenticated } from './authenticator.ts';
import { ReloadedFile } from './reloaded-file.ts';
import { tokenDigest } from './token-digest.ts';
import type { TokenAuthenticator } from './token.ts';

interface StaticTokensOptions {
  readonly apiAudiences: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

export class StaticTokens implements TokenAuthenticator {
  /** By digest of the token, so that lookup time reveals nothing about other tokens. */
  readonly #users: ReloadedFile<ReadonlyMap<string, Authenticated>>;
  readonly #apiAudiences: readonly string[];

  /** Throws an Error naming file and record. */
  constructor(path: string, { apiAudiences, clock, log }: StaticTokensOptions) {
    this.#apiAudiences = apiAudiences;
    this.#users = new ReloadedFile({
      path,
      clock,
      log,
      parse: (text) => parseTokens(text, { path, apiAudiences }),
    });
  }

  close(): void {
    this.#users.close();
  }

  authenticateToken(token: string, audiences: readonly string[]): Authenticated | undefined {
    const found = this.#users.value.get(tokenDigest(token));
    // On every request's path: one result object for each user, so that caches can compare by identity.
    if (!found || audiences === this.#apiAudiences) return found;
    const accepted = this.#apiAudiences.filter((audience) => audiences.includes(audience));
    return accepted.length > 0 ? { user: found.user, audiences: accepted } : undefined;
  }
}

function parseTokens(
  text: string,
  { path, apiAudiences }: { readonly path: string; readonly apiAudiences: readonly string[] },
): Map<string, Authenticated> {
  const users = new Map<string, Authenticated>();
  for (const [index, record] of parseCsv(text).entries()) {
    const [token = '', name = '', uid = '', groups = ''] = record;
    if (record.length < 3)
      throw new Error(
        `token file '${path}' must have at least 3 columns (token, user name, user uid), found ${record.length} in record ${index + 1}`,
      );
    if (token === '') throw new Error(`token file '${path}': the token of record ${index + 1} is empty`);
    const digest = tokenDigest(token);
    if (users.has(digest))
      throw new Error(`token file '${path}': the token of record ${index + 1} appears twice`);
    const user: UserInfo = {
      name,
      ...(uid ? { uid } : {}),
      groups: groups
        .split(',')
        .map((group) => group.trim())
        .filter((group) => group !== ''),
    };
    users.set(digest, { user, audiences: apiAudiences });
  }
  return users;
}

/** RFC 4180 records; skips blank lines and lines that begin with #. */
export function parseCsv(text: string): string[][] {
  const records: string[][] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    records.push(parseRecord(line));
  }
  return records;
}

function parseRecord(line: string): string[] {
  const fields: string[] = [];
  let position = 0;
  do {
    const quoted = /^\s*"((?:[^"]|"")*)"\s*/.exec(line.slice(position));
    const raw = quoted ? quoted[0] : /^[^,]*/.exec(line.slice(position))![0];
    fields.push(quoted ? quoted[1]!.replaceAll('""', '"') : raw.trim());
    position += raw.length;
    if (position < line.length && line[position] !== ',')
      throw new Error(`malformed quotes in a line of a token file`);
  } while (position++ < line.length);
  return fields;
}
