/** The conflict error of an apply that would change fields of other managers. */
import { StatusError } from '../errors.ts';
import type { ManagedFieldsEntry } from '../object.ts';
import { printPath, type FieldSet } from './field-set.ts';
import { compareTexts, identityOf } from './owners.ts';

/** Fields of a manager that the apply would change. */
export interface Conflict {
  readonly entry: ManagedFieldsEntry;
  readonly fields: FieldSet;
}

/** 409, with one cause per field. */
export function conflictError(conflicts: readonly Conflict[]): StatusError {
  const sorted = conflicts
    .map(({ entry, fields }) => ({ entry, paths: fields.paths() }))
    .toSorted((left, right) => compareTexts(identityOf(left.entry), identityOf(right.entry)));
  const causes = sorted.flatMap(({ entry, paths }) =>
    paths.map((path) => ({
      reason: 'FieldManagerConflict',
      message: `conflict with ${printManager(entry)}`,
      field: printPath(path),
    })),
  );
  const message =
    causes.length === 1
      ? `Apply failed with 1 conflict: ${causes[0]!.message}: ${causes[0]!.field}`
      : `Apply failed with ${causes.length} conflicts: ${sorted.map(({ entry, paths }) => `conflicts with ${printManager(entry)}:\n${paths.map((path) => `- ${printPath(path)}`).join('\n')}`).join('\n')}`;
  return new StatusError({
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: 'Conflict',
    details: { causes },
    code: 409,
  });
}

function printManager({ manager = '', operation, apiVersion = '', subresource }: ManagedFieldsEntry): string {
  const name =
    JSON.stringify(manager) + (subresource ? ` with subresource ${JSON.stringify(subresource)}` : '');
  return operation === 'Update' ? `${name} using ${apiVersion}` : name;
}
