/** Lists of status conditions. Pure: every function returns a new list and changes nothing. */

interface ConditionLike {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly lastTransitionTime?: string;
}

export function findCondition<C extends ConditionLike>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find((condition) => condition.type === type);
}

export function isConditionTrue(conditions: readonly ConditionLike[] | undefined, type: string): boolean {
  return findCondition(conditions, type)?.status === 'True';
}

export function withoutCondition<C extends ConditionLike>(
  conditions: readonly C[] | undefined,
  type: string,
): C[] {
  return (conditions ?? []).filter((condition) => condition.type !== type);
}

/** Puts a condition at the end, unless one of the same status and reason is there; the time of transition stays while the status does. */
export function withCondition<C extends ConditionLike>(
  conditions: readonly C[] | undefined,
  condition: C,
): C[] {
  const current = findCondition(conditions, condition.type);
  if (current?.status === condition.status && current.reason === condition.reason) return [...conditions!];
  const next =
    current?.status === condition.status && current.lastTransitionTime !== undefined
      ? { ...condition, lastTransitionTime: current.lastTransitionTime }
      : condition;
  return [...withoutCondition(conditions, condition.type), next];
}

/** As upstream's UpdatePodCondition: takes the whole place of the one of its type; the time of transition stays while the status does. */
export function updateCondition<C extends ConditionLike>(
  conditions: readonly C[] | undefined,
  condition: C,
): C[] {
  const current = findCondition(conditions, condition.type);
  if (!current) return [...(conditions ?? []), condition];
  const next =
    current.status === condition.status && current.lastTransitionTime !== undefined
      ? { ...condition, lastTransitionTime: current.lastTransitionTime }
      : condition;
  return conditions!.map((one) => (one === current ? next : one));
}
