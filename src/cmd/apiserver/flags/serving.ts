/**
 * --runtime-config, --feature-gates, --event-ttl and the emulated version: served versions and resources, enabled features, the lifetime of events.
 * Upstream's syntax.
 */
import { UserError } from '#deploy/data-dir.ts';
import type { GroupVersion } from '#machinery/object.ts';
import { featuresFrom, type FeatureName, type Features } from './feature-gates.ts';
import { apiGroups, builtinResources, enabledByDefault, parseStability } from '#api/resources.ts';
import { RESOURCES } from '#resources/registry.ts';
import { resourceExistsIn } from '#resources/lifecycle.ts';
import type { Resource } from '#resources/resource.ts';
import { storedFor } from '#resources/storage-version.ts';
import type { EffectiveVersion, MajorMinor } from '#machinery/effective-version.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { versionsFrom, type VersionFlags } from '../../flags/versions.ts';
import { SERVING_FLAGS } from '../flags.ts';

type ServingFlags = GivenFlags<typeof SERVING_FLAGS> & VersionFlags;

export type IsEnabled = (served: GroupVersion & { readonly resource: string }) => boolean;

export interface Serving {
  readonly isEnabled?: IsEnabled;
  readonly features?: Features;
  readonly cbor?: boolean;
  readonly constrainedImpersonation?: boolean;
  readonly effectiveVersion?: EffectiveVersion;
  /** The built-in resources, where they are not as usual. */ readonly registry?: readonly Resource[];
}

const STABILITIES: Readonly<Record<string, string>> = {
  'api/ga': 'stable',
  'api/beta': 'beta',
  'api/alpha': 'alpha',
};

export function servingFrom(
  flags: ServingFlags,
): Serving & { readonly features: Features; readonly isEnabled: IsEnabled } {
  const { runtimeConfig, featureGates, eventTtl: ttlMs } = readFlags(SERVING_FLAGS, flags);
  const effectiveVersion = versionsFrom(flags);
  const { emulated, minCompatibility } = effectiveVersion;
  const features = parseGates(featureGates, emulated);
  const settings = collectSettings('--runtime-config', runtimeConfig ?? '');
  const registry = registryFor(minCompatibility, ttlMs);
  return {
    isEnabled: existing(gated(isEnabledBy(settings), features), emulated),
    features,
    cbor: features.CBORServingAndStorage,
    constrainedImpersonation: features.ConstrainedImpersonation,
    effectiveVersion,
    ...(registry ? { registry } : {}),
  };
}

/** Undefined: as usual. */
function registryFor(
  minCompatibility: MajorMinor,
  ttlMs: number | undefined,
): readonly Resource[] | undefined {
  const stored = RESOURCES.map((resource) => storedFor(resource, minCompatibility));
  if (ttlMs !== undefined) return stored.map((resource) => withTtl(resource, Math.floor(ttlMs / 1000)));
  return stored.every((resource, index) => resource === RESOURCES[index]) ? undefined : stored;
}

/** TTL of events. 0: none. */
function withTtl(resource: Resource, ttlSeconds: number): Resource {
  const { ttlSeconds: usual, ...behaviour } = resource.behaviour;
  return usual === undefined
    ? resource
    : { ...resource, behaviour: ttlSeconds === 0 ? behaviour : { ...behaviour, ttlSeconds } };
}

function collectSettings(flag: string, text: string): Map<string, boolean> {
  const settings = new Map<string, boolean>();
  for (const part of text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals).trim(),
      value = equals < 0 ? '' : part.slice(equals + 1).trim();
    // A name alone means true, in --runtime-config.
    const isOn = value === 'true' || (value === '' && flag === '--runtime-config');
    if (name === '' || (!isOn && value !== 'false'))
      throw new UserError(`${flag} has "${part}"; it should be NAME=true or NAME=false.`);
    settings.set(name, isOn);
  }
  return settings;
}

/** The most exact setting wins: a resource, then its version, then the stability, then api/all. */
function isEnabledBy(settings: ReadonlyMap<string, boolean>): IsEnabled {
  for (const name of settings.keys()) requireKnown(name);
  if (
    settings.get('api/all') === false &&
    !Array.from(settings).some(([name, on]) => on && name !== 'api/all')
  )
    throw new UserError(
      '--runtime-config api/all=false needs something that is served all the same, for example v1=true.',
    );
  const ofVersion = ({ group, version }: GroupVersion): boolean => {
    const stability =
      Object.entries(STABILITIES).find(([, value]) => value === parseStability(version))?.[0] ?? '';
    return (
      settings.get(nameOf({ group, version })) ??
      settings.get(stability) ??
      settings.get('api/all') ??
      enabledByDefault(version)
    );
  };
  return ({ group, version, resource }) => {
    if (resource !== '')
      return settings.get(`${nameOf({ group, version })}/${resource}`) ?? ofVersion({ group, version });
    // A version is enabled if any of its resources is.
    return builtinResources.some(
      (facts) =>
        facts.group === group &&
        facts.version === version &&
        (settings.get(`${nameOf(facts)}/${facts.plural}`) ?? ofVersion(facts)),
    );
  };
}

function nameOf({ group, version }: GroupVersion): string {
  return group === '' ? version : `${group}/${version}`;
}

function requireKnown(name: string): void {
  if (name === 'api/all' || Object.hasOwn(STABILITIES, name)) return;
  const parts = name.split('/');
  // 'v1' and 'v1/pods' are of the core group, which upstream also accepts as api/v1.
  const [group = '', version = '', resource = ''] = /^v\d/.test(parts[0] ?? '') ? ['', ...parts] : parts;
  const known = apiGroups.find((candidate) => candidate.name === group);
  if (!known)
    throw new UserError(
      `--runtime-config names ${JSON.stringify(name)}: there is no API group ${JSON.stringify(group)}.`,
    );
  if (!known.versions.includes(version))
    throw new UserError(
      `--runtime-config names ${JSON.stringify(name)}: group ${JSON.stringify(group)} has ${known.versions.join(', ')}.`,
    );
  if (
    resource !== '' &&
    !builtinResources.some(
      (facts) => facts.group === group && facts.version === version && facts.plural === resource,
    )
  )
    throw new UserError(
      `--runtime-config names ${JSON.stringify(name)}: ${nameOf({ group, version })} has no resource ${JSON.stringify(resource)}.`,
    );
}

/** The value of --feature-gates, or the defaults. Throws a UserError. */
export function parseGates(featureGates: string | undefined, emulated?: MajorMinor): Features {
  return featuresFrom(collectSettings('--feature-gates', featureGates ?? ''), emulated);
}

/** Groups, or versions of them, that exist only with a feature, whatever --runtime-config enables. */
const GROUP_GATES: Readonly<Record<string, FeatureName>> = {
  'scheduling.k8s.io/v1alpha2': 'GenericWorkload',
  'storagemigration.k8s.io': 'StorageVersionMigrator',
};

function gated(isEnabled: IsEnabled, features: Features): IsEnabled {
  return (served) => {
    const gate = GROUP_GATES[served.group] ?? GROUP_GATES[nameOf(served)];
    return (gate === undefined || features[gate]) && isEnabled(served);
  };
}

/** Nothing that the emulated version has not, whatever --runtime-config enables. */
function existing(isEnabled: IsEnabled, emulated: MajorMinor): IsEnabled {
  return (served) => resourceExistsIn(emulated, served) && isEnabled(served);
}
