/**
 * Feature gates of the API server, the controller manager and the scheduler: upstream's names, stages and defaults. Those that can be switched have an effect here; the
 * others are fixed: their value is accepted and the other one refused. Unknown names are refused.
 */
import { UserError } from '#deploy/data-dir.ts';
import { BINARY_VERSION, formatMajorMinor, type MajorMinor } from '#machinery/effective-version.ts';

type Stage = '' | 'BETA' | 'ALPHA' | 'DEPRECATED';

/** From a version of Kubernetes on. */
interface GateSpec {
  /** '' = generally available, as metrics have it. */
  readonly stage: Stage;
  readonly default: boolean;
}

interface FeatureGate {
  /** By minor version of Kubernetes 1, upstream's VersionedSpecs: '35' holds until the next entry. */
  readonly since: Readonly<Record<number, GateSpec>>;
  /** Its effect can be switched here; others are fixed to their default. */
  readonly switchable?: boolean;
  /** Gates that have to be on too. */
  readonly needs?: readonly string[];
}

const ALPHA: GateSpec = { stage: 'ALPHA', default: false };
const BETA: GateSpec = { stage: 'BETA', default: true };
const BETA_OFF: GateSpec = { stage: 'BETA', default: false };
const GA: GateSpec = { stage: '', default: true };

/** Nothing older than the oldest version that can be emulated, whose entry may stand for earlier ones. */
const FEATURE_GATES = {
  AnonymousAuthConfigurableEndpoints: { since: { 32: BETA, 34: GA } },
  AuthorizeNodeWithSelectors: { since: { 32: BETA, 34: GA } },
  AuthorizeWithSelectors: { since: { 32: BETA, 34: GA } },
  CBORServingAndStorage: { since: { 32: ALPHA }, switchable: true },
  ConstrainedImpersonation: { since: { 35: ALPHA, 36: BETA }, switchable: true },
  ExternalServiceAccountTokenSigner: { since: { 32: ALPHA, 34: BETA_OFF } },
  GangScheduling: { since: { 35: ALPHA }, switchable: true, needs: ['GenericWorkload'] },
  GenericWorkload: { since: { 35: ALPHA }, switchable: true },
  KMSv1: { since: { 29: { stage: 'DEPRECATED', default: false } } },
  KubeletFineGrainedAuthz: { since: { 33: BETA, 36: GA } },
  MutatingAdmissionPolicy: { since: { 32: ALPHA, 34: BETA_OFF, 36: GA } },
  PodTopologyLabelsAdmission: { since: { 33: ALPHA, 35: BETA } },
  StaleControllerConsistencyDaemonSet: { since: { 36: BETA }, switchable: true },
  StaleControllerConsistencyJob: { since: { 36: BETA }, switchable: true },
  StaleControllerConsistencyReplicaSet: { since: { 36: BETA }, switchable: true },
  StaleControllerConsistencyStatefulSet: { since: { 36: BETA }, switchable: true },
  StorageVersionMigrator: { since: { 30: ALPHA, 35: BETA_OFF }, switchable: true },
  StructuredAuthenticationConfiguration: { since: { 30: BETA, 34: GA } },
  StructuredAuthorizationConfiguration: { since: { 32: GA } },
  UnknownVersionInteroperabilityProxy: { since: { 28: ALPHA, 36: BETA }, switchable: true },
  WatchList: { since: { 32: BETA, 33: BETA_OFF, 34: BETA } },
} as const satisfies Readonly<Record<string, FeatureGate>>;

export type FeatureName = keyof typeof FEATURE_GATES;
export type Features = Readonly<Record<FeatureName, boolean>>;

const GATES = Object.entries(FEATURE_GATES) as [FeatureName, FeatureGate][];

/** Undefined: the gate is newer than the version. */
function specAt({ since }: FeatureGate, { minor }: MajorMinor): GateSpec | undefined {
  const from = Object.keys(since)
    .map(Number)
    .findLast((one) => one <= minor);
  return from === undefined ? undefined : since[from];
}

/** Every gate: the given values over the defaults of that version. AllAlpha and AllBeta switch those of a stage. Throws a UserError. */
export function featuresFrom(
  settings: ReadonlyMap<string, boolean>,
  emulated: MajorMinor = BINARY_VERSION,
): Features {
  for (const name of settings.keys()) {
    if (name !== 'AllAlpha' && name !== 'AllBeta' && !Object.hasOwn(FEATURE_GATES, name)) {
      throw new UserError(
        `--feature-gates names ${name}, which is no feature gate of this server; there are: ${GATES.map(([known]) => known).join(', ')}.`,
      );
    }
  }
  const features = Object.fromEntries(
    GATES.map(([name, gate]) => [name, valueOf(name, { gate, settings, emulated })]),
  );
  for (const [name, { needs = [] }] of GATES) requireNeeded(name, { features, needs });
  return features as unknown as Features;
}

function requireNeeded(
  name: string,
  {
    features,
    needs,
  }: { readonly features: Readonly<Record<string, boolean>>; readonly needs: readonly string[] },
): void {
  const off = needs.filter((one) => !features[one]);
  if (features[name] && off.length > 0)
    throw new UserError(
      `--feature-gates: ${name} is enabled, but depends on features that are disabled: [${off.join(' ')}].`,
    );
}

interface GateSettings {
  readonly gate: FeatureGate;
  readonly settings: ReadonlyMap<string, boolean>;
  readonly emulated: MajorMinor;
}

function valueOf(name: FeatureName, { gate, settings, emulated }: GateSettings): boolean {
  const wanted = settings.get(name);
  const spec = specAt(gate, emulated);
  if (!spec) {
    if (wanted !== undefined)
      throw new UserError(
        `--feature-gates: cannot set feature gate ${name} to ${wanted}, feature is PreAlpha at emulated version ${formatMajorMinor(emulated)}.`,
      );
    return false;
  }
  // A stage switches only gates that are not locked.
  if (gate.switchable) return wanted ?? stageSetting(spec.stage, settings) ?? spec.default;
  if (wanted !== undefined && wanted !== spec.default)
    throw new UserError(`--feature-gates sets ${name} to ${wanted}; here it is always ${spec.default}.`);
  return spec.default;
}

function stageSetting(stage: Stage, settings: ReadonlyMap<string, boolean>): boolean | undefined {
  if (stage === 'ALPHA') return settings.get('AllAlpha');
  return stage === 'BETA' ? settings.get('AllBeta') : undefined;
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
export function featureMetrics(features: Features, emulated: MajorMinor = BINARY_VERSION): string {
  // One that the emulated version does not have is not counted.
  const lines = GATES.flatMap(([name, gate]) => {
    const spec = specAt(gate, emulated);
    return spec
      ? [`kubernetes_feature_enabled{name="${name}",stage="${spec.stage}"} ${features[name] ? 1 : 0}`]
      : [];
  });
  return [
    '# HELP kubernetes_feature_enabled Whether a feature is on, by name and stage.',
    '# TYPE kubernetes_feature_enabled gauge',
    ...lines,
  ].join('\n');
}
