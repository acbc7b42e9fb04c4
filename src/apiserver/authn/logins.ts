/**
 * Assembles logins by password or ticket from settings: the password file, LDAP, Kerberos, and the session tokens issued for them. Loaded only where
 * one of them is configured.
 */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import type { Authenticator } from './authenticator.ts';
import { BasicAuthenticator } from './basic/basic-authenticator.ts';
import { Lockout, type SharedLocks } from './basic/lockout.ts';
import { PasswordFile } from './basic/password-file.ts';
import { createLoginHandler, LOGIN_PATH } from './session/login-path.ts';
import { SessionTokens, type SessionTokensOptions } from './session/session-tokens.ts';
import type { TokenAuthenticator } from './token.ts';

export interface LoginOptions {
  readonly basicAuthFile?: string | undefined;
  readonly ldapConfigFile?: string | undefined;
  readonly kerberos?: {
    readonly keytab: string;
    /** 'HTTP' or 'HTTP@host' */
    readonly service: string;
    /** RE2 over 'name@REALM' and its replacement, the first match wins; none = the whole name is kept. */
    readonly nameMapping: readonly { readonly pattern: string; readonly replacement: string }[];
    readonly groupsFromLdap: boolean;
  };
  /** Where several servers share their store. */
  readonly sharedLocks?: SharedLocks | undefined;
  readonly session: Pick<SessionTokensOptions, 'key' | 'lifetimeMs'>;
}

export interface Logins {
  /** Called after bearer tokens. */
  readonly authenticators: readonly Authenticator[];
  readonly tokens: readonly TokenAuthenticator[];
  readonly paths: Readonly<Record<string, (context: RequestContext) => ApiResponse | Promise<ApiResponse>>>;
  close(): Promise<void>;
}

/** Throws an Error for files that cannot be used. */
export async function openLogins(options: LoginOptions, parts: LoginParts): Promise<Logins> {
  const opened: { close(): Promise<void> | void }[] = [];
  const close = async (): Promise<void> => {
    for (const one of opened) await one.close();
  };
  try {
    return { ...(await open(options, { ...parts, opened })), close };
  } catch (error) {
    await close();
    throw error;
  }
}

interface LoginParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly apiAudiences: readonly string[];
}

async function open(
  options: LoginOptions,
  { clock, log, apiAudiences, opened }: LoginParts & { readonly opened: { close(): Promise<void> | void }[] },
): Promise<Omit<Logins, 'close'>> {
  const { kerberos, basicAuthFile, ldapConfigFile } = options;
  const keep = <T extends { close(): Promise<void> | void }>(one: T): T => {
    opened.push(one);
    return one;
  };
  const sessions = keep(new SessionTokens({ ...options.session, apiAudiences, clock, log }));
  const directory =
    ldapConfigFile === undefined
      ? undefined
      : keep(
          new (await import('./ldap/ldap-backend.ts')).LdapBackend(ldapConfigFile, {
            clock,
            log: log.with({ authenticator: 'ldap' }),
          }),
        );
  const file =
    basicAuthFile === undefined ? undefined : keep(new PasswordFile(basicAuthFile, { clock, log }));
  const backends = [file, directory].filter((backend) => backend !== undefined);
  if (kerberos?.groupsFromLdap && !directory)
    throw new Error('--kerberos-groups-from-ldap needs --ldap-config');
  const negotiate =
    kerberos &&
    (await (
      await import('./kerberos/negotiate.ts')
    ).openNegotiate({
      ...kerberos,
      clock,
      ...(kerberos.groupsFromLdap && directory ? { groupsOf: (name: string) => directory.lookup(name) } : {}),
    }));
  return {
    authenticators: [
      ...(backends.length > 0
        ? [
            new BasicAuthenticator({
              backends,
              clock,
              lockout: new Lockout({ clock, shared: options.sharedLocks }),
            }),
          ]
        : []),
      ...(negotiate ? [negotiate] : []),
    ],
    tokens: [sessions],
    paths: { [LOGIN_PATH]: createLoginHandler(sessions) },
  };
}
