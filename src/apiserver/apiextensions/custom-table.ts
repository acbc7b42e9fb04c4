/** The table of a custom resource: its name, then the author's printer columns, or else its age. */
import { isJsonObject } from '#machinery/json.ts';
import { age, timeMs } from '#machinery/time.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { CustomResourceColumnDefinition } from '#api/types.ts';
import type { TableCell, TableColumn, TableDefinition } from '#resources/define.ts';
import { compileJsonPath } from './json-path.ts';

const NAME: TableColumn = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Unique within its namespace, or the cluster.',
};
const AGE: CustomResourceColumnDefinition = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'When the object was created.',
};

export function customTable(
  columns: readonly CustomResourceColumnDefinition[] | undefined,
): TableDefinition<KubeObject> {
  const shown = (columns ?? [AGE]).map((column) => ({ column, path: compileJsonPath(column.jsonPath) }));
  return {
    columns: [
      NAME,
      ...shown.map(({ column: { name, type, format, description, priority } }): TableColumn => ({
        name,
        type: type as TableColumn['type'],
        ...(format && { format }),
        description: description || `The value at ${shownPath(columns, name)}.`,
        ...(priority && { priority }),
      })),
    ],
    row: (object, { nowMs }) => [
      object.metadata?.name ?? '',
      ...shown.map(({ column, path }) => cell(column.type, path(object)[0], nowMs)),
    ],
  };
}

function shownPath(columns: readonly CustomResourceColumnDefinition[] | undefined, name: string): string {
  return columns?.find((column) => column.name === name)?.jsonPath ?? AGE.jsonPath;
}

function cell(type: string, value: unknown, nowMs: number): TableCell {
  if (value === undefined || value === null) return null;
  switch (type) {
    case 'integer':
      return typeof value === 'number' ? Math.trunc(value) : null;
    case 'number':
      return typeof value === 'number' ? value : null;
    case 'boolean':
      return typeof value === 'boolean' ? value : null;
    case 'date':
      return typeof value !== 'string' ? null : timeMs(value) === undefined ? '<invalid>' : age(value, nowMs);
    default:
      return Array.isArray(value) || isJsonObject(value) ? JSON.stringify(value) : String(value);
  }
}
