/** Conditions of a StorageVersionMigration, and writing its status. */
import type { Condition } from '#api/types.ts';
import type { StorageVersionMigration } from '#api/generated/types/storagemigration-v1beta1.ts';
import { groupResourceString } from '#machinery/object.ts';
import { formatTime } from '#machinery/time.ts';
import { storageVersionMigrations } from '#client/refs.ts';
import type { ReconcileContext } from '#runtime/controller.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';

type Type = 'Running' | 'Succeeded' | 'Failed';

/** 'configmaps', 'widgets.example.com'; for custom resources also the name of the CustomResourceDefinition. */
export function formatResourceName({ spec }: StorageVersionMigration): string {
  const { group = '', resource = '' } = spec?.resource ?? {};
  return groupResourceString(resource, group);
}

export function isTrue({ status }: StorageVersionMigration, wanted: Type): boolean {
  return isConditionTrue(status?.conditions, wanted);
}

export function isOver(migration: StorageVersionMigration): boolean {
  return isTrue(migration, 'Succeeded') || isTrue(migration, 'Failed');
}

/** Oldest first, then by name. */
export function byAge(
  { metadata: left }: StorageVersionMigration,
  { metadata: right }: StorageVersionMigration,
): number {
  const [older, newer] = [left?.creationTimestamp ?? '', right?.creationTimestamp ?? ''];
  if (older !== newer) return older < newer ? -1 : 1;
  return (left?.name ?? '') < (right?.name ?? '') ? -1 : 1;
}

interface ConditionUpdate {
  readonly type: Type;
  readonly status?: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

/** Adds or replaces one condition. Rejects with Conflict when the cache is behind. */
export async function say(
  { api, clock }: ReconcileContext,
  migration: StorageVersionMigration,
  { status = 'True', ...update }: ConditionUpdate,
): Promise<void> {
  const condition: Condition = { ...update, status, lastTransitionTime: formatTime(clock.now()) };
  const conditions = migration.status?.conditions ?? [];
  const isThere = conditions.some(({ type }) => type === update.type);
  const next = isThere
    ? conditions.map((other) => (other.type === update.type ? condition : other))
    : [...conditions, condition];
  await api.updateStatus(storageVersionMigrations, {
    ...migration,
    status: { ...migration.status, conditions: next },
  });
}

export function fail(
  context: ReconcileContext,
  migration: StorageVersionMigration,
  message: string,
): Promise<void> {
  context.log.warn('storage version migration failed', { migration: migration.metadata?.name, message });
  return say(context, migration, { type: 'Failed', reason: 'StorageVersionMigrationFailed', message });
}
