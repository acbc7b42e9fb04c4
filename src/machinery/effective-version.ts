/**
 * The version of Kubernetes that this program is, the one that it behaves as, and the oldest one whose servers can read what it stores; after upstream's
 * k8s.io/component-base/compatibility. What changes with it is declared elsewhere: api versions in resources/lifecycle.ts, gates in cmd/apiserver.
 */

/** 'v1.36.0' without the v. */
export const KUBERNETES_RELEASE = '1.36.0';

export interface MajorMinor {
  readonly major: number;
  readonly minor: number;
}

export interface EffectiveVersion {
  readonly binary: MajorMinor;
  /** --emulated-version */
  readonly emulated: MajorMinor;
  /** --min-compatibility-version */
  readonly minCompatibility: MajorMinor;
}

/** What both flags may be at the least: so many minor versions before the program's. */
const DEPTH = 3;
const KUBE = 'kube';

/** '1.36', 'v1.36.0+capstan.0.1.0'. Undefined: no version. */
export function parseMajorMinor(text: string): MajorMinor | undefined {
  const [, major, minor] = /^v?(\d+)\.(\d+)(?:\.\d+)*(?:[-+].*)?$/.exec(text.trim()) ?? [];
  return major === undefined ? undefined : { major: Number(major), minor: Number(minor) };
}

export function formatMajorMinor({ major, minor }: MajorMinor): string {
  return `${major}.${minor}`;
}

/** Negative: a is older. */
export function compareMajorMinor(a: MajorMinor, b: MajorMinor): number {
  return a.major - b.major || a.minor - b.minor;
}

export const BINARY_VERSION: MajorMinor = parseMajorMinor(KUBERNETES_RELEASE)!;
const FLOOR = before(BINARY_VERSION, DEPTH);

/** Without flags: the program's own, and compatible with the one before. */
export const DEFAULT_EFFECTIVE_VERSION: EffectiveVersion = {
  binary: BINARY_VERSION,
  emulated: BINARY_VERSION,
  minCompatibility: before(BINARY_VERSION, 1),
};

function before({ major, minor }: MajorMinor, by: number): MajorMinor {
  return { major, minor: Math.max(0, minor - by) };
}

/** What both flags may be, as --help names it: '1.33..1.36' */
export const ALLOWED_VERSIONS = `${formatMajorMinor(FLOOR)}..${formatMajorMinor(BINARY_VERSION)}`;

/** Of the two flags, 'kube=1.35' or '1.35' each. Throws an Error with upstream's message. */
export function effectiveVersionFrom({
  emulated: emulatedGiven = [],
  minCompatibility: minGiven = [],
}: {
  readonly emulated?: readonly string[] | undefined;
  readonly minCompatibility?: readonly string[] | undefined;
}): EffectiveVersion {
  const emulated = versionGiven(emulatedGiven) ?? BINARY_VERSION;
  const usual = before(emulated, 1);
  const minCompatibility = versionGiven(minGiven) ?? (compareMajorMinor(usual, FLOOR) < 0 ? FLOOR : usual);
  requireWithin('emulation version', emulated, BINARY_VERSION);
  requireWithin('minCompatibilityVersion version', minCompatibility, emulated);
  return { binary: BINARY_VERSION, emulated, minCompatibility };
}

function requireWithin(what: string, version: MajorMinor, newest: MajorMinor): void {
  if (compareMajorMinor(version, FLOOR) < 0 || compareMajorMinor(version, newest) > 0)
    throw new Error(
      `${what} ${formatMajorMinor(version)} is not between [${formatMajorMinor(FLOOR)}, ${formatMajorMinor(newest)}]`,
    );
}

function versionGiven(given: readonly string[]): MajorMinor | undefined {
  let found: MajorMinor | undefined;
  for (const text of given) {
    const equals = text.indexOf('=');
    const component = equals < 0 ? KUBE : text.slice(0, equals).trim();
    const version = parseGiven(component, text.slice(equals + 1).trim());
    if (component !== KUBE) throw new Error(`component not registered: ${component}`);
    if (found)
      throw new Error(
        `duplicate version flag, ${KUBE}=${formatMajorMinor(found)} and ${KUBE}=${formatMajorMinor(version)}`,
      );
    found = version;
  }
  return found;
}

function parseGiven(component: string, text: string): MajorMinor {
  const version = parseMajorMinor(text);
  if (!version) throw new Error(`could not parse ${JSON.stringify(text)} as version`);
  const [, patch] = /^v?\d+\.\d+\.(\d+)/.exec(text) ?? [];
  if (patch !== undefined && Number(patch) !== 0)
    throw new Error(`patch version not allowed, got: ${component}=${text.replace(/^v/, '')}`);
  return version;
}
