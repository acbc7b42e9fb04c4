import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AUDIT_FLAGS } from '../flags.ts';
import { auditSettings } from './audit.ts';
import { requestLimitsFrom } from './request-limits.ts';

test("audit flags have upstream's defaults", () => {
  assert.equal(auditSettings({}), undefined);
  assert.deepEqual(auditSettings({ auditPolicyFile: 'p', auditLogPath: '-', auditWebhookConfigFile: 'w' }), {
    policyFile: 'p',
    log: {
      path: '-',
      format: 'json',
      mode: 'blocking',
      batch: { bufferSize: 10_000, maxBatchSize: 1, maxWaitMs: 0, throttle: undefined },
      rotation: { maxSizeBytes: 0, maxAgeMs: 0, maxBackups: 0, compress: false },
    },
    webhook: {
      configFile: 'w',
      initialBackoffMs: 10_000,
      mode: 'batch',
      batch: { bufferSize: 10_000, maxBatchSize: 400, maxWaitMs: 30_000, throttle: { qps: 10, burst: 15 } },
    },
  });
  const chosen = auditSettings({
    auditPolicyFile: 'p',
    auditLogPath: '/x',
    auditLogFormat: 'legacy',
    auditLogMaxsize: '5',
    auditLogMaxage: '2',
    auditLogMaxbackup: '3',
    auditLogCompress: true,
    auditLogMode: 'batch',
    auditLogTruncateEnabled: 'true',
    auditLogBatchThrottleEnable: 'true',
    auditLogBatchThrottleQps: '0.5',
    auditLogBatchThrottleBurst: '2',
    auditLogVersion: 'audit.k8s.io/v1',
  })?.log;
  assert.deepEqual(chosen, {
    path: '/x',
    format: 'legacy',
    mode: 'batch',
    batch: { bufferSize: 10_000, maxBatchSize: 1, maxWaitMs: 0, throttle: { qps: 0.5, burst: 2 } },
    truncate: { maxEventBytes: 102_400, maxBatchBytes: 10_485_760 },
    rotation: { maxSizeBytes: 5 * 1024 * 1024, maxAgeMs: 2 * 86_400_000, maxBackups: 3, compress: true },
  });
  assert.equal(Object.keys(AUDIT_FLAGS).length, 31);
});

test('what is meant wrongly is refused by its name', () => {
  const base = { auditPolicyFile: 'p', auditLogPath: 'l' };
  assert.throws(
    () => auditSettings({ auditLogPath: 'l' }),
    /--audit-log-path does nothing without --audit-policy-file/,
  );
  assert.throws(() => auditSettings({ auditPolicyFile: 'p' }), /--audit-policy-file does nothing without/);
  assert.throws(
    () => auditSettings({ ...base, auditLogMaxsize: 'big' }),
    /--audit-log-maxsize is "big"; it should be a whole number of at least 0/,
  );
  assert.throws(
    () => auditSettings({ ...base, auditLogMode: 'fast' }),
    /--audit-log-mode is "fast"; it should be one of batch, blocking, blocking-strict/,
  );
  assert.throws(
    () => auditSettings({ ...base, auditLogVersion: 'audit.k8s.io/v1beta1' }),
    /--audit-log-version is/,
  );
  assert.throws(
    () => auditSettings({ ...base, auditLogBatchThrottleEnable: true }),
    /--audit-log-batch-throttle-enable needs/,
  );
  assert.throws(
    () => auditSettings({ ...base, auditLogBatchMaxWait: 'soon' }),
    /--audit-log-batch-max-wait is "soon"; it should be a duration/,
  );
  assert.throws(
    () => auditSettings({ ...base, auditLogBatchMaxSize: '20', auditLogBatchBufferSize: '10' }),
    /--audit-log-batch-max-size is 20, more than/,
  );
});

test('request limits', () => {
  assert.deepEqual(requestLimitsFrom({}), {
    requestLimits: {},
    shutdownDelayMs: 0,
    listener: { goawayChance: 0 },
  });
  assert.deepEqual(
    requestLimitsFrom({
      maxRequestsInflight: '10',
      maxMutatingRequestsInflight: '0',
      enablePriorityAndFairness: 'false',
      requestTimeout: '2m',
      minRequestTimeout: '60',
      shutdownDelayDuration: '5s',
      goawayChance: '0.001',
    }),
    {
      requestLimits: {
        maxRequestsInFlight: 10,
        maxMutatingRequestsInFlight: 0,
        priorityAndFairness: false,
        requestTimeoutMs: 120_000,
        minWatchMs: 60_000,
      },
      shutdownDelayMs: 5000,
      listener: { goawayChance: 0.001 },
    },
  );
  assert.throws(
    () => requestLimitsFrom({ goawayChance: '0.5' }),
    /--goaway-chance is "0.5"; it should be a number from 0 to 0.02/,
  );
  assert.throws(
    () => requestLimitsFrom({ maxRequestsInflight: '0', maxMutatingRequestsInflight: '0' }),
    /there must be some seats/,
  );
  assert.throws(() => requestLimitsFrom({ requestTimeout: '0' }), /--request-timeout is 0/);
});
