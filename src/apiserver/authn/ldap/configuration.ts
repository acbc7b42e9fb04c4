/**
 * The file of --ldap-config: which directory, how its users and groups are found, what they are called here. YAML or JSON, decoded strictly; every
 * problem is told with its field's path. docs/authentication.md has an example of each.
 */
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { parseYaml } from '#machinery/yaml.ts';

export type Scope = 'base' | 'one' | 'sub';

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

export const LDAP_API_VERSION = 'authentication.capstan.dev/v1';
export const LDAP_KIND = 'LDAPAuthenticationConfiguration';
/** Active Directory's LDAP_MATCHING_RULE_IN_CHAIN. */
const AD_FILTER = '(&(objectClass=group)(member:1.2.840.113556.1.4.1941:={dn}))';

/** Throws an Error that lists every problem. */
export function parseLdapConfiguration(path: string, text: string): LdapConfiguration {
  const problems: string[] = [];
  let parsed: ReturnType<typeof parseYaml>;
  try {
    parsed = parseYaml(text);
  } catch (error) {
    throw new Error(`LDAP configuration ${path}: ${(error as Error).message}`, { cause: error });
  }
  problems.push(...parsed.problems);
  const root = new Fields(parsed.value, '', problems);
  const apiVersion = root.text('apiVersion');
  const kind = root.text('kind');
  if (apiVersion !== LDAP_API_VERSION || kind !== LDAP_KIND)
    throw new Error(
      `LDAP configuration ${path}: it should be of apiVersion ${LDAP_API_VERSION}, kind ${LDAP_KIND}, not ${JSON.stringify(apiVersion)}, ${JSON.stringify(kind)}`,
    );
  const configuration = configurationFrom(root);
  if (problems.length > 0) throw new Error(`LDAP configuration ${path}: ${problems.join('; ')}`);
  return configuration;
}

function configurationFrom(root: Fields): LdapConfiguration {
  const tlsFields = root.object('tls');
  const tls = {
    startTLS: tlsFields.flag('startTLS'),
    insecureAllowPlaintext: tlsFields.flag('insecureAllowPlaintext'),
    ...tlsFields.optional('certificateAuthorityFile'),
    ...tlsFields.optional('certificateAuthorityData'),
    ...tlsFields.optional('serverName'),
  };
  tlsFields.end();
  const servers = serversFrom(root, tls);
  const times = root.object('timeouts');
  const timeouts = { connectMs: times.duration('connect', 5000), requestMs: times.duration('request', 5000) };
  times.end();
  const bind = root.has('bind') ? bindFrom(root.object('bind')) : undefined;
  const configuration: LdapConfiguration = {
    servers,
    tls,
    timeouts,
    connections: root.integer('connections', { fallback: 4, minimum: 1, maximum: 64 }),
    ...(bind ? { bind } : {}),
    user: userFrom(root.object('user')),
    ...(root.has('groups') ? { groups: groupsFrom(root.object('groups')) } : {}),
  };
  root.end();
  return configuration;
}

function serversFrom(root: Fields, tls: LdapConfiguration['tls']): LdapServer[] {
  const urls = root.texts('servers');
  if (urls.length === 0)
    root.problem('servers', 'at least one URL is required, for example ldaps://ldap.example.com');
  return urls.flatMap((text, index) => {
    const at = `servers[${index}]`;
    const url = URL.parse(text);
    if (
      !url ||
      (url.protocol !== 'ldap:' && url.protocol !== 'ldaps:') ||
      url.hostname === '' ||
      (url.pathname !== '' && url.pathname !== '/') ||
      url.search !== '' ||
      url.username !== ''
    ) {
      root.problem(at, `${JSON.stringify(text)} should be ldaps://HOST[:PORT] or ldap://HOST[:PORT]`);
      return [];
    }
    const secure = url.protocol === 'ldaps:';
    if (!secure && !tls.startTLS && !tls.insecureAllowPlaintext)
      root.problem(
        at,
        `${JSON.stringify(text)} would carry passwords in clear: use ldaps://, or set tls.startTLS`,
      );
    if (secure && tls.startTLS)
      root.problem(
        at,
        `${JSON.stringify(text)} is encrypted from the beginning: tls.startTLS goes with ldap://`,
      );
    return [{ url: text, host: url.hostname.replace(/^\[|\]$/g, ''), secure }];
  });
}

function bindFrom(fields: Fields): { readonly dn: string; readonly passwordFile: string } {
  const bind = {
    dn: fields.text('dn', { required: true }),
    passwordFile: fields.text('passwordFile', { required: true }),
  };
  fields.end();
  return bind;
}

function userFrom(fields: Fields): LdapConfiguration['user'] {
  const user = {
    baseDN: fields.text('baseDN', { required: true }),
    scope: fields.choice('scope', ['sub', 'one', 'base']),
    filter: fields.text('filter', { fallback: '(uid={username})' }),
    nameAttribute: fields.text('nameAttribute', { fallback: 'uid' }),
    ...fields.optional('uidAttribute'),
    namePrefix: fields.text('namePrefix'),
  };
  if (!user.filter.includes('{username}')) fields.problem('filter', 'it should contain {username}');
  checkFilter(fields, user.filter);
  fields.end();
  return user;
}

function groupsFrom(fields: Fields): GroupConfiguration {
  const source = fields.choice('source', ['search', 'memberOf', 'adMatchingRule']);
  const filter = fields.text('filter', {
    fallback: source === 'adMatchingRule' ? AD_FILTER : '(&(objectClass=groupOfNames)(member={dn}))',
  });
  const groups: GroupConfiguration = {
    source,
    filter,
    memberOfAttribute: fields.text('memberOfAttribute', { fallback: 'memberOf' }),
    baseDN: fields.text('baseDN', { required: source !== 'memberOf' }),
    scope: fields.choice('scope', ['sub', 'one', 'base']),
    nameAttribute: fields.text('nameAttribute', { fallback: 'cn' }),
    namePrefix: fields.text('namePrefix'),
    nestedDepth: fields.integer('nestedDepth', { fallback: 0, minimum: 0, maximum: 32 }),
    maximum: fields.integer('maximum', { fallback: 500, minimum: 1, maximum: 10_000 }),
  };
  if (source === 'memberOf')
    for (const name of ['filter', 'baseDN', 'scope'])
      if (fields.has(name)) fields.problem(name, 'it does nothing with source memberOf');
  if (source !== 'memberOf' && !/\{(dn|username)\}/.test(filter))
    fields.problem('filter', 'it should contain {dn} or {username}');
  if (source === 'search' && groups.nestedDepth > 0 && !filter.includes('{dn}'))
    fields.problem('nestedDepth', 'groups of groups are found by {dn}, which the filter does not contain');
  if (source === 'adMatchingRule' && groups.nestedDepth > 0)
    fields.problem(
      'nestedDepth',
      'it does nothing with source adMatchingRule: the directory itself follows groups of groups',
    );
  checkFilter(fields, filter);
  fields.end();
  return groups;
}

function checkFilter(fields: Fields, filter: string): void {
  let depth = 0;
  for (const character of filter) {
    if (character === '(') depth += 1;
    if (character === ')') depth -= 1;
    if (depth < 0) break;
  }
  if (depth !== 0 || !filter.startsWith('(') || !filter.endsWith(')'))
    fields.problem('filter', `${JSON.stringify(filter)} is not an LDAP filter: its parentheses do not match`);
}

/** The fields of one map, each asked for once; end() tells those nobody asked for. */
class Fields {
  readonly #value: JsonObject;
  readonly #path: string;
  readonly #problems: string[];
  readonly #known = new Set<string>();

  constructor(value: unknown, path: string, problems: string[]) {
    this.#path = path;
    this.#problems = problems;
    this.#value = isJsonObject(value) ? value : {};
    if (value !== undefined && !isJsonObject(value))
      problems.push(`${path || 'the document'}: it should be a map`);
  }

  problem(name: string, text: string): void {
    this.#problems.push(`${this.#at(name)}: ${text}`);
  }

  has(name: string): boolean {
    return this.#value[name] !== undefined;
  }

  text(
    name: string,
    { required = false, fallback = '' }: { readonly required?: boolean; readonly fallback?: string } = {},
  ): string {
    const value = this.#take(name);
    if (value === undefined || value === '') {
      if (required) this.problem(name, 'a value is required');
      return fallback;
    }
    if (typeof value === 'string') return value;
    this.problem(name, 'it should be a text');
    return fallback;
  }

  optional<N extends string>(name: N): { readonly [K in N]?: string } {
    const value = this.text(name);
    return (value === '' ? {} : { [name]: value }) as { readonly [K in N]?: string };
  }

  choice<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    const value = this.text(name, { fallback: choices[0] });
    if ((choices as readonly string[]).includes(value)) return value as T;
    this.problem(name, `${JSON.stringify(value)} should be one of ${choices.join(', ')}`);
    return choices[0];
  }

  flag(name: string): boolean {
    const value = this.#take(name) ?? false;
    if (typeof value !== 'boolean') this.problem(name, 'it should be true or false');
    return value === true;
  }

  integer(
    name: string,
    {
      fallback,
      minimum,
      maximum,
    }: { readonly fallback: number; readonly minimum: number; readonly maximum: number },
  ): number {
    const value = this.#take(name) ?? fallback;
    if (typeof value === 'number' && Number.isInteger(value) && value >= minimum && value <= maximum)
      return value;
    this.problem(name, `it should be a whole number from ${minimum} to ${maximum}`);
    return fallback;
  }

  /** Milliseconds of a Go duration from 100ms to 60s. */
  duration(name: string, fallbackMs: number): number {
    const text = this.text(name);
    if (text === '') return fallbackMs;
    try {
      const ms = goDurationMs(text);
      if (ms >= 100 && ms <= 60_000) return ms;
    } catch {
      // Told below.
    }
    this.problem(name, `${JSON.stringify(text)} should be a duration from 100ms to 60s`);
    return fallbackMs;
  }

  texts(name: string): string[] {
    const value = this.#take(name) ?? [];
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
    this.problem(name, 'it should be a list of texts');
    return [];
  }

  object(name: string): Fields {
    return new Fields(this.#take(name), this.#at(name), this.#problems);
  }

  end(): void {
    for (const name of Object.keys(this.#value))
      if (!this.#known.has(name)) this.problem(name, 'unknown field');
  }

  #take(name: string): unknown {
    this.#known.add(name);
    return this.#value[name] ?? undefined;
  }

  #at(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }
}
