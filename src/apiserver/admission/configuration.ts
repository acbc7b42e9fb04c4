/**
 * The file of --admission-control-config-file: an AdmissionConfiguration whose plugins have a section each, in it or in a file beside it. Read once,
 * strictly: what is unknown, mistyped or for a plugin without configuration is refused with its place.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errorMessage } from '#stdx/log.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { parseYaml } from '#machinery/yaml.ts';
import type { ScopedResourceSelectorRequirement, Toleration } from '#api/types.ts';
import type { AdmissionPluginConfiguration } from './list.ts';
import type { EventLimit, EventLimitType } from './plugins/event-rate-limit.ts';
import { parseSelector } from './plugins/pod-node-selector.ts';
import type { LevelVersion, PodSecurityOptions } from './plugins/pod-security/pod-security.ts';
import type { LimitedResource } from './plugins/resource-quota/limited-resources.ts';

export class AdmissionConfigurationError extends Error {
  override readonly name = 'AdmissionConfigurationError';
}

/** Reads the file and those it names. Throws an AdmissionConfigurationError of one sentence. */
export function readAdmissionConfiguration(file: string): AdmissionPluginConfiguration {
  const root = new Section(readYaml(file), file);
  root.kind(
    ['apiserver.config.k8s.io/v1', 'apiserver.config.k8s.io/v1alpha1', 'apiserver.k8s.io/v1alpha1'],
    'AdmissionConfiguration',
  );
  root.only('plugins');
  const configuration: Writable<AdmissionPluginConfiguration> = {};
  const seen = new Set<string>();
  for (const plugin of root.list('plugins')) {
    plugin.only('name', 'path', 'configuration');
    const name = plugin.text('name') ?? plugin.refuse('name', 'is required');
    if (seen.has(name)) plugin.refuse('name', `is ${JSON.stringify(name)} a second time`);
    seen.add(name);
    const read = Object.hasOwn(READERS, name)
      ? READERS[name]!
      : plugin.refuse(
          'name',
          `is ${JSON.stringify(name)}, which takes no configuration here: those that do are ${Object.keys(READERS).join(', ')}`,
        );
    Object.assign(configuration, read(sectionOf(plugin, file)));
  }
  return configuration;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const READERS: Readonly<Record<string, (section: Section) => AdmissionPluginConfiguration>> = {
  EventRateLimit: (section) => ({ eventRateLimit: eventLimits(section) }),
  ImagePolicyWebhook: imagePolicy,
  PodNodeSelector: podNodeSelector,
  PodSecurity: (section) => ({ podSecurity: podSecurity(section) }),
  PodTolerationRestriction: podTolerationRestriction,
  ResourceQuota: resourceQuota,
};

/** In place, or in a file whose path is taken from that of this one. */
function sectionOf(plugin: Section, file: string): Section {
  const path = plugin.text('path');
  if (path !== undefined && plugin.has('configuration'))
    plugin.refuse('path', 'and configuration are both given');
  if (path !== undefined && path !== '') {
    const there = resolve(dirname(file), path);
    return new Section(readYaml(there), there);
  }
  return plugin.section('configuration') ?? plugin.refuse('configuration', 'is required, or path');
}

function readYaml(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new AdmissionConfigurationError(
      `admission configuration ${file} cannot be read: ${errorMessage(error)}`,
      { cause: error },
    );
  }
  try {
    const { value, problems } = parseYaml(text);
    if (problems.length > 0) throw new Error(problems.join(', '));
    return value;
  } catch (error) {
    throw new AdmissionConfigurationError(
      `admission configuration ${file} is not valid YAML: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}

/** An object of the file, with its place for messages. */
class Section {
  readonly file: string;
  readonly #at: string;
  readonly #fields: JsonObject;

  constructor(value: unknown, file: string, at = '') {
    this.file = file;
    this.#at = at;
    if (!isJsonObject(value))
      throw new AdmissionConfigurationError(`admission configuration ${file}: ${at || 'it'} is no object`);
    this.#fields = value;
  }

  refuse(field: string, why: string): never {
    throw new AdmissionConfigurationError(
      `admission configuration ${this.file}: ${this.#path(field)} ${why}`,
    );
  }

  #path(field: string): string {
    return this.#at === '' ? field : `${this.#at}.${field}`;
  }

  has(field: string): boolean {
    return this.#fields[field] !== undefined && this.#fields[field] !== null;
  }

  names(): string[] {
    return Object.keys(this.#fields);
  }

  kind(apiVersions: readonly string[], kind: string): void {
    if (this.#fields['kind'] !== kind)
      this.refuse('kind', `is ${JSON.stringify(this.#fields['kind'])}; it should be ${kind}`);
    if (!apiVersions.includes(this.#fields['apiVersion'] as string))
      this.refuse(
        'apiVersion',
        `is ${JSON.stringify(this.#fields['apiVersion'])}; it should be ${apiVersions[0]}`,
      );
  }

  only(...fields: readonly string[]): void {
    const unknown = Object.keys(this.#fields).find(
      (field) => !fields.includes(field) && field !== 'apiVersion' && field !== 'kind',
    );
    if (unknown !== undefined) this.refuse(unknown, `is unknown; it should be one of ${fields.join(', ')}`);
  }

  text(field: string): string | undefined {
    return this.#typed(field, 'string') as string | undefined;
  }
  number(field: string): number | undefined {
    return this.#typed(field, 'number') as number | undefined;
  }
  flag(field: string): boolean | undefined {
    return this.#typed(field, 'boolean') as boolean | undefined;
  }

  #typed(field: string, type: 'string' | 'number' | 'boolean'): unknown {
    if (!this.has(field)) return undefined;
    return typeof this.#fields[field] === type ? this.#fields[field] : this.refuse(field, `is no ${type}`);
  }

  section(field: string): Section | undefined {
    return this.has(field) ? new Section(this.#fields[field], this.file, this.#path(field)) : undefined;
  }

  list(field: string): Section[] {
    return this.#list(field).map((value, i) => new Section(value, this.file, `${this.#path(field)}[${i}]`));
  }

  texts(field: string): string[] {
    return this.#list(field).map((value, i) =>
      typeof value === 'string' ? value : this.refuse(`${field}[${i}]`, 'is no text'),
    );
  }

  #list(field: string): unknown[] {
    const value = this.#fields[field] ?? [];
    return Array.isArray(value) ? value : this.refuse(field, 'is no list');
  }

  raw(): JsonObject {
    const { apiVersion: _, kind: __, ...rest } = this.#fields;
    return rest;
  }
}

// -------------------------------------------------------------------------------------------------------------- sections

const LEVELS = ['privileged', 'baseline', 'restricted'] as const;
const MODES = ['enforce', 'audit', 'warn'] as const;

function podSecurity(section: Section): PodSecurityOptions {
  section.kind(
    [
      'pod-security.admission.config.k8s.io/v1',
      'pod-security.admission.config.k8s.io/v1beta1',
      'pod-security.admission.config.k8s.io/v1alpha1',
    ],
    'PodSecurityConfiguration',
  );
  section.only('defaults', 'exemptions');
  const given = section.section('defaults'),
    exempt = section.section('exemptions');
  given?.only(...MODES, ...MODES.map((mode) => `${mode}-version`));
  exempt?.only('usernames', 'runtimeClasses', 'namespaces');
  const defaults = Object.fromEntries(
    MODES.map((mode): [string, LevelVersion] => {
      const level = given?.text(mode) || 'privileged',
        version = given?.text(`${mode}-version`) || 'latest';
      const known =
        LEVELS.find((one) => one === level) ??
        given!.refuse(mode, `is ${JSON.stringify(level)}; it should be one of ${LEVELS.join(', ')}`);
      if (version !== 'latest' && !/^v1\.\d{1,4}$/.test(version))
        given!.refuse(`${mode}-version`, `is ${JSON.stringify(version)}; it should be latest or v1.x`);
      return [mode, { level: known, version }];
    }),
  );
  return {
    defaults,
    exemptions: exempt
      ? {
          usernames: exempt.texts('usernames'),
          runtimeClasses: exempt.texts('runtimeClasses'),
          namespaces: exempt.texts('namespaces'),
        }
      : {},
  };
}

const LIMIT_TYPES: readonly EventLimitType[] = ['Server', 'Namespace', 'User', 'SourceAndObject'];

function eventLimits(section: Section): EventLimit[] {
  section.kind(['eventratelimit.admission.k8s.io/v1alpha1'], 'Configuration');
  section.only('limits');
  const limits = section.list('limits');
  if (limits.length === 0) section.refuse('limits', 'must not be empty');
  return limits.map((limit) => {
    limit.only('type', 'qps', 'burst', 'cacheSize');
    const positive = (field: string): number => {
      const value = limit.number(field) ?? 0;
      return value > 0 ? value : limit.refuse(field, `is ${value}; it must be positive`);
    };
    const type = limit.text('type') ?? '';
    const cacheSize = limit.number('cacheSize') ?? 0;
    if (cacheSize < 0) limit.refuse('cacheSize', `is ${cacheSize}; it must not be negative`);
    return {
      type:
        LIMIT_TYPES.find((one) => one === type) ??
        limit.refuse('type', `is ${JSON.stringify(type)}; it should be one of ${LIMIT_TYPES.join(', ')}`),
      qps: positive('qps'),
      burst: positive('burst'),
      ...(cacheSize > 0 ? { cacheSize } : {}),
    };
  });
}

const MINUTE_MS = 60_000;

function imagePolicy(outer: Section): AdmissionPluginConfiguration {
  outer.only('imagePolicy');
  const section = outer.section('imagePolicy') ?? outer.refuse('imagePolicy', 'is required');
  section.only('kubeConfigFile', 'allowTTL', 'denyTTL', 'retryBackoff', 'defaultAllow');
  const file = section.text('kubeConfigFile') || section.refuse('kubeConfigFile', 'is required');
  /** Seconds or milliseconds; negative: nothing is remembered. */
  const duration = (
    field: string,
    unitMs: number,
    { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
  ): number | undefined => {
    const value = section.number(field) ?? 0;
    if (value === 0) return undefined;
    if (value < 0) return 0;
    const ms = value * unitMs;
    return ms >= minMs && ms <= maxMs
      ? ms
      : section.refuse(field, `is ${value}; it should be between ${minMs / unitMs} and ${maxMs / unitMs}`);
  };
  return {
    imagePolicy: {
      kubeConfigFile: resolve(dirname(section.file), file),
      defaultAllow: section.flag('defaultAllow') ?? false,
      allowTtlMs: duration('allowTTL', 1000, { minMs: 1000, maxMs: 30 * MINUTE_MS }),
      denyTtlMs: duration('denyTTL', 1000, { minMs: 1000, maxMs: 30 * MINUTE_MS }),
      retryBackoffMs: duration('retryBackoff', 1, { minMs: 1, maxMs: 5 * MINUTE_MS }),
    },
  };
}

function podNodeSelector(outer: Section): AdmissionPluginConfiguration {
  outer.only('podNodeSelectorPluginConfig');
  const section =
    outer.section('podNodeSelectorPluginConfig') ??
    outer.refuse('podNodeSelectorPluginConfig', 'is required');
  return {
    podNodeSelector: Object.fromEntries(
      section.names().map((name) => {
        const text = section.text(name) ?? '';
        return [
          name,
          parseSelector(text) ??
            section.refuse(
              name,
              `is ${JSON.stringify(text)}; it should be a node selector such as disk=ssd,zone=a`,
            ),
        ];
      }),
    ),
  };
}

function podTolerationRestriction(section: Section): AdmissionPluginConfiguration {
  section.kind(['podtolerationrestriction.admission.k8s.io/v1alpha1'], 'Configuration');
  section.only('default', 'whitelist');
  const tolerations = (field: string): Toleration[] =>
    section.list(field).map((one) => {
      one.only('key', 'operator', 'value', 'effect', 'tolerationSeconds');
      for (const name of ['key', 'operator', 'value', 'effect']) one.text(name);
      one.number('tolerationSeconds');
      return one.raw() as Toleration;
    });
  return {
    podTolerationRestriction: { default: tolerations('default'), whitelist: tolerations('whitelist') },
  };
}

const SCOPE_OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

function resourceQuota(section: Section): AdmissionPluginConfiguration {
  section.kind(
    [
      'apiserver.config.k8s.io/v1',
      'resourcequota.admission.k8s.io/v1',
      'resourcequota.admission.k8s.io/v1beta1',
      'resourcequota.admission.k8s.io/v1alpha1',
    ],
    section.raw()['kind'] === 'Configuration' ? 'Configuration' : 'ResourceQuotaConfiguration',
  );
  section.only('limitedResources');
  const limitedResources = section.list('limitedResources').map((limited): LimitedResource => {
    limited.only('apiGroup', 'resource', 'matchContains', 'matchScopes');
    const apiGroup = limited.text('apiGroup');
    return {
      ...(apiGroup ? { apiGroup } : {}),
      resource: limited.text('resource') || limited.refuse('resource', 'is required'),
      matchContains: limited.texts('matchContains'),
      matchScopes: limited.list('matchScopes').map((scope): ScopedResourceSelectorRequirement => {
        scope.only('scopeName', 'operator', 'values');
        const operator = scope.text('operator') ?? '';
        if (!SCOPE_OPERATORS.includes(operator))
          scope.refuse(
            'operator',
            `is ${JSON.stringify(operator)}; it should be one of ${SCOPE_OPERATORS.join(', ')}`,
          );
        return {
          scopeName: scope.text('scopeName') || scope.refuse('scopeName', 'is required'),
          operator,
          ...(scope.has('values') ? { values: scope.texts('values') } : {}),
        };
      }),
    };
  });
  return { resourceQuota: { limitedResources } };
}
