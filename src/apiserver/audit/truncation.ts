/** Bounds events and batches: an event that is too large loses its bodies; one that is still too large is dropped and counted. */
import type { AuditBackend, AuditCounters } from './backend.ts';
import type { AuditEvent } from './event.ts';

export interface TruncateSettings {
  readonly maxEventBytes: number;
  readonly maxBatchBytes: number;
}

const TRUNCATED = 'audit.k8s.io/truncated';

export class TruncatingBackend implements AuditBackend {
  readonly #backend: AuditBackend;
  readonly #settings: TruncateSettings;
  readonly #counters: AuditCounters;

  constructor(
    backend: AuditBackend,
    { settings, counters }: { readonly settings: TruncateSettings; readonly counters: AuditCounters },
  ) {
    this.#backend = backend;
    this.#settings = settings;
    this.#counters = counters;
  }

  async process(events: readonly AuditEvent[]): Promise<void> {
    const { maxBatchBytes } = this.#settings;
    let batch: AuditEvent[] = [];
    let size = 0;
    for (const event of events) {
      const fitting = this.#fitting(event);
      if (!fitting) continue;
      if (batch.length > 0 && size + fitting.bytes > maxBatchBytes) {
        await this.#backend.process(batch);
        batch = [];
        size = 0;
      }
      batch.push(fitting.event);
      size += fitting.bytes;
    }
    if (batch.length > 0) await this.#backend.process(batch);
  }

  close(): Promise<void> {
    return this.#backend.close();
  }

  #fitting(event: AuditEvent): { readonly event: AuditEvent; readonly bytes: number } | undefined {
    const bytes = sizeOf(event);
    if (bytes <= this.#settings.maxEventBytes) return { event, bytes };
    const smaller = truncated(event);
    const smallerBytes = sizeOf(smaller);
    if (smallerBytes <= this.#settings.maxEventBytes) return { event: smaller, bytes: smallerBytes };
    this.#counters.lost('truncate', 1, 'event is too large even after truncating');
    return undefined;
  }
}

function sizeOf(event: AuditEvent): number {
  return Buffer.byteLength(JSON.stringify(event));
}

function truncated({
  requestObject: _request,
  responseObject: _response,
  annotations,
  ...event
}: AuditEvent): AuditEvent {
  return { ...event, annotations: { ...annotations, [TRUNCATED]: 'true' } };
}
