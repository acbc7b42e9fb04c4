/** Status errors of policies, in upstream's words: the reason chosen by the author of a validating policy, 403 for mutating ones. */
import { StatusError } from '#machinery/errors.ts';
import { forbid } from '../forbid.ts';
import type { AdmissionAttributes } from '../plugin.ts';

const CODES: Readonly<Record<string, number>> = {
  Unauthorized: 401,
  Forbidden: 403,
  RequestEntityTooLarge: 413,
  Invalid: 422,
};

interface Refusal {
  readonly what: string;
  readonly policy: string;
  readonly binding?: string;
  readonly message: string;
  readonly reason?: string | undefined;
}

export function denial(
  attributes: AdmissionAttributes,
  { what, policy, binding, message, reason = 'Invalid' }: Refusal,
): StatusError {
  const text = `${what} '${policy}'${binding === undefined ? '' : ` with binding '${binding}'`} denied request: ${message}`;
  const { status } = forbid(attributes, text);
  return new StatusError({
    ...status,
    reason,
    code: CODES[reason] ?? 422,
    details: { ...status.details, causes: [{ message: text }] },
  });
}

export interface MutationRefusal extends Omit<Refusal, 'what'> {
  readonly policy: string;
}

/** All failed mutations: the first is the message, each is a cause. */
export function mutationDenial(
  attributes: AdmissionAttributes,
  refusals: readonly [MutationRefusal, ...MutationRefusal[]],
): StatusError {
  const texts = refusals.map(({ policy, binding, message }) =>
    binding === undefined
      ? `policy ${JSON.stringify(policy)} denied request: ${message}`
      : `policy '${policy}' with binding '${binding}' denied request: ${message}`,
  );
  const { status } = forbid(attributes, 'denied by policy'),
    [{ reason = 'Forbidden' }] = refusals;
  return new StatusError({
    ...status,
    message: texts[0]!,
    reason,
    details: { ...status.details, causes: texts.map((message) => ({ message })) },
  });
}
