/** Annotations of pods with a meaning: mirror pods, deletion cost, and deprecated seccomp and AppArmor annotations. */
import type { AppArmorProfile, Pod, PodSpec, SeccompProfile } from '#api/types.ts';
import { MIRROR_POD } from '#component-helpers/static-pods.ts';
import type { Errors, Path } from '../../field-path.ts';
import { semanticEqual } from '../../strategy.ts';
import { eachContainer } from './visit.ts';
import { checkRelativePath } from './volumes.ts';

const DELETION_COST = 'controller.kubernetes.io/pod-deletion-cost';
export const SECCOMP_POD = 'seccomp.security.alpha.kubernetes.io/pod';
export const SECCOMP_CONTAINER = 'container.seccomp.security.alpha.kubernetes.io/';
export const APPARMOR_CONTAINER = 'container.apparmor.security.beta.kubernetes.io/';

export const APPARMOR_INSTEAD = 'deprecated since v1.30; use the "appArmorProfile" field instead';

/** Init containers were annotations once: servers drop them, so that old nodes do not run them. */
const INIT_CONTAINERS = [
  'pod.beta.kubernetes.io/init-containers',
  'pod.alpha.kubernetes.io/init-containers',
  'pod.beta.kubernetes.io/init-container-statuses',
  'pod.alpha.kubernetes.io/init-container-statuses',
];

type Annotations = Readonly<Record<string, string>>;

export function dropInitContainerAnnotations(annotations: Record<string, string> | undefined): void {
  if (annotations)
    for (const key of INIT_CONTAINERS) if (annotations[key] !== undefined) delete annotations[key];
}

/** The field that replaced the annotation; undefined when there is none. */
export function readAppArmorProfile(annotation: string): AppArmorProfile | undefined {
  if (annotation === 'unconfined') return { type: 'Unconfined' };
  if (annotation === 'runtime/default') return { type: 'RuntimeDefault' };
  const localhostProfile = annotation.startsWith('localhost/') ? annotation.slice('localhost/'.length) : '';
  return localhostProfile === '' ? undefined : { type: 'Localhost', localhostProfile };
}

const APPARMOR_PROFILE_MAX = 4095;

/** Converts AppArmor annotations of new pods to fields, which nodes read. A container needs none when the pod's profile is the same. */
export function applyAppArmorAnnotations(pod: Pod, warn: (message: string) => void): void {
  const annotations = pod.metadata?.annotations,
    spec = pod.spec!;
  if (!annotations || spec.os?.name === 'windows') return;
  eachContainer(spec, '', (container) => {
    const key = APPARMOR_CONTAINER + container.name;
    if (!Object.hasOwn(annotations, key) || container.securityContext?.appArmorProfile) return;
    const profile = usableProfile(annotations[key]!);
    if (profile && semanticEqual(profile, spec.securityContext?.appArmorProfile)) return;
    if (profile) (container.securityContext ??= {}).appArmorProfile = profile;
    warn(`metadata.annotations[${key}]: ${APPARMOR_INSTEAD}`);
  });
}

function usableProfile(annotation: string): AppArmorProfile | undefined {
  const profile = readAppArmorProfile(annotation),
    { localhostProfile = '' } = profile ?? {};
  return localhostProfile.trim() === localhostProfile &&
    Buffer.byteLength(localhostProfile) <= APPARMOR_PROFILE_MAX
    ? profile
    : undefined;
}

export function checkPodAnnotations(
  annotations: Annotations | undefined,
  spec: PodSpec,
  path: Path,
  errors: Errors,
): void {
  if (!annotations) return;
  for (const key in annotations) {
    const value = annotations[key]!;
    if (key === MIRROR_POD) {
      if (!spec.nodeName)
        errors.invalid(path.key(key), value, 'must set spec.nodeName if mirror pod annotation is set');
    } else if (key === DELETION_COST) {
      if (!isInt32(value)) errors.invalid(path.key(key), value, 'must be a 32bit integer');
    } else if (key === SECCOMP_POD || key.startsWith(SECCOMP_CONTAINER))
      checkSeccompName(value, path.child(key), errors);
    else if (key.startsWith(APPARMOR_CONTAINER)) {
      const container = key.slice(APPARMOR_CONTAINER.length);
      if (!allContainers(spec).some(({ name }) => name === container))
        errors.invalid(path.key(key), container, 'container not found');
      if (
        value !== '' &&
        value !== 'runtime/default' &&
        value !== 'unconfined' &&
        !value.startsWith('localhost/')
      )
        errors.invalid(path.key(key), value, `invalid AppArmor profile name: ${JSON.stringify(value)}`);
    }
  }
}

/** As upstream, '-0' and leading zeros are rejected; so is a plus sign. */
function isInt32(text: string): boolean {
  return (
    text === '0' ||
    (/^-?[1-9][0-9]{0,9}$/.test(text) && Number(text) >= -2147483648 && Number(text) <= 2147483647)
  );
}

function checkSeccompName(profile: string, path: Path, errors: Errors): void {
  if (profile === 'runtime/default' || profile === 'docker/default' || profile === 'unconfined') return;
  if (profile.startsWith('localhost/')) checkRelativePath(profile.slice('localhost/'.length), path, errors);
  else errors.invalid(path, profile, 'must be a valid seccomp profile');
}

interface AnyContainer {
  name: string;
  securityContext?: { seccompProfile?: SeccompProfile; appArmorProfile?: AppArmorProfile };
}

function allContainers(spec: PodSpec): AnyContainer[] {
  return [...(spec.initContainers ?? []), ...(spec.containers ?? []), ...(spec.ephemeralContainers ?? [])];
}

/** Annotations and the fields that replaced them must match. */
export function checkProfileAnnotations(
  annotations: Annotations | undefined,
  spec: PodSpec,
  path: Path,
  errors: Errors,
): void {
  if (!annotations) return;
  const ofPod = spec.securityContext;
  if (ofPod?.seccompProfile)
    checkAgree(
      annotations[SECCOMP_POD],
      ofPod.seccompProfile,
      path.child('securityContext').child('seccompProfile'),
      errors,
      'seccomp',
    );
  for (const field of ['initContainers', 'containers', 'ephemeralContainers'] as const) {
    spec[field]?.forEach((container: AnyContainer, i: number) => {
      const at = path.child(field).index(i).child('securityContext');
      const { seccompProfile, appArmorProfile = ofPod?.appArmorProfile } = container.securityContext ?? {};
      if (seccompProfile)
        checkAgree(
          annotations[SECCOMP_CONTAINER + container.name],
          seccompProfile,
          at.child('seccompProfile'),
          errors,
          'seccomp',
        );
      if (appArmorProfile && spec.os?.name !== 'windows')
        checkAgree(
          annotations[APPARMOR_CONTAINER + container.name],
          appArmorProfile,
          at.child('appArmorProfile'),
          errors,
          'apparmor',
        );
    });
  }
}

function checkAgree(
  annotation: string | undefined,
  profile: SeccompProfile | AppArmorProfile,
  path: Path,
  errors: Errors,
  what: 'seccomp' | 'apparmor',
): void {
  if (annotation === undefined) return;
  const typeDiffers =
    profile.type === 'Unconfined'
      ? annotation !== 'unconfined'
      : profile.type === 'RuntimeDefault'
        ? annotation !== 'runtime/default' && !(what === 'seccomp' && annotation === 'docker/default')
        : profile.type === 'Localhost'
          ? !annotation.startsWith('localhost/')
          : false;
  if (typeDiffers) errors.forbidden(path.child('type'), `${what} type in annotation and field must match`);
  else if (profile.type === 'Localhost' && annotation.slice('localhost/'.length) !== profile.localhostProfile)
    errors.forbidden(path.child('localhostProfile'), `${what} profile in annotation and field must match`);
}

export function checkPodAnnotationUpdates(
  next: Annotations | undefined,
  previous: Annotations | undefined,
  path: Path,
  errors: Errors,
): void {
  for (const key in previous) {
    if (next?.[key] === previous[key]) continue;
    if (key.startsWith(APPARMOR_CONTAINER))
      errors.forbidden(path.key(key), 'may not remove or update AppArmor annotations');
    if (key === MIRROR_POD) errors.forbidden(path.key(key), 'may not remove or update mirror pod annotation');
  }
  for (const key in next) {
    if (previous?.[key] !== undefined) continue;
    if (key.startsWith(APPARMOR_CONTAINER))
      errors.forbidden(path.key(key), 'may not add AppArmor annotations');
    if (key === MIRROR_POD) errors.forbidden(path.key(key), 'may not add mirror pod annotation');
  }
}
