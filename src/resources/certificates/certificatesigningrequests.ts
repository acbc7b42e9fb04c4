/** CertificateSigningRequest. Who asked is written down by the server; approval and signing are subresources. */
import type { CertificateSigningRequest, CertificateSigningRequestCondition } from '#api/types.ts';
import { checkImmutable, eachRepeated } from '../checks.ts';
import { defineResource, type HookContext } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatus, keepField, semanticEqual } from '../strategy.ts';
import { ageOf, columns, humanDuration, nameOf } from '../tables.ts';
import { decodeBase64 } from '../core/base64.ts';
import { checkSignerName } from './signer-names.ts';

const USAGES = ['any', 'cert sign', 'client auth', 'code signing', 'content commitment', 'crl sign', 'data encipherment', 'decipher only', 'digital signature', 'email protection', 'encipher only',
  'ipsec end system', 'ipsec tunnel', 'ipsec user', 'key agreement', 'key encipherment', 'microsoft sgc', 'netscape sgc', 'ocsp signing', 's/mime', 'server auth', 'signing', 'timestamping'];
const LEGACY_SIGNER = 'kubernetes.io/legacy-unknown';
const LIFETIME_SECONDS_MIN = 600;
const CONDITIONS = STATUS.child('conditions');

export const certificatesigningrequests = defineResource<CertificateSigningRequest>({
  group: 'certificates.k8s.io',
  plural: 'certificatesigningrequests',
  nameRule: 'path-segment',
  applyDefaults: (request) => { if (request.spec) request.spec.usages ??= ['digital signature', 'key encipherment']; },
  prepareForCreate: (request, { user }) => {
    const spec = request.spec;
    request.status = {};
    if (!spec) return;
    spec.username = user.name;
    if (user.uid) spec.uid = user.uid;
    else delete spec.uid;
    spec.groups = [...user.groups];
    if (user.extra) spec.extra = Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]]));
    else delete spec.extra;
  },
  prepareForUpdate: (next, previous, context) => {
    if (context.subresource === 'approval') {
      keepField(next, previous, 'spec');
      stampConditions(next, previous, context);
      next.status = { ...previous.status, conditions: next.status?.conditions ?? [] };
      if (next.status.conditions?.length === 0) delete next.status.conditions;
      return;
    }
    keepField(next, previous, 'spec');
    keepField(next, previous, 'status');
  },
  validate: (request) => {
    const errors = new Errors();
    checkSpec(request, errors);
    return errors.list;
  },
  validateUpdate: (next, previous, context) => {
    const errors = new Errors();
    checkImmutable(next.spec, previous.spec, SPEC, errors);
    if (context.subresource === 'approval') checkConditions(next, previous, errors, ['Approved', 'Denied']);
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous, context) => {
      keepAllButStatus(next, previous);
      // Approval has a subresource of its own.
      const kept = (previous.status?.conditions ?? []).filter(({ type }) => type === 'Approved' || type === 'Denied');
      const others = (next.status?.conditions ?? []).filter(({ type }) => type !== 'Approved' && type !== 'Denied');
      if (next.status && kept.length + others.length > 0) next.status.conditions = [...kept, ...others];
      stampConditions(next, previous, context);
    },
    validateUpdate: (next, previous) => {
      const errors = new Errors();
      checkConditions(next, previous, errors, []);
      const certificate = next.status?.certificate;
      if (certificate && !decodeBase64(certificate).includes('-----BEGIN CERTIFICATE-----')) errors.invalid(STATUS.child('certificate'), '<certificate data>', 'must contain at least one CERTIFICATE PEM block');
      if (previous.status?.certificate && previous.status.certificate !== certificate) errors.forbidden(STATUS.child('certificate'), 'updates may not modify existing certificate content');
      return errors.list;
    },
  },
  fieldSelectors: { 'spec.signerName': (request) => request.spec?.signerName ?? '' },
  table: {
    columns: columns('Name', 'Age', 'SignerName', 'Requestor', 'RequestedDuration', 'Condition'),
    row: (request, context) => {
      const { signerName, username, expirationSeconds } = request.spec ?? {};
      return [
        nameOf(request), ageOf(request, context), signerName || '<none>', username ?? '', expirationSeconds === undefined ? '<none>' : humanDuration(expirationSeconds * 1000), conditionOf(request),
      ];
    },
  },
});

function conditionOf({ status }: CertificateSigningRequest): string {
  const has = (type: string): boolean => status?.conditions?.some((condition) => condition.type === type) ?? false;
  const words = [has('Denied') ? 'Denied' : has('Approved') ? 'Approved' : 'Pending'];
  if (has('Failed')) words.push('Failed');
  if (status?.certificate) words.push('Issued');
  return words.join(',');
}

function stampConditions(next: CertificateSigningRequest, previous: CertificateSigningRequest, { nowMs }: HookContext): void {
  const now = new Date(nowMs).toISOString().replace(/\.\d+Z$/, 'Z');
  for (const condition of next.status?.conditions ?? []) {
    const old = previous.status?.conditions?.find((other) => semanticEqual({ ...other, lastUpdateTime: '', lastTransitionTime: '' }, { ...condition, lastUpdateTime: '', lastTransitionTime: '' }));
    condition.status ||= 'True';
    condition.lastUpdateTime ??= old?.lastUpdateTime ?? now;
    condition.lastTransitionTime ??= old?.lastTransitionTime ?? now;
  }
}

function checkSpec(request: CertificateSigningRequest, errors: Errors): void {
  const { request: body = '', usages = [], signerName = '', expirationSeconds } = request.spec ?? ({} as Partial<NonNullable<CertificateSigningRequest['spec']>>);
  if (!/-----BEGIN (NEW )?CERTIFICATE REQUEST-----/.test(decodeBase64(body))) errors.invalid(SPEC.child('request'), body, 'PEM block type must be CERTIFICATE REQUEST');
  if (usages.length === 0) errors.required(SPEC.child('usages'));
  usages.forEach((usage, i) => {
    if (!USAGES.includes(usage)) errors.notSupported(SPEC.child('usages').index(i), usage, USAGES);
  });
  eachRepeated(usages, (usage, i) => errors.duplicate(SPEC.child('usages').index(i), usage));
  if (signerName === LEGACY_SIGNER) errors.invalid(SPEC.child('signerName'), signerName, 'the legacy signerName is not allowed via this API version');
  else checkSignerName(signerName, SPEC.child('signerName'), errors);
  if (expirationSeconds !== undefined && expirationSeconds < LIFETIME_SECONDS_MIN) errors.invalid(SPEC.child('expirationSeconds'), expirationSeconds, `may not specify a duration less than ${LIFETIME_SECONDS_MIN} seconds (10 minutes)`);
}

function checkConditions(next: CertificateSigningRequest, previous: CertificateSigningRequest, errors: Errors, mayAdd: readonly string[]): void {
  const conditions = next.status?.conditions ?? [], stored = previous.status?.conditions ?? [];
  const seen = new Set<string>();
  conditions.forEach((condition: CertificateSigningRequestCondition, i) => {
    const at = CONDITIONS.index(i), { type, status } = condition;
    if (!type) errors.required(at.child('type'));
    if (!status) errors.required(at.child('status'));
    else if (type === 'Approved' || type === 'Denied' || type === 'Failed' ? status !== 'True' : !['True', 'False', 'Unknown'].includes(status)) errors.notSupported(at.child('status'), status, type === 'Approved' || type === 'Denied' || type === 'Failed' ? ['True'] : ['True', 'False', 'Unknown']);
    if (seen.has(type)) errors.duplicate(at.child('type'), type);
    seen.add(type);
    const opposite = type === 'Approved' ? 'Denied' : type === 'Denied' ? 'Approved' : undefined;
    if (opposite && conditions.slice(0, i).some((other) => other.type === opposite)) errors.invalid(at.child('type'), type, 'Approved and Denied conditions are mutually exclusive');
  });
  for (const type of ['Approved', 'Denied', 'Failed']) {
    const before = stored.some((condition) => condition.type === type), now = seen.has(type);
    if (before && !now) errors.forbidden(CONDITIONS, `updates may not remove a condition of type ${JSON.stringify(type)}`);
    if (!before && now && (type === 'Approved' || type === 'Denied') && !mayAdd.includes(type)) errors.forbidden(CONDITIONS, `updates may not add a condition of type ${JSON.stringify(type)}`);
  }
}

