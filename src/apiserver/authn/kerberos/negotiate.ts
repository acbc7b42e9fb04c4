/**
 * 'Authorization: Negotiate' (SPNEGO, RFC 4559): Kerberos tickets, verified with the service's keytab in one step. A ticket is accepted once (the
 * library keeps a replay cache on disk, this file one in memory), so that a captured header is useless.
 */
import { hash } from 'node:crypto';
import { RE2JS } from 're2js';
import { statusErrors } from '#machinery/errors.ts';
import type { UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { Lru } from '#stdx/lru.ts';
import type { ApiRequest } from '../../http/request.ts';
import type { Authenticated, Authenticator } from '../authenticator.ts';
import { Gate, GateFull } from '../basic/gate.ts';
import { BackendUnavailable } from '../basic/password-backend.ts';
import { openAcceptor, type Acceptor } from './gssapi.ts';

export interface NameMapping {
  readonly pattern: string;
  readonly replacement: string;
}

export interface NegotiateOptions {
  readonly keytab: string;
  readonly service: string;
  readonly nameMapping: readonly NameMapping[];
  /** By the mapped name. */
  readonly groupsOf?: (name: string) => Promise<Pick<UserInfo, 'uid' | 'groups'>>;
  readonly clock: Clock;
}

/** What Windows allows by default. */
export const MAX_TICKET_BYTES = 48_000;
const AT_ONCE = 2;
const WAITING = 128;
/** Twice the clock skew that Kerberos allows. */
const REPLAY_MS = 10 * 60_000;
const REPLAY_ENTRIES = 65_536;

/** Throws an Error for an unusable library, keytab or pattern. */
export async function openNegotiate(options: NegotiateOptions): Promise<NegotiateAuthenticator> {
  const mapName = nameMapper(options.nameMapping);
  return new NegotiateAuthenticator(options, { acceptor: await openAcceptor(options), mapName });
}

export class NegotiateAuthenticator implements Authenticator {
  readonly challenges = ['Negotiate'];
  readonly #options: NegotiateOptions;
  readonly #acceptor: Acceptor;
  readonly #mapName: (principal: string) => string;
  readonly #gate = new Gate({ atOnce: AT_ONCE, maxWaiting: WAITING });
  readonly #seen: Lru<string, true>;
  readonly #answers = new WeakMap<ApiRequest, string>();

  constructor(
    options: NegotiateOptions,
    { acceptor, mapName }: { readonly acceptor: Acceptor; readonly mapName: (principal: string) => string },
  ) {
    this.#options = options;
    this.#acceptor = acceptor;
    this.#mapName = mapName;
    this.#seen = new Lru({ maximum: REPLAY_ENTRIES, ttlMs: REPLAY_MS, clock: options.clock });
  }

  authenticate(request: ApiRequest): Authenticated | undefined | Promise<Authenticated> {
    const [, encoded] =
      /^negotiate +([A-Za-z0-9+/=]*)$/i.exec((request.headers['authorization'] ?? '').trim()) ?? [];
    if (encoded === undefined) return undefined;
    const token = Buffer.from(encoded, 'base64');
    if (token.length === 0 || token.length > MAX_TICKET_BYTES)
      throw new Error(
        `the Kerberos token has ${token.length} bytes; it should have from 1 to ${MAX_TICKET_BYTES}`,
      );
    const digest = hash('sha256', token, 'base64');
    if (this.#seen.has(digest)) throw new Error('the Kerberos token was used before');
    this.#seen.set(digest, true);
    return this.#accept(request, token);
  }

  /** Proves to the client that this server knows the service's key. */
  answerHeaders(request: ApiRequest): Readonly<Record<string, string>> | undefined {
    const answer = this.#answers.get(request);
    return answer === undefined ? undefined : { 'www-authenticate': `Negotiate ${answer}` };
  }

  async #accept(request: ApiRequest, token: Buffer): Promise<Authenticated> {
    try {
      const { principal, answer } = await this.#gate.run(() => this.#acceptor.accept(token));
      const name = this.#mapName(principal);
      const user = await this.#createAuditUser(name, principal);
      if (answer.length > 0) this.#answers.set(request, answer.toString('base64'));
      return { user };
    } catch (error) {
      if (error instanceof GateFull)
        throw statusErrors.tooManyRequests('Too many requests, please try again later.', 1);
      if (error instanceof BackendUnavailable)
        throw statusErrors.unavailable('the directory of users does not answer: please try again later');
      throw error;
    }
  }

  async #createAuditUser(name: string, principal: string): Promise<UserInfo> {
    const { uid, groups } = (await this.#options.groupsOf?.(name)) ?? { groups: [] };
    return {
      name,
      ...(uid ? { uid } : {}),
      groups,
      extra: { 'authentication.capstan.dev/kerberos-principal': [principal] },
    };
  }
}

/** The first pattern that matches decides; without any the whole name stays. Throws an Error for a pattern that cannot be read. */
export function nameMapper(mappings: readonly NameMapping[]): (principal: string) => string {
  const rules = mappings.map(({ pattern, replacement }) => ({ expression: compile(pattern), replacement }));
  return (principal) => {
    const rule = rules.find(({ expression }) => expression.matcher(principal).find());
    if (rules.length > 0 && !rule)
      throw new Error(`no --kerberos-name-mapping matches the principal ${JSON.stringify(principal)}`);
    const name = rule ? rule.expression.matcher(principal).replaceFirst(rule.replacement) : principal;
    if (name === '' || name.startsWith('system:'))
      throw new Error(
        `the principal ${JSON.stringify(principal)} would be called ${JSON.stringify(name)}, which is reserved`,
      );
    return name;
  };
}

function compile(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (error) {
    throw new Error(
      `the Kerberos name mapping ${JSON.stringify(pattern)} is no regular expression: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}
