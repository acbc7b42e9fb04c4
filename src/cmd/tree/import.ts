/**
 * `capstan tree import`: takes over the trees of HNC, or of Accurate, that a cluster has. Neither may run meanwhile.
 *
 *   HNC       its objects are those of this API: only the definitions change hands
 *   Accurate  definitions that nobody acts on yet ─► exceptions, copies, parents, anchors, kinds are written ─► the definitions are handed over: all at once, no copy goes
 */
import { planAccurate, ACCURATE_GROUP, type AccuratePlan, type Found } from '#addons/hierarchy/accurate.ts';
import {
  hierarchyConfigurations,
  HIERARCHY_DEFINITIONS,
  hncConfigurations,
  isOurs,
  subnamespaceAnchors,
} from '#addons/hierarchy/api.ts';
import { installDefinitions } from '#addons/definitions/custom-resource.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { discoverResources, type ServedResource } from '#client/discovery.ts';
import {
  customResourceDefinitions,
  deployments,
  mutatingWebhookConfigurations,
  namespaces,
  validatingWebhookConfigurations,
} from '#client/refs.ts';
import { CONFIG, HIERARCHY, INHERITED_FROM, SUBNAMESPACE_OF } from '#component-helpers/hierarchy/names.ts';
import { UserError } from '#deploy/data-dir.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatApiVersion, type KubeObject } from '#machinery/object.ts';
import { realClock } from '#stdx/clock.ts';
import { enableIn, withCluster, type Print, type TreeFlags } from './tree.ts';

const FIELD_MANAGER = 'capstan-tree-import';
const INSTALL_TIMEOUT_MS = 60_000;
const PAGE = 500;

/** What must not run. */
const MANAGERS = {
  HNC: { deployment: /^hnc-controller-manager/, webhooks: /^hnc-/ },
  Accurate: {
    deployment: /accurate-controller-manager$/,
    webhooks: /accurate-(mutating|validating)-webhook-configuration$/,
  },
} as const;

export type ImportFlags = TreeFlags & {
  /** Only say what would be written. */
  readonly dryRun?: boolean;
};

export function importTrees({ dryRun = false, ...flags }: ImportFlags, print: Print): Promise<void> {
  return withCluster(flags, async (api) => {
    const { items } = await api.list(customResourceDefinitions);
    const definition = items.find(({ metadata }) => metadata.name === 'hierarchyconfigurations.hnc.x-k8s.io');
    if (isOurs(definition))
      throw new UserError(
        'This cluster has hierarchical namespaces already. Trees of Accurate are taken over before `capstan tree enable`.',
      );
    if (definition) await importHNC(api, { dryRun, print });
    else if (items.some(({ spec }) => spec.group === ACCURATE_GROUP))
      await importAccurate(api, { dryRun, print });
    else throw new UserError('This cluster has neither the definitions of HNC nor those of Accurate.');
  });
}

interface Mode {
  readonly dryRun: boolean;
  readonly print: Print;
}

async function importHNC(api: Client, { dryRun, print }: Mode): Promise<void> {
  await requireStopped(api, 'HNC');
  const { items } = await api.list(hierarchyConfigurations);
  const inTrees = items.filter(({ spec }) => spec?.parent).length;
  print(`${count(inTrees, 'namespace')} with a parent; the objects of HNC stay as they are`);
  if (dryRun) return print('Nothing was changed: --dry-run');
  await enableIn(api, print);
}

async function importAccurate(api: Client, { dryRun, print }: Mode): Promise<void> {
  await requireStopped(api, 'Accurate');
  const plan = planAccurate({
    namespaces: (await api.list(namespaces)).items,
    objects: await allObjects(api),
  });
  for (const line of describePlan(plan)) print(line);
  if (dryRun) return print('Nothing was changed: --dry-run');
  const signal = AbortSignal.timeout(INSTALL_TIMEOUT_MS);
  await installDefinitions({ api, clock: realClock, signal }, HIERARCHY_DEFINITIONS.map(unowned));
  await write(api, plan);
  await enableIn(api, print);
}

/** Neither controller nor admission acts on one that has another owner. */
function unowned(definition: (typeof HIERARCHY_DEFINITIONS)[number]): (typeof HIERARCHY_DEFINITIONS)[number] {
  const { labels: _, ...metadata } = definition.metadata ?? {};
  return { ...definition, metadata };
}

/** Throws UserError. */
async function requireStopped(api: Client, name: keyof typeof MANAGERS): Promise<void> {
  const { deployment, webhooks } = MANAGERS[name];
  const running = (await api.list(deployments)).items.find(
    ({ metadata, spec }) => deployment.test(metadata.name) && spec?.replicas !== 0,
  );
  if (running) {
    const { namespace, name: its } = running.metadata;
    throw new UserError(
      `${name} runs: two must not keep the same trees. \`kubectl -n ${namespace} scale deployment ${its} --replicas=0\` stops it.`,
    );
  }
  for (const ref of [validatingWebhookConfigurations, mutatingWebhookConfigurations]) {
    const { items } = await api.list<KubeObject>(ref);
    const found = items.find(({ metadata }) => webhooks.test(metadata.name))?.metadata.name;
    if (found !== undefined)
      throw new UserError(
        `${name} has webhooks that nobody answers any more. \`kubectl delete ${ref.kind.toLowerCase()} ${found}\` removes one.`,
      );
  }
}

/** Of every kind whose objects have a namespace and can be changed. */
async function allObjects(api: Client): Promise<Found[]> {
  const { resources } = await discoverResources(api);
  const found: Found[] = [];
  for (const ref of resources) {
    if (!ref.namespaced || !['list', 'patch'].every((verb) => ref.verbs.includes(verb))) continue;
    if (ref.group === ACCURATE_GROUP || ref.plural === 'events') continue;
    for (const object of await listAll(api, ref)) found.push({ ref, object });
  }
  return found;
}

async function listAll(api: Client, ref: ServedResource): Promise<Found['object'][]> {
  const all: Found['object'][] = [];
  let next: string | undefined;
  do {
    const page = await api.list<KubeObject>(ref, { limit: PAGE, ...(next ? { continue: next } : {}) });
    all.push(...page.items);
    next = page.metadata?.continue || undefined;
  } while (next);
  return all;
}

function describePlan({ parents, kinds, annotated, copies, left }: AccuratePlan): string[] {
  return [
    ...parents.map(
      ({ namespace, parent, isSubnamespace }) =>
        `${namespace}: ${isSubnamespace ? 'subnamespace' : 'child'} of ${parent}`,
    ),
    ...kinds.map(({ plural, group }) => `${plural}${group && `.${group}`}: AllowPropagate`),
    ...annotated.map((one) => `${nameOf(one)}: ${one.annotation}`),
    `${count(copies.length, 'copy', 'copies')} of Accurate's are kept as copies`,
    ...left.map((one) => `${nameOf(one)}: left; Accurate copies it once, here copies are kept true`),
  ];
}

function nameOf({ ref, object }: Found): string {
  return `${ref.kind} ${object.metadata.namespace}/${object.metadata.name}`;
}

function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

async function write(api: Client, { parents, kinds, annotated, copies }: AccuratePlan): Promise<void> {
  for (const { ref, object, annotation } of annotated)
    await merge(api, { ref, object }, { annotations: { [annotation]: 'true' } });
  for (const { ref, object, source } of copies)
    await merge(api, { ref, object }, { labels: { [INHERITED_FROM]: source } });
  for (const { namespace, parent, isSubnamespace } of parents) {
    const metadata = { name: HIERARCHY, namespace };
    await apply(api, { ref: hierarchyConfigurations, object: { metadata, spec: { parent } } });
    if (!isSubnamespace) continue;
    await api.patch(
      namespaces,
      { name: namespace },
      { type: 'merge', patch: { metadata: { annotations: { [SUBNAMESPACE_OF]: parent } } } },
    );
    await apply(api, {
      ref: subnamespaceAnchors,
      object: { metadata: { name: namespace, namespace: parent } },
    });
  }
  const resources = kinds.map(({ group, plural }) => ({ group, resource: plural, mode: 'AllowPropagate' }));
  const metadata = { name: CONFIG };
  await apply(api, { ref: hncConfigurations, object: { metadata, spec: { resources } } });
}

async function merge(api: Client, { ref, object }: Found, metadata: object): Promise<void> {
  const { name, namespace } = object.metadata;
  try {
    await api.patch<KubeObject>(ref, { name, namespace }, { type: 'merge', patch: { metadata } });
  } catch (error) {
    // It went meanwhile.
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}

async function apply<T extends KubeObject>(
  api: Client,
  { ref, object }: { readonly ref: ResourceRef<T>; readonly object: KubeObject },
): Promise<void> {
  const { name = '', namespace } = object.metadata ?? {};
  const patch = { apiVersion: formatApiVersion(ref), kind: ref.kind, ...object };
  await api.patch(
    ref,
    { name, ...(namespace === undefined ? {} : { namespace }) },
    { type: 'apply', patch, fieldManager: FIELD_MANAGER, force: true },
  );
}
