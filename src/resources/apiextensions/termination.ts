/** Deletion of a CustomResourceDefinition: it is kept until its objects are deleted. The API server deletes them and removes the finalizer. */
import type { CustomResourceDefinition, CustomResourceDefinitionCondition } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';

export const CLEANUP = 'customresourcecleanup.apiextensions.k8s.io';

export interface Terminating {
  readonly status: 'True' | 'False';
  readonly reason: string;
  readonly message: string;
}

export function beginDeletion(definition: CustomResourceDefinition, nowMs: number): void {
  const metadata = (definition.metadata ??= {}),
    { finalizers = [] } = metadata;
  if (!finalizers.includes(CLEANUP)) metadata.finalizers = [...finalizers, CLEANUP];
  setTerminating(
    definition,
    {
      status: 'True',
      reason: 'InstanceDeletionPending',
      message: 'CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon',
    },
    nowMs,
  );
}

export function setTerminating(
  definition: CustomResourceDefinition,
  condition: Terminating,
  nowMs: number,
): void {
  const conditions = definition.status?.conditions ?? [];
  const old = conditions.find(({ type }) => type === 'Terminating');
  const next = withTime({ type: 'Terminating', ...condition }, { old, nowMs });
  definition.status = {
    ...definition.status,
    conditions: [...conditions.filter(({ type }) => type !== 'Terminating'), next],
  } as NonNullable<CustomResourceDefinition['status']>;
}

export function withTime(
  next: CustomResourceDefinitionCondition,
  { old, nowMs }: { readonly old: CustomResourceDefinitionCondition | undefined; readonly nowMs: number },
): CustomResourceDefinitionCondition {
  const { lastTransitionTime: _, ...rest } = next;
  return {
    lastTransitionTime:
      old?.status === next.status && old.lastTransitionTime ? old.lastTransitionTime : formatTime(nowMs),
    ...rest,
  };
}
