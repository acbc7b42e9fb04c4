/** --runtime-config, --feature-gates and --event-ttl: served versions and resources, enabled features, the lifetime of events. Upstream's syntax. */
import { UserError } from '#deploy/data-dir.ts';
import type { GroupVersion } from '#machinery/object.ts';
import { featuresFrom, type FeatureName, type Features } from './feature-gates.ts';
import { apiGroups, builtinResources, enabledByDefault, parseStability } from '#api/resources.ts';
import { RESOURCES } from '#resources/registry.ts';
import type { Resource } from '#resources/resource.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { SERVING_FLAGS } from '../flags.ts';

type ServingFlags = GivenFlags<typeof SERVING_FLAGS>;

export type IsEnabled = (served: GroupVersion & { readonly resource: string }) => boolean;

export interface Serving {
  readonly isEnabled?: IsEnabled;
  readonly features?: Features;
  readonly cbor?: boolean;
  readonly constrainedImpersonation?: boolean;
  /** The built-in resources, where they are not as usual. */ readonly registry?: readonly Resource[];
}

const STABILITIES: Readonly<Record<string, string>> = {
  'api/ga': 'stable',
  'api/beta': 'beta',
  'api/alpha': 'alpha',
};

export function servingFrom(flags: ServingFlags): Serving {
  const { runtimeConfig, featureGates, eventTtl: ttlMs } = readFlags(SERVING_FLAGS, flags);
  const features = parseGates(featureGates);
  return {
    ...(runtimeConfig === undefined
      ? {}
      : { isEnabled: gated(isEnabledBy(collectSettings('--runtime-config', runtimeConfig)), features) }),
    ...(featureGates === undefined
      ? {}
      : {
          features,
          cbor: features.CBORServingAndStorage,
          constrainedImpersonation: features.ConstrainedImpersonation,
        }),
    ...(ttlMs === undefined
      ? {}
      : { registry: RESOURCES.map((resource) => withTtl(resource, Math.floor(ttlMs / 1000))) }),
  };
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
export function parseGates(featureGates: string | undefined): Features {
  return featuresFrom(collectSettings('--feature-gates', featureGates ?? ''));
}

/** Groups that exist only with a feature, whatever --runtime-config enables. */
const GROUP_GATES: Readonly<Record<string, FeatureName>> = {
  'storagemigration.k8s.io': 'StorageVersionMigrator',
};

function gated(isEnabled: IsEnabled, features: Features): IsEnabled {
  return (served) => {
    const gate = GROUP_GATES[served.group];
    return (gate === undefined || features[gate]) && isEnabled(served);
  };
}
