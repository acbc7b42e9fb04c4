/**
 * Periodic compaction of etcd, by one server at a time, as upstream's API server does it (storage/etcd3/compact.go): servers of both kinds on one
 * etcd share the work. The key compact_rev_key holds the revision that was compacted last, and its version is the logical time: who raises it
 * from the version known to compacts, the others only learn. So that history is kept for one interval at least and two at most.
 *
 *   every interval ─▶ version of the key as known? ─yes─▶ key = newest revision of the last round ─▶ compact up to it
 *                                                  └─no──▶ another server was quicker: learn version and revision
 */
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { Revision } from '../../store.ts';
import type { EtcdConnection } from './connection.ts';
import { EtcdCallError } from './failures.ts';
import { COMPARE_EQUAL, COMPARE_VERSION, int, type TxnResponse } from './protocol.ts';

/** Outside of the prefix of the API's keys, as upstream has it. */
const KEY = Buffer.from('compact_rev_key');

interface CompactorOptions {
  readonly connection: EtcdConnection;
  readonly clock: Clock;
  readonly log: Logger;
  readonly intervalMs: number;
  readonly compact: (revision: Revision) => Promise<void>;
  /** Another server has compacted up to here. */
  readonly onCompacted: (revision: Revision) => void;
}

export class Compactor {
  readonly #options: CompactorOptions;
  /** Version of the key, and etcd's revision, as of the last round. */
  #version = 0;
  #revision: Revision = 0;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: CompactorOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = this.#options.clock.after(this.#options.intervalMs, () => void this.#tick());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #tick(): Promise<void> {
    try {
      await this.round();
    } catch (error) {
      if (!this.#stopped) this.#options.log.error('etcd was not compacted', { error: errorMessage(error) });
    }
    if (!this.#stopped) this.start();
  }

  /** Rejects where etcd does not answer: whether the key was raised is then learnt in the next round. */
  async round(): Promise<void> {
    const upTo = this.#revision;
    const answer = await this.#raise(upTo).catch((error: unknown) => {
      throw error instanceof EtcdCallError ? error.failure.error : error;
    });
    this.#revision = int(answer.header.revision);
    if (!answer.succeeded) return this.#learn(answer);
    this.#version++;
    // The first round of a new etcd only makes the key.
    if (upTo === 0) return;
    await this.#options.compact(upTo);
    this.#options.log.debug('compacted etcd', { revision: upTo });
  }

  #raise(revision: Revision): Promise<TxnResponse> {
    return this.#options.connection.call<TxnResponse>(
      'Txn',
      {
        compare: [{ result: COMPARE_EQUAL, target: COMPARE_VERSION, key: KEY, version: this.#version }],
        success: [{ requestPut: { key: KEY, value: Buffer.from(String(revision)) } }],
        failure: [{ requestRange: { key: KEY } }],
      },
      { doing: 'agree on the compaction of etcd', idempotent: false },
    );
  }

  #learn({ responses }: TxnResponse): void {
    const found = responses[0]?.responseRange?.kvs[0];
    this.#version = int(found?.version);
    const compacted = Number(found?.value.toString());
    if (Number.isSafeInteger(compacted) && compacted > 0) this.#options.onCompacted(compacted);
  }
}
