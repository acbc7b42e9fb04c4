/**
 * Feature gates of the API server and the controller manager: upstream's names, stages and defaults. Those that can be switched have an effect here; the
 * others are fixed: their value is accepted and the other one refused. Unknown names are refused.
 */
import { UserError } from '#deploy/data-dir.ts';

type Stage = '' | 'BETA' | 'ALPHA' | 'DEPRECATED';

interface FeatureGate {
  /** '' = generally available, as metrics have it. */
  readonly stage: Stage;
  readonly default: boolean;
  readonly switchable?: boolean;
}

const FEATURE_GATES = {
  AnonymousAuthConfigurableEndpoints: { stage: '', default: true },
  AuthorizeNodeWithSelectors: { stage: '', default: true },
  AuthorizeWithSelectors: { stage: '', default: true },
  CBORServingAndStorage: { stage: 'ALPHA', default: false, switchable: true },
  ConstrainedImpersonation: { stage: 'BETA', default: true, switchable: true },
  ExternalServiceAccountTokenSigner: { stage: 'BETA', default: false },
  KMSv1: { stage: 'DEPRECATED', default: false },
  KubeletFineGrainedAuthz: { stage: '', default: true },
  MutatingAdmissionPolicy: { stage: '', default: true },
  PodTopologyLabelsAdmission: { stage: 'BETA', default: true },
  StorageVersionMigrator: { stage: 'BETA', default: false, switchable: true },
  StructuredAuthenticationConfiguration: { stage: '', default: true },
  StructuredAuthorizationConfiguration: { stage: '', default: true },
  UnknownVersionInteroperabilityProxy: { stage: 'BETA', default: true, switchable: true },
  WatchList: { stage: 'BETA', default: true },
} as const satisfies Readonly<Record<string, FeatureGate>>;

export type FeatureName = keyof typeof FEATURE_GATES;
export type Features = Readonly<Record<FeatureName, boolean>>;

/** Every gate: the given values over the defaults. AllAlpha and AllBeta switch those of a stage. Throws a UserError. */
export function featuresFrom(settings: ReadonlyMap<string, boolean>): Features {
  const gates = Object.entries(FEATURE_GATES) as [FeatureName, FeatureGate][];
  for (const name of settings.keys()) {
    if (name !== 'AllAlpha' && name !== 'AllBeta' && !Object.hasOwn(FEATURE_GATES, name)) {
      throw new UserError(
        `--feature-gates names ${name}, which is no feature gate of this server; there are: ${gates.map(([known]) => known).join(', ')}.`,
      );
    }
  }
  return Object.fromEntries(
    gates.map(([name, gate]): [FeatureName, boolean] => {
      const wanted = settings.get(name);
      const ofStage =
        gate.stage === 'ALPHA'
          ? settings.get('AllAlpha')
          : gate.stage === 'BETA'
            ? settings.get('AllBeta')
            : undefined;
      // A stage switches only gates that are not locked.
      if (gate.switchable) return [name, wanted ?? ofStage ?? gate.default];
      if (wanted !== undefined && wanted !== gate.default)
        throw new UserError(`--feature-gates sets ${name} to ${wanted}; here it is always ${gate.default}.`);
      return [name, gate.default];
    }),
  ) as unknown as Features;
}

/** The names of those that are on; undefined: by default. */
export function featuresOn(features: Features = featuresFrom(new Map())): ReadonlySet<string> {
  return new Set(
    Object.entries(features)
      .filter(([, on]) => on)
      .map(([name]) => name),
  );
}

/** kubernetes_feature_enabled, as upstream counts them. */
export function featureMetrics(features: Features): string {
  const lines = (Object.entries(features) as [FeatureName, boolean][]).map(
    ([name, on]) =>
      `kubernetes_feature_enabled{name="${name}",stage="${FEATURE_GATES[name].stage}"} ${on ? 1 : 0}`,
  );
  return [
    '# HELP kubernetes_feature_enabled Whether a feature is on, by name and stage.',
    '# TYPE kubernetes_feature_enabled gauge',
    ...lines,
  ].join('\n');
}
