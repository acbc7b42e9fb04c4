/** ConfigMap: data of at most 1 MiB, optionally immutable. */
import type { ConfigMap } from '#api/types.ts';
import { checkConfigMapKey, own } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { base64Length } from './base64.ts';

export const DATA_MAX_BYTES = 1024 * 1024;
const DATA = Path.root('data');
const BINARY_DATA = Path.root('binaryData');
/** Upstream's format of a path without a name. */
const WHOLE_OBJECT = Path.root('[]');
export const SET_IMMUTABLE = 'field is immutable when `immutable` is set';

export const configmaps = defineResource<ConfigMap>({
  group: '',
  plural: 'configmaps',
  validate,
  validateUpdate: (next, previous, context) => {
    const errors = new Errors();
    if (previous.immutable) {
      if (!next.immutable) errors.forbidden(Path.root('immutable'), SET_IMMUTABLE);
      if (!semanticEqual(next.data, previous.data)) errors.forbidden(DATA, SET_IMMUTABLE);
      if (!semanticEqual(next.binaryData, previous.binaryData)) errors.forbidden(BINARY_DATA, SET_IMMUTABLE);
    }
    return [...errors.list, ...validate(next, context)];
  },
  table: {
    columns: columns('Name', 'Data', 'Age'),
    row: (map, context) => [
      nameOf(map),
      Object.keys(map.data ?? {}).length + Object.keys(map.binaryData ?? {}).length,
      formatAge(map, context),
    ],
  },
});

function validate(map: ConfigMap, _context: unknown): Errors['list'] {
  const errors = new Errors();
  let bytes = 0;
  for (const key in map.data) {
    checkConfigMapKey(key, DATA.key(key), errors);
    if (own(map.binaryData, key) !== undefined)
      errors.invalid(DATA.key(key), key, 'duplicate of key present in binaryData');
    bytes += Buffer.byteLength(map.data[key]!);
  }
  for (const key in map.binaryData) {
    checkConfigMapKey(key, BINARY_DATA.key(key), errors);
    bytes += base64Length(map.binaryData[key]!);
  }
  if (bytes > DATA_MAX_BYTES) errors.tooLong(WHOLE_OBJECT, DATA_MAX_BYTES);
  return errors.list;
}
