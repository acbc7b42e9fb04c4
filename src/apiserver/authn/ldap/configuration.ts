/**
 * The file of --ldap-config: the directory, searches for users and groups, and their names in the cluster. YAML or JSON, decoded strictly; errors
 * name the field's path. docs/authentication.md has an example of each.
 */
import { configKind, readConfig } from '#machinery/config/read.ts';
import { duration, flag, integer, listOf, struct, text } from '#machinery/config/schema.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';

type Scope = 'base' | 'one' | 'sub';

export interface LdapServer {
  readonly url: string;
  readonly host: string;
  readonly secure: boolean;
}

export interface LdapConfiguration {
  /** In the order they are tried. */
  readonly servers: readonly LdapServer[];
  readonly tls: {
    readonly startTLS: boolean;
    readonly certificateAuthorityFile?: string;
    readonly certificateAuthorityData?: string;
    readonly serverName?: string;
    readonly insecureAllowPlaintext: boolean;
  };
  readonly timeouts: { readonly connectMs: number; readonly requestMs: number };
  /** Of each kind (searches, users' binds). */
  readonly connections: number;
  /** Whom searches are made as; absent = anonymously. */
  readonly bind?: { readonly dn: string; readonly passwordFile: string };
  readonly user: {
    readonly baseDN: string;
    readonly scope: Scope;
    /** With {username}. */
    readonly filter: string;
    readonly nameAttribute: string;
    readonly uidAttribute?: string;
    readonly namePrefix: string;
  };
  readonly groups?: GroupConfiguration;
}

export interface GroupConfiguration {
  readonly source: 'memberOf' | 'search' | 'adMatchingRule';
  /** Of source memberOf. */
  readonly memberOfAttribute: string;
  readonly baseDN: string;
  readonly scope: Scope;
  /** With {dn} or {username}. */
  readonly filter: string;
  /** 'dn' = the whole distinguished name. */
  readonly nameAttribute: string;
  readonly namePrefix: string;
  /** How many groups up a group of groups is followed; 0 = only the groups that the user is directly in. */
  readonly nestedDepth: number;
  /** A user in more groups is refused. */
  readonly maximum: number;
}

const DEFAULT_TIMEOUT_MS = 5000;
/** Active Directory's LDAP_MATCHING_RULE_IN_CHAIN. */
const AD_FILTER = '(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))';

const LDAP = configKind(
  {
    group: 'authentication.capstan.dev',
    versions: ['v1'],
    kind: 'LDAPAuthenticationConfiguration',
  },
  {
    servers: listOf(text),
    tls: struct('TLS', {
      startTLS: flag,
      certificateAuthorityFile: text,
      certificateAuthorityData: text,
      serverName: text,
      insecureAllowPlaintext: flag,
    }),
    timeouts: struct('Timeouts', { connect: duration, request: duration }),
    connections: integer,
    bind: struct('Bind', { dn: text, passwordFile: text }),
    user: struct('User', {
      baseDN: text,
      scope: text,
      filter: text,
      nameAttribute: text,
      uidAttribute: text,
      namePrefix: text,
    }),
    groups: struct('Groups', {
      source: text,
      memberOfAttribute: text,
      baseDN: text,
      scope: text,
      filter: text,
      nameAttribute: text,
      namePrefix: text,
      nestedDepth: integer,
      maximum: integer,
    }),
  },
);

/** The decoded file. */
interface Wire {
  readonly servers?: readonly string[];
  readonly tls?: Partial<LdapConfiguration['tls']>;
  readonly timeouts?: { readonly connect?: string; readonly request?: string };
  readonly connections?: number;
  readonly bind?: { readonly dn?: string; readonly passwordFile?: string };
  readonly user?: { readonly [K in keyof LdapConfiguration['user']]?: string };
  readonly groups?: WireGroups;
}

/** Throws an Error that lists every problem. */
export function parseLdapConfiguration(path: string, content: string): LdapConfiguration {
  let wire: Wire;
  try {
    wire = readConfig<Wire>(content, [LDAP]);
  } catch (error) {
    throw new Error(`LDAP configuration ${path}: ${errorMessage(error)}`, { cause: error });
  }
  const problems: string[] = [];
  const configuration = configurationFrom(wire, new Checks('', problems));
  if (problems.length > 0) throw new Error(`LDAP configuration ${path}: ${problems.join('; ')}`);
  return configuration;
}

function configurationFrom(wire: Wire, checks: Checks): LdapConfiguration {
  const { startTLS = false, insecureAllowPlaintext = false, ...rest } = wire.tls ?? {};
  const tls = { startTLS, insecureAllowPlaintext, ...withoutEmpty(rest) };
  const times = checks.in('timeouts');
  return {
    servers: serversFrom(wire.servers ?? [], { tls, checks }),
    tls,
    timeouts: {
      connectMs: times.durationMs('connect', wire.timeouts?.connect),
      requestMs: times.durationMs('request', wire.timeouts?.request),
    },
    connections: checks.within('connections', wire.connections ?? 4, { minimum: 1, maximum: 64 }),
    ...(wire.bind ? { bind: bindFrom(wire.bind, checks.in('bind')) } : {}),
    user: userFrom(wire.user ?? {}, checks.in('user')),
    ...(wire.groups ? { groups: groupsFrom(wire.groups, checks.in('groups')) } : {}),
  };
}

/** An empty text is none. */
function withoutEmpty<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== '')) as T;
}

function serversFrom(
  urls: readonly string[],
  { tls, checks }: { readonly tls: LdapConfiguration['tls']; readonly checks: Checks },
): LdapServer[] {
  if (urls.length === 0)
    checks.problem('servers', 'at least one URL is required, for example ldaps://ldap.example.com');
  return urls.flatMap((address, index) => {
    const at = `servers[${index}]`;
    const url = URL.parse(address);
    if (
      !url ||
      (url.protocol !== 'ldap:' && url.protocol !== 'ldaps:') ||
      url.hostname === '' ||
      (url.pathname !== '' && url.pathname !== '/') ||
      url.search !== '' ||
      url.username !== ''
    ) {
      checks.problem(at, `${JSON.stringify(address)} should be ldaps://HOST[:PORT] or ldap://HOST[:PORT]`);
      return [];
    }
    const secure = url.protocol === 'ldaps:';
    if (!secure && !tls.startTLS && !tls.insecureAllowPlaintext)
      checks.problem(
        at,
        `${JSON.stringify(address)} would carry passwords in clear: use ldaps://, or set tls.startTLS`,
      );
    if (secure && tls.startTLS)
      checks.problem(
        at,
        `${JSON.stringify(address)} is encrypted from the beginning: tls.startTLS goes with ldap://`,
      );
    return [{ url: address, host: url.hostname.replace(/^\[|\]$/g, ''), secure }];
  });
}

function bindFrom(
  { dn, passwordFile }: NonNullable<Wire['bind']>,
  checks: Checks,
): NonNullable<LdapConfiguration['bind']> {
  return { dn: checks.required('dn', dn), passwordFile: checks.required('passwordFile', passwordFile) };
}

const SCOPES = ['sub', 'one', 'base'] as const;

function userFrom(wire: NonNullable<Wire['user']>, checks: Checks): LdapConfiguration['user'] {
  const filter = wire.filter || '(uid={username})';
  if (!filter.includes('{username}')) checks.problem('filter', 'it should contain {username}');
  checkFilter(checks, filter);
  return {
    baseDN: checks.required('baseDN', wire.baseDN),
    scope: checks.choice('scope', wire.scope, SCOPES),
    filter,
    nameAttribute: wire.nameAttribute || 'uid',
    ...(wire.uidAttribute ? { uidAttribute: wire.uidAttribute } : {}),
    namePrefix: wire.namePrefix ?? '',
  };
}

type WireGroups = Partial<Omit<GroupConfiguration, 'source' | 'scope'>> & {
  readonly source?: string;
  readonly scope?: string;
};

function groupsFrom(wire: WireGroups, checks: Checks): GroupConfiguration {
  const source = checks.choice('source', wire.source, ['search', 'memberOf', 'adMatchingRule'] as const);
  const filter =
    wire.filter || (source === 'adMatchingRule' ? AD_FILTER : '(&(objectClass=groupOfNames)(member={dn}))');
  const groups: GroupConfiguration = {
    source,
    filter,
    memberOfAttribute: wire.memberOfAttribute || 'memberOf',
    baseDN: source === 'memberOf' ? (wire.baseDN ?? '') : checks.required('baseDN', wire.baseDN),
    scope: checks.choice('scope', wire.scope, SCOPES),
    nameAttribute: wire.nameAttribute || 'cn',
    namePrefix: wire.namePrefix ?? '',
    nestedDepth: checks.within('nestedDepth', wire.nestedDepth ?? 0, { minimum: 0, maximum: 32 }),
    maximum: checks.within('maximum', wire.maximum ?? 500, { minimum: 1, maximum: 10_000 }),
  };
  if (source === 'memberOf')
    for (const name of ['filter', 'baseDN', 'scope'] as const)
      if (wire[name] !== undefined) checks.problem(name, 'it does nothing with source memberOf');
  if (source !== 'memberOf' && !/\{(dn|username)\}/.test(filter))
    checks.problem('filter', 'it should contain {dn} or {username}');
  if (source === 'search' && groups.nestedDepth > 0 && !filter.includes('{dn}'))
    checks.problem('nestedDepth', 'groups of groups are found by {dn}, which the filter does not contain');
  if (source === 'adMatchingRule' && groups.nestedDepth > 0)
    checks.problem(
      'nestedDepth',
      'it does nothing with source adMatchingRule: the directory itself follows groups of groups',
    );
  checkFilter(checks, filter);
  return groups;
}

function checkFilter(checks: Checks, filter: string): void {
  let depth = 0;
  for (const character of filter) {
    if (character === '(') depth += 1;
    if (character === ')') depth -= 1;
    if (depth < 0) break;
  }
  if (depth !== 0 || !filter.startsWith('(') || !filter.endsWith(')'))
    checks.problem('filter', `${JSON.stringify(filter)} is not an LDAP filter: its parentheses do not match`);
}

/** What values may be; every problem is noted with its field's path. */
class Checks {
  readonly #path: string;
  readonly #problems: string[];

  constructor(path: string, problems: string[]) {
    this.#path = path;
    this.#problems = problems;
  }

  in(name: string): Checks {
    return new Checks(this.#at(name), this.#problems);
  }

  problem(name: string, why: string): void {
    this.#problems.push(`${this.#at(name)}: ${why}`);
  }

  required(name: string, value: string | undefined): string {
    if (!value) this.problem(name, 'a value is required');
    return value ?? '';
  }

  /** Defaults to the first choice. */
  choice<T extends string>(name: string, value: string | undefined, choices: readonly [T, ...T[]]): T {
    const found = value ? choices.find((one) => one === value) : choices[0];
    if (found === undefined)
      this.problem(name, `${JSON.stringify(value)} should be one of ${choices.join(', ')}`);
    return found ?? choices[0];
  }

  within(
    name: string,
    value: number,
    { minimum, maximum }: { readonly minimum: number; readonly maximum: number },
  ): number {
    if (value < minimum || value > maximum)
      this.problem(name, `it should be a whole number from ${minimum} to ${maximum}`);
    return value;
  }

  durationMs(name: string, value: string | undefined): number {
    if (value === undefined) return DEFAULT_TIMEOUT_MS;
    const ms = goDurationMs(value);
    if (ms < 100 || ms > 60_000)
      this.problem(name, `${JSON.stringify(value)} should be a duration from 100ms to 60s`);
    return ms;
  }

  #at(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }
}
