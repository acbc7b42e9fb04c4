/** Every resource through every verb and every form of answer: the same steps for all, from each one's bases. */
import type { KubeObject } from '#machinery/object.ts';
import { allBases, type Base } from '../objects/bases.ts';
import { collectionPath, steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const FORMS = [
  'application/json;as=Table;v=v1;g=meta.k8s.io',
  'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  'application/vnd.kubernetes.protobuf',
  'application/yaml',
  'application/cbor',
];
const LIST_FORMS = [
  'application/json;as=Table;v=v1;g=meta.k8s.io',
  'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  'application/vnd.kubernetes.protobuf',
];

export function lifecycles({ token, namespace }: RunNames): Scenario[] {
  const bases = allBases({ name: `${token}l`, namespace });
  const stored = bases.filter(({ facts }) => facts.verbs.includes('get') && facts.verbs.includes('create'));
  const reviews = bases.filter(({ facts }) => facts.verbs.length === 1);
  return [
    ...stored.map((base) => lifecycle(base, namespace)),
    ...stored.filter(({ variant }) => variant === 'small').map((base) => absent(base, namespace)),
    ...reviews.map((base) => review(base, namespace)),
  ];
}

function scenario({ facts, variant }: Base, about: string, list: readonly Step[]): Scenario {
  return {
    name: `lifecycle/${facts.group}/${facts.version}/${facts.kind}/${variant}${about}`,
    area: facts.group === '' ? `core/${facts.kind}` : facts.group,
    steps: list,
  };
}

function lifecycle(base: Base, namespace: string): Scenario {
  const collection = collectionPath(base.facts, namespace);
  const name = base.object.metadata?.name ?? '';
  const path = `${collection}/${encodeURIComponent(name)}`;
  const object: KubeObject = {
    ...base.object,
    metadata: { ...base.object.metadata, labels: { ...base.object.metadata?.labels, lifecycle: 'x' } },
  };
  const field = encodeURIComponent(`metadata.name=${name}`);
  const changed = { ...object, metadata: { ...object.metadata, annotations: { changed: 'yes' } } };
  return scenario(base, '', [
    steps.post(`${collection}?dryRun=All`, object),
    steps.post(collection, object, { as: 'made', must: true }),
    steps.post(collection, object),
    steps.get(path),
    ...FORMS.map((accept) => steps.get(path, { headers: { accept } })),
    steps.get(`${collection}?fieldSelector=${field}`),
    ...LIST_FORMS.map((accept) => steps.get(`${collection}?fieldSelector=${field}`, { headers: { accept } })),
    steps.get(`${collection}?watch=true&timeoutSeconds=1&fieldSelector=${field}`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
    steps.put(path, {
      ...changed,
      metadata: { ...changed.metadata, resourceVersion: '{{made.metadata.resourceVersion}}' },
    }),
    steps.put(path, {
      ...changed,
      metadata: { ...changed.metadata, resourceVersion: '{{made.metadata.resourceVersion}}' },
    }),
    steps.put(path, changed),
    steps.put(path, {
      ...changed,
      metadata: { ...changed.metadata, uid: '5f2a2d1e-0000-4000-8000-000000000009' },
    }),
    steps.put(path, { ...changed, metadata: { ...changed.metadata, name: 'other' } }),
    steps.put(path, object, { encode: 'protobuf' }),
    steps.patch('merge', path, { body: { metadata: { labels: { merged: 'yes' } } } }),
    steps.patch('strategic', path, { body: { metadata: { labels: { strategic: 'yes', merged: null } } } }),
    steps.patch('json', path, { body: [{ op: 'add', path: '/metadata/labels/json', value: 'yes' }] }),
    steps.patch('merge', path, { body: {} }),
    steps.patch('apply', `${path}?fieldManager=compare&force=true`, {
      body: {
        apiVersion: object.apiVersion,
        kind: object.kind,
        metadata: { name, labels: { applied: 'yes' } },
      },
    }),
    steps.patch('apply', `${path}?fieldManager=other`, {
      body: { ...object, metadata: { ...object.metadata, labels: { applied: 'no' } } },
    }),
    steps.get(path),
    steps.remove(path, { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid: 'wrong' } }),
    steps.remove(path, { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { resourceVersion: '1' } }),
    steps.remove(`${path}?dryRun=All`),
    steps.remove(path, { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Foreground' }),
    steps.get(path),
    steps.patch('merge', path, { body: { metadata: { finalizers: null } } }),
    steps.remove(`${path}?gracePeriodSeconds=0`),
    steps.remove(path),
    steps.get(path),
  ]);
}

function absent(base: Base, namespace: string): Scenario {
  const collection = collectionPath(base.facts, namespace);
  const object = {
    ...base.object,
    metadata: {
      ...base.object.metadata,
      name: base.facts.kind === 'IPAddress' ? '10.99.1.1' : `${base.object.metadata?.name ?? ''}-absent`,
    },
  };
  const path = `${collection}/${encodeURIComponent(object.metadata.name)}`;
  return scenario(base, '/absent', [
    steps.get(path),
    steps.remove(path),
    steps.put(`${path}?dryRun=All`, object),
    steps.patch('merge', path, { body: {} }),
    steps.patch('apply', `${path}?fieldManager=m&dryRun=All`, { body: object }),
    steps.put(path, { ...object, metadata: { ...object.metadata, resourceVersion: '1' } }),
    steps.get(`${collection}?fieldSelector=nonsense%3Dx`),
    steps.get(`${collection}?fieldSelector=metadata.name%3Dx&limit=1`),
    steps.get(`${collection}?fieldSelector=status.phase%3Dx`),
    steps.get(`${collection}?fieldSelector=spec.type%3Dx`),
    ...(base.facts.namespaced
      ? [
          steps.get(collectionPath(base.facts, 'absent')),
          steps.get(`${collectionPath(base.facts, 'absent')}/x`),
          steps.post(collectionPath(base.facts, 'absent'), base.object),
          steps.post(collectionPath({ ...base.facts, namespaced: false }, ''), base.object),
        ]
      : []),
    steps.remove(`${collection}?labelSelector=nothing%3Dhere&dryRun=All`),
  ]);
}

function review(base: Base, namespace: string): Scenario {
  const path = collectionPath(base.facts, namespace);
  return scenario(base, '/review', [
    steps.post(path, base.object),
    steps.post(path, base.object, { headers: { accept: 'application/vnd.kubernetes.protobuf' } }),
    steps.post(path, base.object, { encode: 'protobuf' }),
    steps.post(path, base.object, { headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' } }),
    steps.get(path),
    steps.get(`${path}/x`),
    steps.remove(`${path}/x`),
    steps.put(`${path}/x`, base.object),
    steps.remove(path),
  ]);
}
