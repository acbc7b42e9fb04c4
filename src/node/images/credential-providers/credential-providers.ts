/**
 * Registry credentials from programs of the administrator, run for the images that they are configured for; answers are kept as long as they say.
 * After upstream's credentialprovider/plugin. A provider that fails is logged, and gives none.
 *
 *   image, pod ──matchImages──► service account's token, annotations ──► kept answer, else program ──► credentials, in the order of the configuration
 */
import { createHash } from 'node:crypto';
import type { Pod, ServiceAccount } from '#api/types.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isImageOf, registryOf, type RegistryCredential } from '../keyring.ts';
import { parseReference } from '../reference.ts';
import type { CredentialProvider, CredentialProviderSettings, TokenAttributes } from './configuration.ts';
import { runProgram, type CredentialRequest, type CredentialResponse } from './run-program.ts';

interface ProviderMetrics {
  credentialProviderRun(name: string, result: { readonly seconds: number; readonly failed: boolean }): void;
}

interface CredentialProvidersOptions {
  readonly settings: CredentialProviderSettings;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: ProviderMetrics | undefined;
  /** Throws StatusError. */
  readonly serviceAccount: (namespace: string, name: string) => Promise<ServiceAccount>;
  /** Of the pod's service account, bound to the pod. Throws StatusError. */
  readonly token: (
    pod: Pod,
    request: { readonly audience: string; readonly serviceAccountUID: string },
  ) => Promise<string>;
  /** Of one run of a program; default: a minute. */
  readonly timeoutMs?: number | undefined;
}

type Credentials = readonly RegistryCredential[];

interface Kept {
  readonly credentials: Credentials;
  readonly expiresAtMs: number;
}

/** What a program learns of the pod; parts are what its answer is kept by beside the image. */
interface Identity {
  readonly request: Omit<CredentialRequest, 'image'>;
  readonly parts: readonly string[];
}

const NOBODY: Identity = { request: {}, parts: [] };
/** Of one provider; the oldest goes. Upstream keeps any number. */
const MAXIMUM_KEPT = 10_000;

export class CredentialProviders {
  readonly #providers: readonly Provider[];

  constructor(options: CredentialProvidersOptions) {
    this.#providers = options.settings.providers.map((provider) => new Provider(provider, options));
  }

  /** Empty for an invalid name. Never rejects. */
  async credentials(image: string, pod: Pod): Promise<Credentials> {
    const reference = parseReference(image);
    if (!reference) return [];
    const name = `${reference.domain}/${reference.repository}`;
    const found = await Promise.all(this.#providers.map((provider) => provider.credentials(name, pod)));
    return found.flat();
  }
}

class Provider {
  readonly #provider: CredentialProvider;
  readonly #options: CredentialProvidersOptions;
  readonly #kept = new Map<string, Kept>();
  /** Runs of the program, by what it is asked. */
  readonly #running = new Map<string, Promise<CredentialResponse>>();

  constructor(provider: CredentialProvider, options: CredentialProvidersOptions) {
    this.#provider = provider;
    this.#options = options;
  }

  async credentials(image: string, pod: Pod): Promise<Credentials> {
    const { name: provider, matchImages } = this.#provider;
    if (!matchImages.some((pattern) => isImageOf(pattern, image))) return [];
    try {
      const identity = await this.#identity(pod);
      if (!identity) return [];
      return this.#find(image, identity) ?? (await this.#ask(image, identity));
    } catch (error) {
      const { namespace = '', name = '' } = pod.metadata ?? {};
      this.#options.log.error('failed to provide credentials for image', {
        provider,
        image,
        pod: `${namespace}/${name}`,
        error: errorMessage(error),
      });
      return [];
    }
  }

  /** Undefined: the program is not run for the pod. */
  async #identity(pod: Pod): Promise<Identity | undefined> {
    const { tokenAttributes } = this.#provider;
    if (!tokenAttributes) return NOBODY;
    const name = pod.spec?.serviceAccountName ?? '';
    const namespace = pod.metadata?.namespace ?? '';
    if (name === '') return tokenAttributes.requireServiceAccount ? undefined : NOBODY;
    const { metadata } = await this.#options.serviceAccount(namespace, name);
    const annotations = annotationsFor(tokenAttributes, metadata?.annotations ?? {});
    if (!annotations) return undefined;
    const uid = metadata?.uid ?? '';
    const token = await this.#options.token(pod, {
      audience: tokenAttributes.serviceAccountTokenAudience,
      serviceAccountUID: uid,
    });
    return {
      request: { serviceAccountToken: token, serviceAccountAnnotations: annotations },
      parts: [
        namespace,
        name,
        uid,
        JSON.stringify(Object.entries(annotations).sort()),
        ...(tokenAttributes.cacheType === 'Token' ? [digestOf(token)] : []),
      ],
    };
  }

  #find(image: string, { parts }: Identity): Credentials | undefined {
    const nowMs = this.#options.clock.now();
    for (const key of [image, hostOf(image), GLOBAL]) {
      const kept = this.#kept.get(keyOf([key, ...parts]));
      if (kept && nowMs <= kept.expiresAtMs) return kept.credentials;
    }
    return undefined;
  }

  async #ask(image: string, { request, parts }: Identity): Promise<Credentials> {
    const response = await this.#run({ image, ...request });
    const { serviceAccountToken } = request;
    if (
      serviceAccountToken &&
      this.#provider.tokenAttributes?.cacheType !== 'Token' &&
      Object.values(response.auth).some(({ password }) => password === serviceAccountToken)
    )
      throw new Error(
        "credential provider plugin returned the service account token as the password which is not allowed when service account cache type is not set to 'Token'",
      );
    const credentials = Object.entries(response.auth).map(([registry, { username = '', password = '' }]) => ({
      registry: registryOf(registry),
      auth: { username, password },
    }));
    const cacheMs = response.cacheMs ?? this.#provider.defaultCacheMs;
    if (cacheMs > 0) this.#keep(keyOf([cacheKey(response, image), ...parts]), { credentials, cacheMs });
    return credentials;
  }

  #keep(
    key: string,
    { credentials, cacheMs }: { readonly credentials: Credentials; readonly cacheMs: number },
  ): void {
    const nowMs = this.#options.clock.now();
    for (const [other, { expiresAtMs }] of this.#kept) if (expiresAtMs < nowMs) this.#kept.delete(other);
    this.#kept.delete(key);
    if (this.#kept.size >= MAXIMUM_KEPT) this.#kept.delete(this.#kept.keys().next().value!);
    this.#kept.set(key, { credentials, expiresAtMs: nowMs + cacheMs });
  }

  /** Pods that ask the same at the same time share a run. */
  #run(request: CredentialRequest): Promise<CredentialResponse> {
    const key = keyOf([
      request.image,
      digestOf(request.serviceAccountToken ?? ''),
      JSON.stringify(Object.entries(request.serviceAccountAnnotations ?? {}).sort()),
    ]);
    const running = this.#running.get(key);
    if (running) return running;
    const run = this.#measured(request).finally(() => this.#running.delete(key));
    this.#running.set(key, run);
    return run;
  }

  async #measured(request: CredentialRequest): Promise<CredentialResponse> {
    const { settings, clock, metrics, timeoutMs } = this.#options;
    const startedMs = clock.monotonic();
    let failed = true;
    try {
      const response = await runProgram(request, {
        binDir: settings.binDir,
        provider: this.#provider,
        timeoutMs,
      });
      failed = false;
      return response;
    } finally {
      metrics?.credentialProviderRun(this.#provider.name, {
        seconds: (clock.monotonic() - startedMs) / 1000,
        failed,
      });
    }
  }
}

/** No registry has such a name. */
const GLOBAL = '<global>';

function cacheKey({ cacheKeyType }: CredentialResponse, image: string): string {
  return cacheKeyType === 'Image' ? image : cacheKeyType === 'Registry' ? hostOf(image) : GLOBAL;
}

function hostOf(image: string): string {
  return image.split('/')[0] ?? '';
}

function keyOf(parts: readonly string[]): string {
  return JSON.stringify(parts);
}

function digestOf(token: string): string {
  return token === '' ? '' : createHash('sha256').update(token).digest('hex');
}

/** Undefined: a required one is missing. */
function annotationsFor(
  {
    requiredServiceAccountAnnotationKeys: required,
    optionalServiceAccountAnnotationKeys: optional,
  }: TokenAttributes,
  annotations: Readonly<Record<string, string>>,
): Record<string, string> | undefined {
  if (required.some((key) => annotations[key] === undefined)) return undefined;
  return Object.fromEntries(
    [...required, ...optional].flatMap((key) => {
      const value = annotations[key];
      return value === undefined ? [] : [[key, value]];
    }),
  );
}
