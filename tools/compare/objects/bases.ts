/**
 * The valid objects that comparison starts from: for every kind a small one, and rich ones that set what has rules. One file per API group; add a
 * variant by adding a key. Without name and namespace, which scenarios give.
 */
import type { ResourceFacts } from '#api/resources.ts';
import { builtinResources } from '#api/resources.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';
import type { Bases } from './base-table.ts';
import { admissionBases } from './admissionregistration.ts';
import { appsBases } from './apps.ts';
import { coreBases } from './core.ts';
import { extensionBases } from './extensions.ts';
import { networkingBases } from './networking.ts';
import { othersBases } from './others.ts';
import { podBases } from './pods.ts';
import { resourceBases } from './resource.ts';

export interface Base {
  readonly facts: ResourceFacts;
  readonly variant: string;
  readonly object: KubeObject;
}

const ALL: Bases = {
  ...coreBases,
  ...podBases,
  ...appsBases,
  ...networkingBases,
  ...othersBases,
  ...admissionBases,
  ...extensionBases,
  ...resourceBases,
};

/** Kinds whose names have a form of their own; every word in place of NAME is the scenario's. */
const NAME_FORMS: Readonly<Record<string, (name: string) => string>> = {
  APIService: (name) => `v1.${name}.example.com`,
  CustomResourceDefinition: (name) => `${name}s.example.com`,
  IPAddress: (name) => `10.97.${hash(name) % 250}.${1 + (hash(`${name}/`) % 250)}`,
  StorageVersion: (name) => `${name}.widgets`,
  ClusterTrustBundle: (name) => `example.com:signer:${name}`,
};

/** Reviews that must have no metadata. */
const NAMELESS = new Set([
  'SubjectAccessReview',
  'SelfSubjectAccessReview',
  'LocalSubjectAccessReview',
  'SelfSubjectRulesReview',
]);

function hash(text: string): number {
  let sum = 7;
  for (const character of text) sum = (sum * 31 + character.charCodeAt(0)) % 1_000_003;
  return sum;
}

/** What objects are called and where they go; what they repeat of it as NAME and NAMESPACE. */
interface BaseNames {
  readonly name: string;
  readonly namespace: string;
}

/** Every base of every version, served or not. */
export function allBases(names: BaseNames): Base[] {
  return builtinResources.flatMap((facts) => basesOf(facts, names));
}

function basesOf(facts: ResourceFacts, { name, namespace }: BaseNames): Base[] {
  return Object.entries(ALL[`${facts.group}/${facts.version}/${facts.kind}`] ?? {}).map(
    ([variant, content]) => {
      // Versions share names where they share storage: each version has its own.
      const versioned = facts.version === 'v1' ? name : `${name}${facts.version}`;
      const own = variant === 'small' ? versioned : `${versioned}-${variant}`;
      const filled = JSON.parse(
        JSON.stringify(content).replaceAll('NAMESPACE', namespace).replaceAll('NAME', own),
      ) as { metadata?: object };
      const metadata = {
        ...(NAMELESS.has(facts.kind) ? {} : { name: NAME_FORMS[facts.kind]?.(own) ?? own }),
        ...filled.metadata,
      };
      return {
        facts,
        variant,
        object: { apiVersion: formatApiVersion(facts), kind: facts.kind, ...filled, metadata },
      };
    },
  );
}

/** Kinds that have no base, for the tool's own test. */
export function kindsWithoutBase(): string[] {
  return builtinResources
    .filter(({ verbs }) => verbs.includes('create'))
    .map(({ group, version, kind }) => `${group}/${version}/${kind}`)
    .filter((key) => !ALL[key]);
}
