/** Secret: like a ConfigMap, with types that require certain keys. */
import { REDACTED } from '#machinery/errors.ts';
import type { Secret } from '#api/types.ts';
import { parseJson } from '#machinery/json.ts';
import { checkConfigMapKey, checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, Path } from '../field-path.ts';
import { semanticEqual } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { base64Length, decodeBase64, encodeBase64 } from './base64.ts';
import { DATA_MAX_BYTES, SET_IMMUTABLE } from './configmaps.ts';

const DATA = Path.root('data');
const SERVICE_ACCOUNT_NAME = 'kubernetes.io/service-account.name';

export const secrets = defineResource<Secret>({
  group: '',
  plural: 'secrets',
  confidential: true,
  applyDefaults: (secret) => {
    secret.type ||= 'Opaque';
    if (secret.stringData) foldStringData(secret);
  },
  validate,
  validateUpdate: (next, previous, context) => {
    const errors = new Errors();
    checkImmutable(next.type, previous.type, Path.root('type'), errors);
    if (previous.immutable) {
      if (!next.immutable) errors.forbidden(Path.root('immutable'), SET_IMMUTABLE);
      if (!semanticEqual(next.data, previous.data)) errors.forbidden(DATA, SET_IMMUTABLE);
    }
    return [...errors.list, ...validate(next, context)];
  },
  warnings: (secret) => secretWarnings(secret),
  fieldSelectors: { type: (secret) => secret.type ?? '' },
  table: {
    columns: columns('Name', 'Type', 'Data', 'Age'),
    row: (secret, context) => [
      nameOf(secret),
      secret.type ?? '',
      Object.keys(secret.data ?? {}).length,
      formatAge(secret, context),
    ],
  },
});

/** stringData is write-only: its values are merged into data and take precedence. */
function foldStringData(secret: Secret): void {
  const encoded = Object.entries(secret.stringData!).map(
    ([key, value]) => [key, encodeBase64(value)] as const,
  );
  if (encoded.length > 0)
    secret.data = Object.fromEntries([...Object.entries(secret.data ?? {}), ...encoded]);
  delete secret.stringData;
}

function validate(secret: Secret, _context: unknown): Errors['list'] {
  const errors = new Errors();
  let bytes = 0;
  for (const key in secret.data) {
    checkConfigMapKey(key, DATA.key(key), errors);
    bytes += base64Length(secret.data[key]!);
  }
  if (bytes > DATA_MAX_BYTES) errors.tooLong(DATA, DATA_MAX_BYTES);
  checkType(secret, errors);
  return errors.list;
}

function checkType(secret: Secret, errors: Errors): void {
  const data = secret.data ?? {};
  const need = (...keys: string[]): void => {
    for (const key of keys) if (data[key] === undefined) errors.required(DATA.key(key));
  };
  switch (secret.type) {
    case 'kubernetes.io/service-account-token':
      if (!secret.metadata?.annotations?.[SERVICE_ACCOUNT_NAME])
        errors.required(METADATA.child('annotations').key(SERVICE_ACCOUNT_NAME));
      return;
    case 'kubernetes.io/dockercfg':
      need('.dockercfg');
      checkJson(data, '.dockercfg', errors);
      return;
    case 'kubernetes.io/dockerconfigjson':
      need('.dockerconfigjson');
      checkJson(data, '.dockerconfigjson', errors);
      return;
    case 'kubernetes.io/basic-auth':
      if (data['username'] === undefined && data['password'] === undefined) need('username', 'password');
      return;
    case 'kubernetes.io/ssh-auth':
      if (!data['ssh-privatekey']) errors.required(DATA.key('ssh-privatekey'));
      return;
    case 'kubernetes.io/tls':
      need('tls.crt', 'tls.key');
      return;
    default:
  }
}

function checkJson(data: Record<string, string>, key: string, errors: Errors): void {
  if (data[key] === undefined) return;
  try {
    const value = parseJson(decodeBase64(data[key]));
    if (typeof value !== 'object' || Array.isArray(value))
      throw new Error('json: cannot unmarshal into Go value of type map[string]interface {}');
  } catch (error) {
    errors.invalid(DATA.key(key), REDACTED, (error as Error).message);
  }
}

/** Whether the pair is valid for TLS, by a basic check; with the messages of Go's library. */
function secretWarnings({ type, data = {} }: Secret): string[] {
  if (type !== 'kubernetes.io/tls') return [];
  const certificate = decodeBase64(data['tls.crt'] ?? ''),
    key = decodeBase64(data['tls.key'] ?? '');
  if (!hasPem(certificate)) return ['tls: failed to find any PEM data in certificate input'];
  if (!certificate.includes('-----BEGIN CERTIFICATE-----')) {
    return [
      PRIVATE_KEY.test(certificate)
        ? 'tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched'
        : `tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks of the following types: [${kindsOf(certificate)}]`,
    ];
  }
  if (!hasPem(key)) return ['tls: failed to find any PEM data in key input'];
  if (PRIVATE_KEY.test(key)) return [];
  return [
    key.includes('-----BEGIN CERTIFICATE-----')
      ? 'tls: found a certificate rather than a key in the PEM for the private key'
      : `tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after skipping PEM blocks of the following types: [${kindsOf(key)}]`,
  ];
}

const BEGIN = /^-----BEGIN [^\n-]+-----/m;
const PRIVATE_KEY = /^-----BEGIN (?:[^\n-]+ )?PRIVATE KEY-----/m;

function hasPem(text: string): boolean {
  return BEGIN.test(text) && text.includes('-----END ');
}

function kindsOf(pem: string): string {
  return [...pem.matchAll(/^-----BEGIN ([^\n-]+)-----/gm)].map(([, kind]) => kind).join(' ');
}
