/** The objects of a moment: those of a backup with the changes since laid over them. Each change names the revision that it replaced, which has to be the one that is there. */
import type { BackupRecord } from '#backup/format.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { Change } from '#history/change.ts';
import { compareKeys } from '#storage/keys.ts';

/** Objects that expire by themselves, which is no change of anybody. */
const EXPIRING = /^\/registry\/events\//;
/** As --event-ttl has it, where the source does not know how long they were to live. */
const EVENT_TTL_SECONDS = 3_600;

export interface PointInTime {
  /** Call it for each object of the backup, before anything changes; then requireWhole. */
  see(record: BackupRecord): void;
  requireWhole(): void;
  /** The objects of that moment from those of the backup, both in the order of keys. */
  over(record: BackupRecord): readonly BackupRecord[];
  rest(): readonly BackupRecord[];
  readonly changes: number;
}

export class Overlay implements PointInTime {
  readonly changes: number;
  /** Of each key, in order. */
  readonly #chains = new Map<string, Change[]>();
  readonly #base = new Map<string, number>();
  readonly #keys: readonly string[];
  readonly #atMs: number;
  #next = 0;

  constructor(changes: readonly Change[], atMs: number) {
    this.changes = changes.length;
    this.#atMs = atMs;
    for (const change of changes) {
      const chain = this.#chains.get(change.key);
      if (chain) chain.push(change);
      else this.#chains.set(change.key, [change]);
    }
    this.#keys = [...this.#chains.keys()].toSorted(compareKeys);
  }

  see({ key, modRevision }: BackupRecord): void {
    if (this.#chains.has(key)) this.#base.set(key, modRevision);
  }

  requireWhole(): void {
    for (const [key, chain] of this.#chains) {
      let current = this.#base.get(key) ?? 0;
      for (const { revision, previousRevision, operation } of chain) {
        if ((previousRevision ?? current) !== current && !EXPIRING.test(key))
          throw new UserError(
            `History lacks a change of ${key} before revision ${revision}: that moment cannot be restored.`,
          );
        current = operation === 'delete' ? 0 : revision;
      }
    }
  }

  over(record: BackupRecord): readonly BackupRecord[] {
    const before = this.#upTo((key) => compareKeys(key, record.key) < 0);
    if (this.#keys[this.#next] !== record.key) return [...before, record];
    return [...before, ...this.#upTo((key) => key === record.key)];
  }

  rest(): readonly BackupRecord[] {
    return this.#upTo(() => true);
  }

  #upTo(isDue: (key: string) => boolean): BackupRecord[] {
    const due: BackupRecord[] = [];
    for (; this.#next < this.#keys.length && isDue(this.#keys[this.#next]!); this.#next++)
      due.push(...this.#stateOf(this.#keys[this.#next]!));
    return due;
  }

  /** After its last change; nothing where that is a delete, or its time is over. */
  #stateOf(key: string): BackupRecord[] {
    const {
      operation,
      value,
      revision,
      createRevision,
      ttlSeconds = EXPIRING.test(key) ? EVENT_TTL_SECONDS : undefined,
      timeMs = this.#atMs,
    } = this.#chains.get(key)!.at(-1)!;
    if (operation === 'delete' || !value) return [];
    const left = ttlSeconds === undefined ? undefined : ttlSeconds - Math.floor((this.#atMs - timeMs) / 1000);
    if (left !== undefined && left <= 0) return [];
    return [{ key, value, modRevision: revision, createRevision, ttlSeconds: left }];
  }
}
