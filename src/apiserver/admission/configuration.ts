/**
 * The file of --admission-control-config-file: an AdmissionConfiguration with a section for each plugin, inline or in a file of its own. Read once,
 * strictly: unknown or mistyped fields, and sections for plugins without configuration, are refused with their location.
 */
import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { errorMessage } from '#stdx/log.ts';
import { configKind, decodeConfig, decodeStrictly, parseConfig } from '#machinery/config/read.ts';
import {
  flag,
  integer,
  integer64,
  listOf,
  mapOf,
  objectSchema,
  opaque,
  struct,
  text,
} from '#machinery/config/schema.ts';
import type { ScopedResourceSelectorRequirement, Toleration } from '#api/types.ts';
import type { AdmissionPluginConfiguration } from './list.ts';
import type { EventLimit, EventLimitType } from './plugins/event-rate-limit.ts';
import { parseSelector } from './plugins/pod-node-selector.ts';
import { LEVELS, type LevelVersion } from './plugins/pod-security/level.ts';
import type { PodSecurityOptions } from './plugins/pod-security/pod-security.ts';
import type { LimitedResource } from './plugins/resource-quota/limited-resources.ts';

export class AdmissionConfigurationError extends Error {
  override readonly name = 'AdmissionConfigurationError';
}

/** Location of a value: a file, and a path in it ('' for the whole). */
class Place {
  readonly file: string;
  readonly #at: string;

  constructor(file: string, at = '') {
    this.file = file;
    this.#at = at;
  }

  child(field: string): Place {
    return new Place(this.file, this.#at === '' ? field : `${this.#at}.${field}`);
  }

  /** Throws: '<file>: <path> <why>'. */
  refuse(why: string, cause?: unknown): never {
    const at = this.#at === '' ? '' : `${this.#at} `;
    throw new AdmissionConfigurationError(`admission configuration ${this.file}: ${at}${why}`, { cause });
  }

  /** Adds the location to an error of the configuration reader. */
  read<T>(reader: () => T): T {
    try {
      return reader();
    } catch (error) {
      const at = this.#at === '' ? '' : `${this.#at}: `;
      throw new AdmissionConfigurationError(
        `admission configuration ${this.file}: ${at}${errorMessage(error)}`,
        { cause: error },
      );
    }
  }

  choice<T extends string>(value: string, choices: readonly T[]): T {
    return (
      choices.find((one) => one === value) ??
      this.refuse(`is ${JSON.stringify(value)}; it should be one of ${choices.join(', ')}`)
    );
  }
}

/** One plugin's section, not decoded yet. */
interface Section {
  readonly value: unknown;
  readonly place: Place;
}

const PLUGINS = {
  plugins: listOf(struct('AdmissionPluginConfiguration', { name: text, path: text, configuration: opaque })),
};
const ADMISSION = [
  configKind(
    { group: 'apiserver.config.k8s.io', versions: ['v1', 'v1alpha1'], kind: 'AdmissionConfiguration' },
    PLUGINS,
  ),
  configKind({ group: 'apiserver.k8s.io', versions: ['v1alpha1'], kind: 'AdmissionConfiguration' }, PLUGINS),
];

interface WirePlugin {
  readonly name?: string;
  readonly path?: string;
  readonly configuration?: unknown;
}

/** Reads the file and those it names. Throws an AdmissionConfigurationError of one sentence. */
export function readAdmissionConfiguration(file: string): AdmissionPluginConfiguration {
  const root = readFile(file);
  const { plugins = [] } = root.place.read(() =>
    decodeConfig<{ readonly plugins?: readonly WirePlugin[] }>(root.value, ADMISSION, root.problems),
  );
  const configuration: Writable<AdmissionPluginConfiguration> = {};
  const seen = new Set<string>();
  plugins.forEach((plugin, index) => {
    const place = root.place.child(`plugins[${index}]`);
    const name = plugin.name || place.child('name').refuse('is required');
    if (seen.has(name)) place.child('name').refuse(`is ${JSON.stringify(name)} a second time`);
    seen.add(name);
    Object.assign(configuration, readerOf(name, place)(sectionOf(plugin, place)));
  });
  return configuration;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };
type SectionReader = (section: Section) => AdmissionPluginConfiguration;

const READERS: Readonly<Record<string, SectionReader>> = {
  EventRateLimit: (section) => ({ eventRateLimit: eventLimits(section) }),
  ImagePolicyWebhook: imagePolicy,
  PodNodeSelector: podNodeSelector,
  PodSecurity: (section) => ({ podSecurity: podSecurity(section) }),
  PodTolerationRestriction: podTolerationRestriction,
  ResourceQuota: resourceQuota,
};

function readerOf(name: string, place: Place): SectionReader {
  const found = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
  return (
    found ??
    place
      .child('name')
      .refuse(
        `is ${JSON.stringify(name)}, which takes no configuration here: those that do are ${Object.keys(READERS).join(', ')}`,
      )
  );
}

/** Inline, or in a file whose path is relative to this one. */
function sectionOf({ path, configuration }: WirePlugin, place: Place): Section {
  if (path && configuration !== undefined) place.child('path').refuse('and configuration are both given');
  if (path) {
    const { value, problems, place: there } = readFile(resolve(dirname(place.file), path));
    if (problems.length > 0) there.refuse(`strict decoding error: ${problems.join(', ')}`);
    return { value, place: there };
  }
  const at = place.child('configuration');
  return { value: configuration ?? at.refuse('is required, or path'), place: at };
}

function readFile(file: string): Section & { readonly problems: readonly string[] } {
  const place = new Place(file);
  let content: string;
  try {
    content = readFileSync(file, 'utf8');
  } catch (error) {
    throw new AdmissionConfigurationError(
      `admission configuration ${file} cannot be read: ${errorMessage(error)}`,
      { cause: error },
    );
  }
  return { place, ...place.read(() => parseConfig(content)) };
}

// -------------------------------------------------------------------------------------------------------------- sections

const MODES = ['enforce', 'audit', 'warn'] as const;

const POD_SECURITY = configKind(
  {
    group: 'pod-security.admission.config.k8s.io',
    versions: ['v1', 'v1beta1', 'v1alpha1'],
    kind: 'PodSecurityConfiguration',
  },
  {
    defaults: struct(
      'PodSecurityDefaults',
      Object.fromEntries(MODES.flatMap((mode) => [mode, `${mode}-version`]).map((name) => [name, text])),
    ),
    exemptions: struct('PodSecurityExemptions', {
      usernames: listOf(text),
      runtimeClasses: listOf(text),
      namespaces: listOf(text),
    }),
  },
);

interface WirePodSecurity {
  readonly defaults?: Readonly<Record<string, string>>;
  readonly exemptions?: PodSecurityOptions['exemptions'];
}

function podSecurity({ value, place }: Section): PodSecurityOptions {
  const { defaults: given = {}, exemptions = {} } = place.read(() =>
    decodeConfig<WirePodSecurity>(value, [POD_SECURITY]),
  );
  const at = place.child('defaults');
  const defaults = Object.fromEntries(
    MODES.map((mode): [string, LevelVersion] => {
      const level = at.child(mode).choice(given[mode] || 'privileged', LEVELS);
      const version = given[`${mode}-version`] || 'latest';
      if (version !== 'latest' && !/^v1\.\d{1,4}$/.test(version))
        at.child(`${mode}-version`).refuse(`is ${JSON.stringify(version)}; it should be latest or v1.x`);
      return [mode, { level, version }];
    }),
  );
  return { defaults, exemptions };
}

const LIMIT_TYPES: readonly EventLimitType[] = ['Server', 'Namespace', 'User', 'SourceAndObject'];

const EVENT_RATE_LIMIT = configKind(
  { group: 'eventratelimit.admission.k8s.io', versions: ['v1alpha1'], kind: 'Configuration' },
  { limits: listOf(struct('Limit', { type: text, qps: integer, burst: integer, cacheSize: integer })) },
);

function eventLimits({ value, place }: Section): EventLimit[] {
  const { limits = [] } = place.read(() =>
    decodeConfig<{ readonly limits?: readonly Partial<EventLimit>[] }>(value, [EVENT_RATE_LIMIT]),
  );
  if (limits.length === 0) place.child('limits').refuse('must not be empty');
  return limits.map(({ type = '', qps = 0, burst = 0, cacheSize = 0 }, index) => {
    const at = place.child(`limits[${index}]`);
    if (qps <= 0) at.child('qps').refuse(`is ${qps}; it must be positive`);
    if (burst <= 0) at.child('burst').refuse(`is ${burst}; it must be positive`);
    if (cacheSize < 0) at.child('cacheSize').refuse(`is ${cacheSize}; it must not be negative`);
    return {
      type: at.child('type').choice(type, LIMIT_TYPES),
      qps,
      burst,
      ...(cacheSize > 0 ? { cacheSize } : {}),
    };
  });
}

const MINUTE_MS = 60_000;

const IMAGE_POLICY = objectSchema('ImagePolicyWebhookConfiguration', {
  imagePolicy: struct('ImagePolicyWebhook', {
    kubeConfigFile: text,
    allowTTL: integer64,
    denyTTL: integer64,
    retryBackoff: integer64,
    defaultAllow: flag,
  }),
});

interface WireImagePolicy {
  readonly kubeConfigFile?: string;
  readonly allowTTL?: number;
  readonly denyTTL?: number;
  readonly retryBackoff?: number;
  readonly defaultAllow?: boolean;
}

function imagePolicy({ value, place }: Section): AdmissionPluginConfiguration {
  const decoded = place.read(() =>
    decodeStrictly<{ readonly imagePolicy?: WireImagePolicy }>(value, IMAGE_POLICY),
  );
  const at = place.child('imagePolicy');
  const wire = decoded.imagePolicy ?? at.refuse('is required');
  const file = wire.kubeConfigFile || at.child('kubeConfigFile').refuse('is required');
  /** Seconds or milliseconds; negative: nothing is remembered. */
  const durationMs = (
    field: 'allowTTL' | 'denyTTL' | 'retryBackoff',
    unitMs: number,
    { minMs, maxMs }: { readonly minMs: number; readonly maxMs: number },
  ): number | undefined => {
    const given = wire[field] ?? 0;
    if (given === 0) return undefined;
    if (given < 0) return 0;
    const ms = given * unitMs;
    return ms >= minMs && ms <= maxMs
      ? ms
      : at.child(field).refuse(`is ${given}; it should be between ${minMs / unitMs} and ${maxMs / unitMs}`);
  };
  return {
    imagePolicy: {
      kubeConfigFile: resolve(dirname(place.file), file),
      defaultAllow: wire.defaultAllow ?? false,
      allowTtlMs: durationMs('allowTTL', 1000, { minMs: 1000, maxMs: 30 * MINUTE_MS }),
      denyTtlMs: durationMs('denyTTL', 1000, { minMs: 1000, maxMs: 30 * MINUTE_MS }),
      retryBackoffMs: durationMs('retryBackoff', 1, { minMs: 1, maxMs: 5 * MINUTE_MS }),
    },
  };
}

const POD_NODE_SELECTOR = objectSchema('PodNodeSelectorConfiguration', {
  podNodeSelectorPluginConfig: mapOf(text),
});

function podNodeSelector({ value, place }: Section): AdmissionPluginConfiguration {
  const decoded = place.read(() =>
    decodeStrictly<{ readonly podNodeSelectorPluginConfig?: Readonly<Record<string, string>> }>(
      value,
      POD_NODE_SELECTOR,
    ),
  );
  const at = place.child('podNodeSelectorPluginConfig');
  const selectors = Object.entries(decoded.podNodeSelectorPluginConfig ?? at.refuse('is required'));
  return {
    podNodeSelector: Object.fromEntries(
      selectors.map(([name, selector]) => [
        name,
        parseSelector(selector) ??
          at
            .child(name)
            .refuse(`is ${JSON.stringify(selector)}; it should be a node selector such as disk=ssd,zone=a`),
      ]),
    ),
  };
}

const TOLERATIONS = listOf(
  struct('Toleration', {
    key: text,
    operator: text,
    value: text,
    effect: text,
    tolerationSeconds: integer64,
  }),
);

const POD_TOLERATION_RESTRICTION = configKind(
  { group: 'podtolerationrestriction.admission.k8s.io', versions: ['v1alpha1'], kind: 'Configuration' },
  { default: TOLERATIONS, whitelist: TOLERATIONS },
);

interface WireTolerations {
  readonly default?: readonly Toleration[];
  readonly whitelist?: readonly Toleration[];
}

function podTolerationRestriction({ value, place }: Section): AdmissionPluginConfiguration {
  const { default: defaults = [], whitelist = [] } = place.read(() =>
    decodeConfig<WireTolerations>(value, [POD_TOLERATION_RESTRICTION]),
  );
  return { podTolerationRestriction: { default: defaults, whitelist } };
}

const SCOPE_OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];

const RESOURCE_QUOTA_FIELDS = {
  limitedResources: listOf(
    struct('LimitedResource', {
      apiGroup: text,
      resource: text,
      matchContains: listOf(text),
      matchScopes: listOf(
        struct('ScopedResourceSelectorRequirement', {
          scopeName: text,
          operator: text,
          values: listOf(text),
        }),
      ),
    }),
  ),
};

const RESOURCE_QUOTA = [
  ['apiserver.config.k8s.io', 'ResourceQuotaConfiguration', ['v1']] as const,
  ['resourcequota.admission.k8s.io', 'Configuration', ['v1', 'v1beta1', 'v1alpha1']] as const,
  ['resourcequota.admission.k8s.io', 'ResourceQuotaConfiguration', ['v1', 'v1beta1', 'v1alpha1']] as const,
].map(([group, kind, versions]) =>
  configKind({ group, kind, versions: [...versions] }, RESOURCE_QUOTA_FIELDS),
);

function resourceQuota({ value, place }: Section): AdmissionPluginConfiguration {
  const { limitedResources = [] } = place.read(() =>
    decodeConfig<{ readonly limitedResources?: readonly Partial<LimitedResource>[] }>(value, RESOURCE_QUOTA),
  );
  return {
    resourceQuota: {
      limitedResources: limitedResources.map((limited, index) =>
        limitedResource(limited, place.child(`limitedResources[${index}]`)),
      ),
    },
  };
}

function limitedResource(
  { apiGroup, resource, matchContains = [], matchScopes = [] }: Partial<LimitedResource>,
  place: Place,
): LimitedResource {
  return {
    ...(apiGroup ? { apiGroup } : {}),
    resource: resource || place.child('resource').refuse('is required'),
    matchContains,
    matchScopes: matchScopes.map((scope, index): ScopedResourceSelectorRequirement => {
      const at = place.child(`matchScopes[${index}]`);
      at.child('operator').choice(scope.operator ?? '', SCOPE_OPERATORS);
      if (!scope.scopeName) at.child('scopeName').refuse('is required');
      return scope;
    }),
  };
}
