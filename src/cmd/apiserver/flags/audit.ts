/** Flags of auditing, with upstream's names and defaults. */
import type { AuditMode, AuditSettings, DeliverySettings } from '#apiserver/audit/audit.ts';
import { UserError } from '#deploy/data-dir.ts';
import { durationMsOf, numberOf, oneOf, yesOrNoOf, type FlagText } from './values.ts';

const MB = 1024 * 1024;
const DAY_MS = 86_400_000;

interface Defaults {
  readonly mode: AuditMode;
  readonly batchSize: number;
  readonly wait: string;
  readonly throttle: boolean;
  readonly qps: number;
  readonly burst: number;
}

const LOG_DEFAULTS: Defaults = {
  mode: 'blocking',
  batchSize: 1,
  wait: '0',
  throttle: false,
  qps: 0,
  burst: 0,
};
const WEBHOOK_DEFAULTS: Defaults = {
  mode: 'batch',
  batchSize: 400,
  wait: '30s',
  throttle: true,
  qps: 10,
  burst: 15,
};

function deliveryFlags(
  name: string,
  { mode, batchSize, wait, throttle, qps, burst }: Defaults,
): Record<string, string> {
  return {
    [`--audit-${name}-mode <mode>`]: `batch, blocking or blocking-strict (default: ${mode})`,
    [`--audit-${name}-batch-buffer-size <n>`]: 'events that may wait in mode batch (default: 10000)',
    [`--audit-${name}-batch-max-size <n>`]: `events of a batch (default: ${batchSize})`,
    [`--audit-${name}-batch-max-wait <duration>`]: `how long a batch that is not full waits (default: ${wait})`,
    [`--audit-${name}-batch-throttle-enable [true|false]`]: `limit batches a second (default: ${throttle})`,
    [`--audit-${name}-batch-throttle-qps <n>`]: `batches a second (default: ${qps})`,
    [`--audit-${name}-batch-throttle-burst <n>`]: `batches at once after a pause (default: ${burst})`,
    [`--audit-${name}-truncate-enabled [true|false]`]:
      'take the bodies out of events that are too large (default: false)',
    [`--audit-${name}-truncate-max-batch-size <bytes>`]: 'size of a batch (default: 10485760)',
    [`--audit-${name}-truncate-max-event-size <bytes>`]: 'size of an event (default: 102400)',
    [`--audit-${name}-version <version>`]: 'of the events: audit.k8s.io/v1',
  };
}

export const AUDIT_FLAGS: Readonly<Record<string, string>> = {
  '--audit-policy-file <file>':
    'which requests are audited, and how much of them: a Policy of audit.k8s.io/v1',
  '--audit-log-path <file>': 'where audit events are written, - for standard output',
  '--audit-log-format <format>': 'json or legacy (default: json)',
  '--audit-log-maxsize <megabytes>': 'size at which the file is moved aside (default: 100)',
  '--audit-log-maxbackup <n>': 'files that are kept, 0 for all (default: 0)',
  '--audit-log-maxage <days>': 'how long they are kept, 0 for ever (default: 0)',
  '--audit-log-compress [true|false]': 'compress them (default: false)',
  ...deliveryFlags('log', LOG_DEFAULTS),
  '--audit-webhook-config-file <file>': 'kubeconfig of the server that audit events are sent to',
  '--audit-webhook-initial-backoff <duration>': 'wait before the first retry (default: 10s)',
  ...deliveryFlags('webhook', WEBHOOK_DEFAULTS),
};

/** By the names the command line gives them: auditLogMaxsize and so on. */
export type AuditFlags = { readonly [Flag in `audit${string}`]?: FlagText };

/** undefined: nothing is audited. */
export function auditSettings(flags: AuditFlags): AuditSettings | undefined {
  const policyFile = text(flags, 'policy-file'),
    logPath = text(flags, 'log-path'),
    webhookFile = text(flags, 'webhook-config-file');
  if (policyFile === undefined) {
    const idle =
      logPath !== undefined
        ? '--audit-log-path'
        : webhookFile !== undefined
          ? '--audit-webhook-config-file'
          : undefined;
    if (idle)
      throw new UserError(`${idle} does nothing without --audit-policy-file, which says what is audited.`);
    return undefined;
  }
  if (logPath === undefined && webhookFile === undefined)
    throw new UserError(
      '--audit-policy-file does nothing without --audit-log-path or --audit-webhook-config-file, which say where events go.',
    );
  return {
    policyFile,
    ...(logPath === undefined
      ? {}
      : {
          log: {
            path: logPath,
            format:
              oneOf('--audit-log-format', valueOf(flags, 'log-format'), ['json', 'legacy'] as const) ??
              'json',
            ...delivery(flags, 'log', LOG_DEFAULTS),
            rotation: {
              maxSizeBytes: (number(flags, 'log-maxsize', 0) ?? 0) * MB,
              maxAgeMs: (number(flags, 'log-maxage', 0) ?? 0) * DAY_MS,
              maxBackups: number(flags, 'log-maxbackup', 0) ?? 0,
              compress: yesOrNoOf('--audit-log-compress', valueOf(flags, 'log-compress')) ?? false,
            },
          },
        }),
    ...(webhookFile === undefined
      ? {}
      : {
          webhook: {
            configFile: webhookFile,
            initialBackoffMs:
              durationMsOf('--audit-webhook-initial-backoff', valueOf(flags, 'webhook-initial-backoff')) ??
              10_000,
            ...delivery(flags, 'webhook', WEBHOOK_DEFAULTS),
          },
        }),
  };
}

function delivery(flags: AuditFlags, name: 'log' | 'webhook', defaults: Defaults): DeliverySettings {
  const of = (rest: string): FlagText => valueOf(flags, `${name}-${rest}`);
  const flag = (rest: string): string => `--audit-${name}-${rest}`;
  oneOf(flag('version'), of('version'), ['audit.k8s.io/v1']);
  const throttled =
    yesOrNoOf(flag('batch-throttle-enable'), of('batch-throttle-enable')) ?? defaults.throttle;
  const qps =
    numberOf(flag('batch-throttle-qps'), of('batch-throttle-qps'), { min: 0, whole: false }) ?? defaults.qps;
  const burst = number(flags, `${name}-batch-throttle-burst`, 0) ?? defaults.burst;
  if (throttled && (qps <= 0 || burst <= 0))
    throw new UserError(
      `${flag('batch-throttle-enable')} needs ${flag('batch-throttle-qps')} and ${flag('batch-throttle-burst')} above 0.`,
    );
  const batch = {
    bufferSize: number(flags, `${name}-batch-buffer-size`, 1) ?? 10_000,
    maxBatchSize: number(flags, `${name}-batch-max-size`, 1) ?? defaults.batchSize,
    maxWaitMs: durationMsOf(flag('batch-max-wait'), of('batch-max-wait') ?? defaults.wait)!,
    throttle: throttled ? { qps, burst } : undefined,
  };
  if (batch.maxBatchSize > batch.bufferSize)
    throw new UserError(
      `${flag('batch-max-size')} is ${batch.maxBatchSize}, more than the ${batch.bufferSize} events of ${flag('batch-buffer-size')}.`,
    );
  const truncate = {
    maxEventBytes: number(flags, `${name}-truncate-max-event-size`, 1) ?? 102_400,
    maxBatchBytes: number(flags, `${name}-truncate-max-batch-size`, 1) ?? 10_485_760,
  };
  if (truncate.maxBatchBytes < truncate.maxEventBytes)
    throw new UserError(
      `${flag('truncate-max-batch-size')} is ${truncate.maxBatchBytes}, less than the ${truncate.maxEventBytes} bytes of ${flag('truncate-max-event-size')}.`,
    );
  return {
    mode: oneOf(flag('mode'), of('mode'), ['batch', 'blocking', 'blocking-strict'] as const) ?? defaults.mode,
    batch,
    ...(yesOrNoOf(flag('truncate-enabled'), of('truncate-enabled')) ? { truncate } : {}),
  };
}

/** name: 'log-maxsize' */
function valueOf(flags: AuditFlags, name: string): FlagText {
  return flags[
    `audit-${name}`.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase()) as keyof AuditFlags
  ];
}

function text(flags: AuditFlags, name: string): string | undefined {
  const value = valueOf(flags, name);
  if (value === '') throw new UserError(`--audit-${name} is empty; it should name a file.`);
  return typeof value === 'string' ? value : undefined;
}

function number(flags: AuditFlags, name: string, min: number): number | undefined {
  return numberOf(`--audit-${name}`, valueOf(flags, name), { min });
}
