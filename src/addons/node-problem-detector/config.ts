/**
 * The configuration files of upstream's node-problem-detector: JSON of system log monitors (--config.system-log-monitor) and of custom plugin monitors
 * (--config.custom-plugin-monitor). Reads them with upstream's defaults; unknown fields are reported and ignored, as there.
 */
import { RE2JS } from 're2js';
import { ConfigError, decodeLeniently, MAXIMUM_CONFIG_LENGTH } from '#machinery/config/read.ts';
import { flag, integer, listOf, mapOf, objectSchema, struct, text } from '#machinery/config/schema.ts';
import { parseGoDuration } from '#machinery/go-duration.ts';
import { parseJson } from '#machinery/json.ts';
import { errorMessage } from '#stdx/log.ts';
import type { DefaultCondition } from './problem.ts';

interface Rule {
  readonly type: 'temporary' | 'permanent';
  /** Of a permanent one: the condition that it makes true. */
  readonly condition: string;
  readonly reason: string;
}

export interface LogRule extends Rule {
  readonly pattern: string;
  readonly suffix: string;
}

interface MonitorBase {
  readonly source: string;
  readonly conditions: readonly DefaultCondition[];
  readonly metricsReporting: boolean;
  /** 'unknown field "foo"' */
  readonly unknown: readonly string[];
}

export interface LogMonitorConfig extends MonitorBase {
  readonly plugin: 'kmsg' | 'journald';
  readonly logPath: string;
  /** journald: SYSLOG_IDENTIFIER. */
  readonly identifier: string;
  readonly lookbackMs: number;
  /** Messages before this time after the boot are left out. */
  readonly delayMs: number;
  readonly bufferSize: number;
  readonly rules: readonly LogRule[];
}

export interface PluginRule extends Rule {
  readonly path: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
  readonly intervalMs: number;
}

export interface PluginMonitorConfig extends MonitorBase {
  readonly concurrency: number;
  readonly maxOutputLength: number;
  readonly updatesByMessage: boolean;
  readonly skipsInitialStatus: boolean;
  readonly rules: readonly PluginRule[];
}

const CONDITION = struct('Condition', { type: text, reason: text, message: text });
const RULE = { type: text, condition: text, reason: text };
const COMMON = { plugin: text, source: text, conditions: listOf(CONDITION), metricsReporting: flag };

const LOG_MONITOR = objectSchema('MonitorConfig', {
  ...COMMON,
  pluginConfig: mapOf(text),
  logPath: text,
  lookback: text,
  delay: text,
  bufferSize: integer,
  skipList: listOf(text),
  rules: listOf(struct('Rule', { ...RULE, pattern: text, patternGeneratedMessageSuffix: text })),
});

const PLUGIN_MONITOR = objectSchema('CustomPluginConfig', {
  ...COMMON,
  pluginConfig: struct('pluginGlobalConfig', {
    invoke_interval: text,
    timeout: text,
    max_output_length: integer,
    concurrency: integer,
    enable_message_change_based_condition_update: flag,
    skip_initial_status: flag,
  }),
  rules: listOf(
    struct('CustomRule', { ...RULE, path: text, args: listOf(text), timeout: text, invoke_interval: text }),
  ),
});

const BUFFER_SIZE = 10;
const MAXIMUM_BUFFER_SIZE = 1_000;
const INTERVAL = '30s';
const TIMEOUT = '5s';
const MAX_OUTPUT_LENGTH = 80;
const CONCURRENCY = 3;

interface GivenRule {
  readonly type?: string;
  readonly condition?: string;
  readonly reason?: string;
}

interface GivenCommon {
  readonly plugin?: string;
  readonly source?: string;
  readonly conditions?: readonly Partial<DefaultCondition>[];
  readonly metricsReporting?: boolean;
}

interface GivenLogMonitor extends GivenCommon {
  readonly pluginConfig?: Readonly<Record<string, string>>;
  readonly logPath?: string;
  readonly lookback?: string;
  readonly delay?: string;
  readonly bufferSize?: number;
  readonly rules?: readonly (GivenRule & {
    readonly pattern?: string;
    readonly patternGeneratedMessageSuffix?: string;
  })[];
}

interface GivenPluginMonitor extends GivenCommon {
  readonly pluginConfig?: {
    readonly invoke_interval?: string;
    readonly timeout?: string;
    readonly max_output_length?: number;
    readonly concurrency?: number;
    readonly enable_message_change_based_condition_update?: boolean;
    readonly skip_initial_status?: boolean;
  };
  readonly rules?: readonly (GivenRule & {
    readonly path?: string;
    readonly args?: readonly string[];
    readonly timeout?: string;
    readonly invoke_interval?: string;
  })[];
}

/** Throws ConfigError. */
export function parseLogMonitor(json: string): LogMonitorConfig {
  const { object, unknown } = decodeLeniently<GivenLogMonitor>(parse(json), LOG_MONITOR);
  const { plugin, pluginConfig = {}, logPath = '', bufferSize = 0, rules = [] } = object;
  if (plugin !== 'kmsg' && plugin !== 'journald')
    throw new ConfigError(
      `plugin ${JSON.stringify(plugin ?? '')} is not supported; it should be kmsg or journald`,
    );
  const identifier = pluginConfig['source'] ?? '';
  if (plugin === 'journald' && identifier === '')
    throw new ConfigError('pluginConfig.source is missing; it should be the syslog identifier to follow');
  if (bufferSize < 0 || bufferSize > MAXIMUM_BUFFER_SIZE)
    throw new ConfigError(`bufferSize is ${bufferSize}; it should be between 1 and ${MAXIMUM_BUFFER_SIZE}`);
  const base = common(object, unknown);
  return {
    ...base,
    plugin,
    identifier,
    logPath: logPath === '' && plugin === 'kmsg' ? '/dev/kmsg' : logPath,
    lookbackMs: durationMs('lookback', object.lookback ?? '0'),
    delayMs: durationMs('delay', object.delay ?? '0'),
    bufferSize: bufferSize === 0 ? BUFFER_SIZE : bufferSize,
    rules: rules.map((rule, index) => ({
      ...ruleOf(rule, { path: `rules[${index}]`, conditions: base.conditions }),
      pattern: validPattern(rule.pattern ?? '', `rules[${index}].pattern`),
      suffix: rule.patternGeneratedMessageSuffix ?? '',
    })),
  };
}

/** Throws ConfigError. */
export function parsePluginMonitor(json: string): PluginMonitorConfig {
  const { object, unknown } = decodeLeniently<GivenPluginMonitor>(parse(json), PLUGIN_MONITOR);
  const { plugin, pluginConfig = {}, rules = [] } = object;
  if (plugin !== 'custom')
    throw new ConfigError(`plugin ${JSON.stringify(plugin ?? '')} is not supported; it should be custom`);
  const base = common(object, unknown);
  const timeoutMs = durationMs('pluginConfig.timeout', pluginConfig.timeout ?? TIMEOUT);
  const interval = pluginConfig.invoke_interval ?? INTERVAL;
  return {
    ...base,
    concurrency: positive('pluginConfig.concurrency', pluginConfig.concurrency ?? CONCURRENCY),
    maxOutputLength: positive(
      'pluginConfig.max_output_length',
      pluginConfig.max_output_length ?? MAX_OUTPUT_LENGTH,
    ),
    updatesByMessage: pluginConfig.enable_message_change_based_condition_update ?? false,
    skipsInitialStatus: pluginConfig.skip_initial_status ?? false,
    rules: rules.map((rule, index) => {
      const path = `rules[${index}]`;
      const own = rule.timeout === undefined ? timeoutMs : durationMs(`${path}.timeout`, rule.timeout);
      if (own > timeoutMs)
        throw new ConfigError(
          `${path}.timeout is ${rule.timeout}; it should be at most pluginConfig.timeout`,
        );
      if (!rule.path) throw new ConfigError(`${path}.path is missing; it should be a program`);
      return {
        ...ruleOf(rule, { path, conditions: base.conditions }),
        path: rule.path,
        args: rule.args ?? [],
        timeoutMs: own,
        intervalMs: positive(
          `${path}.invoke_interval`,
          durationMs(`${path}.invoke_interval`, rule.invoke_interval ?? interval),
        ),
      };
    }),
  };
}

function parse(json: string): unknown {
  if (json.length > MAXIMUM_CONFIG_LENGTH)
    throw new ConfigError(
      `it has ${json.length} characters; it should have at most ${MAXIMUM_CONFIG_LENGTH}`,
    );
  try {
    return parseJson(json);
  } catch (error) {
    throw new ConfigError(`it is not valid JSON: ${errorMessage(error)}`, { cause: error });
  }
}

function common(
  { source = '', conditions = [], metricsReporting = true }: GivenCommon,
  unknown: readonly string[],
): MonitorBase {
  if (source === '') throw new ConfigError('source is missing; it names the monitor in events');
  return {
    source,
    metricsReporting,
    unknown,
    conditions: conditions.map(({ type = '', reason = '', message = '' }, index) => {
      if (type === '' || reason === '')
        throw new ConfigError(`conditions[${index}] lacks its ${type === '' ? 'type' : 'reason'}`);
      return { type, reason, message };
    }),
  };
}

function ruleOf(
  { type, condition = '', reason = '' }: GivenRule,
  { path, conditions }: { readonly path: string; readonly conditions: readonly DefaultCondition[] },
): Rule {
  if (type !== 'temporary' && type !== 'permanent')
    throw new ConfigError(
      `${path}.type is ${JSON.stringify(type ?? '')}; it should be temporary or permanent`,
    );
  if (reason === '') throw new ConfigError(`${path}.reason is missing`);
  if (type === 'permanent' && !conditions.some((one) => one.type === condition))
    throw new ConfigError(
      `${path}.condition is ${JSON.stringify(condition)}; it should be one of conditions: ${conditions.map((one) => one.type).join(', ') || 'there is none'}`,
    );
  return { type, condition, reason };
}

function validPattern(pattern: string, path: string): string {
  try {
    RE2JS.compile(pattern);
    return pattern;
  } catch (error) {
    throw new ConfigError(`${path} is no regular expression of RE2: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

function durationMs(path: string, given: string): number {
  try {
    const milliseconds = Number(parseGoDuration(given) / 1_000_000n);
    if (milliseconds >= 0) return milliseconds;
  } catch {
    // Said below.
  }
  throw new ConfigError(`${path} is ${JSON.stringify(given)}; it should be a duration, such as 5m`);
}

function positive(path: string, number: number): number {
  if (number > 0) return number;
  throw new ConfigError(`${path} is ${number}; it should be above 0`);
}
