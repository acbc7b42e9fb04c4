/**
 * EncryptionConfiguration (apiserver.config.k8s.io/v1) as data: its form, reading it strictly from YAML, and what its values may be.
 * After upstream's file of --encryption-provider-config. Secrets of keys appear in no message.
 */
import { configKind, readConfig } from '#machinery/config/read.ts';
import { integer, listOf, struct, text } from '#machinery/config/schema.ts';
import { fieldErrorBody } from '#machinery/errors.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { errorMessage } from '#stdx/log.ts';
import { Errors, Path } from '#resources/field-path.ts';

export interface Key {
  readonly name: string;
  readonly secret: Buffer;
}

export interface KmsConfiguration {
  readonly name: string;
  /** Path of its unix socket. */ readonly socket: string;
  readonly timeoutMs: number;
}

export type ProviderConfiguration =
  | { readonly kind: 'aesgcm' | 'aescbc' | 'secretbox'; readonly keys: readonly Key[] }
  | { readonly kind: 'identity' }
  | { readonly kind: 'kms'; readonly kms: KmsConfiguration };

/** The first provider writes, all read. */
export interface ResourceConfiguration {
  readonly resources: readonly string[];
  readonly providers: readonly ProviderConfiguration[];
}

export class EncryptionConfigurationError extends Error {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = 'EncryptionConfigurationError';
  }
}

// ------------------------------------------------------------------------------------------------------------------ form

interface WireKey {
  readonly name?: string;
  readonly secret?: string;
}
interface WireKms {
  readonly apiVersion?: string;
  readonly name?: string;
  readonly cachesize?: number;
  readonly endpoint?: string;
  readonly timeout?: string;
}
interface WireProvider {
  readonly aesgcm?: { readonly keys?: readonly WireKey[] };
  readonly aescbc?: { readonly keys?: readonly WireKey[] };
  readonly secretbox?: { readonly keys?: readonly WireKey[] };
  readonly identity?: object;
  readonly kms?: WireKms;
}
interface WireConfiguration {
  readonly resources?: readonly {
    readonly resources?: readonly string[];
    readonly providers?: readonly WireProvider[];
  }[];
}

const KEYS = struct('AESConfiguration', { keys: listOf(struct('Key', { name: text, secret: text })) });

const ENCRYPTION = configKind(
  { group: 'apiserver.config.k8s.io', versions: ['v1'], kind: 'EncryptionConfiguration' },
  {
    resources: listOf(
      struct('ResourceConfiguration', {
        resources: listOf(text),
        providers: listOf(
          struct('ProviderConfiguration', {
            aesgcm: KEYS,
            aescbc: KEYS,
            secretbox: KEYS,
            identity: struct('IdentityConfiguration', {}),
            kms: struct('KMSConfiguration', {
              apiVersion: text,
              name: text,
              cachesize: integer,
              endpoint: text,
              timeout: text,
            }),
          }),
        ),
      }),
    ),
  },
);

/** Throws an EncryptionConfigurationError that names every field that is wrong. */
export function parseEncryptionConfiguration(content: string): ResourceConfiguration[] {
  const { resources = [] } = decode(content);
  const errors = new Errors();
  if (resources.length === 0) errors.required(ROOT, 'at least one resources is required');
  const kmsNames = new Set<string>();
  resources.forEach((one, index) => checkResource(one, { path: ROOT.index(index), errors, kmsNames }));
  if (errors.any) {
    const texts = errors.list.map((error) => `${error.field}: ${fieldErrorBody(error)}`);
    throw new EncryptionConfigurationError(texts.length === 1 ? texts[0]! : `[${texts.join(', ')}]`);
  }
  return resources.map(({ resources: names = [], providers = [] }) => ({
    resources: names,
    providers: providers.map(providerOf),
  }));
}

function decode(content: string): WireConfiguration {
  try {
    return readConfig<WireConfiguration>(content, [ENCRYPTION]);
  } catch (error) {
    throw new EncryptionConfigurationError(errorMessage(error), { cause: error });
  }
}

// ------------------------------------------------------------------------------------------------------------ validation

const ROOT = Path.root('resources');
const AES_KEY_BYTES = [16, 24, 32];
const SECRETBOX_KEY_BYTES = [32];
const DEFAULT_TIMEOUT = '3s';
const KINDS = ['kms', 'aesgcm', 'aescbc', 'secretbox', 'identity'] as const;
/** Managed by the server itself: they contain no secrets, and no API could rewrite them. */
const WITHOUT_API = new Set(['serviceipallocations', 'servicenodeportallocations', 'apiserveripinfo']);

interface Checking {
  readonly path: Path;
  readonly errors: Errors;
  readonly kmsNames: Set<string>;
}

function checkResource(
  { resources = [], providers = [] }: NonNullable<WireConfiguration['resources']>[number],
  { path, errors, kmsNames }: Checking,
): void {
  const names = path.child('resources'),
    list = path.child('providers');
  if (resources.length === 0) errors.required(names, `at least one ${names.toString()} is required`);
  checkOverlap(resources, names, errors);
  resources.forEach((name, index) => checkResourceName(name, names.index(index), errors));
  if (providers.length === 0) errors.required(list, `at least one ${list.toString()} is required`);
  providers.forEach((provider, index) =>
    checkProvider(provider, { path: list.index(index), errors, kmsNames }),
  );
}

function checkResourceName(name: string, path: Path, errors: Errors): void {
  const { resource, group } = parseGroupResource(name);
  if (/[A-Z]/.test(name)) errors.invalid(path, name, 'resource name should not contain capital letters');
  else if (name === '*')
    errors.invalid(
      path,
      name,
      "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
    );
  else if (name.includes('/') || name === '')
    errors.invalid(path, name, 'it should be RESOURCE, RESOURCE.GROUP, *.GROUP or *.*');
  else if (group === 'events.k8s.io')
    errors.invalid(
      path,
      name,
      "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file",
    );
  else if (group === 'extensions')
    errors.invalid(path, name, "'extensions' group has been removed and cannot be used for encryption");
  else if (group === '' && WITHOUT_API.has(resource))
    errors.invalid(path, name, 'resources which do not have REST API/s cannot be encrypted');
  else if (group.endsWith('*') && name !== '*.*')
    errors.invalid(path, name, 'encrypting the same resource across groups is not supported');
}

function checkOverlap(resources: readonly string[], path: Path, errors: Errors): void {
  const seen = new Set(resources);
  if (seen.size < resources.length)
    errors.invalid(path, resources, 'the same resource cannot be specified multiple times');
  const masked = resources.some(
    (name) =>
      name !== '*.*' &&
      (seen.has('*.*') || (!name.startsWith('*.') && seen.has(`*.${parseGroupResource(name).group}`))),
  );
  if (masked)
    errors.invalid(
      path,
      resources,
      "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked",
    );
}

function checkProvider(provider: WireProvider, { path, errors, kmsNames }: Checking): void {
  const kinds = KINDS.filter((kind) => provider[kind] !== undefined);
  const [kind] = kinds;
  if (kind === undefined)
    return errors.invalid(
      path,
      '<empty>',
      'provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity',
    );
  if (kinds.length > 1)
    return errors.invalid(
      path,
      kinds.join(', '),
      'more than one provider specified in a single element, should split into different list elements',
    );
  if (kind === 'kms') checkKms(provider.kms!, { path: path.child('kms'), errors, kmsNames });
  else if (kind !== 'identity')
    checkKeys(provider[kind]!.keys ?? [], {
      path: path.child(kind).child('keys'),
      errors,
      bytes: kind === 'secretbox' ? SECRETBOX_KEY_BYTES : AES_KEY_BYTES,
    });
}

function checkKeys(
  keys: readonly WireKey[],
  {
    path,
    errors,
    bytes,
  }: { readonly path: Path; readonly errors: Errors; readonly bytes: readonly number[] },
): void {
  if (keys.length === 0) errors.required(path, 'at least one keys is required');
  keys.forEach(({ name = '', secret = '' }, index) => {
    const at = path.index(index);
    if (name === '') errors.required(at.child('name'), 'name is a mandatory field for a key');
    if (secret === '') return errors.required(at.child('secret'), 'secret is a mandatory field for a key');
    const decoded = Buffer.from(secret, 'base64');
    if (decoded.toString('base64') !== secret.replace(/[\r\n]/g, ''))
      errors.invalid(at.child('secret'), 'REDACTED', 'secrets must be base64 encoded');
    else if (!bytes.includes(decoded.length))
      errors.invalid(
        at.child('secret'),
        'REDACTED',
        `secret is not of the expected length, got ${decoded.length}, expected one of [${bytes.join(' ')}]`,
      );
  });
}

function checkKms(
  { apiVersion = 'v1', name = '', cachesize, endpoint = '', timeout = DEFAULT_TIMEOUT }: WireKms,
  { path, errors, kmsNames }: Checking,
): void {
  if (apiVersion === 'v1') {
    errors.forbidden(
      path.child('apiVersion'),
      'KMSv1 is deprecated and off, as upstream has it by default: use apiVersion v2',
    );
  } else if (apiVersion !== 'v2')
    errors.invalid(
      path.child('apiVersion'),
      apiVersion,
      'unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported',
    );
  else if (cachesize !== undefined)
    errors.invalid(path.child('cachesize'), cachesize, 'cachesize is not supported in v2');
  const ms = timeoutMs(timeout);
  if (ms === undefined || ms <= 0)
    errors.invalid(path.child('timeout'), timeout, 'timeout should be a positive value');
  if (endpoint === '') errors.invalid(path.child('endpoint'), '', 'endpoint is a mandatory field for a kms');
  else checkEndpoint(endpoint, path.child('endpoint'), errors);
  if (name === '') errors.required(path.child('name'), 'name is a mandatory field for a provider');
  else if (name.includes(':'))
    errors.invalid(path.child('name'), name, `invalid KMS provider name ${name}, must not contain ':'`);
  else if (kmsNames.has(name))
    errors.invalid(path.child('name'), name, `duplicate KMS provider name ${name}, names must be unique`);
  kmsNames.add(name);
}

function checkEndpoint(endpoint: string, path: Path, errors: Errors): void {
  const scheme = /^([a-zA-Z][a-zA-Z0-9+.-]*):/.exec(endpoint)?.[1] ?? '';
  if (scheme !== 'unix')
    errors.invalid(
      path,
      endpoint,
      `unsupported scheme ${JSON.stringify(scheme)} for KMS provider, only unix is supported`,
    );
  else if (!/^unix:(\/\/)?\/[^@]/.test(endpoint))
    errors.invalid(
      path,
      endpoint,
      'invalid endpoint for kms provider, error: it should be unix:///PATH of a socket in the file system',
    );
}

function timeoutMs(timeout: string): number | undefined {
  try {
    return goDurationMs(timeout);
  } catch {
    return undefined;
  }
}

// --------------------------------------------------------------------------------------------------------------- reading

/** Of a checked provider. */
function providerOf(provider: WireProvider): ProviderConfiguration {
  if (provider.kms) {
    const { name = '', endpoint = '', timeout = DEFAULT_TIMEOUT } = provider.kms;
    return {
      kind: 'kms',
      kms: { name, socket: endpoint.replace(/^unix:(\/\/)?/, ''), timeoutMs: goDurationMs(timeout) },
    };
  }
  if (provider.identity) return { kind: 'identity' };
  const kind = provider.aesgcm ? 'aesgcm' : provider.aescbc ? 'aescbc' : 'secretbox';
  return {
    kind,
    keys: (provider[kind]?.keys ?? []).map(({ name = '', secret = '' }) => ({
      name,
      secret: Buffer.from(secret, 'base64'),
    })),
  };
}

export interface GroupResource {
  readonly group: string;
  readonly resource: string;
}

/** 'deployments.apps' → deployments of apps; '*.' → all of the core group. */
export function parseGroupResource(name: string): GroupResource {
  const dot = name.indexOf('.');
  return dot < 0
    ? { group: '', resource: name }
    : { group: name.slice(dot + 1), resource: name.slice(0, dot) };
}
