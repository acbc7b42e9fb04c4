/** Secret: like a ConfigMap, with types that say which keys there must be. */
import type { Secret } from '#api/types.ts';
import { parseJson } from '#machinery/json.ts';
import { checkConfigMapKey, checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, Path } from '../field-path.ts';
import { semanticEqual } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { base64Length, decodeBase64, encodeBase64 } from './base64.ts';
import { DATA_MAX_BYTES, SET_IMMUTABLE } from './configmaps.ts';

const DATA = Path.root('data');
const SERVICE_ACCOUNT_NAME = 'kubernetes.io/service-account.name';

export const secrets = defineResource<Secret>({
  group: '',
  plural: 'secrets',
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
    row: (secret, context) => [nameOf(secret), secret.type ?? '', Object.keys(secret.data ?? {}).length, ageOf(secret, context)],
  },
});

/** stringData is for writing only: its values go into data and win over what is there. */
function foldStringData(secret: Secret): void {
  const encoded = Object.entries(secret.stringData!).map(([key, value]) => [key, encodeBase64(value)] as const);
  if (encoded.length > 0) secret.data = Object.fromEntries([...Object.entries(secret.data ?? {}), ...encoded]);
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
  const need = (...keys: string[]): void => { for (const key of keys) if (data[key] === undefined) errors.required(DATA.key(key)); };
  switch (secret.type) {
    case 'kubernetes.io/service-account-token':
      if (!secret.metadata?.annotations?.[SERVICE_ACCOUNT_NAME]) errors.required(METADATA.child('annotations').key(SERVICE_ACCOUNT_NAME));
      return;
    case 'kubernetes.io/dockercfg': need('.dockercfg'); checkJson(data, '.dockercfg', errors); return;
    case 'kubernetes.io/dockerconfigjson': need('.dockerconfigjson'); checkJson(data, '.dockerconfigjson', errors); return;
    case 'kubernetes.io/basic-auth':
      if (data['username'] === undefined && data['password'] === undefined) need('username', 'password');
      return;
    case 'kubernetes.io/ssh-auth':
      if (!data['ssh-privatekey']) errors.required(DATA.key('ssh-privatekey'));
      return;
    case 'kubernetes.io/tls': need('tls.crt', 'tls.key'); return;
    default:
  }
}

function checkJson(data: Record<string, string>, key: string, errors: Errors): void {
  if (data[key] === undefined) return;
  try {
    const value = parseJson(decodeBase64(data[key]));
    if (typeof value !== 'object' || Array.isArray(value)) throw new Error('json: cannot unmarshal into Go value of type map[string]interface {}');
  } catch (error) {
    errors.invalid(DATA.key(key), '<secret contents redacted>', (error as Error).message);
  }
}

function secretWarnings(secret: Secret): string[] {
  if (secret.type !== 'kubernetes.io/tls' || !secret.data?.['tls.crt'] || !secret.data['tls.key']) return [];
  const certificate = decodeBase64(secret.data['tls.crt']), key = decodeBase64(secret.data['tls.key']);
  if (!certificate.includes('-----BEGIN CERTIFICATE-----')) return ['tls: failed to find any PEM data in certificate input'];
  return key.includes('PRIVATE KEY-----') ? [] : ['tls: failed to find any PEM data in key input'];
}
