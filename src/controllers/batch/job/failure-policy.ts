/** Evaluates a Job's podFailurePolicy for a failed pod. The first matching rule applies. Pure. */
import type {
  Pod,
  PodFailurePolicy,
  PodFailurePolicyOnExitCodesRequirement,
  PodFailurePolicyOnPodConditionsPattern,
} from '#api/types.ts';

interface Verdict {
  readonly action: 'FailJob' | 'FailIndex' | 'Ignore' | 'Count';
  /** The message of the job's condition. */
  readonly message: string;
}

/** undefined when no rule matches: the failure counts. */
export function judge(policy: PodFailurePolicy | undefined, pod: Pod): Verdict | undefined {
  for (const [index, { action, onExitCodes, onPodConditions }] of (policy?.rules ?? []).entries()) {
    const reason = onExitCodes
      ? exitCodeReason(onExitCodes, pod)
      : conditionReason(onPodConditions ?? [], pod);
    if (reason)
      return {
        action: action as Verdict['action'],
        message: `${reason} matching ${action} rule at index ${index}`,
      };
  }
  return undefined;
}

/** Ignored failures do not count against the backoff limit. */
export function counts(policy: PodFailurePolicy | undefined, pod: Pod): boolean {
  return judge(policy, pod)?.action !== 'Ignore';
}

function exitCodeReason(
  { containerName, operator, values }: PodFailurePolicyOnExitCodesRequirement,
  pod: Pod,
): string | undefined {
  for (const { name, state } of [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ]) {
    const exitCode = state?.terminated?.exitCode;
    if (!exitCode || (containerName !== undefined && containerName !== name)) continue;
    if (values.includes(exitCode) !== (operator === 'In')) continue;
    return `Container ${name} for pod ${pod.metadata!.namespace}/${pod.metadata!.name} failed with exit code ${exitCode}`;
  }
  return undefined;
}

function conditionReason(
  patterns: readonly PodFailurePolicyOnPodConditionsPattern[],
  pod: Pod,
): string | undefined {
  const found = pod.status?.conditions?.find((condition) =>
    patterns.some(({ type, status = 'True' }) => type === condition.type && status === condition.status),
  );
  return found && `Pod ${pod.metadata!.namespace}/${pod.metadata!.name} has condition ${found.type}`;
}
