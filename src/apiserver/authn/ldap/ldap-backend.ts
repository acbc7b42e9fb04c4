/**
 * Users of an LDAP directory: found by a search as the service account, authenticated by a bind with their password. An empty password is never sent:
 * many directories accept it as an anonymous bind (RFC 4513, 5.1.2).
 *
 *   name ─► search (one entry) ─► bind as that entry ─► groups ─► user        the configuration file is read again when it changes
 */
import { randomUUID } from 'node:crypto';
import type { Entry } from 'ldapts';
import type { UserInfo } from '#machinery/object.ts';
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import type { Authenticated } from '../authenticator.ts';
import {
  BackendUnavailable,
  WrongPassword,
  type PasswordBackend,
  type PasswordCredentials,
} from '../basic/password-backend.ts';
import { ReloadedFile } from '../reloaded-file.ts';
import { parseLdapConfiguration, type LdapConfiguration } from './configuration.ts';
import { isVerdict, LdapConnections } from './connections.ts';
import { fillFilter } from './filter.ts';
import { GroupFinder, valueOf } from './groups.ts';

/** No such object, inappropriate authentication, invalid credentials, insufficient access rights, unwilling to perform, constraint violation. */
const REFUSALS = new Set([32, 48, 49, 50, 53, 19]);
const NO_SUCH_OBJECT = 32;
const MAX_NAME_LENGTH = 256;

interface Directory {
  readonly configuration: LdapConfiguration;
  readonly connections: LdapConnections;
  readonly groups: GroupFinder | undefined;
}

export class LdapBackend implements PasswordBackend {
  readonly name = 'ldap';
  readonly #file: ReloadedFile<Directory>;
  readonly #log: Logger;

  /** Throws an Error for an unusable file; does not connect to the directory. */
  constructor(path: string, { clock, log }: { readonly clock: Clock; readonly log: Logger }) {
    this.#log = log;
    let before: Directory | undefined;
    this.#file = new ReloadedFile({
      path,
      log,
      clock,
      parse: (text) => {
        const configuration = parseLdapConfiguration(path, text);
        const connections = new LdapConnections(configuration, { clock, log });
        void before?.connections.close();
        before = {
          configuration,
          connections,
          groups: configuration.groups && new GroupFinder(configuration.groups, connections),
        };
        return before;
      },
    });
  }

  get generation(): number {
    return this.#file.generation;
  }

  async check({ username, password }: PasswordCredentials): Promise<Authenticated | undefined> {
    if (password === '') throw new WrongPassword('the password is empty');
    const directory = this.#file.value;
    try {
      const entry = await find(directory, username);
      if (!entry) {
        await pretend(directory);
        return undefined;
      }
      await directory.connections.use('bind', (client) => client.bind(entry.dn, password));
      return { user: await this.#createAuditUser(directory, entry) };
    } catch (error) {
      throw asFailure(error);
    }
  }

  /** The groups of a user whom something else authenticated (Kerberos); none for one the directory does not know. */
  async lookup(username: string): Promise<Pick<UserInfo, 'uid' | 'groups'>> {
    const directory = this.#file.value;
    try {
      const entry = await find(directory, username);
      return entry ? await this.#createAuditUser(directory, entry) : { groups: [] };
    } catch (error) {
      throw isVerdict(error)
        ? new BackendUnavailable(`the directory refuses to be searched: ${error.message}`)
        : error;
    }
  }

  /** Loads a changed file now. */
  look(): void {
    this.#file.look();
  }

  async close(): Promise<void> {
    this.#file.close();
    await this.#file.value.connections.close();
  }

  async #createAuditUser(
    {
      configuration: {
        user: { nameAttribute, uidAttribute, namePrefix },
        groups: naming,
      },
      groups: finder,
    }: Directory,
    entry: Entry,
  ): Promise<UserInfo> {
    const name = namePrefix + onlyText(entry, nameAttribute);
    if (isReserved(name))
      throw new Error(
        `the directory's user ${JSON.stringify(entry.dn)} would be called ${JSON.stringify(name)}; names that begin with system: are the cluster's own (set user.namePrefix)`,
      );
    const uid = uidAttribute === undefined ? '' : uidText(entry, uidAttribute);
    const found = finder
      ? await finder.groupsOf({ dn: entry.dn, username: onlyText(entry, nameAttribute), entry })
      : [];
    const groups = found.map((group) => (naming?.namePrefix ?? '') + group);
    const reserved = groups.filter(isReserved);
    if (reserved.length > 0)
      this.#log.warn('directory groups with reserved names are ignored', {
        user: name,
        groups: reserved.slice(0, 10).join(' '),
      });
    return {
      name,
      ...(uid === '' ? {} : { uid }),
      groups: [...new Set(groups.filter((group) => !isReserved(group)))],
    };
  }
}

/** The one entry of that name. Throws for several. */
async function find({ configuration, connections }: Directory, username: string): Promise<Entry | undefined> {
  if (username.length > MAX_NAME_LENGTH) return undefined;
  const { baseDN, scope, filter, nameAttribute, uidAttribute } = configuration.user;
  const memberOf =
    configuration.groups?.source === 'memberOf' ? [configuration.groups.memberOfAttribute] : [];
  const attributes = [nameAttribute, ...(uidAttribute === undefined ? [] : [uidAttribute]), ...memberOf];
  const { searchEntries } = await connections.use('search', (client) =>
    client.search(baseDN, {
      scope,
      filter: fillFilter(filter, { username }),
      attributes,
      sizeLimit: 2,
      ...(uidAttribute && isBinary(uidAttribute) ? { explicitBufferAttributes: [uidAttribute] } : {}),
    }),
  );
  if (searchEntries.length > 1)
    throw new Error(`several entries of the directory match user ${JSON.stringify(username)}`);
  return searchEntries[0];
}

/** A bind with a dummy DN, so that an unknown name takes as many steps as a known one. */
async function pretend({ configuration, connections }: Directory): Promise<void> {
  const nobody = randomUUID();
  await connections
    .use('bind', (client) => client.bind(`cn=${nobody},${configuration.user.baseDN}`, nobody))
    .catch((error: unknown) => {
      if (!isVerdict(error)) throw error;
    });
}

/** The directory's verdict on a password is only logged; unavailability is also reported to the client. */
function asFailure(error: unknown): unknown {
  if (!isVerdict(error)) return error;
  if (error.code === NO_SUCH_OBJECT || REFUSALS.has(error.code))
    return new WrongPassword(`the directory refuses the password (LDAP result ${error.code})`);
  return new BackendUnavailable(`the directory answers with LDAP result ${error.code}: ${error.message}`);
}

function onlyText(entry: Entry, attribute: string): string {
  const values = [valueOf(entry, attribute) ?? []]
    .flat()
    .map(String)
    .filter((text) => text !== '');
  if (values.length !== 1)
    throw new Error(
      `the directory's entry ${JSON.stringify(entry.dn)} has ${values.length} values of ${attribute}; it should have one`,
    );
  return values[0]!;
}

function isBinary(attribute: string): boolean {
  return /^(objectguid|guid)$/i.test(attribute);
}

function uidText(entry: Entry, attribute: string): string {
  const value = [valueOf(entry, attribute) ?? []].flat()[0];
  if (value === undefined) return '';
  if (!Buffer.isBuffer(value)) return String(value);
  return value.length === 16 ? guidText(value) : value.toString('hex');
}

/** Active Directory's objectGUID: the first three parts are little-endian. */
function guidText(bytes: Buffer): string {
  const order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
  const hex = order.map((index) => bytes[index]!.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function isReserved(name: string): boolean {
  return name.startsWith('system:');
}
