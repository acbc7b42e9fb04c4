/**
 * The source of the JWT authenticators' configuration: the --oidc-* flags, which are fixed, or the file of --authentication-config, which is
 * reloaded at run time.
 *
 *   running ──file changed──► read, checked ──issuers unchanged or ready──► running with the new one
 *                                │ bad                 └─not ready in a minute──► tried again after a minute
 *                                └────► running with the old one; the log and a metric say so
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { fieldErrorBody } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles, type WatchedFiles } from '#stdx/watched-files.ts';
import type { TokenAuthenticator } from '../token.ts';
import {
  configurationFromFlags,
  readConfiguration,
  type AuthenticationConfiguration,
  type OidcFlags,
} from './configuration.ts';
import { SERVER_ID_LABEL } from '../../nonresource/server-id.ts';
import { renderIssuers } from './issuer-metrics.ts';
import { JwtAuthenticator } from './jwt-authenticator.ts';
import { JwtAuthenticators } from './jwt-authenticators.ts';
import { hasExpressions, validateConfiguration, type CompiledExpressions } from './validation.ts';

export interface JwtSourceOptions {
  /** --authentication-config. Not with flags. */
  readonly file?: string | undefined;
  readonly flags?: OidcFlags | undefined;
  /** --oidc-ca-file, followed while the program runs. */
  readonly caFile?: string | undefined;
  /** Those of service accounts. */
  readonly disallowedIssuers: readonly string[];
  readonly apiAudiences: readonly string[];
  readonly clock: Clock;
  readonly log: Logger;
}

export interface AnonymousPolicy {
  readonly enabled: boolean;
  readonly paths?: readonly string[];
}

export interface JwtSource {
  readonly tokens: TokenAuthenticator;
  /** Anonymous settings of the current file; undefined = none. */
  readonly anonymous: AnonymousPolicy | undefined;
  /** Issuers without keys, and why. */
  problems(): string[];
  metrics(): string;
  close(): void;
}

/** Time for the issuers of a changed file to respond before the old configuration is kept for now. */
const READY_MS = 60_000;
const READY_POLL_MS = 100;
const RETRY_MS = 60_000;

/** Throws an Error for a configuration that cannot be used. Does not wait for the issuers. */
export async function openJwtSource(options: JwtSourceOptions): Promise<JwtSource> {
  const source = new Source(options);
  await source.open();
  return source;
}

interface Entry {
  readonly authenticator: JwtAuthenticator;
  readonly configuration: unknown;
}
interface Outcome {
  count: number;
  lastMs: number;
}

class Source implements JwtSource {
  readonly tokens: JwtAuthenticators;
  anonymous: AnonymousPolicy | undefined;
  readonly #options: JwtSourceOptions;
  readonly #outcomes: Record<'success' | 'failure', Outcome> = {
    success: { count: 0, lastMs: 0 },
    failure: { count: 0, lastMs: 0 },
  };
  #entries: ReadonlyMap<string, Entry> = new Map();
  #watched: WatchedFiles | undefined;
  #retry: Timer | undefined;
  /** Counts contents seen: a later one ends the waiting for an earlier one. */
  #seen = 0;
  #hash = '';
  #closed = false;

  constructor(options: JwtSourceOptions) {
    this.#options = options;
    this.tokens = new JwtAuthenticators(options);
  }

  async open(): Promise<void> {
    const { file, caFile, clock, log } = this.#options;
    const path = file ?? caFile;
    const content = path === undefined ? undefined : readFileSync(path, 'utf8');
    const configuration = this.#read(content);
    const entries = await this.#make(configuration);
    this.#use(entries, { configuration, content: content ?? '' });
    if (path === undefined) return;
    this.#watched = watchFiles({
      paths: [path],
      clock,
      isKnown: ([now]) => now === content,
      changed: ([changed = '']) => void this.#reload(changed),
      unreadable: (error) =>
        log.error('error reading the authentication configuration, keeping the previous one', {
          file: path,
          error: error.message,
        }),
    });
  }

  problems(): string[] {
    return [...this.#entries.values()].flatMap(({ authenticator: { keys } }) => keys.problem ?? []);
  }

  metrics(): string {
    const issuers =
      this.#entries.size === 0
        ? ''
        : renderIssuers([...this.#entries.values()].map(({ authenticator }) => authenticator.metrics));
    if (this.#options.file === undefined) return issuers;
    const base = 'apiserver_authentication_config_controller';
    const lines = [
      `# HELP ${base}_automatic_reloads_total Reloads of the authentication configuration, by status.`,
      `# TYPE ${base}_automatic_reloads_total counter`,
    ];
    const outcomes = Object.entries(this.#outcomes).filter(([, { count }]) => count > 0);
    for (const [status, { count }] of outcomes)
      lines.push(`${base}_automatic_reloads_total{${SERVER_ID_LABEL},status="${status}"} ${count}`);
    lines.push(
      `# HELP ${base}_automatic_reload_last_timestamp_seconds When the authentication configuration was reloaded last, by status.`,
      `# TYPE ${base}_automatic_reload_last_timestamp_seconds gauge`,
    );
    for (const [status, { lastMs }] of outcomes)
      lines.push(
        `${base}_automatic_reload_last_timestamp_seconds{${SERVER_ID_LABEL},status="${status}"} ${lastMs / 1000}`,
      );
    lines.push(
      `# HELP ${base}_last_config_info The configuration in use.`,
      `# TYPE ${base}_last_config_info gauge`,
      `${base}_last_config_info{${SERVER_ID_LABEL},hash="sha256:${this.#hash}"} 1`,
    );
    return [...lines, ...(issuers === '' ? [] : [issuers])].join('\n');
  }

  close(): void {
    this.#closed = true;
    this.#watched?.close();
    this.#retry?.cancel();
    for (const { authenticator } of this.#entries.values()) authenticator.close();
  }

  #read(content: string | undefined): AuthenticationConfiguration {
    const { file, flags } = this.#options;
    return file === undefined
      ? (configurationFromFlags(flags ?? {}, content) ?? {})
      : readConfiguration(content ?? '');
  }

  /** Authenticators of unchanged issuers are reused, with their keys. */
  async #make(configuration: AuthenticationConfiguration): Promise<Map<string, Entry>> {
    const { clock, log, disallowedIssuers } = this.#options;
    const compiler = hasExpressions(configuration)
      ? (await import('./compile-expressions.ts')).compileClaimExpression
      : undefined;
    const { errors, expressions } = validateConfiguration(configuration, { disallowedIssuers, compiler });
    if (errors.length > 0) {
      const texts = errors.map((error) => `${error.field}: ${fieldErrorBody(error)}`);
      throw new Error(texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`);
    }
    return new Map(
      (configuration.jwt ?? []).map((one, index) => {
        const known = this.#entries.get(one.issuer.url);
        const authenticator =
          known && deepEqual(known.configuration, one)
            ? known.authenticator
            : new JwtAuthenticator({
                configuration: one,
                expressions: expressions[index] as CompiledExpressions,
                clock,
                log: log.with({ issuer: one.issuer.url }),
              });
        if (authenticator !== known?.authenticator) authenticator.keys.start();
        return [one.issuer.url, { authenticator, configuration: one }];
      }),
    );
  }

  #use(
    entries: ReadonlyMap<string, Entry>,
    {
      configuration: { anonymous },
      content,
    }: { readonly configuration: AuthenticationConfiguration; readonly content: string },
  ): void {
    const gone = this.#entries;
    this.#entries = entries;
    this.tokens.replace(new Map([...entries].map(([issuer, { authenticator }]) => [issuer, authenticator])));
    this.anonymous = anonymous && {
      enabled: anonymous.enabled ?? false,
      ...(anonymous.conditions?.length ? { paths: anonymous.conditions.map(({ path }) => path) } : {}),
    };
    this.#hash = createHash('sha256').update(content).digest('hex');
    closeUnused(gone, entries);
  }

  /** Never rejects. */
  async #reload(content: string): Promise<void> {
    const mine = ++this.#seen;
    const { log, clock } = this.#options;
    this.#retry?.cancel();
    let made: Map<string, Entry> | undefined;
    try {
      const configuration = this.#read(content);
      made = await this.#make(configuration);
      await this.#ready(made, mine);
      if (this.#closed || mine !== this.#seen) return closeUnused(made, this.#entries);
      this.#use(made, { configuration, content });
      this.#count('success');
      log.info('reloaded authentication config', { issuers: made.size });
    } catch (error) {
      if (made) closeUnused(made, this.#entries);
      if (this.#closed || mine !== this.#seen) return;
      this.#count('failure');
      log.error('failed to load authentication config, keeping the previous one', {
        error: errorMessage(error),
      });
      // Errors of the file are permanent; issuers may recover.
      if (made) this.#retry = clock.after(RETRY_MS, () => void this.#reload(content));
    }
  }

  async #ready(entries: ReadonlyMap<string, Entry>, mine: number): Promise<void> {
    const { clock } = this.#options;
    const endMs = clock.monotonic() + READY_MS;
    for (;;) {
      const problems = [...entries.values()].flatMap(({ authenticator: { keys } }) => keys.problem ?? []);
      if (problems.length === 0 || this.#closed || mine !== this.#seen) return;
      if (clock.monotonic() >= endMs) throw new Error(problems.join('; '));
      await clock.sleep(READY_POLL_MS);
    }
  }

  #count(status: 'success' | 'failure'): void {
    const outcome = this.#outcomes[status];
    outcome.count++;
    outcome.lastMs = this.#options.clock.now();
  }
}

function closeUnused(entries: ReadonlyMap<string, Entry>, used: ReadonlyMap<string, Entry>): void {
  const still = new Set([...used.values()].map(({ authenticator }) => authenticator));
  for (const { authenticator } of entries.values()) if (!still.has(authenticator)) authenticator.close();
}
