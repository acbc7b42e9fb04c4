/** CertificateSigningRequest. The server sets the requester; approval and signing are subresources. */
import { X509Certificate } from 'node:crypto';
import type { CertificateSigningRequest, CertificateSigningRequestCondition } from '#api/types.ts';
import { formatTime } from '#machinery/time.ts';
import { checkImmutable, eachRepeated } from '../checks.ts';
import { defineResource, type HookContext } from '../define.ts';
import { Errors, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatus, keepField, semanticEqual } from '../strategy.ts';
import { formatAge, columns, humanDuration, nameOf } from '../tables.ts';
import { decodeBase64 } from '../core/base64.ts';
import { parseCertificateRequest } from './certificate-request.ts';
import { checkSignerName } from './signer-names.ts';

const USAGES = [
  'any',
  'cert sign',
  'client auth',
  'code signing',
  'content commitment',
  'crl sign',
  'data encipherment',
  'decipher only',
  'digital signature',
  'email protection',
  'encipher only',
  'ipsec end system',
  'ipsec tunnel',
  'ipsec user',
  'key agreement',
  'key encipherment',
  'microsoft sgc',
  'netscape sgc',
  'ocsp signing',
  's/mime',
  'server auth',
  'signing',
  'timestamping',
];
const LEGACY_SIGNER = 'kubernetes.io/legacy-unknown';
const LIFETIME_SECONDS_MIN = 600;
const CONDITIONS = STATUS.child('conditions');

export const certificatesigningrequests = defineResource<CertificateSigningRequest>({
  group: 'certificates.k8s.io',
  plural: 'certificatesigningrequests',
  nameRule: 'path-segment',
  written: {
    '': { without: ['spec', 'status'] },
    status: { without: ['spec', 'status.conditions'] },
    approval: { without: ['spec', 'status.certificate'] },
  },
  prepareForCreate: (request, { user }) => {
    const spec = request.spec;
    request.status = {};
    if (!spec) return;
    spec.username = user.name;
    if (user.uid) spec.uid = user.uid;
    else delete spec.uid;
    spec.groups = [...user.groups];
    if (user.extra)
      spec.extra = Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]]));
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
    checkConditions(request, { errors });
    return errors.list;
  },
  validateUpdate: (next, previous, context) => {
    const errors = new Errors();
    checkImmutable(next.spec, previous.spec, SPEC, errors);
    if (context.subresource === 'approval') {
      checkConditions(next, { previous, errors });
      checkKept(next, { previous, errors, mayAdd: true });
    }
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous, context) => {
      keepAllButStatus(next, previous);
      // Approval has its own subresource: existing conditions must be unchanged, added and removed ones are rejected.
      for (const type of ['Approved', 'Denied']) keepConditions(next, previous, type);
      stampConditions(next, previous, context);
    },
    validateUpdate: (next, previous) => {
      const errors = new Errors();
      checkConditions(next, { previous, errors });
      checkKept(next, { previous, errors, mayAdd: false });
      checkCertificate(next, previous, errors);
      return errors.list;
    },
  },
  fieldSelectors: { 'spec.signerName': (request) => request.spec?.signerName ?? '' },
  table: {
    columns: columns('Name', 'Age', 'SignerName', 'Requestor', 'RequestedDuration', 'Condition'),
    row: (request, context) => {
      const { signerName, username, expirationSeconds } = request.spec ?? {};
      return [
        nameOf(request),
        formatAge(request, context),
        signerName || '<none>',
        username ?? '',
        expirationSeconds === undefined ? '<none>' : humanDuration(expirationSeconds * 1000),
        conditionOf(request),
      ];
    },
  },
});

function conditionOf({ status }: CertificateSigningRequest): string {
  const has = (type: string): boolean =>
    status?.conditions?.some((condition) => condition.type === type) ?? false;
  const words = [has('Denied') ? 'Denied' : has('Approved') ? 'Approved' : 'Pending'];
  if (has('Failed')) words.push('Failed');
  if (status?.certificate) words.push('Issued');
  return words.join(',');
}

function stampConditions(
  next: CertificateSigningRequest,
  previous: CertificateSigningRequest,
  { nowMs }: HookContext,
): void {
  const now = formatTime(nowMs);
  for (const condition of next.status?.conditions ?? []) {
    const old = previous.status?.conditions?.find((other) =>
      semanticEqual(
        { ...other, lastUpdateTime: '', lastTransitionTime: '' },
        { ...condition, lastUpdateTime: '', lastTransitionTime: '' },
      ),
    );
    condition.lastUpdateTime ??= old?.lastUpdateTime ?? now;
    condition.lastTransitionTime ??= old?.lastTransitionTime ?? now;
  }
}

function checkSpec(request: CertificateSigningRequest, errors: Errors): void {
  const {
    request: body = '',
    usages = [],
    signerName = '',
    expirationSeconds,
  } = request.spec ?? ({} as Partial<NonNullable<CertificateSigningRequest['spec']>>);
  const problem = problemOf(() => parseCertificateRequest(body));
  if (problem !== undefined) errors.invalid(SPEC.child('request'), request.spec?.request ?? null, problem);
  if (usages.length === 0) errors.required(SPEC.child('usages'));
  usages.forEach((usage, i) => {
    if (!USAGES.includes(usage)) errors.notSupported(SPEC.child('usages').index(i), usage, USAGES);
  });
  eachRepeated(usages, (usage, i) => errors.duplicate(SPEC.child('usages').index(i), usage));
  if (signerName === LEGACY_SIGNER)
    errors.invalid(
      SPEC.child('signerName'),
      signerName,
      'the legacy signerName is not allowed via this API version',
    );
  else checkSignerName(signerName, SPEC.child('signerName'), errors);
  if (expirationSeconds !== undefined && expirationSeconds < LIFETIME_SECONDS_MIN)
    errors.invalid(
      SPEC.child('expirationSeconds'),
      expirationSeconds,
      `may not specify a duration less than ${LIFETIME_SECONDS_MIN} seconds (10 minutes)`,
    );
}

type Condition = CertificateSigningRequestCondition;
const DECISIONS = ['Approved', 'Denied', 'Failed'];

function conditionsOf({ status }: CertificateSigningRequest, type: string): Condition[] {
  return (status?.conditions ?? []).filter((condition) => condition.type === type);
}

/** As many as before: as they were. */
function keepConditions(
  next: CertificateSigningRequest,
  previous: CertificateSigningRequest,
  type: string,
): void {
  const stored = conditionsOf(previous, type);
  if (stored.length === 0 || conditionsOf(next, type).length !== stored.length) return;
  next.status!.conditions = next.status!.conditions!.map((condition) =>
    condition.type === type ? stored.shift()! : condition,
  );
}

/** Values that the stored object has already are accepted. */
function checkConditions(
  request: CertificateSigningRequest,
  { previous, errors }: { readonly previous?: CertificateSigningRequest; readonly errors: Errors },
): void {
  const seen = new Set<string>(),
    stored = previous?.status?.conditions ?? [];
  const repeatsAlready = new Set(stored.map(({ type }) => type)).size < stored.length;
  (request.status?.conditions ?? []).forEach(({ type, status }, i) => {
    const at = CONDITIONS.index(i),
      allowed = DECISIONS.includes(type) ? ['True'] : ['False', 'True', 'Unknown'];
    if (!type) errors.required(at.child('type'));
    if (!status) errors.required(at.child('status'));
    else if (!allowed.includes(status)) errors.notSupported(at.child('status'), status, allowed);
    const opposite = type === 'Approved' ? 'Denied' : type === 'Denied' ? 'Approved' : undefined;
    if (opposite && seen.has(opposite))
      errors.invalid(CONDITIONS, type, 'Approved and Denied conditions are mutually exclusive');
    if (seen.has(type) && !repeatsAlready) errors.duplicate(at.child('type'), type);
    seen.add(type);
  });
}

/** Decisions cannot be changed; the approval subresource sets them. */
function checkKept(
  next: CertificateSigningRequest,
  {
    previous,
    errors,
    mayAdd,
  }: { readonly previous: CertificateSigningRequest; readonly errors: Errors; readonly mayAdd: boolean },
): void {
  for (const type of DECISIONS) {
    const before = conditionsOf(previous, type),
      now = conditionsOf(next, type);
    if (now.length < before.length)
      errors.forbidden(CONDITIONS, `updates may not remove a condition of type ${JSON.stringify(type)}`);
    else if (now.length > before.length) {
      if (!mayAdd && type !== 'Failed')
        errors.forbidden(CONDITIONS, `updates may not add a condition of type ${JSON.stringify(type)}`);
    } else if (!semanticEqual(now, before))
      errors.forbidden(CONDITIONS, `updates may not modify a condition of type ${JSON.stringify(type)}`);
  }
}

function checkCertificate(
  { status }: CertificateSigningRequest,
  previous: CertificateSigningRequest,
  errors: Errors,
): void {
  const path = STATUS.child('certificate'),
    certificate = status?.certificate ?? '',
    stored = previous.status?.certificate ?? '';
  if (certificate === stored) return;
  if (stored !== '') errors.forbidden(path, 'updates may not modify existing certificate content');
  const problem =
    certificate === '' ? undefined : problemOf(() => checkPemCertificates(decodeBase64(certificate)));
  if (problem !== undefined) errors.invalid(path, '<certificate data>', problem);
}

/** Throws an Error that describes the problem. Text between blocks is allowed. */
function checkPemCertificates(text: string): void {
  const blocks = Array.from(
    text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----\r?\n((?:[^-]|-(?!----END))*)-----END \1-----/g),
  );
  for (const [block, label, body = ''] of blocks) {
    if (label !== 'CERTIFICATE')
      throw new Error(`only CERTIFICATE PEM blocks are allowed, found ${JSON.stringify(label)}`);
    if (body.includes(':')) throw new Error('no PEM block headers are permitted');
    if (body.trim() === '') throw new Error('found CERTIFICATE PEM block containing 0 certificates');
    if (!isCertificate(block)) throw new Error('x509: malformed certificate');
  }
  if (blocks.length === 0) throw new Error('must contain at least one CERTIFICATE PEM block');
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function problemOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
