/** What can be wrong with protobuf bytes, or with a value to be written. The caller translates: a request's body becomes BadRequest. */
export type ProtobufErrorCode = 'not-protobuf' | 'truncated' | 'malformed' | 'unknown-kind' | 'wrong-value';

export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
  readonly code: ProtobufErrorCode;
  constructor(code: ProtobufErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
