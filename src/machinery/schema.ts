/**
 * The compiled schema of an API type: used by strict decoding, pruning, static defaulting, strategic merge, server-side apply and protobuf.
 * Built-in types come from the generated tables (#api/schemas.ts), custom resources from their OpenAPI schema; both take the same path.
 */

export type ScalarType =
  | 'string'
  | 'int32'
  | 'int64'
  | 'uint32'
  | 'uint64'
  | 'bool'
  | 'double'
  /** base64 in JSON, bytes on the wire */
  | 'bytes'
  /** RFC 3339 seconds / microseconds in JSON, seconds+nanos on the wire */
  | 'time'
  | 'micro-time'
  /** Go duration string in JSON, int64 nanoseconds on the wire */
  | 'duration'
  | 'quantity'
  | 'int-or-string'
  /** metav1.FieldsV1, runtime.RawExtension, apiextensions JSON: any JSON, unchanged */
  | 'fields-v1'
  | 'raw-extension'
  | 'json';

export type ValueSchema =
  | {
      readonly kind: 'scalar';
      readonly type: ScalarType;
      /** Documented values, for OpenAPI and `kubectl explain`; the resource validates them. */
      readonly enum?: readonly string[];
      /** Server-side apply derives the type from the value: maps are granular, lists atomic. */
      readonly deduced?: true;
      /** For 'json': which union of apiextensions' JSONSchemaProps it is on the wire. */
      readonly wire?: 'schema-or-array' | 'schema-or-bool' | 'schema-or-strings';
    }
  /** Resolved lazily, because types may be recursive. */
  | { readonly kind: 'object'; readonly type: () => ObjectSchema }
  | { readonly kind: 'map'; readonly values: ValueSchema }
  | {
      readonly kind: 'list';
      readonly items: ValueSchema;
      readonly listType: 'atomic' | 'set' | 'map';
      readonly mapKeys?: readonly string[];
      /** On the wire the list is wrapped in a message of its own (metav1.Verbs, ExtraValue). */
      readonly wrapped?: boolean;
    };

export interface FieldSchema {
  /** JSON name. */
  readonly name: string;
  readonly value: ValueSchema;
  readonly required: boolean;
  /** Static default from the specification, applied on decode. */
  readonly default?: unknown;
  readonly patchStrategy?: readonly ('merge' | 'replace' | 'retainKeys')[];
  readonly patchMergeKey?: string;
  /** For messages: Go's name of the type, when it is an alias of a string, number, list or map ('v1.Protocol'). */
  readonly goType?: string;
  /** For messages: the embedded structs around this field, outermost first; their fields are inlined in JSON. */
  readonly within?: readonly string[];
  /** Atomic in server-side apply even though it is an object or map (x-kubernetes-map-type: atomic). */
  readonly atomic?: boolean;
  /** Protobuf field number; undefined when the type has no wire form. */
  readonly number?: number;
  /** Protobuf numbers of the embedded messages around this field, outermost first: nested on the wire, inlined in JSON. */
  readonly embeddedIn?: readonly number[];
  /**
   * What the zero value ('' 0 false {}) means for a scalar or object: 'distinct' from absence (a pointer in Go), the same as absence and
   * 'omitted' from JSON, or the same as absence and always 'written'. Absent where it is not known (custom resources): 'distinct'.
   */
  readonly zero?: 'distinct' | 'omitted' | 'written';
}

export interface ObjectSchema {
  /** OpenAPI definition name: 'io.k8s.api.core.v1.PodSpec'. */
  readonly name: string;
  /** In the order of the specification. */
  readonly fields: readonly FieldSchema[];
  readonly byName: ReadonlyMap<string, FieldSchema>;
  /** Accepts any field (preserve-unknown-fields). */
  readonly open?: boolean;
  /** For custom resources: no field exists before it is set, including defaulted ones. */
  readonly startsEmpty?: boolean;
  /** Values of this type are atomic in server-side apply everywhere (x-kubernetes-map-type: atomic on the type). */
  readonly atomic?: boolean;
}
