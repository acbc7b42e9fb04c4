/**
 * CredentialProviderConfig (kubelet.config.k8s.io v1, v1beta1, v1alpha1) as data: reading it strictly from a file or the files of a directory, and
 * what its values may be. After upstream's --image-credential-provider-config. Runs no program.
 */
import { createHash } from 'node:crypto';
import { accessSync, constants, readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { configKind, readConfig } from '#machinery/config/read.ts';
import { duration, flag, listOf, struct, text } from '#machinery/config/schema.ts';
import { fieldErrorBody, fieldErrors, type FieldError } from '#machinery/errors.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { errorMessage } from '#stdx/log.ts';

/** What the program is given of the pod's service account, and what its answers are kept by. */
export interface TokenAttributes {
  readonly serviceAccountTokenAudience: string;
  readonly cacheType: 'ServiceAccount' | 'Token';
  /** False: the program is also run for pods without a service account. */
  readonly requireServiceAccount: boolean;
  readonly requiredServiceAccountAnnotationKeys: readonly string[];
  readonly optionalServiceAccountAnnotationKeys: readonly string[];
}

export interface CredentialProvider {
  readonly name: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheMs: number;
  /** Of requests and responses. */
  readonly apiVersion: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly tokenAttributes?: TokenAttributes | undefined;
}

/** Structured-cloneable. */
export interface CredentialProviderSettings {
  readonly binDir: string;
  /** Of all files, as upstream's metric has it: 'sha256:…'. */
  readonly hash: string;
  readonly providers: readonly CredentialProvider[];
}

/** The message is one sentence. */
class CredentialProviderConfigError extends Error {
  override readonly name = 'CredentialProviderConfigError';
}

const GROUP = 'credentialprovider.kubelet.k8s.io';
const API_VERSIONS = [`${GROUP}/v1`, `${GROUP}/v1alpha1`, `${GROUP}/v1beta1`];
const CACHE_TYPES = ['ServiceAccount', 'Token'];
const EXTENSIONS = new Set(['.json', '.yaml', '.yml']);

interface WireProvider {
  readonly name?: string;
  readonly matchImages?: readonly string[];
  readonly defaultCacheDuration?: string;
  readonly apiVersion?: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name?: string; readonly value?: string }[];
  readonly tokenAttributes?: Partial<TokenAttributes>;
}

const PROVIDER = {
  name: text,
  matchImages: listOf(text),
  defaultCacheDuration: duration,
  apiVersion: text,
  args: listOf(text),
  env: listOf(struct('ExecEnvVar', { name: text, value: text })),
};
const TOKEN_ATTRIBUTES = struct('ServiceAccountTokenAttributes', {
  serviceAccountTokenAudience: text,
  cacheType: text,
  requireServiceAccount: flag,
  requiredServiceAccountAnnotationKeys: listOf(text),
  optionalServiceAccountAnnotationKeys: listOf(text),
});
const IDENTITY = { group: 'kubelet.config.k8s.io', kind: 'CredentialProviderConfig' };
const KINDS = [
  configKind(
    { ...IDENTITY, versions: ['v1'] },
    { providers: listOf(struct('CredentialProvider', { ...PROVIDER, tokenAttributes: TOKEN_ATTRIBUTES })) },
  ),
  configKind(
    { ...IDENTITY, versions: ['v1beta1', 'v1alpha1'] },
    { providers: listOf(struct('CredentialProvider', PROVIDER)) },
  ),
];

/**
 * path: a file, or a directory whose *.json, *.yaml and *.yml are read in the order of their names.
 * Throws CredentialProviderConfigError, also for a program that is not there.
 */
export function readCredentialProviders({
  path,
  binDir,
}: {
  readonly path: string;
  readonly binDir: string;
}): CredentialProviderSettings {
  const hash = createHash('sha256');
  const providers = filesOf(path).flatMap((file) => {
    const content = attempt(`unable to read file ${JSON.stringify(file)}`, () => readFileSync(file));
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(content.length));
    hash.update(length).update(content);
    return attempt(
      `error decoding config ${JSON.stringify(file)}`,
      () =>
        readConfig<{ readonly providers?: readonly WireProvider[] }>(content.toString(), KINDS).providers ??
        [],
    );
  });
  const errors = validate(providers);
  if (errors.length > 0)
    throw new CredentialProviderConfigError(
      `failed to validate credential provider config: ${errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`).join(', ')}`,
    );
  const settings = { binDir, hash: `sha256:${hash.digest('hex')}`, providers: providers.map(providerOf) };
  requirePrograms(settings);
  return settings;
}

function filesOf(path: string): string[] {
  const isDirectory = attempt(`unable to access path ${JSON.stringify(path)}`, () =>
    statSync(path).isDirectory(),
  );
  if (!isDirectory) return [path];
  const files = readdirSync(path, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && EXTENSIONS.has(extname(entry.name)))
    .map(({ name }) => join(path, name))
    .sort();
  if (files.length === 0)
    throw new CredentialProviderConfigError(
      `no configuration files found in directory ${JSON.stringify(path)}`,
    );
  return files;
}

function requirePrograms({ binDir, providers }: CredentialProviderSettings): void {
  attempt(`error inspecting plugin binary directory ${binDir}`, () => readdirSync(binDir));
  for (const { name } of providers)
    attempt(`error inspecting binary executable ${join(binDir, name)}`, () => {
      accessSync(join(binDir, name), constants.X_OK);
      if (!statSync(join(binDir, name)).isFile()) throw new Error('it is no file');
    });
}

function attempt<T>(what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new CredentialProviderConfigError(`${what}: ${errorMessage(error)}`, { cause: error });
  }
}

function providerOf(wire: WireProvider): CredentialProvider {
  const { name = '', matchImages = [], defaultCacheDuration = '0s', apiVersion = '', args = [] } = wire;
  return {
    name,
    matchImages,
    defaultCacheMs: goDurationMs(defaultCacheDuration),
    apiVersion,
    args,
    env: (wire.env ?? []).map((variable) => ({ name: variable.name ?? '', value: variable.value ?? '' })),
    ...(wire.tokenAttributes
      ? {
          tokenAttributes: {
            serviceAccountTokenAudience: '',
            cacheType: 'ServiceAccount',
            requireServiceAccount: true,
            requiredServiceAccountAnnotationKeys: [],
            optionalServiceAccountAnnotationKeys: [],
            ...wire.tokenAttributes,
          },
        }
      : {}),
  };
}

// ------------------------------------------------------------------------------------------------------------ validation

function validate(providers: readonly WireProvider[]): FieldError[] {
  if (providers.length === 0)
    return [fieldErrors.required('providers', 'at least 1 item in plugins is required')];
  const seen = new Set<string>();
  return providers.flatMap((provider) => {
    const { name = '' } = provider;
    const repeated = seen.has(name) ? [fieldErrors.duplicate('providers.name', name)] : [];
    seen.add(name);
    return [
      ...nameErrors(name),
      ...repeated,
      ...versionErrors(provider),
      ...imageErrors(provider),
      ...durationErrors(provider),
      ...tokenErrors(provider),
    ];
  });
}

function nameErrors(name: string): FieldError[] {
  const invalid = (detail: string): FieldError => fieldErrors.invalid('providers.name', name, detail);
  return [
    // Upstream finds no program of that name.
    ...(name === '' ? [fieldErrors.required('providers.name', '')] : []),
    ...(name.includes('/') ? [invalid("provider name cannot contain '/'")] : []),
    ...(name.includes(' ') ? [invalid('provider name cannot contain spaces')] : []),
    ...(name === '.' || name === '..' ? [invalid(`provider name cannot be '${name}'`)] : []),
  ];
}

function versionErrors({ apiVersion = '' }: WireProvider): FieldError[] {
  if (apiVersion === '') return [fieldErrors.required('providers.apiVersion', '')];
  if (API_VERSIONS.includes(apiVersion)) return [];
  return [fieldErrors.notSupported('providers.apiVersion', apiVersion, API_VERSIONS)];
}

function imageErrors({ matchImages = [] }: WireProvider): FieldError[] {
  const path = 'providers.matchImages';
  if (matchImages.length === 0)
    return [fieldErrors.required(path, 'at least 1 item in matchImages is required')];
  return matchImages
    .filter((pattern) => !/^[^\s/?#%\\]+(\/[^\s]*)?$/.test(pattern) || /:(?!\d*(\/|$))/.test(pattern))
    .map((pattern) =>
      fieldErrors.invalid(path, pattern, 'match image is invalid: it should be HOST[:PORT][/PATH]'),
    );
}

function durationErrors({ defaultCacheDuration }: WireProvider): FieldError[] {
  const path = 'providers.defaultCacheDuration';
  if (defaultCacheDuration === undefined) return [fieldErrors.required(path, '')];
  if (goDurationMs(defaultCacheDuration) >= 0) return [];
  return [fieldErrors.invalid(path, defaultCacheDuration, 'must be greater than or equal to 0')];
}

function tokenErrors({ tokenAttributes, apiVersion }: WireProvider): FieldError[] {
  if (!tokenAttributes) return [];
  const path = 'providers.tokenAttributes';
  const {
    serviceAccountTokenAudience = '',
    requireServiceAccount,
    requiredServiceAccountAnnotationKeys: required = [],
    optionalServiceAccountAnnotationKeys: optional = [],
    cacheType = '',
  } = tokenAttributes;
  const both = required.filter((key) => optional.includes(key)).sort();
  return [
    ...(serviceAccountTokenAudience === ''
      ? [fieldErrors.required(`${path}.serviceAccountTokenAudience`, '')]
      : []),
    ...(requireServiceAccount === undefined
      ? [fieldErrors.required(`${path}.requireServiceAccount`, '')]
      : []),
    ...(apiVersion === API_VERSIONS[0]
      ? []
      : [
          fieldErrors.forbidden(path, `tokenAttributes is only supported for ${API_VERSIONS[0]} API version`),
        ]),
    ...(requireServiceAccount === false && required.length > 0
      ? [
          fieldErrors.forbidden(
            `${path}.requiredServiceAccountAnnotationKeys`,
            'requireServiceAccount cannot be false when requiredServiceAccountAnnotationKeys is set',
          ),
        ]
      : []),
    ...keyErrors(`${path}.requiredServiceAccountAnnotationKeys`, required),
    ...keyErrors(`${path}.optionalServiceAccountAnnotationKeys`, optional),
    ...(both.length > 0
      ? [fieldErrors.invalid(path, both, 'annotation keys cannot be both required and optional')]
      : []),
    ...cacheTypeErrors(`${path}.cacheType`, cacheType),
  ];
}

function cacheTypeErrors(path: string, cacheType: string): FieldError[] {
  if (cacheType === '')
    return [
      fieldErrors.required(
        path,
        `cacheType is required to be set when tokenAttributes is specified. Supported values are: ${CACHE_TYPES.join(', ')}`,
      ),
    ];
  return CACHE_TYPES.includes(cacheType) ? [] : [fieldErrors.notSupported(path, cacheType, CACHE_TYPES)];
}

function keyErrors(path: string, keys: readonly string[]): FieldError[] {
  return keys.flatMap((key, index) => [
    ...validateQualifiedName(key.toLowerCase()).map((detail) => fieldErrors.invalid(path, key, detail)),
    ...(keys.indexOf(key) < index ? [fieldErrors.duplicate(path, key)] : []),
  ]);
}
