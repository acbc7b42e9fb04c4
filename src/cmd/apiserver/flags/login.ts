/** Flags of logins by password and Kerberos, and of the session tokens issued for them. Upstream has none of them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LoginOptions } from '#apiserver/authn/logins.ts';
import { UserError } from '#deploy/data-dir.ts';
import { generateKeyPem } from '#pki/keys.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { LOGIN_FLAGS } from '../flags.ts';

type LoginFlags = GivenFlags<typeof LOGIN_FLAGS>;

const DEFAULT_LIFETIME = '1h';
const LONGEST_LIFETIME_MS = 7 * 24 * 3_600_000;

/** undefined when none of these logins is configured. pkiDir: directory of the signing key; without one it is kept in memory. */
export function loginOptions(
  given: LoginFlags,
  { pkiDir }: { readonly pkiDir: string | undefined },
): LoginOptions | undefined {
  const flags = readFlags(LOGIN_FLAGS, given);
  const { basicAuthFile, ldapConfig, kerberosKeytab } = flags;
  if (basicAuthFile === undefined && ldapConfig === undefined && kerberosKeytab === undefined) {
    const idle = Object.entries(FLAG_NAMES).find(
      ([name]) => flags[name as keyof LoginFlags] !== undefined && flags[name as keyof LoginFlags] !== false,
    );
    if (idle)
      throw new UserError(
        `${idle[1]} does nothing by itself: it goes with ${idle[1].startsWith('--kerberos') ? '--kerberos-keytab' : '--basic-auth-file, --ldap-config or --kerberos-keytab'}.`,
      );
    return undefined;
  }
  for (const [flag, path] of [
    ['--basic-auth-file', basicAuthFile],
    ['--ldap-config', ldapConfig],
    ['--kerberos-keytab', kerberosKeytab],
  ] as const)
    if (path !== undefined) requireReadable(flag, path);
  if (flags.kerberosGroupsFromLdap && ldapConfig === undefined)
    throw new UserError('--kerberos-groups-from-ldap needs --ldap-config.');
  return {
    basicAuthFile,
    ldapConfigFile: ldapConfig,
    ...(kerberosKeytab === undefined
      ? {}
      : {
          kerberos: {
            keytab: kerberosKeytab,
            service: flags.kerberosService ?? 'HTTP',
            nameMapping: (flags.kerberosNameMapping ?? []).map(mappingOf),
            groupsFromLdap: flags.kerberosGroupsFromLdap ?? false,
          },
        }),
    session: {
      key: sessionKey(flags.sessionSigningKeyFile, pkiDir),
      lifetimeMs: lifetimeMs(flags.sessionLifetime ?? DEFAULT_LIFETIME),
    },
  };
}

const FLAG_NAMES: Readonly<Partial<Record<keyof LoginFlags, string>>> = {
  kerberosService: '--kerberos-service',
  kerberosNameMapping: '--kerberos-name-mapping',
  kerberosGroupsFromLdap: '--kerberos-groups-from-ldap',
  sessionSigningKeyFile: '--session-signing-key-file',
  sessionLifetime: '--session-lifetime',
};

/** The last '=' before the replacement: patterns may contain some, names do not. */
function mappingOf(text: string): { readonly pattern: string; readonly replacement: string } {
  const at = text.lastIndexOf('=');
  if (at < 1)
    throw new UserError(
      `--kerberos-name-mapping is "${text}"; it should be PATTERN=REPLACEMENT, for example '^(.*)@EXAMPLE\\.COM$=$1'.`,
    );
  return { pattern: text.slice(0, at), replacement: text.slice(at + 1) };
}

function lifetimeMs(text: string): number {
  let ms: number;
  try {
    ms = goDurationMs(text);
  } catch {
    ms = NaN;
  }
  if (!(ms >= 60_000 && ms <= LONGEST_LIFETIME_MS))
    throw new UserError(
      `--session-lifetime is "${text}"; it should be a duration from 1m to 168h, for example 8h.`,
    );
  return ms;
}

function sessionKey(file: string | undefined, pkiDir: string | undefined): LoginOptions['session']['key'] {
  if (file !== undefined) {
    requireReadable('--session-signing-key-file', file);
    return { file };
  }
  if (pkiDir === undefined) return { pem: generateKeyPem() };
  return { file: join(pkiDir, 'session.key'), make: true };
}

function requireReadable(flag: string, path: string): void {
  try {
    readFileSync(path);
  } catch (error) {
    throw new UserError(`${flag} ${path} cannot be read: ${errorMessage(error)}.`, error);
  }
}
