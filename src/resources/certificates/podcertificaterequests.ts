/** PodCertificateRequest: created by kubelets for projected pod certificates. */
import { checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { columns, nameOf } from '../tables.ts';
import { checkSignerName } from './signer-names.ts';
import type { KubeObject } from '#machinery/object.ts';

const REQUIRED = [
  'podName',
  'podUID',
  'serviceAccountName',
  'serviceAccountUID',
  'nodeName',
  'nodeUID',
] as const;
const LIFETIME_SECONDS_MIN = 3600;
const LIFETIME_SECONDS_MAX = 91 * 24 * 3600;

type Spec = Partial<Record<(typeof REQUIRED)[number] | 'signerName', string>> & {
  maxExpirationSeconds?: number;
};

export const podcertificaterequests = defineResource({
  group: 'certificates.k8s.io',
  plural: 'podcertificaterequests',
  written: { '': { without: [] } },
  applyDefaults: (request) => {
    specOf(request).maxExpirationSeconds ??= 86400;
  },
  validate: (request) => {
    const errors = new Errors(),
      spec = specOf(request),
      { maxExpirationSeconds: seconds = 0 } = spec;
    checkSignerName(spec.signerName ?? '', SPEC.child('signerName'), errors);
    for (const field of REQUIRED) if (!spec[field]) errors.required(SPEC.child(field));
    if (seconds < LIFETIME_SECONDS_MIN || seconds > LIFETIME_SECONDS_MAX)
      errors.invalid(
        SPEC.child('maxExpirationSeconds'),
        seconds,
        `must be in the range [${LIFETIME_SECONDS_MIN}, ${LIFETIME_SECONDS_MAX}]`,
      );
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next['spec'], previous['spec'], SPEC, errors);
    return errors.list;
  },
  fieldSelectors: {
    'spec.signerName': (request) => specOf(request).signerName ?? '',
    'spec.podName': (request) => specOf(request).podName ?? '',
    'spec.nodeName': (request) => specOf(request).nodeName ?? '',
  },
  table: {
    columns: columns('Name', 'PodName', 'ServiceAccountName', 'NodeName', 'SignerName', 'State'),
    row: (request) => {
      const spec = specOf(request),
        { conditions = [] } = (request['status'] ?? {}) as { conditions?: { type: string }[] };
      return [
        nameOf(request),
        spec.podName ?? '',
        spec.serviceAccountName ?? '',
        spec.nodeName ?? '',
        spec.signerName ?? '',
        conditions[0]?.type ?? 'Pending',
      ];
    },
  },
});

function specOf(request: KubeObject): Spec {
  return (request['spec'] ??= {}) as Spec;
}
