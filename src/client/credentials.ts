/**
 * Client credentials and the CA bundle of a connection, given as bytes or as files. Files are read again when they change, so that
 * rotated certificates and tokens are used without a restart. Opens no connections.
 */
import { readFileSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { Clock } from '#stdx/clock.ts';
import { TransportError } from './transport-error.ts';

type Pem = string | Buffer;

export interface Credentials {
  /** The CA bundle; default: that of the system. */
  readonly ca?: Pem;
  readonly caFile?: string;
  readonly cert?: Pem;
  readonly certFile?: string;
  readonly key?: Pem;
  readonly keyFile?: string;
  /** Bearer token. */
  readonly token?: string;
  /** Takes precedence over token, as in kubeconfig files. */
  readonly tokenFile?: string;
  /** HTTP basic authentication; only without a token. */
  readonly basic?: { readonly username: string; readonly password: string };
}

/** PEM of the CA bundle, read from its file at each call. Undefined: that of the system. Throws the file system's errors. */
export function readAuthority({ ca, caFile }: Pick<Credentials, 'ca' | 'caFile'>): string | undefined {
  if (ca) return String(ca);
  return caFile === undefined ? undefined : readFileSync(caFile, 'utf8');
}

export interface LoadedCredentials {
  readonly tls: { readonly ca?: Pem; readonly cert?: Pem; readonly key?: Pem };
  readonly authorization: string | undefined;
  /** Increases when ca, cert or key changed: connections of an older generation should be closed. */
  readonly tlsGeneration: number;
}

/** Minimum interval between checks of the files. */
const CHECK_EVERY_MS = 1_000;

interface CachedFile {
  readonly stamp: string;
  readonly content: Buffer;
}

export class CredentialSource {
  #credentials: Credentials;
  readonly #clock: Clock;
  readonly #files = new Map<string, CachedFile>();
  #loaded: LoadedCredentials | undefined;
  #loading: Promise<LoadedCredentials> | undefined;
  #checkedMs = 0;
  #tlsGeneration = 1;

  constructor(credentials: Credentials, clock: Clock) {
    this.#credentials = credentials;
    this.#clock = clock;
  }

  /** Replaces the credentials. */
  replace(credentials: Credentials): void {
    this.#credentials = credentials;
    this.#tlsGeneration += 1;
    this.#loaded = undefined;
  }

  /** Keeps the last good content while a file cannot be read (it may be in the middle of a rotation); the first read must succeed. */
  current(): LoadedCredentials | Promise<LoadedCredentials> {
    const nowMs = this.#clock.monotonic();
    if (this.#loaded && (!this.#usesFiles() || nowMs - this.#checkedMs < CHECK_EVERY_MS)) return this.#loaded;
    this.#checkedMs = nowMs;
    this.#loading ??= this.#load().finally(() => {
      this.#loading = undefined;
    });
    return this.#loading;
  }

  #usesFiles(): boolean {
    const { caFile, certFile, keyFile, tokenFile } = this.#credentials;
    return Boolean(caFile || certFile || keyFile || tokenFile);
  }

  async #load(): Promise<LoadedCredentials> {
    const { ca, caFile, cert, certFile, key, keyFile, token, tokenFile, basic } = this.#credentials;
    const before = [caFile, certFile, keyFile].map((path) => this.#files.get(path ?? '')?.stamp).join();
    const [caPem, certPem, keyPem, fileToken] = await Promise.all([
      this.#content(ca, caFile),
      this.#content(cert, certFile),
      this.#content(key, keyFile),
      this.#content(undefined, tokenFile),
    ]);
    const after = [caFile, certFile, keyFile].map((path) => this.#files.get(path ?? '')?.stamp).join();
    if (this.#loaded && before !== after) this.#tlsGeneration += 1;
    const bearer = fileToken?.toString().trim() || token;
    const plain = basic && `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString('base64')}`;
    this.#loaded = {
      tls: {
        ...(caPem ? { ca: caPem } : {}),
        ...(certPem ? { cert: certPem } : {}),
        ...(keyPem ? { key: keyPem } : {}),
      },
      authorization: bearer ? `Bearer ${bearer}` : plain,
      tlsGeneration: this.#tlsGeneration,
    };
    return this.#loaded;
  }

  async #content(given: Pem | undefined, path: string | undefined): Promise<Pem | undefined> {
    if (!path) return given;
    const cached = this.#files.get(path);
    try {
      const { mtimeMs, size, ino } = await stat(path);
      const stamp = `${mtimeMs}/${size}/${ino}`;
      if (cached?.stamp === stamp) return cached.content;
      const content = await readFile(path);
      this.#files.set(path, { stamp, content });
      return content;
    } catch (error) {
      if (cached) return cached.content;
      throw new TransportError(
        'tls',
        `Cannot read credentials from ${path}: ${(error as Error).message}`,
        error,
      );
    }
  }
}
