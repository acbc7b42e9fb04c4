/**
 * AuthorizationConfiguration of apiserver.config.k8s.io: the file of --authorization-config as data, checked as upstream checks it, with its
 * field paths and messages. Reading only; authorizers are made of it in authorization.ts, and reload.ts follows the file.
 */
import { statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { configKind, readConfig } from '#machinery/config/read.ts';
import { duration, flag, listOf, struct, text } from '#machinery/config/schema.ts';
import { fieldErrorBody, fieldErrors, type FieldError } from '#machinery/errors.ts';
import { formatGoDuration, parseGoDuration } from '#machinery/go-duration.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import { errorMessage } from '#stdx/log.ts';
import type { CompileMatchConditions, MatchConditions } from './match-conditions.ts';
import { AUTHORIZATION_MODES, type AuthorizationMode } from './modes.ts';

export interface WebhookConfiguration {
  readonly authorizedTtlMs: number;
  readonly unauthorizedTtlMs: number;
  readonly timeoutMs: number;
  readonly subjectAccessReviewVersion: 'v1' | 'v1beta1';
  readonly failurePolicy: 'NoOpinion' | 'Deny';
  readonly kubeConfigFile: string;
  readonly matchConditions: MatchConditions | undefined;
}

export interface ConfiguredAuthorizer {
  readonly type: AuthorizationMode;
  readonly name: string;
  /** Set exactly for type Webhook. */
  readonly webhook?: WebhookConfiguration | undefined;
}

export class AuthorizationConfigurationError extends Error {
  override readonly name = 'AuthorizationConfigurationError';
}

const MAX_CONDITIONS = 64;
const NANOSECONDS_PER_MS = 1_000_000n;
const DEFAULT_AUTHORIZED_TTL = 300_000_000_000n;
const DEFAULT_UNAUTHORIZED_TTL = 30_000_000_000n;
const MAX_TIMEOUT = 30_000_000_000n;

type Fields = Readonly<Record<string, unknown>>;

/** Throws an AuthorizationConfigurationError that lists everything that is wrong. */
export function parseAuthorizationConfiguration(
  content: string,
  compile: CompileMatchConditions,
): ConfiguredAuthorizer[] {
  const decoded = decode(content);
  const errors: FieldError[] = [];
  const authorizers = validate(decoded, { errors, compile });
  const texts = errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`);
  for (const { type, name } of authorizers) {
    const expected = type.toLowerCase();
    if (type !== 'Webhook' && name !== expected)
      texts.push(`expected name ${expected} for authorizer ${type} instead of ${name}`);
  }
  if (texts.length > 0)
    throw new AuthorizationConfigurationError(texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`);
  return authorizers;
}

// ------------------------------------------------------------------------------------------------------------- decoding

const AUTHORIZATION = configKind(
  {
    group: 'apiserver.config.k8s.io',
    versions: ['v1', 'v1beta1', 'v1alpha1'],
    kind: 'AuthorizationConfiguration',
  },
  {
    authorizers: listOf(
      struct('AuthorizerConfiguration', {
        type: text,
        name: text,
        webhook: struct('WebhookConfiguration', {
          authorizedTTL: duration,
          cacheAuthorizedRequests: flag,
          unauthorizedTTL: duration,
          cacheUnauthorizedRequests: flag,
          timeout: duration,
          subjectAccessReviewVersion: text,
          matchConditionSubjectAccessReviewVersion: text,
          failurePolicy: text,
          connectionInfo: struct('WebhookConnectionInfo', { type: text, kubeConfigFile: text }),
          matchConditions: listOf(struct('WebhookMatchCondition', { expression: text })),
        }),
      }),
    ),
  },
);

function decode(content: string): Fields {
  try {
    return readConfig<Fields>(content, [AUTHORIZATION]);
  } catch (error) {
    throw new AuthorizationConfigurationError(
      `failed to load AuthorizationConfiguration from file: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}

// ------------------------------------------------------------------------------------------------------------ validation

interface Checking {
  readonly errors: FieldError[];
  readonly compile: CompileMatchConditions;
}

function validate(configuration: Fields, { errors, compile }: Checking): ConfiguredAuthorizer[] {
  const list = (configuration['authorizers'] ?? []) as readonly (Fields | null)[];
  if (list.length === 0)
    errors.push(fieldErrors.required('authorizers', 'at least one authorization mode must be defined'));
  const types = new Set<string>();
  const names = new Set<string>();
  return list.flatMap((item, index): ConfiguredAuthorizer[] => {
    const at = `authorizers[${index}]`;
    const {
      type = '',
      name = '',
      webhook,
    } = (item ?? {}) as { readonly type?: string; readonly name?: string; readonly webhook?: Fields | null };
    const mode = AUTHORIZATION_MODES.find((known) => known === type);
    if (type === '') errors.push(fieldErrors.required(`${at}.type`));
    else if (!mode) errors.push(fieldErrors.notSupported(`${at}.type`, type, AUTHORIZATION_MODES.toSorted()));
    else if (types.has(type) && type !== 'Webhook') errors.push(fieldErrors.duplicate(`${at}.type`, type));
    if (!mode || (types.has(type) && type !== 'Webhook')) return [];
    types.add(type);
    checkName(name, { at, names, errors });
    names.add(name);
    if (mode !== 'Webhook') {
      if (webhook)
        errors.push(
          fieldErrors.invalid(`${at}.webhook`, 'non-null', 'may only be specified when type=Webhook'),
        );
      return [{ type: mode, name }];
    }
    if (!webhook) {
      errors.push(fieldErrors.required(`${at}.webhook`, 'required when type=Webhook'));
      return [];
    }
    return [{ type: mode, name, webhook: webhookConfiguration(webhook, { at, errors, compile }) }];
  });
}

function checkName(
  name: string,
  {
    at,
    names,
    errors,
  }: { readonly at: string; readonly names: ReadonlySet<string>; readonly errors: FieldError[] },
): void {
  const problems = name === '' ? [] : validateDNS1123Subdomain(name);
  if (name === '') errors.push(fieldErrors.required(`${at}.name`));
  else if (names.has(name)) errors.push(fieldErrors.duplicate(`${at}.name`, name));
  else if (problems.length > 0)
    errors.push(
      fieldErrors.invalid(`${at}.name`, name, `authorizer name is invalid: ${problems.join(', ')}`),
    );
}

interface WebhookChecking extends Checking {
  readonly at: string;
}

function webhookConfiguration(webhook: Fields, checking: WebhookChecking): WebhookConfiguration {
  const { at, errors } = checking;
  const textOf = (name: string): string => (webhook[name] as string | undefined | null) ?? '';
  const timeout = durationOf(webhook['timeout']) ?? 0n;
  if (timeout === 0n) errors.push(fieldErrors.required(`${at}.timeout`));
  else if (timeout > MAX_TIMEOUT || timeout < 0n)
    errors.push(fieldErrors.invalid(`${at}.timeout`, formatGoDuration(timeout), 'must be > 0s and <= 30s'));
  const ttl = (name: string, defaultValue: bigint): bigint => {
    const value = durationOf(webhook[name]) || defaultValue;
    if (value < 0n)
      errors.push(fieldErrors.invalid(`${at}.${name}`, formatGoDuration(value), 'must be > 0s'));
    return value;
  };
  const authorizedTtl = ttl('authorizedTTL', DEFAULT_AUTHORIZED_TTL);
  const unauthorizedTtl = ttl('unauthorizedTTL', DEFAULT_UNAUTHORIZED_TTL);
  oneOf(textOf('subjectAccessReviewVersion'), {
    at: `${at}.subjectAccessReviewVersion`,
    allowed: ['v1', 'v1beta1'],
    errors,
  });
  const conditions = (webhook['matchConditions'] ?? []) as readonly (Fields | null)[];
  const conditionVersion = textOf('matchConditionSubjectAccessReviewVersion');
  if (conditionVersion === '' && conditions.length > 0)
    errors.push(
      fieldErrors.required(
        `${at}.matchConditionSubjectAccessReviewVersion`,
        'required if match conditions are specified',
      ),
    );
  else if (conditionVersion !== '' && conditionVersion !== 'v1')
    errors.push(
      fieldErrors.notSupported(`${at}.matchConditionSubjectAccessReviewVersion`, conditionVersion, ['v1']),
    );
  oneOf(textOf('failurePolicy'), { at: `${at}.failurePolicy`, allowed: ['NoOpinion', 'Deny'], errors });
  const kubeConfigFile = connectionFile((webhook['connectionInfo'] ?? {}) as Fields, {
    at: `${at}.connectionInfo`,
    errors,
  });
  return {
    authorizedTtlMs:
      webhook['cacheAuthorizedRequests'] === false ? 0 : Number(authorizedTtl / NANOSECONDS_PER_MS),
    unauthorizedTtlMs:
      webhook['cacheUnauthorizedRequests'] === false ? 0 : Number(unauthorizedTtl / NANOSECONDS_PER_MS),
    timeoutMs: Number(timeout / NANOSECONDS_PER_MS),
    subjectAccessReviewVersion: textOf('subjectAccessReviewVersion') as 'v1' | 'v1beta1',
    failurePolicy: textOf('failurePolicy') as 'NoOpinion' | 'Deny',
    kubeConfigFile,
    matchConditions: conditionsOf(conditions, checking),
  };
}

function durationOf(value: unknown): bigint | undefined {
  return typeof value === 'string' ? parseGoDuration(value) : undefined;
}

function oneOf(
  value: string,
  {
    at,
    allowed,
    errors,
  }: { readonly at: string; readonly allowed: readonly string[]; readonly errors: FieldError[] },
): void {
  if (value === '') errors.push(fieldErrors.required(at));
  else if (!allowed.includes(value)) errors.push(fieldErrors.notSupported(at, value, allowed));
}

/** Only a file: there is no service account of a pod that this server could be. */
function connectionFile(
  connection: Fields,
  { at, errors }: { readonly at: string; readonly errors: FieldError[] },
): string {
  const type = (connection['type'] ?? '') as string;
  const file = connection['kubeConfigFile'] as string | undefined | null;
  const field = `${at}.kubeConfigFile`;
  if (type === '') errors.push(fieldErrors.required(`${at}.type`));
  else if (type === 'InClusterConfig')
    errors.push(
      fieldErrors.invalid(`${at}.type`, type, 'is not supported by this server: use KubeConfigFile'),
    );
  else if (type !== 'KubeConfigFile')
    errors.push(fieldErrors.notSupported(`${at}.type`, type, ['InClusterConfig', 'KubeConfigFile']));
  else if (!file) errors.push(fieldErrors.required(field));
  else if (!isAbsolute(file)) errors.push(fieldErrors.invalid(field, file, 'must be an absolute path'));
  else {
    try {
      if (!statSync(file).isFile()) errors.push(fieldErrors.invalid(field, file, 'must be a regular file'));
    } catch (error) {
      errors.push(fieldErrors.invalid(field, file, `error loading file: ${errorMessage(error)}`));
    }
  }
  return file ?? '';
}

function conditionsOf(
  conditions: readonly (Fields | null)[],
  { at, errors, compile }: WebhookChecking,
): MatchConditions | undefined {
  if (conditions.length > MAX_CONDITIONS) {
    errors.push(fieldErrors.tooMany(`${at}.matchConditions`, conditions.length, MAX_CONDITIONS));
    return undefined;
  }
  const seen = new Set<string>();
  const kept = conditions.flatMap((condition, index) => {
    const field = `${at}.matchConditions[${index}].expression`;
    const expression = (condition?.['expression'] ?? '') as string;
    if (expression.trim() === '') errors.push(fieldErrors.required(field));
    else if (seen.has(expression)) errors.push(fieldErrors.duplicate(field, expression));
    else {
      seen.add(expression);
      return [{ expression, field }];
    }
    return [];
  });
  if (kept.length === 0) return undefined;
  const compiled = compile(kept);
  errors.push(...compiled.errors);
  return compiled.conditions;
}
