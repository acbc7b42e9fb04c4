/**
 * Session tokens: short-lived JWTs that this server issues after a login by password or Kerberos ticket (login-path.ts), and that no other server
 * accepts. They carry the user's name, uid, groups and extra as of the login. None is renewed: users log in again. Replacing the key file revokes
 * all of them; it is reloaded when it changes.
 */
import { generateKeyPairSync, hash, randomUUID } from 'node:crypto';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import type { UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { Lru } from '#stdx/lru.ts';
import type { Authenticated } from '../authenticator.ts';
import {
  JwtSigner,
  parseJwt,
  verificationKey,
  verifyJwt,
  type Claims,
  type ParsedToken,
  type VerificationKey,
} from '#stdx/jwt.ts';
import { formatTime } from '#machinery/time.ts';
import { SharedKeys, type SharedKeySource } from './shared-keys.ts';
import { ReloadedFile } from '../reloaded-file.ts';
import { CREDENTIAL_ID } from '../service-account.ts';
import type { TokenAuthenticator } from '../token.ts';

export const SESSION_ISSUER = 'https://capstan.dev/session';
const AUDIENCE = 'https://capstan.dev/session/apiserver';

export interface SessionTokensOptions {
  /**
   * PEM. The first block is the private key that signs; the keys of further ones are accepted too (the old one, during a rotation that logs nobody
   * out). A file is read again when it changes; a text is for a server without one, whose sessions end with it. shared: the same
   * for every server.
   */
  readonly key:
    | { readonly file: string; /** When it is missing. */ readonly make?: boolean }
    | { readonly pem: string }
    | { readonly shared: SharedKeySource };
  readonly apiAudiences: readonly string[];
  /** The longest a token may live, and its default. */
  readonly lifetimeMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Keys {
  readonly signer: JwtSigner;
  readonly accepted: readonly VerificationKey[];
}
interface Verified {
  readonly authenticated: Authenticated;
  readonly endSeconds: number;
  readonly generation: number;
}
interface SessionToken {
  readonly token: string;
  readonly expirationTimestamp: string;
}

/** Shorter ones are refused: a clock a few seconds off would make them useless. */
const SHORTEST_SECONDS = 60;
const VERIFIED = 8192;

export class SessionTokens implements TokenAuthenticator {
  readonly lifetimeSeconds: number;
  readonly #options: SessionTokensOptions;
  readonly #keys: { readonly value: Keys; readonly generation: number; look?(): void; close?(): void };
  readonly #verified: Lru<string, Verified>;

  /** Throws an Error for a key file that cannot be used. */
  constructor(options: SessionTokensOptions) {
    const { key, clock, log } = options;
    if ('file' in key && key.make) makeKeyFile(key.file);
    this.#options = options;
    this.lifetimeSeconds = Math.floor(options.lifetimeMs / 1000);
    this.#keys =
      'pem' in key
        ? { value: parseKeys(key.pem), generation: 1 }
        : 'shared' in key
          ? new SharedKeys({ source: key.shared, parse: parseKeys, log })
          : new ReloadedFile({
              path: key.file,
              log,
              clock,
              parse: (text) => named(key.file, () => parseKeys(text)),
            });
    this.#verified = new Lru({ maximum: VERIFIED, clock });
  }

  /** seconds: wanted; never more than the server's bound. Rejects with a RangeError for too few. */
  async issue(
    user: UserInfo,
    {
      seconds = this.lifetimeSeconds,
      method,
    }: { readonly seconds?: number | undefined; readonly method: string },
  ): Promise<SessionToken> {
    if (seconds < SHORTEST_SECONDS) throw new RangeError(`must be at least ${SHORTEST_SECONDS} seconds`);
    const now = Math.floor(this.#options.clock.now() / 1000);
    const end = now + Math.min(seconds, this.lifetimeSeconds);
    const { name, uid, groups, extra } = user;
    const token = await this.#keys.value.signer.sign({
      iss: SESSION_ISSUER,
      aud: [AUDIENCE],
      sub: name,
      iat: now,
      nbf: now,
      exp: end,
      jti: randomUUID(),
      amr: [method],
      'capstan.dev': {
        groups: groups.filter((group) => group !== 'system:authenticated'),
        ...(uid ? { uid } : {}),
        ...(extra && Object.keys(extra).length > 0 ? { extra } : {}),
      },
    });
    return { token, expirationTimestamp: formatTime(end * 1000) };
  }

  /** Synchronous for tokens seen before. Throws, or rejects with, an Error for a token of this issuer that does not hold. */
  authenticateToken(
    token: string,
    audiences: readonly string[],
  ): Authenticated | undefined | Promise<Authenticated> {
    const digest = hash('sha256', token, 'base64');
    const verified = this.#verified.get(digest);
    // Replacing a key revokes the tokens it verified.
    if (verified?.generation === this.#keys.generation)
      return this.#authenticateVerified(digest, { verified, audiences });
    this.#verified.delete(digest);
    const parsed = parseJwt(token);
    if (parsed?.claims['iss'] !== SESSION_ISSUER) return undefined;
    return this.#verify(parsed, digest).then((found) =>
      this.#authenticateVerified(digest, { verified: found, audiences }),
    );
  }

  #authenticateVerified(
    digest: string,
    { verified, audiences }: { readonly verified: Verified; readonly audiences: readonly string[] },
  ): Authenticated {
    const { apiAudiences, clock } = this.#options;
    if (verified.endSeconds * 1000 <= clock.now()) {
      this.#verified.delete(digest);
      throw new Error('session token has expired');
    }
    if (audiences === apiAudiences) return verified.authenticated;
    const accepted = apiAudiences.filter((audience) => audiences.includes(audience));
    if (accepted.length === 0) throw new Error('session token is for the API server alone');
    return { ...verified.authenticated, audiences: accepted };
  }

  /** Loads a replaced key file now. */
  look(): void {
    this.#keys.look?.();
  }

  close(): void {
    this.#keys.close?.();
  }

  async #verify(parsed: ParsedToken, digest: string): Promise<Verified> {
    const { value: keys, generation } = this.#keys;
    if (!(await verifyJwt(parsed, keys.accepted))) throw new Error('session token has an invalid signature');
    // Keys that were replaced meanwhile may no longer include the one that signed it.
    if (generation !== this.#keys.generation) return this.#verify(parsed, digest);
    const { claims } = parsed;
    const endSeconds = claims['exp'];
    if (!Array.isArray(claims['aud']) || !claims['aud'].includes(AUDIENCE) || typeof endSeconds !== 'number')
      throw new Error('session token has invalid claims');
    if (typeof claims['nbf'] !== 'number' || claims['nbf'] * 1000 > this.#options.clock.now() + 10_000)
      throw new Error('session token is not valid yet');
    const verified: Verified = {
      authenticated: { user: createAuditUser(claims), audiences: this.#options.apiAudiences },
      endSeconds,
      generation,
    };
    this.#verified.set(digest, verified);
    return verified;
  }
}

function createAuditUser(claims: Claims): UserInfo {
  const { groups, uid, extra } = claims['capstan.dev'] as {
    readonly groups: readonly string[];
    readonly uid?: string;
    readonly extra?: Readonly<Record<string, readonly string[]>>;
  };
  return {
    name: claims['sub'] as string,
    ...(uid ? { uid } : {}),
    groups: [...groups],
    extra: { ...extra, [CREDENTIAL_ID]: [`JTI=${claims['jti'] as string}`] },
  } as UserInfo;
}

function makeKeyFile(path: string): void {
  if (existsSync(path)) return;
  const pem = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
  const draft = `${path}.${process.pid}.tmp`;
  writeFileSync(draft, pem, { mode: 0o600, flush: true });
  renameSync(draft, path);
}

function parseKeys(text: string): Keys {
  const blocks = text.match(/-----BEGIN [^-]+-----[^-]+-----END [^-]+-----/g) ?? [];
  const [first] = blocks;
  if (first === undefined || !first.includes('PRIVATE KEY'))
    throw new Error('its first PEM block should be a private key');
  const accepted = new Map(blocks.map((block) => verificationKey(block)).map((key) => [key.id, key]));
  return { signer: new JwtSigner(first), accepted: [...accepted.values()] };
}

function named<T>(file: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new Error(`session key file '${file}' cannot be used: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
