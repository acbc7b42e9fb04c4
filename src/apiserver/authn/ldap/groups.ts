/** The groups of a directory's user and their parent groups: breadth first, each visited once (groups may contain each other), bounded. */
import type { Client, Entry } from 'ldapts';
import type { GroupConfiguration } from './configuration.ts';
import { isVerdict, type LdapConnections } from './connections.ts';
import { fillFilter } from './filter.ts';

interface Group {
  readonly dn: string;
  readonly name: string;
  readonly memberOf: readonly string[];
}
interface Member {
  readonly dn: string;
  readonly username: string;
  readonly entry: Entry;
}

/** Groups whose parents are searched in one request. */
const BATCH = 20;
const PAGE = 200;
const NO_SUCH_OBJECT = 32;

export class GroupFinder {
  readonly #groups: GroupConfiguration;
  readonly #connections: LdapConnections;

  constructor(groups: GroupConfiguration, connections: LdapConnections) {
    this.#groups = groups;
    this.#connections = connections;
  }

  /** Names. Throws an Error for more than the configured maximum: leaving some out silently would be worse. */
  async groupsOf(member: Member): Promise<string[]> {
    const { source, nestedDepth, maximum } = this.#groups;
    const found = new Map<string, Group>();
    let next =
      source === 'memberOf'
        ? await this.#read(textsOf(member.entry, this.#groups.memberOfAttribute))
        : await this.#search(fillFilter(this.#groups.filter, { dn: member.dn, username: member.username }));
    for (let depth = 0; ; depth++) {
      const fresh = next.filter(({ dn }) => !found.has(keyOf(dn)));
      for (const group of fresh) found.set(keyOf(group.dn), group);
      if (found.size > maximum)
        throw new Error(
          `the directory's user ${JSON.stringify(member.dn)} is in more than ${maximum} groups (groups.maximum)`,
        );
      if (depth >= nestedDepth || fresh.length === 0)
        return [...new Set([...found.values()].map(({ name }) => name))];
      next =
        source === 'memberOf'
          ? await this.#read(fresh.flatMap(({ memberOf }) => memberOf).filter((dn) => !found.has(keyOf(dn))))
          : await this.#parentsOf(fresh);
    }
  }

  async #parentsOf(groups: readonly Group[]): Promise<Group[]> {
    const parents: Group[] = [];
    for (let start = 0; start < groups.length; start += BATCH) {
      const filters = groups
        .slice(start, start + BATCH)
        .map(({ dn }) => fillFilter(this.#groups.filter, { dn, username: '' }));
      parents.push(...(await this.#search(filters.length === 1 ? filters[0]! : `(|${filters.join('')})`)));
    }
    return parents;
  }

  #search(filter: string): Promise<Group[]> {
    const { baseDN, scope, maximum } = this.#groups;
    return this.#connections.use('search', async (client) => {
      const groups: Group[] = [];
      for await (const { searchEntries } of client.searchPaginated(baseDN, {
        scope,
        filter,
        attributes: this.#attributes(),
        paged: { pageSize: PAGE },
      })) {
        groups.push(...searchEntries.flatMap((entry) => this.#groupOf(entry)));
        if (groups.length > maximum) break;
      }
      return groups;
    });
  }

  /** Each by its name, on one connection. */
  #read(names: readonly string[]): Promise<Group[]> {
    const distinct = [...new Map(names.map((dn) => [keyOf(dn), dn])).values()].slice(
      0,
      this.#groups.maximum + 1,
    );
    if (distinct.length === 0) return Promise.resolve([]);
    return this.#connections.use('search', async (client) => {
      const groups: Group[] = [];
      for (const dn of distinct) groups.push(...(await this.#readOne(client, dn)));
      return groups;
    });
  }

  async #readOne(client: Client, dn: string): Promise<Group[]> {
    if (!client.isConnected) throw new Error('the connection was closed');
    try {
      const { searchEntries } = await client.search(dn, {
        scope: 'base',
        filter: '(objectClass=*)',
        attributes: this.#attributes(),
      });
      return searchEntries.flatMap((entry) => this.#groupOf(entry));
    } catch (error) {
      // Named by the user's entry but deleted or invisible: ignored.
      if (isVerdict(error) && error.code === NO_SUCH_OBJECT) return [];
      throw error;
    }
  }

  #attributes(): string[] {
    const { source, nameAttribute, memberOfAttribute } = this.#groups;
    const wanted = [
      ...(nameAttribute === 'dn' ? [] : [nameAttribute]),
      ...(source === 'memberOf' ? [memberOfAttribute] : []),
    ];
    return wanted.length > 0 ? wanted : ['1.1'];
  }

  #groupOf(entry: Entry): Group[] {
    const { nameAttribute, memberOfAttribute } = this.#groups;
    const name = nameAttribute === 'dn' ? entry.dn : (textsOf(entry, nameAttribute)[0] ?? '');
    return name === '' ? [] : [{ dn: entry.dn, name, memberOf: textsOf(entry, memberOfAttribute) }];
  }
}

function textsOf(entry: Entry, attribute: string): string[] {
  return [valueOf(entry, attribute) ?? []]
    .flat()
    .map(String)
    .filter((text) => text !== '');
}

/** Distinguished names compare without regard to case and to spaces around separators. */
function keyOf(dn: string): string {
  return dn.toLowerCase().replaceAll(/\s*([,=+])\s*/g, '$1');
}

/** Servers return attribute names in their own spelling. */
export function valueOf(entry: Entry, attribute: string): Entry[string] | undefined {
  const wanted = attribute.toLowerCase();
  const key = Object.keys(entry).find((name) => name.toLowerCase() === wanted);
  return key === undefined ? undefined : entry[key];
}
