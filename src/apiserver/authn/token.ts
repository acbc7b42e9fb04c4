/**
 * Authenticators of bearer tokens: service account tokens, bootstrap tokens, the static token file, OIDC and webhooks. BearerAuthenticator calls them
 * in order for a request; TokenReview uses the same union.
 */
import { statusErrors } from '#machinery/errors.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ApiRequest } from '../http/request.ts';
import type { Authenticated, Authenticator } from './authenticator.ts';

/** Longer ones are refused unread: no issuer makes them, and every check costs time in proportion. */
const MAX_TOKEN_BYTES = 16 * 1024;

export interface TokenAuthenticator {
  /**
   * undefined = not a token of this kind: the next one is called. Throws an Error, with upstream's text, for an invalid token of this kind.
   * audiences: of the caller; the token must have one of them.
   */
  authenticateToken(
    token: string,
    audiences: readonly string[],
  ): Authenticated | undefined | Promise<Authenticated | undefined>;
}

/** All failed: message is the reasons' aggregate, as TokenReview shows it. */
class TokenRejected extends Error {
  constructor(reasons: readonly string[]) {
    const distinct = [...new Set(reasons)];
    super(distinct.length === 1 ? distinct[0]! : `[${distinct.join(', ')}]`);
    this.name = 'TokenRejected';
  }
}

export class TokenUnion implements TokenAuthenticator {
  readonly #authenticators: readonly TokenAuthenticator[];

  constructor(authenticators: readonly TokenAuthenticator[]) {
    this.#authenticators = authenticators;
  }

  /** Stays synchronous as long as its members do. */
  authenticateToken(
    token: string,
    audiences: readonly string[],
  ): Authenticated | undefined | Promise<Authenticated | undefined> {
    if (token.length > MAX_TOKEN_BYTES)
      throw new TokenRejected([`token is longer than ${MAX_TOKEN_BYTES} bytes`]);
    return this.#from({ token, audiences, start: 0, reasons: [] });
  }

  #from({
    token,
    audiences,
    start,
    reasons,
  }: {
    readonly token: string;
    readonly audiences: readonly string[];
    readonly start: number;
    readonly reasons: readonly string[];
  }): Authenticated | undefined | Promise<Authenticated | undefined> {
    const heard = [...reasons];
    for (let index = start; index < this.#authenticators.length; index++) {
      try {
        const answer = this.#authenticators[index]!.authenticateToken(token, audiences);
        if (answer instanceof Promise) {
          const next = (
            more: readonly string[],
          ): Authenticated | undefined | Promise<Authenticated | undefined> =>
            this.#from({ token, audiences, start: index + 1, reasons: more });
          return answer.then(
            (authenticated) => authenticated ?? next(heard),
            (error: unknown) => next([...heard, errorMessage(error)]),
          );
        }
        if (answer) return answer;
      } catch (error) {
        heard.push(errorMessage(error));
      }
    }
    if (heard.length > 0) throw new TokenRejected(heard);
    return undefined;
  }
}

/** 'Authorization: Bearer …', or the WebSocket subprotocol of browsers. An unknown token is 401. */
export class BearerAuthenticator implements Authenticator {
  readonly #tokens: TokenAuthenticator;
  readonly #audiences: readonly string[];

  constructor(tokens: TokenAuthenticator, audiences: readonly string[]) {
    this.#tokens = tokens;
    this.#audiences = audiences;
  }

  authenticate(request: ApiRequest): Authenticated | undefined | Promise<Authenticated | undefined> {
    const token = bearerToken(request);
    if (token === undefined) return undefined;
    const answer = this.#tokens.authenticateToken(token, this.#audiences);
    return answer instanceof Promise ? answer.then(required) : required(answer);
  }
}

function required(authenticated: Authenticated | undefined): Authenticated {
  if (!authenticated) throw statusErrors.unauthorized();
  return authenticated;
}

const WEBSOCKET_PROTOCOL_PREFIX = 'base64url.bearer.authorization.k8s.io.';

function bearerToken({ headers }: ApiRequest): string | undefined {
  const authorization = headers['authorization'];
  if (authorization !== undefined) {
    const [scheme = '', token = ''] = authorization.trim().split(' ');
    return scheme.toLowerCase() === 'bearer' && token !== '' ? token : undefined;
  }
  if (headers['upgrade']?.toLowerCase() !== 'websocket') return undefined;
  const protocols = (headers['sec-websocket-protocol'] ?? '').split(',').map((protocol) => protocol.trim());
  const carried = protocols.find((protocol) => protocol.startsWith(WEBSOCKET_PROTOCOL_PREFIX));
  // The server must be able to choose a protocol that is not the token.
  if (carried === undefined || protocols.length < 2) return undefined;
  return (
    Buffer.from(carried.slice(WEBSOCKET_PROTOCOL_PREFIX.length), 'base64url').toString('utf8') || undefined
  );
}
