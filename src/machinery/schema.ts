/**
 * The compiled schema of one API type: what strict decoding, pruning, static defaulting, strategic merge, server-side apply and protobuf run on.
 * Built-in types come from the generated tables (#api/schemas.ts), custom resources from their OpenAPI schema; both take the same path.
 */

export type ScalarType =
  | 'string' | 'int32' | 'int64' | 'uint32' | 'uint64' | 'bool' | 'double'
  /** base64 in JSON, bytes on the wire */
  | 'bytes'
  /** RFC 3339 seconds / microseconds in JSON, seconds+nanos on the wire */
  | 'time' | 'micro-time'
  /** Go duration string in JSON, int64 nanoseconds on the wire */
  | 'duration'
  | 'quantity' | 'int-or-string'
  /** metav1.FieldsV1, runtime.RawExtension, apiextensions JSON: any JSON kept as it is */
  | 'fields-v1' | 'raw-extension' | 'json';

export type ValueSchema =
  | { readonly kind: 'scalar'; readonly type: ScalarType; readonly enum?: readonly string[] }
  /** Lazily resolved, since types refer to each other and to themselves. */
  | { readonly kind: 'object'; readonly type: () => ObjectSchema }
  | { readonly kind: 'map'; readonly values: ValueSchema }
  | { readonly kind: 'list'; readonly items: ValueSchema; readonly listType: 'atomic' | 'set' | 'map'; readonly mapKeys?: readonly string[] };

export interface FieldSchema {
  /** JSON name. */
  readonly name: string;
  readonly value: ValueSchema;
  readonly required: boolean;
  /** Static default from the specification, applied on decode. */
  readonly default?: unknown;
  readonly patchStrategy?: readonly ('merge' | 'replace' | 'retainKeys')[];
  readonly patchMergeKey?: string;
  /** Whole-value replacement in server-side apply even though it is an object or map (x-kubernetes-map-type: atomic). */
  readonly atomic?: boolean;
  /** Protobuf field number, absent where the type has no wire form. */
  readonly number?: number;
}

export interface ObjectSchema {
  /** OpenAPI definition name: 'io.k8s.api.core.v1.PodSpec'. */
  readonly name: string;
  /** In the specification's order. */
  readonly fields: readonly FieldSchema[];
  readonly byName: ReadonlyMap<string, FieldSchema>;
  /** Accepts any field (preserve-unknown-fields). */
  readonly open?: boolean;
}
