/** Protobuf messages of KMS v2 (k8s.io/kms, service v2.KeyManagementService) and of values stored with it (EncryptedObject). */
import protobuf from 'protobufjs';

const bytes = (id: number): protobuf.IField => ({ type: 'bytes', id });
const text = (id: number): protobuf.IField => ({ type: 'string', id });
const annotations = (id: number): protobuf.IMapField => ({ keyType: 'string', type: 'bytes', id });

const root = protobuf.Root.fromJSON({
  nested: {
    v2: {
      nested: {
        StatusRequest: { fields: {} },
        StatusResponse: { fields: { version: text(1), healthz: text(2), keyId: text(3) } },
        DecryptRequest: {
          fields: {
            ciphertext: bytes(1),
            uid: text(2),
            keyId: text(3),
            annotations: annotations(4) as protobuf.IField,
          },
        },
        DecryptResponse: { fields: { plaintext: bytes(1) } },
        EncryptRequest: { fields: { plaintext: bytes(1), uid: text(2) } },
        EncryptResponse: {
          fields: { ciphertext: bytes(1), keyId: text(2), annotations: annotations(3) as protobuf.IField },
        },
        EncryptedObject: {
          fields: {
            encryptedData: bytes(1),
            keyID: text(2),
            encryptedDEKSource: bytes(3),
            annotations: annotations(4) as protobuf.IField,
            encryptedDEKSourceType: { type: 'int32', id: 5 },
          },
        },
      },
    },
  },
});

export type Annotations = Readonly<Record<string, Buffer>>;
export interface StatusResponse {
  readonly version: string;
  readonly healthz: string;
  readonly keyId: string;
}
export interface DecryptRequest {
  readonly ciphertext: Buffer;
  readonly uid: string;
  readonly keyId: string;
  readonly annotations: Annotations;
}
export interface DecryptResponse {
  readonly plaintext: Buffer;
}
export interface EncryptRequest {
  readonly plaintext: Buffer;
  readonly uid: string;
}
export interface EncryptResponse {
  readonly ciphertext: Buffer;
  readonly keyId: string;
  readonly annotations: Annotations;
}

export const KEY_IS_DEK = 0;
export const KEY_IS_HKDF_SEED = 1;

export interface EncryptedObject {
  readonly encryptedData: Buffer;
  readonly keyID: string;
  readonly encryptedDEKSource: Buffer;
  readonly annotations: Annotations;
  /** KEY_IS_… */
  readonly encryptedDEKSourceType: number;
}

interface Codec<T extends object> {
  encode(message: T): Buffer;
  decode(wire: Buffer): T;
}

function codec<T extends object>(name: string): Codec<T> {
  const type = root.lookupType(`v2.${name}`);
  return {
    encode: (message) => Buffer.from(type.encode(type.create(message)).finish()),
    decode: (wire) => type.toObject(type.decode(wire), { bytes: Buffer, defaults: true, objects: true }) as T,
  };
}

export const encryptedObject = codec<EncryptedObject>('EncryptedObject');

/** Both sides of each method: a plugin uses the request decoders and response encoders. */
export const methods = {
  Status: {
    path: '/v2.KeyManagementService/Status',
    request: codec<object>('StatusRequest'),
    response: codec<StatusResponse>('StatusResponse'),
  },
  Encrypt: {
    path: '/v2.KeyManagementService/Encrypt',
    request: codec<EncryptRequest>('EncryptRequest'),
    response: codec<EncryptResponse>('EncryptResponse'),
  },
  Decrypt: {
    path: '/v2.KeyManagementService/Decrypt',
    request: codec<DecryptRequest>('DecryptRequest'),
    response: codec<DecryptResponse>('DecryptResponse'),
  },
} as const;
