/**
 * Reports a migration in the status of the CustomResourceDefinition: that it is running, its result and, when it succeeded and the definition
 * did not change meanwhile, that storedVersions contains only the current storage version.
 */
import type { CustomResourceDefinition, CustomResourceDefinitionCondition } from '#api/types.ts';
import type { StorageVersionMigration } from '#api/generated/types/storagemigration-v1beta1.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatTime } from '#machinery/time.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { isTrue, formatResourceName } from './migration.ts';

const CONDITION = 'StorageMigrating';
/** Upstream's field manager. */
const FIELD_MANAGER = 'migration-runner-controller';

/** Rejects with Conflict when the definition was changed meanwhile: the recorded generation must be the one that was read. */
export async function noteRunning(
  context: ReconcileContext,
  migration: StorageVersionMigration,
): Promise<void> {
  const definition = await definitionOf(context, migration);
  if (!definition) return;
  const condition = {
    status: 'True',
    reason: 'MigrationRunning',
    message: `Migration ${migration.metadata?.name} is running`,
  };
  await apply(context, definition, { condition, storedVersions: definition.status?.storedVersions });
}

/** As noteRunning. A definition that changed since then may have another storage version: its storedVersions are kept. */
export async function noteEnd(context: ReconcileContext, migration: StorageVersionMigration): Promise<void> {
  const definition = await definitionOf(context, migration);
  if (!definition) return;
  const began = definition.status?.conditions?.find(({ type }) => type === CONDITION)?.observedGeneration;
  const isSame = began !== undefined && began === definition.metadata?.generation;
  const succeeded = isTrue(migration, 'Succeeded');
  const migrated =
    succeeded && isSame
      ? definition.spec.versions.filter(({ storage }) => storage).map(({ name }) => name)
      : definition.status?.storedVersions;
  await apply(context, definition, {
    condition: { status: 'False', ...ending(succeeded, isSame) },
    storedVersions: migrated,
  });
}

function ending(succeeded: boolean, isSame: boolean): { readonly reason: string; readonly message: string } {
  if (!succeeded) return { reason: 'MigrationFailed', message: 'The migration has failed' };
  const versions = isSame
    ? 'and the stored versions have been updated'
    : 'but the stored versions have not been updated due to a generation mismatch';
  return { reason: 'MigrationSucceeded', message: `The migration has succeeded ${versions}` };
}

async function definitionOf(
  { api }: ReconcileContext,
  migration: StorageVersionMigration,
): Promise<CustomResourceDefinition | undefined> {
  if (!migration.spec?.resource.group) return undefined;
  try {
    return await api.get(customResourceDefinitions, { name: formatResourceName(migration) });
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return undefined;
    throw error;
  }
}

interface Change {
  readonly condition: Omit<CustomResourceDefinitionCondition, 'type'>;
  readonly storedVersions: readonly string[] | undefined;
}

/** Always includes storedVersions: server-side apply removes fields that the manager no longer applies. */
async function apply(
  { api, clock }: ReconcileContext,
  { metadata }: CustomResourceDefinition,
  { condition, storedVersions }: Change,
): Promise<void> {
  const { name = '', resourceVersion, generation } = metadata ?? {};
  const entry = {
    type: CONDITION,
    ...condition,
    lastTransitionTime: formatTime(clock.now()),
    observedGeneration: generation,
  };
  await api.patch(
    customResourceDefinitions,
    { name },
    {
      type: 'apply',
      subresource: 'status',
      fieldManager: FIELD_MANAGER,
      force: true,
      patch: {
        apiVersion: 'apiextensions.k8s.io/v1',
        kind: 'CustomResourceDefinition',
        metadata: { name, resourceVersion },
        status: { conditions: [entry], ...(storedVersions ? { storedVersions } : {}) },
      },
    },
  );
}
