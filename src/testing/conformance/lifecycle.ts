/** What every resource of the API must do, shown on one of them: discovery, all verbs, a watch that saw it, and its status where it has one. */
import assert from 'node:assert/strict';
import { until, type Json, type World } from './world.ts';

interface LifecycleOf {
  readonly group: string;
  /** Default 'v1'. */
  readonly version?: string;
  readonly plural: string;
  readonly kind: string;
  /** The namespace to work in; undefined for resources of the cluster. */
  readonly namespace?: string | undefined;
  /** Everything but metadata of the index-th object. */
  readonly object: (index: number) => Json;
  /** A merge patch of status, and what then must be read at status. None: the resource has no status. */
  readonly status?: {
    readonly patch: Json;
    /** Writes of status leave labels and annotations as they are. */ readonly resetsMetadata?: boolean;
  };
  /** Default: the index with the plural. */
  readonly nameOf?: (index: number) => string;
}

const VERBS = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

/** The group, its version and the resources in the documents of discovery. */
export async function inDiscovery(
  world: World,
  {
    group,
    version = 'v1',
    plural,
    verbs = VERBS,
  }: Pick<LifecycleOf, 'group' | 'version' | 'plural'> & { readonly verbs?: readonly string[] },
): Promise<void> {
  const groupVersion = `${group}/${version}`;
  const groups = await world.get('/apis');
  assert.ok(
    groups.groups
      .find(({ name }: Json) => name === group)
      ?.versions.some((one: Json) => one.groupVersion === groupVersion),
    `${groupVersion} in /apis`,
  );
  assert.ok(
    (await world.get(`/apis/${group}`)).versions.some((one: Json) => one.groupVersion === groupVersion),
    `${groupVersion} in /apis/${group}`,
  );
  const { resources } = await world.get(`/apis/${groupVersion}`);
  const resource = resources.find(({ name }: Json) => name === plural);
  assert.ok(resource, `${plural} in /apis/${groupVersion}`);
  for (const verb of verbs) assert.ok(resource.verbs.includes(verb), `${plural}: ${verb}`);
}

export async function showLifecycle(world: World, of: LifecycleOf): Promise<void> {
  const {
    group,
    version = 'v1',
    plural,
    kind,
    namespace,
    object,
    status,
    nameOf = (index) => `${plural}-${index}`,
  } = of;
  await inDiscovery(world, of);
  if (status)
    await inDiscovery(world, { ...of, plural: `${plural}/status`, verbs: ['get', 'patch', 'update'] });
  const all = `/apis/${group}/${version}/${plural}`;
  const path = namespace === undefined ? all : `/apis/${group}/${version}/namespaces/${namespace}/${plural}`;
  const selector = `labelSelector=lifecycle%3D${plural}`;
  const make = (index: number): Promise<Json> =>
    world.post(path, {
      apiVersion: `${group}/${version}`,
      kind,
      metadata: { name: nameOf(index), labels: { lifecycle: plural } },
      ...object(index),
    });
  const first = `${path}/${nameOf(0)}`;

  const created = await make(0);
  assert.equal((await world.get(first)).metadata.uid, created.metadata.uid);
  const watch = await world.watch(path, `${selector}&resourceVersion=${created.metadata.resourceVersion}`);
  const duplicate = await world.refused(409, `POST ${path}`, {
    body: { apiVersion: `${group}/${version}`, kind, metadata: { name: nameOf(0) }, ...object(0) },
  });
  assert.equal(duplicate.reason, 'AlreadyExists');
  await make(1);
  await make(2);
  for (const list of [path, all]) assert.equal((await world.get(`${list}?${selector}`)).items.length, 3);
  assert.equal((await world.get(`${path}?limit=1&${selector}`)).items.length, 1);

  const patched = await world.patch(first, { metadata: { annotations: { patched: 'true' } } });
  assert.equal(patched.metadata.annotations.patched, 'true');
  await watch.seen('MODIFIED', ({ metadata }) => metadata.annotations?.patched === 'true');
  const read = await world.get(first);
  read.metadata.annotations.updated = 'true';
  assert.equal((await world.put(first, read)).metadata.annotations.updated, 'true');
  await watch.seen('MODIFIED', ({ metadata }) => metadata.annotations?.updated === 'true');
  assert.equal(
    (
      await world.refused(409, `PUT ${first}`, {
        body: { ...read, metadata: { ...read.metadata, resourceVersion: patched.metadata.resourceVersion } },
      })
    ).reason,
    'Conflict',
  );

  if (status) await showStatus(world, { first, ...status });
  await world.del(first);
  await watch.seen('DELETED', ({ metadata }) => metadata.name === nameOf(0));
  await world.gone(first);
  assert.equal((await world.get(`${path}?${selector}`)).items.length, 2);
  await world.del(`${path}?${selector}`);
  await until(`no ${plural}`, async () => (await world.get(`${path}?${selector}`)).items.length === 0);
  watch.close();
}

/** Read, patched and updated; the spec stays as it is. */
async function showStatus(
  world: World,
  { first, patch, resetsMetadata = false }: { readonly first: string } & NonNullable<LifecycleOf['status']>,
): Promise<void> {
  const { spec } = await world.get(`${first}/status`);
  const patched = await world.patch(`${first}/status`, {
    metadata: { annotations: { patchedstatus: 'true' } },
    status: patch,
  });
  assert.partialDeepStrictEqual(patched.status, patch);
  assert.equal(patched.metadata.annotations.patchedstatus, resetsMetadata ? undefined : 'true');
  const read = await world.get(`${first}/status`);
  assert.partialDeepStrictEqual(read.status, patch);
  read.metadata.annotations.updatedstatus = 'true';
  const updated = await world.put(`${first}/status`, read);
  assert.equal(updated.metadata.annotations.updatedstatus, resetsMetadata ? undefined : 'true');
  assert.deepEqual(updated.spec, spec);
}
