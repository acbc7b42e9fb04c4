/** A KMS v2 plugin for tests, on a unix socket: keys in memory, each used to seal with AES-GCM. It can go away, come back, and change its key. */
import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { Server, ServerCredentials, status, type sendUnaryData, type ServerUnaryCall } from '@grpc/grpc-js';
import { methods, type DecryptRequest, type EncryptRequest } from '../kms-messages.ts';
import { openGcm, sealGcm } from '../local-keys.ts';

export class TestKmsPlugin {
  readonly #socket: string;
  readonly #keys = new Map<string, KeyObject>();
  #server: Server | undefined;
  keyId = '';
  healthz = 'ok';
  readonly calls = { Status: 0, Encrypt: 0, Decrypt: 0 };

  constructor(socket: string) {
    this.#socket = socket;
    this.rotate('key-1');
  }

  get endpoint(): string {
    return `unix://${this.#socket}`;
  }

  rotate(keyId: string): void {
    this.keyId = keyId;
    this.#keys.set(keyId, createSecretKey(randomBytes(32)));
  }

  forget(keyId: string): void {
    this.#keys.delete(keyId);
  }

  async start(): Promise<void> {
    const server = new Server();
    const answer = (method: keyof typeof methods, handle: (request: never) => object) => ({
      path: methods[method].path,
      requestStream: false,
      responseStream: false,
      requestSerialize: () => Buffer.alloc(0),
      responseDeserialize: () => ({}),
      requestDeserialize: (wire: Buffer): object => methods[method].request.decode(wire),
      responseSerialize: (message: object) =>
        (methods[method].response as { encode(message: object): Buffer }).encode(message),
      handle: (call: ServerUnaryCall<object, object>, done: sendUnaryData<object>) => {
        this.calls[method]++;
        try {
          done(null, handle(call.request as never));
        } catch (error) {
          done({ code: status.INTERNAL, details: (error as Error).message });
        }
      },
    });
    const definitions = {
      Status: answer('Status', () => ({ version: 'v2', healthz: this.healthz, keyId: this.keyId })),
      Encrypt: answer('Encrypt', ({ plaintext }: EncryptRequest) => ({
        ciphertext: sealGcm(this.#key(this.keyId), plaintext, 'kms'),
        keyId: this.keyId,
        annotations: { 'version.test.example.com': Buffer.from('1') },
      })),
      Decrypt: answer('Decrypt', ({ ciphertext, keyId, annotations }: DecryptRequest) => {
        if (annotations['version.test.example.com']?.toString() !== '1')
          throw new Error('annotations are missing');
        return { plaintext: openGcm(this.#key(keyId), ciphertext, 'kms') };
      }),
    };
    server.addService(
      definitions,
      Object.fromEntries(Object.entries(definitions).map(([name, { handle }]) => [name, handle])),
    );
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${this.#socket}`, ServerCredentials.createInsecure(), (error) => {
        if (error) reject(error);
        else resolve();
      });
    });
    this.#server = server;
  }

  /** As a plugin that is killed: connections break. */
  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
  }

  #key(keyId: string): KeyObject {
    const key = this.#keys.get(keyId);
    if (!key) throw new Error(`key ${keyId} is not there`);
    return key;
  }
}
