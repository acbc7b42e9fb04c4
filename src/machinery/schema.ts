/**
 * The compiled schema of one API type: what strict decoding, pruning, static defaulting, strategic merge, server-side apply and protobuf run on.
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
  /** metav1.FieldsV1, runtime.RawExtension, apiextensions JSON: any JSON kept as it is */
  | 'fields-v1'
  | 'raw-extension'
  | 'json';

export type ValueSchema =
  | {
      readonly kind: 'scalar';
      readonly type: ScalarType;
      /** Values upstream documents, for OpenAPI and `kubectl explain`; validation is the resource's own matter. */
      readonly enum?: readonly string[];
      /** Server-side apply takes a value for what it looks like: maps by their fields, lists as a whole. */
      readonly deduced?: true;
      /** For 'json': the one of the unions inside apiextensions' JSONSchemaProps that it is on the wire. */
      readonly wire?: 'schema-or-array' | 'schema-or-bool' | 'schema-or-strings';
    }
  /** Lazily resolved, since types refer to each other and to themselves. */
  | { readonly kind: 'object'; readonly type: () => ObjectSchema }
  | { readonly kind: 'map'; readonly values: ValueSchema }
  | {
      readonly kind: 'list';
      readonly items: ValueSchema;
      readonly listType: 'atomic' | 'set' | 'map';
      readonly mapKeys?: readonly string[];
      /** On the wire the list sits inside a message of its own (metav1.Verbs, ExtraValue). */
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
  /** For messages: what Go calls the type, where that is another name for a text, number, list or map ('v1.Protocol'). */
  readonly goType?: string;
  /** For messages: the embedded structs around this field, outermost first; JSON shows its fields inline. */
  readonly within?: readonly string[];
  /** Whole-value replacement in server-side apply even though it is an object or map (x-kubernetes-map-type: atomic). */
  readonly atomic?: boolean;
  /** Protobuf field number, absent where the type has no wire form. */
  readonly number?: number;
  /** Protobuf numbers of the embedded messages around this field, outermost first: JSON shows its fields inline, the wire nests them. */
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
  /** In the specification's order. */
  readonly fields: readonly FieldSchema[];
  readonly byName: ReadonlyMap<string, FieldSchema>;
  /** Accepts any field (preserve-unknown-fields). */
  readonly open?: boolean;
  /** Of a custom resource: nothing is there before anyone gives it, what is defaulted neither. */
  readonly startsEmpty?: boolean;
  /** Values of this type are replaced as a whole by server-side apply, wherever they are (x-kubernetes-map-type: atomic on the type). */
  readonly atomic?: boolean;
}
