/**
 * Login at an OpenID Connect issuer: the authorization code flow with PKCE, ending at a listener on 127.0.0.1 (RFC 8252), or the device flow
 * (RFC 8628). The ID token is the credential; it is verified here too, so that a wrong one is noticed now and not by kubectl.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLocalJWKSet, jwtVerify, type JSONWebKeySet, type JWTPayload } from 'jose';
import { UserError } from '#deploy/data-dir.ts';
import { formatTime } from '#machinery/time.ts';
import { httpsJson } from './https-json.ts';
import type { LoginFlags } from './methods.ts';
import type { Token } from './token-cache.ts';

interface Issuer {
  readonly issuer: string;
  readonly authorization_endpoint?: string;
  readonly token_endpoint?: string;
  readonly device_authorization_endpoint?: string;
  readonly jwks_uri?: string;
}

interface TokenAnswer {
  readonly id_token?: string;
  readonly refresh_token?: string;
  readonly error?: string;
  readonly error_description?: string;
}
interface DeviceAnswer {
  readonly device_code?: string;
  readonly user_code?: string;
  readonly verification_uri?: string;
  readonly verification_uri_complete?: string;
  readonly expires_in?: number;
  readonly interval?: number;
}

const LOGIN_TIMEOUT_MS = 5 * 60_000;
const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';

export async function oidcLogin(flags: LoginFlags): Promise<Token> {
  const session = await Session.open(flags);
  return flags.oidcDevice ? session.byDevice() : session.byBrowser();
}

/** undefined when the refresh token is rejected. */
export async function oidcRefresh(flags: LoginFlags, refreshToken: string): Promise<Token | undefined> {
  const session = await Session.open(flags);
  return session.byRefreshToken(refreshToken);
}

class Session {
  readonly #flags: LoginFlags;
  readonly #issuer: Issuer;
  readonly #tls: { readonly ca: string | undefined };

  constructor(
    flags: LoginFlags,
    { issuer, ca }: { readonly issuer: Issuer; readonly ca: string | undefined },
  ) {
    this.#flags = flags;
    this.#issuer = issuer;
    this.#tls = { ca };
  }

  static async open(flags: LoginFlags): Promise<Session> {
    const ca = flags.oidcCaFile === undefined ? undefined : readCa(flags.oidcCaFile);
    const url = flags.oidcIssuerUrl?.replace(/\/$/, '') ?? '';
    if (URL.parse(url)?.protocol !== 'https:')
      throw new UserError(`--oidc-issuer-url is "${url}"; it should be an https:// URL.`);
    const { status, body } = await httpsJson(`${url}/.well-known/openid-configuration`, { tls: { ca } });
    const issuer = body as Issuer | undefined;
    if (status !== 200 || issuer?.token_endpoint === undefined || issuer.jwks_uri === undefined)
      throw new UserError(
        `${url} is no OpenID Connect issuer: ${url}/.well-known/openid-configuration answers with HTTP ${status}.`,
      );
    if (issuer.issuer.replace(/\/$/, '') !== url)
      throw new UserError(`The issuer at ${url} calls itself ${issuer.issuer}: use that name.`);
    return new Session(flags, { issuer, ca });
  }

  async byBrowser(): Promise<Token> {
    if (this.#issuer.authorization_endpoint === undefined)
      throw new UserError(`The issuer ${this.#issuer.issuer} has no login for browsers: try --oidc-device.`);
    const state = randomText();
    const nonce = randomText();
    const verifier = randomText();
    const listener = await listen(this.#flags.oidcListenPort ?? 0);
    try {
      const redirectUri = `http://127.0.0.1:${(listener.address() as AddressInfo).port}/callback`;
      const url = new URL(this.#issuer.authorization_endpoint);
      const challenge = createHash('sha256').update(verifier).digest('base64url');
      for (const [name, value] of Object.entries({
        response_type: 'code',
        client_id: this.#clientId,
        redirect_uri: redirectUri,
        scope: this.#scope,
        state,
        nonce,
        code_challenge: challenge,
        code_challenge_method: 'S256',
      }))
        url.searchParams.set(name, value);
      // Issuers give a refresh token only after asking.
      url.searchParams.set('prompt', 'consent');
      process.stderr.write(`Log in here:\n  ${url.href}\n`);
      if (this.#flags.browser !== false) openBrowser(url.href);
      const code = await codeFrom(listener, state);
      const answer = await this.#token({
        grant_type: 'authorization_code',
        code,
        redirect_uri: redirectUri,
        code_verifier: verifier,
      });
      return await this.#accept(answer, { nonce });
    } finally {
      listener.close();
      listener.closeAllConnections();
    }
  }

  async byDevice(): Promise<Token> {
    const { device_authorization_endpoint: endpoint } = this.#issuer;
    if (endpoint === undefined)
      throw new UserError(
        `The issuer ${this.#issuer.issuer} has no login for other devices: leave --oidc-device out.`,
      );
    const { status, body } = await httpsJson(endpoint, {
      method: 'POST',
      body: new URLSearchParams({ ...this.#client, scope: this.#scope }),
      tls: this.#tls,
    });
    const device = (body ?? {}) as DeviceAnswer & TokenAnswer;
    if (
      status !== 200 ||
      device.device_code === undefined ||
      device.user_code === undefined ||
      device.verification_uri === undefined
    )
      throw new UserError(`The issuer refuses the login: ${describe(device, status)}`);
    process.stderr.write(
      `On any device, visit ${device.verification_uri_complete ?? device.verification_uri}\nand check or enter the code ${device.user_code}\n`,
    );
    const deadline = performance.now() + Math.min((device.expires_in ?? 300) * 1000, LOGIN_TIMEOUT_MS);
    let intervalMs = (device.interval ?? 5) * 1000;
    while (performance.now() < deadline) {
      await sleep(intervalMs);
      const answer = await this.#token({ grant_type: DEVICE_GRANT, device_code: device.device_code });
      if (answer.error === 'slow_down') intervalMs += 5000;
      else if (answer.error !== 'authorization_pending') return this.#accept(answer, {});
    }
    throw new UserError('The login was not confirmed in time.');
  }

  async byRefreshToken(refreshToken: string): Promise<Token | undefined> {
    const answer = await this.#token({ grant_type: 'refresh_token', refresh_token: refreshToken });
    if (answer.id_token === undefined) return undefined;
    return this.#accept({ refresh_token: refreshToken, ...answer }, {});
  }

  get #clientId(): string {
    return this.#flags.oidcClientId ?? '';
  }

  get #client(): Record<string, string> {
    const { oidcClientSecret } = this.#flags;
    return {
      client_id: this.#clientId,
      ...(oidcClientSecret === undefined ? {} : { client_secret: oidcClientSecret }),
    };
  }

  get #scope(): string {
    return [...new Set(['openid', 'offline_access', ...(this.#flags.oidcScope ?? [])])].join(' ');
  }

  async #token(
    parameters: Readonly<Record<string, string>>,
  ): Promise<TokenAnswer & { readonly status: number }> {
    const { status, body } = await httpsJson(this.#issuer.token_endpoint!, {
      method: 'POST',
      body: new URLSearchParams({ ...this.#client, ...parameters }),
      tls: this.#tls,
    });
    return { ...(body as TokenAnswer | undefined), status };
  }

  async #accept(
    answer: TokenAnswer & { readonly status?: number },
    { nonce }: { readonly nonce?: string },
  ): Promise<Token> {
    const { id_token: token, refresh_token: refreshToken } = answer;
    if (token === undefined)
      throw new UserError(`The issuer refuses the login: ${describe(answer, answer.status ?? 0)}`);
    const { body } = await httpsJson(this.#issuer.jwks_uri!, { tls: this.#tls });
    let claims: JWTPayload;
    try {
      ({ payload: claims } = await jwtVerify(token, createLocalJWKSet(body as JSONWebKeySet), {
        issuer: this.#issuer.issuer,
        audience: this.#clientId,
        clockTolerance: 30,
        requiredClaims: ['exp', 'sub'],
      }));
    } catch (error) {
      throw new UserError(`The issuer's ID token does not hold: ${(error as Error).message}`, error);
    }
    if (nonce !== undefined && claims['nonce'] !== nonce)
      throw new UserError("The issuer's ID token is of another login (its nonce differs).");
    const name = [claims['email'], claims['preferred_username'], claims.sub].find(
      (value) => typeof value === 'string',
    );
    return {
      token,
      expirationTimestamp: formatTime(claims.exp! * 1000),
      ...(refreshToken === undefined ? {} : { refreshToken }),
      ...(name === undefined ? {} : { who: name }),
    };
  }
}

function randomText(): string {
  return randomBytes(32).toString('base64url');
}

function readCa(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`--oidc-ca-file ${path} cannot be read: ${(error as Error).message}`, error);
  }
}

function listen(port: number): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new UserError(
          `127.0.0.1:${port} cannot be listened on for the browser to come back to (${error.code ?? error.message}): choose another --oidc-listen-port.`,
          error,
        ),
      ),
    );
    server.listen(port, '127.0.0.1', () => resolve(server));
  });
}

/** The authorization code from the browser. Requests of other logins get a response and are ignored. */
function codeFrom(listener: Server, state: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new UserError(`No login within ${LOGIN_TIMEOUT_MS / 60_000} minutes.`)),
      LOGIN_TIMEOUT_MS,
    );
    listener.on('request', (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://127.0.0.1');
      const end = (status: number, text: string): void => {
        response
          .writeHead(status, {
            'content-type': 'text/plain; charset=utf-8',
            'cache-control': 'no-store',
            connection: 'close',
          })
          .end(`${text}\n`);
      };
      if (pathname !== '/callback' || request.method !== 'GET') return end(404, 'Nothing is here.');
      if (!sameText(searchParams.get('state') ?? '', state))
        return end(400, 'This is not the login that was begun.');
      clearTimeout(timer);
      const code = searchParams.get('code');
      if (code !== null) {
        end(200, 'You are logged in; this page may be closed.');
        return resolve(code);
      }
      end(400, 'The login failed; the terminal says why.');
      reject(
        new UserError(
          `The issuer refuses the login: ${searchParams.get('error_description') ?? searchParams.get('error') ?? 'no code'}`,
        ),
      );
    });
  });
}

function sameText(left: string, right: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(left), digest(right));
}

function describe({ error, error_description: description }: TokenAnswer, status: number): string {
  return description ?? error ?? `HTTP ${status}`;
}

/** Without a browser the printed address remains. */
function openBrowser(url: string): void {
  const program = process.platform === 'darwin' ? 'open' : 'xdg-open';
  const child = spawn(program, [url], { stdio: 'ignore', detached: true });
  child.on('error', () => {});
  child.unref();
}
