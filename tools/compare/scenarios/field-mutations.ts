/**
 * One request per fault of one field: creates (dry run) of every kind, PUTs (dry run) on stored objects and on their status. The fields come from
 * the generated schemas, so a new field is tried without a change here.
 */
import { existsSync, readFileSync } from 'node:fs';
import { schemaForKind } from '#api/schemas.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { mutationsOf, type Mutation } from '../mutations.ts';
import { allBases, type Base } from '../objects/bases.ts';
import { collectionPath, steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

/** Steps of one scenario: each begins with an object of its own. */
const CHUNK = 150;
/** Full pod templates are walked once, as pods; in other kinds only the template's own fields are. */
const TEMPLATES = [
  'template',
  'spec.template.spec',
  'spec.jobTemplate.spec.template.spec',
  'spec.jobTemplate.metadata',
  'spec.template.metadata',
  'template.metadata',
  'spec.volumeClaimTemplates',
  'spec.volumeClaimTemplates.metadata',
];
/** The metadata of these stands for all. */
const WHOLE_METADATA = new Set(['/v1/ConfigMap', 'rbac.authorization.k8s.io/v1/ClusterRole']);
const GOLDEN = new URL('../../../../shared/kubernetes-1.36/golden-objects/', import.meta.url);
const NAMES = [
  '',
  'Bad_Name',
  'a.b',
  'a'.repeat(64),
  'a'.repeat(254),
  'a/b',
  '%',
  'é',
  '-a',
  'a-',
  '..',
  'system:x',
  '1',
];

export function createMutations({ token, namespace }: RunNames): Scenario[] {
  return allBases({ name: token, namespace })
    .filter(({ facts }) => facts.verbs.includes('create'))
    .flatMap((base) => createScenarios(base, namespace));
}

function createScenarios(base: Base, namespace: string): Scenario[] {
  const path = collectionPath(base.facts, namespace);
  const schema = schemaOf(base);
  const label = formatUserLabel(base);
  const post = (object: object | string, query = 'fieldValidation=Strict'): Step =>
    steps.post(`${path}?dryRun=All&${query}`, object);
  const mutations = [
    ...mutationsOf(base.object, schema, { shallow: shallowOf(base), absentDepth: absentDepthOf(base) }),
    ...nameMutations(base),
    ...goldenMutations(base),
  ];
  const one = (name: string, step: Step): Scenario => ({
    name: `create/${label}/${name}`,
    area: areaOf(base),
    steps: [step],
  });
  return [
    one('(valid)', { ...post(base.object), must: true }),
    ...mutations.map(({ name, object }) => one(name, post(object))),
    ...unknownFields(base).flatMap(({ name, object }) =>
      ['Warn', 'Ignore', 'Strict', ''].map((mode) =>
        one(`${name} ${mode}`, post(object, mode === '' ? '' : `fieldValidation=${mode}`)),
      ),
    ),
    ...duplicateKeys(base).flatMap((text) =>
      ['Warn', 'Strict', 'Ignore'].map((mode) =>
        one(`duplicate key ${mode}`, post(text, `fieldValidation=${mode}`)),
      ),
    ),
  ];
}

/** Names are validated by each kind in its own way. */
function nameMutations({ object, variant }: Base): Mutation[] {
  if (variant !== 'small') return [];
  const named = NAMES.map((name) => ({
    name: `metadata.name/${JSON.stringify(name.slice(0, 10))} ${name.length}`,
    object: { ...object, metadata: { ...object.metadata, name } },
  }));
  const { name: _name, ...nameless } = object.metadata ?? {};
  const generate = ['gen-', 'Bad_', 'a'.repeat(300)].map((generateName) => ({
    name: `metadata.generateName/${generateName.slice(0, 10)}`,
    object: { ...object, metadata: { ...nameless, generateName } },
  }));
  const elsewhere = {
    name: 'metadata.namespace/other',
    object: { ...object, metadata: { ...object.metadata, namespace: 'elsewhere' } },
  };
  const others = [
    { kind: 'Other' },
    { kind: '' },
    { apiVersion: 'v9' },
    { apiVersion: '' },
    { apiVersion: 'a/b/c' },
    { metadata: null },
    { metadata: undefined },
  ].map((change) => ({ name: `(type)/${JSON.stringify(change)}`, object: { ...object, ...change } }));
  return [...named, ...generate, elsewhere, ...others];
}

/** The object with every field set, which is seldom valid: all rules speak at once. Then each part of it in a valid object. */
function goldenMutations(base: Base): Mutation[] {
  const golden = base.variant === 'small' ? goldenOf(base) : undefined;
  if (!golden) return [];
  const { metadata: _metadata, ...content } = golden;
  const whole = { ...content, metadata: base.object.metadata };
  const parts = Object.entries(content).flatMap(([key, value]) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.entries(value).map(([inner, part]) => ({
          name: `golden/${key}.${inner}`,
          object: { ...base.object, [key]: { ...(base.object[key] as object | undefined), [inner]: part } },
        }))
      : [],
  );
  return [
    { name: 'golden/(whole)', object: whole },
    {
      name: 'golden/(with metadata)',
      object: {
        ...golden,
        metadata: { ...golden.metadata, ...(base.facts.namespaced ? { namespace: undefined } : {}) },
      },
    },
    ...parts,
  ];
}

function goldenOf({ facts }: Base): KubeObject | undefined {
  const file = new URL(`${facts.group || 'core'}.${facts.version}.${facts.kind}.json`, GOLDEN);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as KubeObject) : undefined;
}

function unknownFields({ object }: Base): Mutation[] {
  const inner = Object.entries(object).find(
    ([key, value]) =>
      key !== 'metadata' && typeof value === 'object' && value !== null && !Array.isArray(value),
  );
  return [
    { name: 'unknown top', object: { ...object, zzUnknown: { a: 1 }, another: [] } },
    { name: 'unknown metadata', object: { ...object, metadata: { ...object.metadata, zzUnknown: 'x' } } },
    { name: 'wrong case', object: { ...object, Metadata: object.metadata } },
    ...(inner
      ? [
          {
            name: `unknown ${inner[0]}`,
            object: { ...object, [inner[0]]: { ...(inner[1] as object), zzUnknown: 1 } },
          },
        ]
      : []),
  ];
}

function duplicateKeys({ object }: Base): string[] {
  const text = JSON.stringify(object);
  return [
    `${text.slice(0, -1)},"kind":${JSON.stringify(object.kind)}}`,
    text.replace('"metadata":{', '"metadata":{"name":"first","name":"second",'),
  ];
}

export function updateMutations({ token, namespace }: RunNames): Scenario[] {
  const bases = allBases({ name: `${token}u`, namespace }).filter(({ facts }) =>
    facts.verbs.includes('update'),
  );
  return bases.flatMap((base) => [...updateScenarios(base, namespace), ...statusScenarios(base, namespace)]);
}

function updateScenarios(base: Base, namespace: string): Scenario[] {
  const mutations = mutationsOf(base.object, schemaOf(base), {
    shallow: shallowOf(base),
    breadth: 'changes',
    absentDepth: Math.min(1, absentDepthOf(base)),
  });
  return chunked(mutations).map((chunk, at) =>
    storedScenario(
      { base, namespace, name: `update/${formatUserLabel(base)}/${at}`, suffix: `${at}` },
      (path, object) => [
        steps.put(`${path}?dryRun=All`, object),
        ...chunk.flatMap(({ object: changed }) => {
          const named = {
            ...changed,
            metadata: {
              ...object.metadata,
              ...(changed as KubeObject).metadata,
              name: object.metadata?.name,
            },
          };
          return [steps.put(`${path}?dryRun=All&fieldValidation=Strict`, named)];
        }),
      ],
    ),
  );
}

/** What status takes from the object with every field set, and part by part. */
function statusScenarios(base: Base, namespace: string): Scenario[] {
  const golden =
    base.variant === 'small' && base.facts.subresources?.some(({ name }) => name === 'status')
      ? goldenOf(base)
      : undefined;
  const status = golden?.['status'];
  if (typeof status !== 'object' || status === null) return [];
  const parts = Object.entries(status).map(([key, value]) => ({ [key]: value as unknown }));
  const statusSchema = schemaOf(base).byName.get('status')?.value;
  const mutated =
    statusSchema?.kind === 'object'
      ? parts.flatMap((part) =>
          mutationsOf(part, {
            ...statusSchema.type(),
            fields: statusSchema.type().fields.filter(({ name }) => name in part),
          }).map(({ object }) => object),
        )
      : [];
  const absent =
    statusSchema?.kind === 'object' ? mutationsOf({}, statusSchema.type()).map(({ object }) => object) : [];
  return chunked([{}, status, ...parts, ...mutated, ...absent]).map((chunk, at) =>
    storedScenario(
      { base, namespace, name: `status/${formatUserLabel(base)}/${at}`, suffix: `s${at}` },
      (path, object) => [
        ...chunk.map((next) =>
          steps.put(`${path}/status?dryRun=All&fieldValidation=Strict`, { ...object, status: next }),
        ),
        ...(at === 0
          ? [
              steps.put(`${path}/status`, {
                ...object,
                metadata: {
                  ...object.metadata,
                  labels: { set: 'by-status' },
                  annotations: { a: 'b' },
                  finalizers: ['example.com/x'],
                },
                status: {},
              }),
              steps.get(`${path}/status`),
              steps.patch('merge', `${path}/status`, { body: { status: parts[0] ?? {} } }),
              steps.get(path),
            ]
          : []),
      ],
    ),
  );
}

interface Stored {
  readonly base: Base;
  readonly namespace: string;
  readonly name: string;
  readonly suffix: string;
}

function storedScenario(
  { base, namespace, name, suffix }: Stored,
  then: (path: string, object: KubeObject) => readonly Step[],
): Scenario {
  const collection = collectionPath(base.facts, namespace);
  const object = renamed(base, suffix);
  const path = `${collection}/${encodeURIComponent(object.metadata?.name ?? '')}`;
  return {
    name,
    area: areaOf(base),
    steps: [
      steps.post(collection, object, { must: true, as: 'made' }),
      ...then(path, object),
      steps.remove(`${path}?gracePeriodSeconds=0`, undefined, { quiet: true }),
    ],
  };
}

function renamed({ facts, object, variant }: Base, suffix: string): KubeObject {
  if (suffix === '0') return object;
  const name = object.metadata?.name ?? '';
  if (facts.kind === 'CustomResourceDefinition' || facts.kind === 'APIService')
    return JSON.parse(
      JSON.stringify(object).replaceAll(
        name.split('.')[facts.kind === 'APIService' ? 1 : 0]!.replace(/s$/, ''),
        (word) => `${word}${suffix}`,
      ),
    ) as KubeObject;
  if (facts.kind === 'IPAddress')
    return {
      ...object,
      metadata: {
        ...object.metadata,
        name: `10.98.${variant.length}.${10 + (Number.parseInt(suffix, 36) % 200)}`,
      },
    };
  return {
    ...object,
    metadata: {
      ...object.metadata,
      name: facts.kind === 'StorageVersion' ? `${suffix}${name}` : `${name}-${suffix}`,
    },
  };
}

function chunked<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / CHUNK) }, (_, at) =>
    items.slice(at * CHUNK, (at + 1) * CHUNK),
  );
}

function shallowOf(base: Base): string[] {
  const isPod = base.facts.kind === 'Pod';
  return [...(isPod ? [] : TEMPLATES), ...(WHOLE_METADATA.has(keyOf(base)) ? [] : ['metadata'])];
}

/** What an object leaves out is tried on the small one of its kind, and less deeply on the rich one. */
function absentDepthOf({ variant }: Base): number {
  return variant === 'small' ? 3 : variant === 'rich' ? 1 : 0;
}

function schemaOf({ facts }: Base): ObjectSchema {
  const schema = schemaForKind(facts);
  if (!schema) throw new Error(`No schema of ${facts.group}/${facts.version} ${facts.kind}`);
  return schema;
}

function keyOf({ facts }: Base): string {
  return `${facts.group}/${facts.version}/${facts.kind}`;
}

function formatUserLabel(base: Base): string {
  return `${keyOf(base)}/${base.variant}`;
}

function areaOf({ facts }: Base): string {
  return facts.group === '' ? `core/${facts.kind}` : facts.group;
}
