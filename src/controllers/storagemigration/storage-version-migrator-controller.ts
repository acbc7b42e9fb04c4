/**
 * Runs StorageVersionMigrations: every object of a resource is written back unchanged, so that the server stores it in the current form
 * (storage version, encryption key). After upstream's pkg/controller/storageversionmigrator.
 *
 *   created ─one at a time of a resource─► Running ─► resourceVersion known ─► page after page ─► Succeeded ─► not Running
 *                                                            └──────── a permanent error ─► Failed ─────────────┘
 *
 * Keys are resources. One reconcile does one step or one page, so that resources take turns. Progress is not stored in the API: after a restart
 * objects written since the resourceVersion of the status are skipped, and writes of objects in the current form are no-ops.
 */
import type { StorageVersionMigration } from '#api/generated/types/storagemigration-v1beta1.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatApiVersion, groupResourceString, type KubeList, type KubeObject } from '#machinery/object.ts';
import { compareResourceVersions, resourceVersionProblem } from '#machinery/resource-version.ts';
import { timeMs } from '#machinery/time.ts';
import { storageVersionMigrations } from '#client/refs.ts';
import { defineController, watch, type ReconcileContext, type ReconcileResult } from '#runtime/controller.ts';
import { discoverResources, type ServedResource } from '#client/discovery.ts';
import { nameOf } from '../owners.ts';
import { noteEnd, noteRunning } from './definitions.ts';
import { byAge, fail, isOver, isTrue, formatResourceName, say } from './migration.ts';

const NAME = 'storage-version-migrator-controller';
const PAGE = 500;
const NEEDED_VERBS = ['update', 'patch', 'list'];
/** Not a valid namespace name: a list of it is cheap, converts nothing, and returns the newest resourceVersion. */
const NO_NAMESPACE = '@none:svm!';
/** A resource whose definition was just created may not be served yet. */
const DISCOVERY_PATIENCE_MS = 60_000;
const DISCOVERY_RETRY_MS = 1_000;
/** Transient errors. Any other error of an object ends the migration. */
const PASSING = [
  'ServerTimeout',
  'TooManyRequests',
  'ServiceUnavailable',
  'InternalError',
  'Timeout',
] as const;

/** Progress per resource; lost when leadership is lost. */
interface Progress {
  readonly uid: string;
  readonly resource: ServedResource;
  /** Continue token; '' starts at the beginning. */
  readonly continueAt: string;
}

export const storageVersionMigratorController = defineController({
  name: NAME,
  featureGate: 'StorageVersionMigrator',
  watches: [watch(storageVersionMigrations, { keys: (migration) => [formatResourceName(migration)] })],
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<ReconcileResult> {
  const migrations = context
    .informer(storageVersionMigrations)
    .list()
    .filter((migration) => formatResourceName(migration) === context.key)
    .toSorted(byAge);
  for (const migration of migrations)
    if (isTrue(migration, 'Running') && isOver(migration)) await retire(context, migration);
  const open = migrations.filter((migration) => !isOver(migration));
  const running = open.find((migration) => isTrue(migration, 'Running'));
  if (running)
    return running.status?.resourceVersion
      ? migratePage(context, running)
      : noteResourceVersion(context, running);
  context.memory.delete(context.key);
  if (open[0]) await activate(context, open[0]);
}

/** Once per state of the object: a cache that is behind must not record a later generation of the definition. */
async function activate(context: ReconcileContext, migration: StorageVersionMigration): Promise<void> {
  const id = `active/${context.key}`,
    state = `${migration.metadata?.uid}/${migration.metadata?.resourceVersion}`;
  if (context.memory.get(id) === state) return;
  await noteRunning(context, migration);
  await say(context, migration, {
    type: 'Running',
    reason: 'MigrationRunning',
    message: 'The migration is running',
  });
  context.memory.set(id, state);
}

async function retire(context: ReconcileContext, migration: StorageVersionMigration): Promise<void> {
  await noteEnd(context, migration);
  await say(context, migration, {
    type: 'Running',
    status: 'False',
    reason: 'MigrationCompleted',
    message: 'Migration completed',
  });
}

// ------------------------------------------------------------------------------------------------------ before the first page

async function noteResourceVersion(
  context: ReconcileContext,
  migration: StorageVersionMigration,
): Promise<ReconcileResult> {
  const { api } = context;
  const resource = await served(context);
  if (!resource)
    return isYoung(context, migration)
      ? { requeueAfterMs: DISCOVERY_RETRY_MS }
      : fail(context, migration, 'resource does not exist in discovery');
  const name = `${resource.group}/${resource.version}, Resource=${resource.plural}`;
  if (!NEEDED_VERBS.every((verb) => resource.verbs.includes(verb)))
    return fail(
      context,
      migration,
      `resource "${name}" does not support discovery operations: [${NEEDED_VERBS.join(' ')}]`,
    );
  const { metadata } = await api.listMetadata(resource, {
    limit: 1,
    ...(resource.namespaced ? { namespace: NO_NAMESPACE } : {}),
  });
  const resourceVersion = metadata?.resourceVersion ?? '',
    problem = resourceVersionProblem(resourceVersion);
  if (problem !== undefined)
    return fail(context, migration, `latest resourceVersion for ${name} is not valid: ${problem}`);
  await api.updateStatus(storageVersionMigrations, {
    ...migration,
    status: { ...migration.status, resourceVersion },
  });
}

async function served({ api, key }: ReconcileContext): Promise<ServedResource | undefined> {
  const { resources } = await discoverResources(api);
  return resources.find(({ group, plural }) => groupResourceString(plural, group) === key);
}

function isYoung({ clock }: ReconcileContext, { metadata }: StorageVersionMigration): boolean {
  return (timeMs(metadata?.creationTimestamp) ?? 0) + DISCOVERY_PATIENCE_MS > clock.now();
}

// ------------------------------------------------------------------------------------------------------------ page after page

async function migratePage(
  context: ReconcileContext,
  migration: StorageVersionMigration,
): Promise<ReconcileResult> {
  const { key, memory } = context;
  const progress = await progressOf(context, migration);
  if (!progress)
    return isYoung(context, migration)
      ? { requeueAfterMs: DISCOVERY_RETRY_MS }
      : fail(context, migration, unhandled('unable to obtain GVR from discovery'));
  const page = await renderPage(context, progress);
  if (page === 'again') return { requeueAfterMs: DISCOVERY_RETRY_MS };
  const problem = await rewriteAll(context, page.items, {
    resource: progress.resource,
    until: migration.status!.resourceVersion!,
  });
  if (problem !== undefined) return fail(context, migration, unhandled(problem));
  const continueAt = page.metadata?.continue;
  if (!continueAt)
    return say(context, migration, {
      type: 'Succeeded',
      reason: 'StorageVersionMigrationSucceeded',
      message: '',
    });
  memory.set(key, { ...progress, continueAt });
  return { requeueAfterMs: 0 };
}

/** undefined: the resource is not served. */
async function progressOf(
  context: ReconcileContext,
  { metadata }: StorageVersionMigration,
): Promise<Progress | undefined> {
  const known = context.memory.get(context.key) as Progress | undefined,
    uid = metadata?.uid ?? '';
  if (known?.uid === uid) return known;
  const resource = await served(context);
  return resource && { uid, resource, continueAt: '' };
}

/** 'again': restart from the beginning, because the continue token has expired or the resource is not served any more. */
async function renderPage(
  { api, key, memory }: ReconcileContext,
  { resource, continueAt }: Progress,
): Promise<KubeList | 'again'> {
  try {
    return await api.listMetadata(resource, { limit: PAGE, ...(continueAt ? { continue: continueAt } : {}) });
  } catch (error) {
    if (
      !isStatusError(error, 'Expired') &&
      !isStatusError(error, 'Gone') &&
      !isStatusError(error, 'NotFound')
    )
      throw error;
    memory.delete(key);
    return 'again';
  }
}

interface Rewriting {
  readonly resource: ServedResource;
  /** Objects written after it are in the current form already. */ readonly until: string;
}

/** Returns the error that ends the migration, if any. */
async function rewriteAll(
  context: ReconcileContext,
  objects: readonly KubeObject[],
  { resource, until }: Rewriting,
): Promise<string | undefined> {
  for (const object of objects) {
    context.signal.throwIfAborted();
    const version = object.metadata?.resourceVersion ?? '';
    const problem =
      resourceVersionProblem(version) ??
      (compareResourceVersions(version, until) > 0 ? undefined : await rewrite(context, object, resource));
    if (problem !== undefined) return problem;
  }
  return undefined;
}

/**
 * An empty server-side apply: the server writes the object unchanged. With uid and resourceVersion, so that a deleted object is not created again
 * and a changed one is not touched; both are a Conflict, which counts as success. Rejects with retryable errors.
 */
async function rewrite(
  { api }: ReconcileContext,
  object: KubeObject,
  resource: ServedResource,
): Promise<string | undefined> {
  const { uid, resourceVersion } = object.metadata ?? {};
  const patch = {
    apiVersion: formatApiVersion(resource),
    kind: resource.kind,
    metadata: { uid, resourceVersion },
  };
  try {
    await api.patch(resource, nameOf(object), { type: 'apply', fieldManager: NAME, patch });
  } catch (error) {
    if (isStatusError(error, 'Conflict') || isStatusError(error, 'NotFound')) return undefined;
    if (!isStatusError(error) || PASSING.some((reason) => isStatusError(error, reason))) throw error;
    return error.message;
  }
  return undefined;
}

function unhandled(problem: string): string {
  return `migration encountered unhandled error: ${problem}`;
}
