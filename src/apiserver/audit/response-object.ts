/** Decodes the object of a response, whatever its encoding. */
import { decodeObject as decodeProtobuf } from '#machinery/codec/protobuf.ts';
import { schemaForKind } from '#api/schemas.ts';
import type { ApiResponse } from '../http/request.ts';
import { yaml } from '#machinery/yaml-package.ts';

/** undefined for streams and for non-objects. */
export function responseObject({ headers, body }: ApiResponse): unknown {
  if (typeof body === 'function') return undefined;
  const bytes = Buffer.isBuffer(body) ? body : Buffer.concat(body as Buffer[]);
  if (bytes.length === 0) return undefined;
  const type = (headers['content-type'] ?? '').split(';')[0]!.trim();
  try {
    if (type === 'application/json') return JSON.parse(bytes.toString()) as unknown;
    if (type === 'application/yaml')
      return yaml().parse(bytes.toString(), { schema: 'yaml-1.1', maxAliasCount: 100 }) as unknown;
    if (type === 'application/vnd.kubernetes.protobuf')
      return decodeProtobuf(bytes, {
        schemaFor: schemaForKind,
        defaultKind: { group: '', version: 'v1', kind: 'Status' },
      });
  } catch {
    // Something of another kind under that name: a proxied page.
  }
  return undefined;
}
