/**
 * Runs a credential provider: a CredentialProviderRequest on its standard input, a CredentialProviderResponse on its standard output
 * (credentialprovider.kubelet.k8s.io). Keeps nothing. Responses and requests are in no message, since they have secrets.
 */
import { join } from 'node:path';
import { configKind, ConfigError, readConfig } from '#machinery/config/read.ts';
import { duration, mapOf, struct, text } from '#machinery/config/schema.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { runFilter } from '#stdx/run-filter.ts';
import type { CredentialProvider } from './configuration.ts';

export interface CredentialRequest {
  /** Without tag and digest: 'registry.example.com/team/app'. */
  readonly image: string;
  readonly serviceAccountToken?: string | undefined;
  readonly serviceAccountAnnotations?: Readonly<Record<string, string>> | undefined;
}

export interface CredentialResponse {
  readonly cacheKeyType: 'Image' | 'Registry' | 'Global';
  /** Undefined: the provider's default. */
  readonly cacheMs: number | undefined;
  /** By registry, with '*' and a path as in pull secrets. */
  readonly auth: Readonly<Record<string, { readonly username?: string; readonly password?: string }>>;
}

interface WireResponse {
  readonly apiVersion?: string;
  readonly cacheKeyType?: string;
  readonly cacheDuration?: string;
  readonly auth?: CredentialResponse['auth'];
}

/** Upstream's bound. */
const TIMEOUT_MS = 60_000;
/** Far more than credentials of hundreds of registries. */
const MAXIMUM_OUTPUT_BYTES = 1024 * 1024;

const CACHE_KEY_TYPES = new Set(['Image', 'Registry', 'Global']);
const FIELDS = {
  cacheKeyType: text,
  cacheDuration: duration,
  auth: mapOf(struct('AuthConfig', { username: text, password: text })),
};
const RESPONSE = configKind(
  {
    group: 'credentialprovider.kubelet.k8s.io',
    versions: ['v1', 'v1beta1', 'v1alpha1'],
    kind: 'CredentialProviderResponse',
  },
  FIELDS,
);

interface RunOptions {
  readonly binDir: string;
  readonly provider: CredentialProvider;
  /** Default: a minute. */
  readonly timeoutMs?: number | undefined;
}

/** Throws an Error in a sentence. */
export async function runProgram(
  request: CredentialRequest,
  { binDir, provider, timeoutMs = TIMEOUT_MS }: RunOptions,
): Promise<CredentialResponse> {
  const { apiVersion } = provider;
  const { image, serviceAccountToken, serviceAccountAnnotations = {} } = request;
  const input = {
    kind: 'CredentialProviderRequest',
    apiVersion,
    image,
    ...(serviceAccountToken ? { serviceAccountToken } : {}),
    ...(Object.keys(serviceAccountAnnotations).length > 0 ? { serviceAccountAnnotations } : {}),
  };
  const failed = `error execing credential provider plugin ${provider.name} for image ${image}`;
  const output = await runFilter(join(binDir, provider.name), {
    args: provider.args,
    env: Object.fromEntries(provider.env.map(({ name, value }) => [name, value])),
    input: JSON.stringify(input),
    timeoutMs,
    maxOutputBytes: MAXIMUM_OUTPUT_BYTES,
  }).catch((error: Error) => {
    throw new Error(`${failed}: ${error.message}`, { cause: error });
  });
  return decode(output, apiVersion);
}

function decode(output: string, apiVersion: string): CredentialResponse {
  let response: WireResponse;
  try {
    response = readConfig<WireResponse>(output, [RESPONSE]);
  } catch (error) {
    // Others may quote what they read.
    const why = error instanceof ConfigError && !error.cause ? `: ${error.message}` : '';
    throw new Error(`error decoding credential provider plugin response from stdout${why}`, { cause: error });
  }
  if (response.apiVersion !== apiVersion)
    throw new Error(
      `apiVersion from credential plugin response did not match expected apiVersion:${apiVersion}, actual apiVersion:${response.apiVersion}`,
    );
  const { cacheKeyType = '', cacheDuration, auth = {} } = response;
  if (!CACHE_KEY_TYPES.has(cacheKeyType))
    throw new Error(`credential provider plugin did not return a valid cacheKeyType: ${cacheKeyType}`);
  return {
    cacheKeyType: cacheKeyType as CredentialResponse['cacheKeyType'],
    cacheMs: cacheDuration === undefined ? undefined : goDurationMs(cacheDuration),
    auth,
  };
}
