/** CSIDriver. */
import type { CSIDriver, CSIDriverSpec } from '#api/types.ts';
import { checkImmutable, checkOptionalEnum } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, dropUnused, semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const LIFECYCLES = ['Persistent', 'Ephemeral'];
/** Upstream's path of attachRequired in errors. */
const ATTACHED = SPEC.child('attachedRequired');
const TOKENS_LOGGED =
  'spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes';
const TOKEN_SECONDS_MIN = 600;
/** Fields of disabled features: VolumeLimitScaling. */
const OFF = ['preventPodSchedulingIfMissing'] as const;

export const csidrivers = defineResource<CSIDriver>({
  group: 'storage.k8s.io',
  plural: 'csidrivers',
  allowUnconditionalUpdate: false,
  applyDefaults: (driver) => {
    const spec = (driver.spec ??= {});
    spec.attachRequired ??= true;
    spec.podInfoOnMount ??= false;
    spec.storageCapacity ??= false;
    spec.fsGroupPolicy ??= 'ReadWriteOnceWithFSType';
    if (!spec.volumeLifecycleModes?.length) spec.volumeLifecycleModes = ['Persistent'];
    spec.requiresRepublish ??= false;
    spec.seLinuxMount ??= false;
  },
  prepareForCreate: (driver) => dropUnused(driver.spec, undefined, OFF),
  prepareForUpdate: (next, previous) => {
    dropUnused(next.spec, previous.spec, OFF);
    bumpGeneration(next, previous);
  },
  validate: (driver) => {
    const errors = new Errors();
    checkSpec(driver.spec ?? {}, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkSpec(next.spec ?? {}, errors);
    checkImmutable(next.spec?.attachRequired, previous.spec?.attachRequired, ATTACHED, errors);
    checkImmutable(
      next.spec?.volumeLifecycleModes,
      previous.spec?.volumeLifecycleModes,
      SPEC.child('volumeLifecycleModes'),
      errors,
    );
    return errors.list;
  },
  warnings: ({ spec }, previous) => {
    const requests = spec?.tokenRequests ?? [];
    const isNews =
      requests.length > 0 && !(previous && semanticEqual(previous.spec?.tokenRequests, requests));
    return isNews && spec?.serviceAccountTokenInSecrets === undefined ? [TOKENS_LOGGED] : [];
  },
  table: {
    columns: columns(
      'Name',
      'AttachRequired:boolean',
      'PodInfoOnMount:boolean',
      'StorageCapacity:boolean',
      'TokenRequests',
      'RequiresRepublish:boolean',
      'Modes',
      'Age',
    ),
    row: (driver, context) => {
      const spec = driver.spec ?? {};
      const audiences = (spec.tokenRequests ?? []).map(({ audience }) => audience).join(',');
      return [
        nameOf(driver),
        spec.attachRequired ?? true,
        spec.podInfoOnMount ?? false,
        spec.storageCapacity ?? false,
        audiences || '<unset>',
        spec.requiresRepublish ?? false,
        (spec.volumeLifecycleModes ?? []).join(',') || '<none>',
        formatAge(driver, context),
      ];
    },
  },
});

function checkSpec(spec: CSIDriverSpec, errors: Errors): void {
  checkOptionalEnum(
    spec.fsGroupPolicy,
    ['File', 'None', 'ReadWriteOnceWithFSType'],
    SPEC,
    'fsGroupPolicy',
    errors,
  );
  const audiences = new Set<string>();
  spec.tokenRequests?.forEach(({ audience, expirationSeconds }, i) => {
    const at = SPEC.child('tokenRequests').index(i);
    if (audiences.has(audience)) {
      errors.duplicate(at.child('audience'), audience);
      return;
    }
    audiences.add(audience);
    if (expirationSeconds === undefined) return;
    if (expirationSeconds < TOKEN_SECONDS_MIN)
      errors.invalid(
        at.child('expirationSeconds'),
        expirationSeconds,
        'may not specify a duration less than 10 minutes',
      );
    if (expirationSeconds > 2 ** 32)
      errors.invalid(
        at.child('expirationSeconds'),
        expirationSeconds,
        'may not specify a duration larger than 2^32 seconds',
      );
  });
  for (const mode of spec.volumeLifecycleModes ?? [])
    if (!LIFECYCLES.includes(mode)) errors.notSupported(SPEC.child('volumeLifecycleModes'), mode, LIFECYCLES);
  const update = spec.nodeAllocatableUpdatePeriodSeconds;
  if (update !== undefined && update < 10)
    errors.invalid(
      SPEC.child('nodeAllocatableUpdatePeriodSeconds'),
      update,
      'must be greater than or equal to 10 seconds',
    );
  if (spec.serviceAccountTokenInSecrets !== undefined && !spec.tokenRequests?.length)
    errors.invalid(
      SPEC.child('serviceAccountTokenInSecrets'),
      spec.serviceAccountTokenInSecrets,
      'serviceAccountTokenInSecrets is set but no tokenRequests are specified',
    );
}
