/**
 * Assembles encryption at rest: the file of --encryption-provider-config, reloaded if requested; its providers; the store that uses them; their
 * health checks and metrics. Loaded only where it is configured.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { storedResource } from '#resources/stored-resource.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles, type WatchedFiles } from '#stdx/watched-files.ts';
import type { Store } from '#storage/store.ts';
import type { HealthCheck } from '../nonresource/health.ts';
import {
  EncryptionConfigurationError,
  parseGroupResource,
  parseEncryptionConfiguration,
  type GroupResource,
  type ProviderConfiguration,
  type ResourceConfiguration,
} from './configuration.ts';
import { EncryptedStore, type StoredForm } from './encrypted-store.ts';
import type { KmsProvider } from './kms.ts';
import { aesCbc, aesGcm, identity, secretbox } from './local-keys.ts';
import { TransformationMetrics } from './metrics.ts';
import { ProviderChain } from './provider-chain.ts';
import type { Transformer } from './transformer.ts';

export interface EncryptionOptions {
  readonly file: string;
  /** Follow changes of the file. */
  readonly reload: boolean;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface Encryption {
  /** The store as the API server is to see it. Once. contextOf: see EncryptedStore. */
  wrap(store: Store, contextOf?: (key: string) => string): Store;
  /** For /healthz, /livez and /readyz. */
  readonly healthChecks: readonly HealthCheck[];
  /** Lines of /metrics. */
  metrics(): string;
  /** Looks whether the file has changed, now. */
  look(): boolean;
  close(): void;
}

/** What one reading of the file came to. */
interface InUse {
  readonly chains: ReadonlyMap<string, ProviderChain>;
  readonly plugins: readonly KmsProvider[];
  /** By storage prefix. */
  readonly forms: Map<string, StoredForm | undefined>;
}

/** Requests in flight may still use the previous configuration. */
const OLD_PLUGINS_MS = 60_000;

/** Throws an EncryptionConfigurationError for a file that cannot be used at the start. */
export async function createEncryption(options: EncryptionOptions): Promise<Encryption> {
  const encryption = new FileEncryption(options);
  await encryption.start();
  return encryption;
}

class FileEncryption implements Encryption {
  readonly healthChecks: readonly HealthCheck[];
  readonly #options: EncryptionOptions;
  readonly #metrics = new TransformationMetrics();
  #inUse: InUse = { chains: new Map(), plugins: [], forms: new Map() };
  #store: EncryptedStore | undefined;
  #watched: WatchedFiles | undefined;
  #loading: Promise<void> = Promise.resolve();
  /** Includes those of earlier configurations while they are in use. */
  readonly #open = new Set<KmsProvider>();

  constructor(options: EncryptionOptions) {
    this.#options = options;
    this.healthChecks = [{ name: 'kms-providers', check: () => problemOf(this.#inUse.plugins) }];
  }

  async start(): Promise<void> {
    const { file, reload, clock, log } = this.#options;
    await this.#use(readConfigurationFile(file));
    if (!reload) return;
    this.#watched = watchFiles({
      paths: [file],
      clock,
      changed: ([content = '']) => {
        this.#loading = this.#loading.then(() => this.#reload(content));
      },
      unreadable: (error) => {
        this.#metrics.reloaded('failure', clock.now());
        log.error('error reading the encryption configuration, keeping the previous one', {
          file,
          error: errorMessage(error),
        });
      },
    });
  }

  wrap(store: Store, contextOf?: (key: string) => string): Store {
    this.#store = new EncryptedStore(store, { formOf: (key) => this.#formOf(key), contextOf });
    return this.#store;
  }

  metrics(): string {
    return this.#metrics.render();
  }

  look(): boolean {
    return this.#watched?.look() ?? false;
  }

  close(): void {
    this.#watched?.close();
    this.#end([...this.#open]);
  }

  async #reload(content: string): Promise<void> {
    const { file, clock, log } = this.#options;
    const before = this.#inUse;
    try {
      await this.#use(content, { mustWork: true });
      this.#metrics.reloaded('success', clock.now());
      log.info('the encryption configuration was reloaded', { file });
      clock.after(OLD_PLUGINS_MS, () => this.#end(before.plugins));
      this.#store?.keysChanged();
    } catch (error) {
      this.#metrics.reloaded('failure', clock.now());
      log.error('the changed encryption configuration is invalid, keeping the previous one', {
        file,
        error: errorMessage(error),
      });
    }
  }

  /** mustWork: plugins that are of no use make it fail. At the start they may still come. */
  async #use(content: string, { mustWork = false }: { readonly mustWork?: boolean } = {}): Promise<void> {
    const configuration = parse(this.#options.file, content);
    const plugins = await this.#plugins(configuration);
    for (const plugin of plugins.values()) this.#open.add(plugin);
    await Promise.all([...plugins.values()].map((plugin) => plugin.poll()));
    const problem = problemOf([...plugins.values()]);
    if (mustWork && problem !== undefined) {
      this.#end([...plugins.values()]);
      throw new EncryptionConfigurationError(problem);
    }
    this.#inUse = {
      chains: chainsOf(configuration, { plugins, metrics: this.#metrics }),
      plugins: [...plugins.values()],
      forms: new Map(),
    };
    this.#metrics.using(`sha256:${createHash('sha256').update(content).digest('hex')}`);
  }

  #end(plugins: readonly KmsProvider[]): void {
    for (const plugin of plugins) {
      this.#open.delete(plugin);
      plugin.close();
    }
  }

  async #plugins(configuration: readonly ResourceConfiguration[]): Promise<Map<string, KmsProvider>> {
    const { clock, log } = this.#options;
    const wanted = configuration.flatMap(({ providers }) =>
      providers.flatMap((provider) => (provider.kind === 'kms' ? [provider.kms] : [])),
    );
    if (wanted.length === 0) return new Map();
    const [{ KmsProvider: Provider }, { createKmsClient }] = await Promise.all([
      import('./kms.ts'),
      import('./kms-client.ts'),
    ]);
    const metrics = this.#metrics;
    return new Map(
      wanted.map((kms) => [
        kms.name,
        new Provider({
          name: kms.name,
          client: createKmsClient(kms, metrics),
          metrics,
          clock,
          log,
          recovered: () => this.#store?.keysChanged(),
        }),
      ]),
    );
  }

  #formOf(key: string): StoredForm | undefined {
    const { forms, chains } = this.#inUse;
    const { prefix, resource } = storedResource(key);
    if (!forms.has(prefix))
      forms.set(
        prefix,
        resource &&
          (chains.get(nameOf(resource)) ??
            chains.get(nameOf({ ...resource, resource: '*' })) ??
            chains.get('*.*')),
      );
    return forms.get(prefix);
  }
}

function readConfigurationFile(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new EncryptionConfigurationError(
      `--encryption-provider-config ${file} cannot be read: ${errorMessage(error)}`,
      { cause: error },
    );
  }
}

function parse(file: string, content: string): ResourceConfiguration[] {
  try {
    return parseEncryptionConfiguration(content);
  } catch (error) {
    throw new EncryptionConfigurationError(`--encryption-provider-config ${file}: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

function problemOf(plugins: readonly KmsProvider[]): string | undefined {
  const problems = plugins.flatMap(({ name, problem }) =>
    problem === undefined ? [] : [`kms provider ${name}: ${problem}`],
  );
  return problems.length === 0 ? undefined : problems.join('; ');
}

/**
 * A resource listed several times has the providers of all its entries, in order; entries already covered by an earlier wildcard are skipped.
 */
function chainsOf(
  configuration: readonly ResourceConfiguration[],
  {
    plugins,
    metrics,
  }: { readonly plugins: ReadonlyMap<string, KmsProvider>; readonly metrics: TransformationMetrics },
): Map<string, ProviderChain> {
  const transformers = new Map<string, Transformer[]>();
  for (const { resources, providers } of configuration) {
    const made = providers.flatMap((provider) => transformersOf(provider, plugins));
    const masked = resources.map(
      (name) =>
        transformers.has('*.*') || transformers.has(nameOf({ ...parseGroupResource(name), resource: '*' })),
    );
    resources.forEach((name, index) => {
      if (masked[index]) return;
      const key = nameOf(parseGroupResource(name));
      transformers.set(key, [...(transformers.get(key) ?? []), ...made]);
    });
  }
  return new Map(
    [...transformers].map(([resource, list]) => [resource, new ProviderChain(list, { resource, metrics })]),
  );
}

function transformersOf(
  provider: ProviderConfiguration,
  plugins: ReadonlyMap<string, KmsProvider>,
): Transformer[] {
  switch (provider.kind) {
    case 'identity':
      return [identity];
    case 'kms':
      return [plugins.get(provider.kms.name)!];
    case 'aesgcm':
      return provider.keys.map(aesGcm);
    case 'aescbc':
      return provider.keys.map(aesCbc);
    case 'secretbox':
      return provider.keys.map(secretbox);
  }
}

/** 'secrets', 'deployments.apps', '*.' for all of the core group. */
function nameOf({ group, resource }: GroupResource): string {
  return group === '' && resource !== '*' ? resource : `${resource}.${group}`;
}
