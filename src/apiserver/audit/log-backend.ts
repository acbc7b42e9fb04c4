/** Writes events as lines, to a file that rotates or to standard output. */
import { writeSync } from 'node:fs';
import { errorMessage } from '#stdx/log.ts';
import { LostEventsError } from './batching.ts';
import type { AuditBackend, AuditCounters } from './backend.ts';
import { legacyLine, type AuditEvent } from './event.ts';

interface LineTarget {
  write(lines: string): void;
  close(): Promise<void>;
}

/** Of --audit-log-path=-. */
export const standardOutput: LineTarget = {
  write(lines) {
    const bytes = Buffer.from(lines);
    for (let written = 0; written < bytes.length;) {
      try {
        written += writeSync(1, bytes, written);
      } catch (error) {
        // A pipe whose reader is slow.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      }
    }
  },
  close: () => Promise.resolve(),
};

export class LogBackend implements AuditBackend {
  readonly #target: LineTarget;
  readonly #format: 'json' | 'legacy';
  readonly #counters: AuditCounters;

  constructor(
    target: LineTarget,
    { format, counters }: { readonly format: 'json' | 'legacy'; readonly counters: AuditCounters },
  ) {
    this.#target = target;
    this.#format = format;
    this.#counters = counters;
  }

  process(events: readonly AuditEvent[]): void {
    let lines = '';
    for (const event of events)
      lines += `${this.#format === 'json' ? JSON.stringify(event) : legacyLine(event)}\n`;
    try {
      this.#target.write(lines);
    } catch (error) {
      this.#counters.lost('log', events.length, errorMessage(error));
      throw new LostEventsError(errorMessage(error), { cause: error });
    }
  }

  close(): Promise<void> {
    return this.#target.close();
  }
}
