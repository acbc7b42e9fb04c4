/**
 * A key with its certificate in one PEM file, as kubelets store them: DIR/NAME-2026-01-02-03-04-05.pem, and DIR/NAME-current.pem, a link to the current
 * one that is replaced atomically, so that readers never see a key with another's certificate.
 */
import { mkdir, open, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isoTime } from '#stdx/dates.ts';
import { readPair } from '#pki/chain.ts';
import { parsePrivateKey } from '#pki/keys.ts';

export interface Pair {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly validFromMs: number;
  readonly validToMs: number;
}

const PRIVATE_DIR = 0o700;
const PRIVATE_FILE = 0o600;
/** The one in use and the one before. */
const KEPT = 2;

export class CertificateFiles {
  readonly #dir: string;
  readonly #name: string;

  constructor(dir: string, name: string) {
    this.#dir = dir;
    this.#name = name;
  }

  get currentPath(): string {
    return join(this.#dir, `${this.#name}-current.pem`);
  }

  /** undefined when there is none; throws an Error that names the file for one that is damaged. */
  async load(): Promise<Pair | undefined> {
    const text = await readFile(this.currentPath, 'utf8').catch(absent);
    if (text === undefined) return undefined;
    try {
      return parsePair(text);
    } catch (error) {
      throw new Error(`${this.currentPath}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** Throws an Error when key and certificate do not belong together. */
  async save(certificatePem: string, keyPem: string): Promise<Pair> {
    const pair = parsePair(certificatePem + keyPem);
    await mkdir(this.#dir, { recursive: true, mode: PRIVATE_DIR });
    const stamp = isoTime(pair.validFromMs).slice(0, 19).replace(/[T:]/g, '-');
    const file = await this.#freeName(stamp);
    await writeSynced(join(this.#dir, file), certificatePem + keyPem);
    const link = `${this.currentPath}.new`;
    await rm(link, { force: true });
    await symlink(file, link);
    await rename(link, this.currentPath);
    await this.#removeOld();
    return pair;
  }

  /** The key of a pending request: a restarted agent continues the same request. */
  async pendingKey(make: () => string): Promise<string> {
    const path = this.#pendingPath;
    const known = await readFile(path, 'utf8').catch(absent);
    if (known !== undefined && isKey(known)) return known;
    const key = make();
    await mkdir(this.#dir, { recursive: true, mode: PRIVATE_DIR });
    await writeSynced(path, key);
    return key;
  }

  async dropPendingKey(): Promise<void> {
    await rm(this.#pendingPath, { force: true });
  }

  get #pendingPath(): string {
    return join(this.#dir, `${this.#name}.key.tmp`);
  }

  async #freeName(stamp: string): Promise<string> {
    const taken = new Set(await readdir(this.#dir));
    for (let count = 0; ; count++) {
      const file = `${this.#name}-${stamp}${count === 0 ? '' : `-${count}`}.pem`;
      if (!taken.has(file)) return file;
    }
  }

  async #removeOld(): Promise<void> {
    const current = basename(await readlink(this.currentPath));
    const form = new RegExp(`^${this.#name}-\\d{4}(-\\d+)+\\.pem$`);
    const others = (await readdir(this.#dir))
      .filter((file) => form.test(file) && file !== current)
      .toSorted()
      .toReversed();
    for (const file of others.slice(KEPT - 1)) await rm(join(this.#dir, file), { force: true });
  }
}

function parsePair(text: string): Pair {
  const { certificates, ...pair } = readPair(text);
  const [leaf] = certificates;
  return { ...pair, validFromMs: leaf!.validFromDate.getTime(), validToMs: leaf!.validToDate.getTime() };
}

function isKey(text: string): boolean {
  try {
    parsePrivateKey(text);
    return true;
  } catch {
    return false;
  }
}

async function writeSynced(path: string, content: string): Promise<void> {
  const file = await open(`${path}.new`, 'w', PRIVATE_FILE);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

function absent(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}
