/** The ways to a token: a password or a ticket swapped at the API server's login path, or an OpenID Connect issuer's ID token. */
import { userInfo } from 'node:os';
import { UserError } from '#deploy/data-dir.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { askPassword, readLine } from '../prompt.ts';
import { httpsJson, type JsonAnswer } from './https-json.ts';
import type { Token } from './token-cache.ts';

export interface LoginCluster {
  /** Without a slash at the end. */
  readonly server: string;
  /** Absent: the authorities that the machine trusts. */
  readonly caPem?: string | undefined;
  readonly serverName?: string | undefined;
}

export type Method = 'basic' | 'ldap' | 'kerberos' | 'oidc';

export interface LoginFlags {
  readonly server?: string;
  readonly certificateAuthority?: string;
  readonly dataDir?: string;
  readonly basic?: boolean;
  readonly ldap?: boolean;
  readonly kerberos?: boolean;
  readonly oidc?: boolean;
  readonly user?: string;
  readonly passwordStdin?: boolean;
  readonly expires?: string;
  readonly kerberosService?: string;
  readonly oidcIssuerUrl?: string;
  readonly oidcClientId?: string;
  readonly oidcClientSecret?: string;
  readonly oidcScope?: readonly string[];
  readonly oidcCaFile?: string;
  readonly oidcDevice?: boolean;
  readonly oidcListenPort?: number;
  readonly browser?: boolean;
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly forget?: boolean;
  readonly execCredential?: boolean;
}

interface LoginResponse {
  readonly status?: {
    readonly token?: string;
    readonly expirationTimestamp?: string;
    readonly userInfo?: { readonly username?: string };
  };
}

/** The user name is known before the password is requested. */
export function withDefaults(flags: LoginFlags, method: Method): LoginFlags {
  return (method === 'basic' || method === 'ldap') && flags.user === undefined
    ? { ...flags, user: process.env['USER'] || userInfo().username }
    : flags;
}

/** UserError when it cannot be had. */
export async function obtain(
  flags: LoginFlags,
  { method, cluster }: { readonly method: Method; readonly cluster: LoginCluster },
): Promise<Token> {
  if (method === 'oidc') return (await import('./oidc.ts')).oidcLogin(flags);
  const authorization =
    method === 'kerberos'
      ? await ticket(flags, cluster)
      : await password(withDefaults(flags, method), cluster);
  const spec = flags.expires === undefined ? {} : { expirationSeconds: seconds(flags.expires) };
  const answer = await httpsJson(`${cluster.server}/capstan/login`, {
    method: 'POST',
    headers: { authorization },
    body: { apiVersion: 'authentication.capstan.dev/v1', kind: 'LoginRequest', spec },
    tls: { ca: cluster.caPem, servername: cluster.serverName },
  });
  return tokenOf(answer, { method, cluster });
}

/** undefined when the issuer rejects it. */
export async function refresh(flags: LoginFlags, refreshToken: string): Promise<Token | undefined> {
  return (await import('./oidc.ts')).oidcRefresh(flags, refreshToken);
}

async function password(flags: LoginFlags, { server }: LoginCluster): Promise<string> {
  const { user = '' } = flags;
  if (user === '' || user.includes(':'))
    throw new UserError(`--user is "${user}"; it should be a name without a colon.`);
  const given = flags.passwordStdin
    ? await readLine()
    : await askPassword(`Password of ${user} for ${server}: `);
  if (given === undefined || given === '') throw new UserError('The password is empty.');
  return `Basic ${Buffer.from(`${user}:${given}`).toString('base64')}`;
}

async function ticket(flags: LoginFlags, { server }: LoginCluster): Promise<string> {
  const { kerberosToken } = await import('#cmd/apiserver/login-client.ts');
  const service = flags.kerberosService ?? `HTTP@${new URL(server).hostname}`;
  try {
    return `Negotiate ${(await kerberosToken(service.includes('@') ? service : `${service}@${new URL(server).hostname}`)).toString('base64')}`;
  } catch (error) {
    throw new UserError(`Kerberos login at ${service}: ${(error as Error).message}`, error);
  }
}

function seconds(text: string): number {
  try {
    return Math.floor(goDurationMs(text) / 1000);
  } catch (error) {
    throw new UserError(`--expires is "${text}"; it should be a duration, for example 1h.`, error);
  }
}

function tokenOf(
  { status, headers, body }: JsonAnswer,
  { method, cluster: { server } }: { readonly method: Method; readonly cluster: LoginCluster },
): Token {
  const { token, expirationTimestamp, userInfo: who } = (body as LoginResponse | undefined)?.status ?? {};
  if (status === 201 && token !== undefined && expirationTimestamp !== undefined)
    return { token, expirationTimestamp, ...(who?.username ? { who: who.username } : {}) };
  const said = (body as { readonly message?: string } | undefined)?.message ?? '';
  // A server without such credentials treats the caller as anonymous.
  if (status === 404 || (status === 403 && said.includes('"system:anonymous"'))) {
    throw new UserError(
      `${server} offers no login by ${method === 'kerberos' ? 'Kerberos: its API server has no --kerberos-keytab' : 'password: its API server has neither --basic-auth-file nor --ldap-config'}.`,
    );
  }
  switch (status) {
    case 401:
      throw new UserError(
        method === 'kerberos'
          ? `${server} does not accept the Kerberos ticket.`
          : 'The user name or the password is wrong.',
      );
    case 429:
      throw new UserError(
        `Too many failed attempts: try again in ${headers['retry-after']?.toString() ?? 'some'} seconds.`,
      );
    default:
      throw new UserError(`${server} refuses the login (HTTP ${status})${said === '' ? '' : `: ${said}`}`);
  }
}
