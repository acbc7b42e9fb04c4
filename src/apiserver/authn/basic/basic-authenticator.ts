/**
 * 'Authorization: Basic' (RFC 7617): names and passwords, verified by the password file and LDAP. Over TLS only.
 *
 *   header ─► same check in flight? wait for it ─► locked out? 429 ─► cached success? ─► backends in order ─► cache, or count a failure
 *
 * Successes are cached for a minute by a keyed digest, so that the many requests of one kubectl command cost one scrypt or bind.
 */
import { hash, randomBytes } from 'node:crypto';
import { statusErrors } from '#machinery/errors.ts';
import type { Clock } from '#stdx/clock.ts';
import { Lru } from '#stdx/lru.ts';
import type { ApiRequest } from '../../http/request.ts';
import type { Authenticated, Authenticator } from '../authenticator.ts';
import { GateFull } from './gate.ts';
import { Lockout } from './lockout.ts';
import {
  BackendUnavailable,
  WrongPassword,
  type PasswordBackend,
  type PasswordCredentials,
} from './password-backend.ts';

interface BasicAuthenticatorOptions {
  /** In order; the first that knows the user decides. */
  readonly backends: readonly PasswordBackend[];
  readonly clock: Clock;
  readonly lockout?: Lockout;
}

const REMEMBER_MS = 60_000;
const REMEMBERED = 4096;
/** Of the decoded header. */
const MAX_CREDENTIAL_BYTES = 2048;
const DECODER = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

interface Remembered {
  readonly authenticated: Authenticated;
  readonly generations: string;
}

export class BasicAuthenticator implements Authenticator {
  readonly challenges = ['Basic realm="kubernetes", charset="UTF-8"'];
  readonly #backends: readonly PasswordBackend[];
  readonly #lockout: Lockout;
  readonly #remembered: Lru<string, Remembered>;
  readonly #underWay = new Map<string, Promise<Authenticated>>();
  readonly #key = randomBytes(48).toString('base64');

  constructor({ backends, clock, lockout }: BasicAuthenticatorOptions) {
    this.#backends = backends;
    this.#lockout = lockout ?? new Lockout({ clock });
    this.#remembered = new Lru({ maximum: REMEMBERED, ttlMs: REMEMBER_MS, clock });
  }

  /** Throws StatusError 429 for a locked-out user or address, 503 when no backend is available, an Error (401) for wrong credentials. */
  authenticate(request: ApiRequest): Authenticated | undefined | Promise<Authenticated> {
    const encoded = basicCredentials(request.headers['authorization']);
    if (encoded === undefined) return undefined;
    const credentials = decodeCredentials(encoded);
    const who = { user: credentials.username, address: request.remoteAddress };
    // Keyed: cache entries reveal nothing about passwords to a reader of this memory without the key. Never logged or sent.
    const digest = hash('sha256', `${this.#key}${encoded}`, 'base64');
    // Many requests of one client at once are one attempt, which is no lock for themselves.
    const shared = `${digest} ${request.remoteAddress}`;
    const underWay = this.#underWay.get(shared);
    if (underWay) return underWay;
    const lockedForMs = this.#lockout.lockedForMs(who);
    if (lockedForMs > 0) throw tooMany(Math.ceil(lockedForMs / 1000));
    const generations = this.#generations();
    const remembered = this.#remembered.get(digest);
    if (remembered?.generations === generations) return remembered.authenticated;
    const check = this.#check(credentials, who)
      .then((authenticated) => {
        this.#remembered.set(digest, { authenticated, generations });
        return authenticated;
      })
      .finally(() => this.#underWay.delete(shared));
    this.#underWay.set(shared, check);
    return check;
  }

  async #check(
    credentials: PasswordCredentials,
    who: { readonly user: string; readonly address: string },
  ): Promise<Authenticated> {
    const attempt = this.#lockout.begin(who);
    try {
      for (const backend of this.#backends) {
        const authenticated = await backend.check(credentials);
        if (!authenticated) continue;
        attempt.succeeded();
        return authenticated;
      }
    } catch (error) {
      if (error instanceof WrongPassword) {
        attempt.failed();
        throw error;
      }
      attempt.undecided();
      if (error instanceof GateFull) throw tooMany(1);
      if (error instanceof BackendUnavailable)
        throw statusErrors.unavailable('the directory of users does not answer: please try again later');
      throw error;
    }
    attempt.failed();
    throw new WrongPassword('no such user, or the password is wrong');
  }

  #generations(): string {
    return this.#backends.map(({ generation }) => generation).join();
  }
}

function tooMany(retryAfterSeconds: number): Error {
  return statusErrors.tooManyRequests('Too many failed attempts, please try again later.', retryAfterSeconds);
}

/** The base64 part, undefined for another scheme. */
function basicCredentials(authorization: string | undefined): string | undefined {
  const [, encoded] = /^\s*basic +([A-Za-z0-9+/=_-]+)\s*$/i.exec(authorization ?? '') ?? [];
  return encoded;
}

function decodeCredentials(encoded: string): PasswordCredentials {
  if (encoded.length > (MAX_CREDENTIAL_BYTES * 4) / 3)
    throw new WrongPassword(`the credentials are longer than ${MAX_CREDENTIAL_BYTES} bytes`);
  const text = utf8(Buffer.from(encoded, 'base64'));
  const colon = text.indexOf(':');
  const username = text.slice(0, Math.max(colon, 0));
  const password = text.slice(colon + 1);
  if (colon < 0 || username === '' || password === '')
    throw new WrongPassword('the user name or the password is empty');
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(text))
    throw new WrongPassword('the user name or the password has control characters');
  return { username, password };
}

function utf8(bytes: Buffer): string {
  try {
    return DECODER.decode(bytes);
  } catch {
    throw new WrongPassword('the credentials are not UTF-8');
  }
}
