/** Conditions in the status of both kinds. */
import { Errors, STATUS } from '../field-path.ts';
import type { FieldError } from '#machinery/errors.ts';

interface Conditioned {
  readonly status?: { readonly conditions?: readonly { readonly type?: string }[] | null };
}

export function validateConditions({ status }: Conditioned): FieldError[] {
  const errors = new Errors(),
    seen = new Set<string>();
  status?.conditions?.forEach(({ type = '' }, i) => {
    const at = STATUS.child('conditions').index(i).child('type');
    if (seen.has(type)) errors.duplicate(at, type);
    seen.add(type);
    if (type === '') errors.required(at);
  });
  return errors.list;
}
