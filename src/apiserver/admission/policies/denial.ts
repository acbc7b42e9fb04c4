/** How a policy's refusal is answered: the reason its author chose, upstream's words. */
import { StatusError } from '#machinery/errors.ts';
import { forbid } from '../forbid.ts';
import type { AdmissionAttributes } from '../plugin.ts';

const CODES: Readonly<Record<string, number>> = { Unauthorized: 401, Forbidden: 403, RequestEntityTooLarge: 413, Invalid: 422 };

export interface Refusal { readonly what: string; readonly policy: string; readonly binding?: string; readonly message: string; readonly reason?: string | undefined }

export function denial(attributes: AdmissionAttributes, { what, policy, binding, message, reason = 'Invalid' }: Refusal): StatusError {
  const text = `${what} '${policy}'${binding === undefined ? '' : ` with binding '${binding}'`} denied request: ${message}`;
  const { status } = forbid(attributes, text);
  return new StatusError({ ...status, reason, code: CODES[reason] ?? 422, details: { ...status.details, causes: [{ message: text }] } });
}
