/** Assembles auditing from its configuration: policy file, log and webhook. Loaded only when there is a policy. */
import type { Clock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { createKubeconfigClient } from '../webhooks/kubeconfig-client.ts';
import type { AuditSink } from './audit-sink.ts';
import { Auditor } from './auditor.ts';
import { AuditCounters, type AuditBackend } from './backend.ts';
import { BatchingBackend, type BatchSettings } from './batching.ts';
import { LogBackend, standardOutput } from './log-backend.ts';
import { readAuditPolicy } from './policy.ts';
import { RotatingFile, type RotationSettings } from './rotating-file.ts';
import { TruncatingBackend, type TruncateSettings } from './truncation.ts';
import { WebhookBackend } from './webhook-backend.ts';

export type AuditMode = 'batch' | 'blocking' | 'blocking-strict';

export interface DeliverySettings {
  readonly mode: AuditMode;
  /** Of mode batch. */
  readonly batch: BatchSettings;
  readonly truncate?: TruncateSettings | undefined;
}

export interface AuditSettings {
  readonly policyFile: string;
  /** path '-' = standard output. */
  readonly log?:
    | (DeliverySettings & {
        readonly path: string;
        readonly format: 'json' | 'legacy';
        readonly rotation: RotationSettings;
      })
    | undefined;
  readonly webhook?:
    | (DeliverySettings & { readonly configFile: string; readonly initialBackoffMs: number })
    | undefined;
}

export interface Audit {
  readonly sink: AuditSink;
  /** Lines for a scrape. */
  metrics(): string;
  /** Flushes the backends. Called after the last request. */
  close(): Promise<void>;
}

/** Throws an Error of one sentence for a policy or target that cannot be used. */
export function openAudit(
  { policyFile, log: logSettings, webhook }: AuditSettings,
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): Audit {
  const policy = readAuditPolicy(policyFile);
  const counters = new AuditCounters({ clock, log });
  const backends: AuditBackend[] = [];
  const strict = new Set<AuditBackend>();
  const add = (backend: AuditBackend, { mode, batch, truncate }: DeliverySettings): void => {
    const fitting = truncate ? new TruncatingBackend(backend, { settings: truncate, counters }) : backend;
    const delivering =
      mode === 'batch' ? new BatchingBackend(fitting, { settings: batch, clock, counters }) : fitting;
    backends.push(delivering);
    if (mode === 'blocking-strict') strict.add(delivering);
  };
  if (logSettings) {
    const { path, format, rotation } = logSettings;
    add(
      new LogBackend(
        path === '-' ? standardOutput : new RotatingFile(path, { settings: rotation, clock, log }),
        { format, counters },
      ),
      logSettings,
    );
  }
  if (webhook) {
    const { configFile, initialBackoffMs } = webhook;
    add(
      new WebhookBackend({
        client: createKubeconfigClient({ file: configFile, clock }),
        initialBackoffMs,
        clock,
        counters,
      }),
      webhook,
    );
  }
  return {
    sink: new Auditor({ policy, backends, counters, clock, strict: (backend) => strict.has(backend) }),
    metrics: () => counters.render(),
    async close() {
      await Promise.all(backends.map((backend) => backend.close()));
      counters.flush();
    },
  };
}
