/**
 * Runs a credential provider: a CredentialProviderRequest on its standard input, a CredentialProviderResponse on its standard output
 * (credentialprovider.kubelet.k8s.io). Keeps nothing. Responses and requests are in no message, since they have secrets.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { configKind, ConfigError, readConfig } from '#machinery/config/read.ts';
import { duration, mapOf, struct, text } from '#machinery/config/schema.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
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
/** Of standard error, for the message; the rest is dropped. */
const MAXIMUM_COMPLAINT_BYTES = 4096;

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
  const output = await execute({ input: JSON.stringify(input), binDir, provider, timeoutMs }).catch(
    (error: Error) => {
      throw new Error(`${failed}: ${error.message}`, { cause: error });
    },
  );
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

function execute({
  input,
  binDir,
  provider: { name, args, env },
  timeoutMs,
}: RunOptions & { readonly input: string; readonly timeoutMs: number }): Promise<string> {
  return new Promise((resolve, reject) => {
    // A group of its own: what it starts ends with it.
    const child = spawn(join(binDir, name), args, {
      stdio: 'pipe',
      detached: true,
      env: {
        ...process.env,
        ...Object.fromEntries(env.map((variable) => [variable.name, variable.value])),
      },
    });
    const output: Buffer[] = [];
    let outputBytes = 0;
    let complaint = '';
    let killedFor: string | undefined;
    const kill = (why: string): void => {
      killedFor ??= why;
      if (child.pid !== undefined)
        try {
          process.kill(-child.pid, 'SIGKILL');
        } catch {
          // It has ended already.
        }
      child.stdout.destroy();
      child.stderr.destroy();
    };
    const timer = setTimeout(() => kill(`it did not end within ${timeoutMs / 1000} s`), timeoutMs);
    child.stdout.on('data', (data: Buffer) => {
      outputBytes += data.length;
      if (outputBytes > MAXIMUM_OUTPUT_BYTES) kill(`it wrote more than ${MAXIMUM_OUTPUT_BYTES} bytes`);
      else output.push(data);
    });
    child.stderr.on('data', (data: Buffer) => {
      complaint = `${complaint}${data.toString()}`.slice(0, MAXIMUM_COMPLAINT_BYTES);
    });
    // It may answer without reading.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (killedFor === undefined && code === 0) return resolve(Buffer.concat(output).toString());
      const end = killedFor ?? (code === null ? `signal: ${signal}` : `exit status ${code}`);
      reject(new Error(complaint === '' ? end : `${end}: ${complaint.trim()}`));
    });
  });
}
