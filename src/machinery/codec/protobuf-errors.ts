/** Errors of protobuf decoding and encoding. The caller translates them: for a request's body to BadRequest. */
export type ProtobufErrorCode = 'not-protobuf' | 'truncated' | 'malformed' | 'unknown-kind' | 'wrong-value';

export class ProtobufError extends Error {
  override readonly name = 'ProtobufError';
  readonly code: ProtobufErrorCode;
  constructor(code: ProtobufErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
