/** Flags of auditing, turned into settings. */
import type { AuditSettings, DeliverySettings } from '#apiserver/audit/audit.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, type FlagValues, type GivenFlags } from '../../flags/define.ts';
import { AUDIT_FLAGS } from '../flags.ts';

const MB = 1024 * 1024;
const DAY_MS = 86_400_000;

type Values = FlagValues<typeof AUDIT_FLAGS>;

/** undefined: nothing is audited. */
export function auditSettings(flags: GivenFlags<typeof AUDIT_FLAGS>): AuditSettings | undefined {
  const values = readFlags(AUDIT_FLAGS, flags);
  const { auditPolicyFile: policyFile, auditLogPath, auditWebhookConfigFile } = values;
  if (policyFile === undefined) {
    refuseIdle(values);
    return undefined;
  }
  if (auditLogPath === undefined && auditWebhookConfigFile === undefined)
    throw new UserError(
      '--audit-policy-file does nothing without --audit-log-path or --audit-webhook-config-file, which say where events go.',
    );
  return {
    policyFile,
    ...(auditLogPath === undefined ? {} : { log: logSettings(values, auditLogPath) }),
    ...(auditWebhookConfigFile === undefined
      ? {}
      : {
          webhook: {
            configFile: auditWebhookConfigFile,
            initialBackoffMs: values.auditWebhookInitialBackoff,
            ...delivery('webhook', webhookDelivery(values)),
          },
        }),
  };
}

function refuseIdle({ auditLogPath, auditWebhookConfigFile }: Values): void {
  const idle =
    auditLogPath !== undefined
      ? '--audit-log-path'
      : auditWebhookConfigFile !== undefined
        ? '--audit-webhook-config-file'
        : undefined;
  if (idle)
    throw new UserError(`${idle} does nothing without --audit-policy-file, which says what is audited.`);
}

function logSettings(values: Values, path: string): NonNullable<AuditSettings['log']> {
  return {
    path,
    format: values.auditLogFormat,
    ...delivery('log', logDelivery(values)),
    rotation: {
      maxSizeBytes: values.auditLogMaxsize * MB,
      maxAgeMs: values.auditLogMaxage * DAY_MS,
      maxBackups: values.auditLogMaxbackup,
      compress: values.auditLogCompress,
    },
  };
}

interface Delivery {
  readonly mode: DeliverySettings['mode'];
  readonly bufferSize: number;
  readonly maxBatchSize: number;
  readonly maxWaitMs: number;
  readonly isThrottled: boolean;
  readonly qps: number;
  readonly burst: number;
  readonly isTruncated: boolean;
  readonly maxEventBytes: number;
  readonly maxBatchBytes: number;
}

function logDelivery(values: Values): Delivery {
  return {
    mode: values.auditLogMode,
    bufferSize: values.auditLogBatchBufferSize,
    maxBatchSize: values.auditLogBatchMaxSize,
    maxWaitMs: values.auditLogBatchMaxWait,
    isThrottled: values.auditLogBatchThrottleEnable,
    qps: values.auditLogBatchThrottleQps,
    burst: values.auditLogBatchThrottleBurst,
    isTruncated: values.auditLogTruncateEnabled,
    maxEventBytes: values.auditLogTruncateMaxEventSize,
    maxBatchBytes: values.auditLogTruncateMaxBatchSize,
  };
}

function webhookDelivery(values: Values): Delivery {
  return {
    mode: values.auditWebhookMode,
    bufferSize: values.auditWebhookBatchBufferSize,
    maxBatchSize: values.auditWebhookBatchMaxSize,
    maxWaitMs: values.auditWebhookBatchMaxWait,
    isThrottled: values.auditWebhookBatchThrottleEnable,
    qps: values.auditWebhookBatchThrottleQps,
    burst: values.auditWebhookBatchThrottleBurst,
    isTruncated: values.auditWebhookTruncateEnabled,
    maxEventBytes: values.auditWebhookTruncateMaxEventSize,
    maxBatchBytes: values.auditWebhookTruncateMaxBatchSize,
  };
}

function delivery(
  backend: 'log' | 'webhook',
  { mode, bufferSize, maxBatchSize, maxWaitMs, isThrottled, qps, burst, ...truncation }: Delivery,
): DeliverySettings {
  const { isTruncated, maxEventBytes, maxBatchBytes } = truncation;
  const flag = (rest: string): string => `--audit-${backend}-${rest}`;
  if (isThrottled && (qps <= 0 || burst <= 0))
    throw new UserError(
      `${flag('batch-throttle-enable')} needs ${flag('batch-throttle-qps')} and ${flag('batch-throttle-burst')} above 0.`,
    );
  if (maxBatchSize > bufferSize)
    throw new UserError(
      `${flag('batch-max-size')} is ${maxBatchSize}, more than the ${bufferSize} events of ${flag('batch-buffer-size')}.`,
    );
  if (maxBatchBytes < maxEventBytes)
    throw new UserError(
      `${flag('truncate-max-batch-size')} is ${maxBatchBytes}, less than the ${maxEventBytes} bytes of ${flag('truncate-max-event-size')}.`,
    );
  return {
    mode,
    batch: { bufferSize, maxBatchSize, maxWaitMs, throttle: isThrottled ? { qps, burst } : undefined },
    ...(isTruncated ? { truncate: { maxEventBytes, maxBatchBytes } } : {}),
  };
}
