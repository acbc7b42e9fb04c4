/**
 * A changed EncryptionConfiguration as steps that lose nothing: first every API server can read what will be written, then all write with the new keys, then
 * what is stored is written anew, and only then the old keys go. Pure. Secrets of keys appear in no line.
 *
 *   current ─► read: new keys behind ─► write: new keys first ─► (storage is rewritten) ─► target: without the old keys
 */
import { stringifyYaml } from '#machinery/yaml.ts';
import { isSame } from './differences.ts';

interface Key {
  readonly name?: string;
  readonly secret?: string;
}

type Provider = Readonly<Record<string, { readonly keys?: readonly Key[]; readonly name?: string }>>;

/** Of apiserver.config.k8s.io/v1, validated. */
export interface EncryptionConfiguration {
  readonly resources: readonly {
    readonly resources: readonly string[];
    readonly providers: readonly Provider[];
  }[];
}

export interface EncryptionPlan {
  readonly changes: readonly string[];
  readonly refused: readonly string[];
  /** Files, in order; the last one is what was asked for. */
  readonly read: string;
  readonly write: string;
  readonly target: string;
  /** What is stored of it has to be written anew before the old keys go. */
  isRewritten(resource: { readonly group: string; readonly plural: string }): boolean;
}

/** One key, one plugin, or identity: what one prefix in the store stands for. */
interface Reader {
  /** 'aesgcm key1' */
  readonly id: string;
  readonly kind: string;
  readonly provider: Provider;
}

/** By resource or wildcard, as the API server takes them. */
type Readers = ReadonlyMap<string, readonly Reader[]>;

const IDENTITY: Reader = { id: 'identity', kind: 'identity', provider: { identity: {} } };
const KMS = 'kms';

export function planEncryption(
  current: EncryptionConfiguration,
  wanted: EncryptionConfiguration,
): EncryptionPlan {
  const [before, after] = [readersOf(current), readersOf(wanted)];
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted(byReach);
  const merged = (first: Readers, second: Readers): Readers =>
    new Map(names.map((name) => [name, unique([...lookUp(first, name), ...lookUp(second, name)])]));
  const [read, write] = [merged(before, after), merged(after, before)];
  return {
    changes: names.flatMap((name) => lineOf(name, { before, after })),
    refused: [...new Set([...sameNames(read), ...splitPlugins(read), ...splitPlugins(write)])],
    read: render(entriesOf(read)),
    write: render(entriesOf(write)),
    target: render(wanted.resources),
    isRewritten({ group, plural }) {
      const name = group === '' ? plural : `${plural}.${group}`;
      const [old, next] = [lookUp(before, name), lookUp(after, name)];
      return old[0]?.id !== next[0]?.id || old.some(({ id }) => !next.some((one) => one.id === id));
    },
  };
}

/** A resource in several entries has the readers of all; what an earlier wildcard covers is passed over. */
function readersOf({ resources }: EncryptionConfiguration): Readers {
  const found = new Map<string, readonly Reader[]>();
  for (const entry of resources) {
    const readers = entry.providers.flatMap(split);
    const isMasked = (name: string): boolean => found.has('*.*') || found.has(`*.${groupOf(name)}`);
    const names = entry.resources.filter((name) => !isMasked(name));
    for (const name of names) found.set(nameOf(name), [...(found.get(nameOf(name)) ?? []), ...readers]);
  }
  return found;
}

function split(provider: Provider): Reader[] {
  const [kind = '', { keys, name }] = Object.entries(provider)[0] ?? ['', {}];
  if (!keys) return [{ id: name === undefined ? kind : `${kind} ${name}`, kind, provider }];
  return keys.map((key) => ({ id: `${kind} ${key.name}`, kind, provider: { [kind]: { keys: [key] } } }));
}

function lookUp(readers: Readers, name: string): readonly Reader[] {
  return readers.get(name) ?? readers.get(`*.${groupOf(name)}`) ?? readers.get('*.*') ?? [IDENTITY];
}

function groupOf(name: string): string {
  const dot = name.indexOf('.');
  return dot < 0 ? '' : name.slice(dot + 1);
}

/** 'secrets.' is secrets. */
function nameOf(name: string): string {
  return name.startsWith('*') ? name : name.replace(/\.$/, '');
}

/** Resources before wildcards of a group, everything last: an earlier wildcard would cover them. */
function byReach(a: string, b: string): number {
  const reach = (name: string): number => (name === '*.*' ? 2 : name.startsWith('*.') ? 1 : 0);
  return reach(a) - reach(b) || a.localeCompare(b);
}

function unique(readers: readonly Reader[]): Reader[] {
  return readers.filter(
    (one, index) =>
      readers.findIndex(({ id, provider }) => id === one.id && isSame(provider, one.provider)) === index,
  );
}

function lineOf(
  name: string,
  { before, after }: { readonly before: Readers; readonly after: Readers },
): string[] {
  const shown = (readers: readonly Reader[]): string =>
    readers.map(({ id }, index) => (index === 0 ? `${id} (writes)` : id)).join(', ');
  const [old, next] = [lookUp(before, name), lookUp(after, name)];
  return isSame(old, next) ? [] : [`encryption of ${name}: ${shown(old)} -> ${shown(next)}`];
}

/** Two secrets under one name: which one an object was written with could not be told. */
function sameNames(readers: Readers): string[] {
  return [...readers.values()]
    .flat()
    .flatMap((one, _, all) =>
      all.some(({ id, provider }) => id === one.id && !isSame(provider, one.provider))
        ? [`encryption: ${one.id} is another one in the new file: give the new one a name of its own`]
        : [],
    );
}

/** A plugin's name may stand in one entry only. */
function splitPlugins(readers: Readers): string[] {
  const entries = entriesOf(readers);
  const ids = [...readers.values()].flat().filter(({ kind }) => kind === KMS);
  return ids
    .filter(
      ({ provider }) =>
        entries.filter(({ providers }) => providers.some((one) => isSame(one, provider))).length > 1,
    )
    .map(
      ({ id }) =>
        `encryption: ${id} would stand in several entries on the way: change its resources and its keys in two runs`,
    );
}

/** Names with the same readers share an entry; wildcards stand apart from what they would cover. */
function entriesOf(readers: Readers): EncryptionConfiguration['resources'] {
  const entries: { resources: string[]; providers: readonly Provider[]; isWild: boolean }[] = [];
  for (const [name, list] of readers) {
    const providers = joined(list);
    const isWild = name.startsWith('*');
    const known = entries.find((one) => one.isWild === isWild && isSame(one.providers, providers));
    if (known && name !== '*.*') known.resources.push(name);
    else entries.push({ resources: [name], providers, isWild });
  }
  return entries.map(({ resources, providers }) => ({ resources, providers }));
}

/** Keys of one kind that follow each other are one provider. */
function joined(readers: readonly Reader[]): Provider[] {
  const providers: Record<string, { keys?: readonly Key[] }>[] = [];
  for (const { kind, provider } of readers) {
    const keys = provider[kind]?.keys;
    const last = providers.at(-1)?.[kind];
    if (keys && last?.keys) last.keys = [...last.keys, ...keys];
    else providers.push(structuredClone(provider) as Record<string, { keys?: readonly Key[] }>);
  }
  return providers;
}

function render(resources: EncryptionConfiguration['resources']): string {
  return stringifyYaml({
    apiVersion: 'apiserver.config.k8s.io/v1',
    kind: 'EncryptionConfiguration',
    resources,
  });
}
