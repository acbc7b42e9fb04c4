/**
 * A KMS v2 provider: data is encrypted locally with keys derived from a seed that the plugin encrypted with its remote key, so that a write needs no
 * call. After upstream's envelope encryption (KMSv2 with KDF).
 *
 *   stored: EncryptedObject { seed as the plugin encrypted it, remote key's ID, annotations, data }
 *   data:   info (32 random bytes) │ AES-256-GCM under HKDF-Expand-SHA256(seed, info), with the storage key as additional data
 *
 *   no seed ──status ok──► seed in use ──status names another key──► new seed (what the old one wrote is stale)
 *                              │ no good status for 3 minutes
 *                              └──► writes fail; what was read before stays readable
 */
import {
  createHash,
  createHmac,
  createSecretKey,
  randomBytes,
  randomUUID,
  type KeyObject,
} from 'node:crypto';
import { isoTime } from '#stdx/dates.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { Lru } from '#stdx/lru.ts';
import type { KmsClient } from './kms-client.ts';
import {
  encryptedObject,
  KEY_IS_DEK,
  KEY_IS_HKDF_SEED,
  type Annotations,
  type EncryptedObject,
} from './kms-messages.ts';
import { openGcm, sealGcm } from './local-keys.ts';
import type { TransformationMetrics } from './metrics.ts';
import { TransformError, type Plain, type Transformer } from './transformer.ts';

const SEED_BYTES = 32;
const INFO_BYTES = 32;
/** How long a seed may write after the last good status. */
const WRITE_TTL_MS = 3 * 60_000;
const POLL_MS = 60_000;
const POLL_UNHEALTHY_MS = 10_000;
/** A health check refreshes an older status. */
const HEALTH_TTL_MS = 3_000;
const MAX_KEY_ID_BYTES = 1024;
const MAX_SEED_CIPHERTEXT_BYTES = 1024;
const MAX_ANNOTATIONS_BYTES = 32 * 1024;
const VERSIONS = new Set(['v2', 'v2beta1']);
/** Maximum of cached seeds: one for each rotation and each start of a server. */
const SEEDS_KEPT = 10_000;

interface Seed {
  readonly plain: Buffer;
  readonly keyID: string;
  readonly encrypted: Buffer;
  readonly annotations: Annotations;
  expiresAtMs: number;
}

export interface KmsProviderOptions {
  readonly name: string;
  readonly client: KmsClient;
  readonly metrics: TransformationMetrics;
  readonly clock: Clock;
  readonly log: Logger;
  /** Called when the plugin recovers. */
  readonly recovered?: () => void;
}

export class KmsProvider implements Transformer {
  readonly prefix: string;
  readonly name: string;
  readonly #options: KmsProviderOptions;
  readonly #seeds = new Lru<string, Buffer>({ maximum: SEEDS_KEPT });
  readonly #fetching = new Map<string, Promise<Buffer>>();
  #seed: Seed | undefined;
  #problem: string | undefined = 'the plugin has not been asked yet';
  #polledAtMs = -Infinity;
  #polling: Promise<void> | undefined;
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: KmsProviderOptions) {
    this.#options = options;
    this.name = options.name;
    this.prefix = `k8s:enc:kms:v2:${options.name}:`;
  }

  /** The current error, for health checks; refreshes an old status in the background. */
  get problem(): string | undefined {
    if (this.#options.clock.monotonic() - this.#polledAtMs > HEALTH_TTL_MS) void this.poll();
    return this.#problem;
  }

  /** Calls the plugin's Status, and generates a new seed when its key changed. Never rejects. */
  poll(): Promise<void> {
    this.#polling ??= this.#poll().finally(() => {
      this.#polling = undefined;
    });
    return this.#polling;
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#options.client.close();
  }

  toStorage(value: Buffer, context: string): Buffer {
    const { clock, metrics } = this.#options;
    const seed = this.#seed;
    if (!seed) throw new TransformError(`KMS provider ${this.name}: no data key yet: ${this.#problem ?? ''}`);
    if (seed.expiresAtMs <= clock.now()) {
      throw new TransformError(
        `KMS provider ${this.name}: the data key of key ID hash ${hashOf(seed.keyID)} expired at ${isoTime(seed.expiresAtMs)}: ${this.#problem ?? ''}`,
      );
    }
    metrics.keyUsed({
      provider: this.name,
      direction: 'to_storage',
      keyIdHash: hashOf(seed.keyID),
      nowMs: clock.now(),
    });
    const info = randomBytes(INFO_BYTES);
    const encryptedData = Buffer.concat([info, sealGcm(derivedKey(seed.plain, info), value, context)]);
    return encryptedObject.encode({
      encryptedData,
      keyID: seed.keyID,
      encryptedDEKSource: seed.encrypted,
      annotations: seed.annotations,
      encryptedDEKSourceType: KEY_IS_HKDF_SEED,
    });
  }

  fromStorage(stored: Buffer, context: string): Plain | Promise<Plain> {
    const object = decode(stored);
    const seed = this.#knownSeed(object);
    return seed instanceof Promise
      ? seed.then((plain) => this.#open(object, plain, context))
      : this.#open(object, seed, context);
  }

  #open(object: EncryptedObject, source: Buffer, context: string): Plain {
    const { encryptedData, encryptedDEKSourceType, keyID } = object;
    this.#options.metrics.keyUsed({
      provider: this.name,
      direction: 'from_storage',
      keyIdHash: hashOf(keyID),
      nowMs: this.#options.clock.now(),
    });
    const stale = this.#seed !== undefined && this.#seed.keyID !== keyID;
    if (encryptedDEKSourceType === KEY_IS_DEK)
      return { value: openGcm(createSecretKey(source), encryptedData, context), stale: true };
    if (encryptedData.length < INFO_BYTES)
      throw new TransformError('the stored data was shorter than the required size');
    return {
      value: openGcm(
        derivedKey(source, encryptedData.subarray(0, INFO_BYTES)),
        encryptedData.subarray(INFO_BYTES),
        context,
      ),
      stale,
    };
  }

  #knownSeed(object: EncryptedObject): Buffer | Promise<Buffer> {
    const id = cacheKey(object);
    const known = this.#seeds.get(id);
    if (known) return known;
    let fetching = this.#fetching.get(id);
    if (!fetching) {
      fetching = this.#fetchSeed(object, id).finally(() => this.#fetching.delete(id));
      this.#fetching.set(id, fetching);
    }
    return fetching;
  }

  async #fetchSeed({ encryptedDEKSource, keyID, annotations }: EncryptedObject, id: string): Promise<Buffer> {
    this.#options.metrics.cacheMiss();
    const { plaintext } = await this.#options.client.decrypt({
      ciphertext: encryptedDEKSource,
      uid: randomUUID(),
      keyId: keyID,
      annotations,
    });
    if (![16, 24, 32].includes(plaintext.length))
      throw new TransformError(
        `KMS provider ${this.name}: the plugin answered with a data key of ${plaintext.length} bytes`,
      );
    // A copy, so that the whole message is not retained.
    const seed = Buffer.from(plaintext);
    this.#keep(id, seed);
    return seed;
  }

  #keep(id: string, plain: Buffer): void {
    this.#seeds.set(id, plain);
    this.#options.metrics.cacheSize(this.name, this.#seeds.size);
  }

  async #poll(): Promise<void> {
    const { client, clock, log } = this.#options;
    this.#timer?.cancel();
    const before = this.#problem;
    try {
      const { version, healthz, keyId } = await client.status();
      if (!VERSIONS.has(version)) throw new TransformError(`expected KMSv2 API version v2, got ${version}`);
      if (healthz !== 'ok') throw new TransformError(`got unexpected healthz status: ${healthz}`);
      this.#checkKeyId(keyId);
      await this.#useKey(keyId);
      this.#problem = undefined;
    } catch (error) {
      this.#problem = errorMessage(error);
      if (before !== this.#problem && !this.#closed)
        log.error('KMS plugin is unhealthy', { provider: this.name, error: this.#problem });
    }
    this.#polledAtMs = clock.monotonic();
    if (this.#closed) return;
    this.#timer = clock.after(
      this.#problem === undefined ? POLL_MS : POLL_UNHEALTHY_MS,
      () => void this.poll(),
    );
    if (before !== undefined && this.#problem === undefined) this.#options.recovered?.();
  }

  #checkKeyId(keyId: string): void {
    const reason =
      keyId === '' ? 'empty' : Buffer.byteLength(keyId) > MAX_KEY_ID_BYTES ? 'too_long' : undefined;
    if (reason === undefined) return;
    this.#options.metrics.invalidKeyId(this.name, reason);
    throw new TransformError(
      reason === 'empty'
        ? 'keyID is empty'
        : `keyID is ${Buffer.byteLength(keyId)} bytes, which exceeds the max size of ${MAX_KEY_ID_BYTES}`,
    );
  }

  /** The same key: its seed may write on. Another: a new seed; while none can be had, the old one writes until its time is over. */
  async #useKey(keyId: string): Promise<void> {
    const { clock, metrics, log } = this.#options;
    const expiresAtMs = clock.now() + WRITE_TTL_MS;
    if (this.#seed?.keyID === keyId) {
      this.#seed.expiresAtMs = expiresAtMs;
      return;
    }
    try {
      const seed = await this.#makeSeed(expiresAtMs);
      metrics.keyGenerated(false);
      log.info('a KMS plugin encrypted a new data key', {
        provider: this.name,
        keyIdHash: hashOf(seed.keyID),
      });
      this.#seed = seed;
    } catch (error) {
      metrics.keyGenerated(true);
      throw error;
    }
  }

  async #makeSeed(expiresAtMs: number): Promise<Seed> {
    const plain = randomBytes(SEED_BYTES);
    const { ciphertext, keyId, annotations } = await this.#options.client.encrypt({
      plaintext: plain,
      uid: randomUUID(),
    });
    this.#checkKeyId(keyId);
    checkSource(ciphertext, annotations);
    this.#keep(cacheKey({ encryptedDEKSource: ciphertext, keyID: keyId, annotations }), plain);
    return { plain, keyID: keyId, encrypted: ciphertext, annotations, expiresAtMs };
  }
}

function decode(stored: Buffer): EncryptedObject {
  try {
    const object = encryptedObject.decode(stored);
    checkSource(object.encryptedDEKSource, object.annotations);
    if (object.encryptedData.length === 0) throw new TransformError('encrypted data is empty');
    if (object.encryptedDEKSourceType !== KEY_IS_DEK && object.encryptedDEKSourceType !== KEY_IS_HKDF_SEED)
      throw new TransformError(`unknown encryptedDEKSourceType ${object.encryptedDEKSourceType}`);
    return object;
  } catch (error) {
    throw error instanceof TransformError
      ? error
      : new TransformError(`failed to decode the encrypted object: ${errorMessage(error)}`, { cause: error });
  }
}

function checkSource(ciphertext: Buffer, annotations: Annotations): void {
  if (ciphertext.length === 0) throw new TransformError('encrypted DEK source is empty');
  if (ciphertext.length > MAX_SEED_CIPHERTEXT_BYTES)
    throw new TransformError(
      `encrypted DEK source is ${ciphertext.length} bytes, which exceeds the max size of ${MAX_SEED_CIPHERTEXT_BYTES}`,
    );
  let size = 0;
  for (const [name, value] of Object.entries(annotations)) {
    if (!/^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+\.?$/.test(name))
      throw new TransformError(`annotation key ${JSON.stringify(name)} is no fully qualified domain name`);
    size += Buffer.byteLength(name) + value.length;
  }
  if (size > MAX_ANNOTATIONS_BYTES)
    throw new TransformError(
      `annotations are ${size} bytes, which exceeds the max size of ${MAX_ANNOTATIONS_BYTES}`,
    );
}

/** The one block of HKDF-Expand (RFC 5869) that 32 bytes take. */
function derivedKey(seed: Buffer, info: Buffer): KeyObject {
  return createSecretKey(
    createHmac('sha256', seed)
      .update(info)
      .update(Buffer.from([1]))
      .digest(),
  );
}

function cacheKey({
  encryptedDEKSource,
  keyID,
  annotations,
}: Pick<EncryptedObject, 'encryptedDEKSource' | 'keyID' | 'annotations'>): string {
  const hash = createHash('sha256');
  const add = (part: string | Buffer): void => void hash.update(`${Buffer.byteLength(part)}:`).update(part);
  add(encryptedDEKSource);
  add(keyID);
  for (const name of Object.keys(annotations).toSorted()) {
    add(name);
    add(annotations[name]!);
  }
  return hash.digest('base64');
}

/** Key IDs may tell much of whose they are: metrics and logs have their hash. */
function hashOf(keyID: string): string {
  return `sha256:${createHash('sha256').update(keyID).digest('hex')}`;
}
