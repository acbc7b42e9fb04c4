/**
 * The data directory of one cluster, and its settings file.
 *
 *   DIR/capstan.json        settings and format version (this file)      DIR/pki/              certificates and keys (pki/)
 *   DIR/admin.kubeconfig    the administrator's way in                   DIR/store/            the embedded store
 *   DIR/kubeconfigs/        one for each component run by itself
 *   DIR/node/               containerd's root and state, pods' files     DIR/logs/             log files
 *   DIR/run/lock            which process runs the cluster               DIR/run/state.json    what it is doing
 *
 * A damaged or newer settings file is refused and kept.
 */
import { createHash, randomBytes } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { isIP } from 'node:net';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseCIDR } from '#machinery/ip.ts';
import { replaceFile } from '#stdx/atomic-file.ts';

export const DATA_FORMAT = 1;

export type RuntimeKind = 'cri' | 'simulated';

export interface ClusterSettings {
  readonly format: number;
  /** 8 hex digits that name this cluster's bridge, nftables table, cgroup and socket directory on the machine. */
  readonly id: string;
  readonly httpsPort: number;
  readonly bindAddress: string;
  /** Its address for clients inside the cluster, if configured. */
  readonly advertiseAddress?: string;
  /** Further names of the serving certificate. */
  readonly certExtraSANs?: readonly string[];
  readonly runtime: RuntimeKind;
  readonly nodes: number;
  /** One range, or one of each family with a comma between. */
  readonly podCIDR: string;
  /** The same. */
  readonly serviceCIDR: string;
  /** True where its API server has run with --storage memory only. */
  readonly keepsNothing?: boolean;
  /** 'name=value' each: flags of `capstan apiserver` for this cluster's API server. */
  readonly apiServerArgs?: readonly string[];
  /** Components open upstream's ports for their health and metrics on 127.0.0.1. */
  readonly componentEndpoints?: boolean;
}

/** A sentence for the user about a problem of the data directory or the request; printed unchanged. */
export class UserError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = 'UserError';
  }
}

/**
 * Why settings are unavailable: `damaged` and `missing` (though the cluster has data) can be repaired or deleted, `newer` is intact and belongs to another
 * version.
 */
export class SettingsError extends UserError {
  readonly code: 'damaged' | 'missing' | 'newer';
  constructor(code: SettingsError['code'], message: string, cause?: unknown) {
    super(message, cause);
    this.name = 'SettingsError';
    this.code = code;
  }
}

export interface DataDir {
  readonly path: string;
  readonly settingsFile: string;
  readonly kubeconfig: string;
  readonly kubeconfigs: string;
  readonly pki: string;
  readonly store: string;
  readonly node: string;
  readonly logs: string;
  readonly run: string;
  readonly lock: string;
  readonly state: string;
}

/** Paths only; touches nothing. Default $CAPSTAN_HOME, else ~/.capstan. */
export function dataDir(path: string | undefined): DataDir {
  if (path === '') throw new UserError('--data-dir is empty; it should be a directory.');
  const base = resolve(path ?? (process.env['CAPSTAN_HOME'] || join(homedir(), '.capstan')));
  const inside = (name: string): string => join(base, name);
  return {
    path: base,
    settingsFile: inside('capstan.json'),
    kubeconfig: inside('admin.kubeconfig'),
    kubeconfigs: inside('kubeconfigs'),
    pki: inside('pki'),
    store: inside('store'),
    node: inside('node'),
    logs: inside('logs'),
    run: inside('run'),
    lock: inside('run/lock'),
    state: inside('run/state.json'),
  };
}

/** Creates the directories (mode 0700); a UserError where the disk refuses. */
export function prepareDataDir(dir: DataDir): void {
  try {
    // Checked first: on a read-only file system a recursive mkdir reports that nothing exists.
    const parent = nearestExisting(dir.path);
    if (statSync(parent).isDirectory()) accessSync(parent, constants.W_OK | constants.X_OK);
    for (const path of [dir.path, dir.logs, dir.run]) makeDirs(path);
    accessSync(dir.path, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw describeDiskError(dir.path, error);
  }
}

/** Node's own recursive mkdir never returns on file systems that report "no such file", such as /proc. */
function makeDirs(path: string): void {
  if (!existsSync(path) && dirname(path) !== path) makeDirs(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
}

function nearestExisting(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestExisting(dirname(path));
}

/** One sentence for an error of the file system about path. */
export function describeDiskError(path: string, error: unknown): UserError {
  const code = codeOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new UserError(
      `The disk that holds ${path} is full: free some space and run this again; nothing was lost.`,
      error,
    );
  if (code === 'EROFS')
    return new UserError(
      `${path} is on a read-only file system: mount it writable or choose another directory with --data-dir.`,
      error,
    );
  if (code === 'EACCES' || code === 'EPERM')
    return new UserError(
      `${path} may not be read or written by this user: run as its owner or choose another directory with --data-dir.`,
      error,
    );
  if (code === 'ENOTDIR' || code === 'EEXIST')
    return new UserError(
      `${path} is in the way: a file stands where a directory should be; choose another directory with --data-dir.`,
      error,
    );
  return new UserError(
    `${path} cannot be used: ${error instanceof Error ? error.message : String(error)}`,
    error,
  );
}

/** Node's recursive removal omits code and path of some errors; only the system's text remains. */
function codeOf(error: unknown): string | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  return code || (/Read-only file system/.test(message) ? 'EROFS' : undefined);
}

/** The stored settings, or undefined for a new directory. SettingsError when damaged or of a newer version, UserError when it cannot be read. */
export function readSettings(dir: DataDir): ClusterSettings | undefined {
  let text: string;
  try {
    text = readFileSync(dir.settingsFile, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTDIR') throw describeDiskError(dir.path, error);
    if (code !== 'ENOENT') throw describeDiskError(dir.settingsFile, error);
    const trace = [dir.store, dir.kubeconfig].find((path) => existsSync(path));
    if (trace)
      throw new SettingsError(
        'missing',
        `${dir.settingsFile} is missing, but ${trace} ${trace === dir.store ? "holds a cluster's data" : 'says that there was a cluster'}: restore the settings file from a copy, or choose another --data-dir.`,
      );
    return undefined;
  }
  return parseSettings(dir, text);
}

function parseSettings(dir: DataDir, text: string): ClusterSettings {
  let data: Partial<ClusterSettings>;
  try {
    data = JSON.parse(text) as Partial<ClusterSettings>;
  } catch (error) {
    throw new SettingsError(
      'damaged',
      `${dir.settingsFile} is damaged (${(error as Error).message}): it was left as it is; restore it from a copy or correct it by hand.`,
      error,
    );
  }
  if (typeof data !== 'object' || data === null || !Number.isInteger(data.format) || (data.format ?? 0) < 1)
    throw new SettingsError(
      'damaged',
      `${dir.settingsFile} is damaged (no format number): it was left as it is; restore it from a copy.`,
    );
  if ((data.format ?? 0) > DATA_FORMAT)
    throw new SettingsError(
      'newer',
      `${dir.path} was made by a newer Capstan (format ${data.format}; this program reads up to ${DATA_FORMAT}): use that version or another --data-dir.`,
    );
  const problem = settingsProblem(data);
  if (problem)
    throw new SettingsError(
      'damaged',
      `${dir.settingsFile} is damaged (${problem}): it was left as it is; restore it from a copy or correct it by hand.`,
    );
  return data as ClusterSettings;
}

function settingsProblem(data: Partial<ClusterSettings>): string | undefined {
  if (typeof data.id !== 'string' || !/^[0-9a-f]{8}$/.test(data.id))
    return '"id" should be 8 hexadecimal digits';
  if (!Number.isInteger(data.httpsPort) || (data.httpsPort ?? 0) < 1 || (data.httpsPort ?? 0) > 65535)
    return '"httpsPort" should be a port number';
  if (typeof data.bindAddress !== 'string' || isIP(data.bindAddress) === 0)
    return '"bindAddress" should be an IP address';
  if (
    data.advertiseAddress !== undefined &&
    (typeof data.advertiseAddress !== 'string' || isIP(data.advertiseAddress) === 0)
  )
    return '"advertiseAddress" should be an IP address';
  const { certExtraSANs = [] } = data;
  if (!Array.isArray(certExtraSANs) || certExtraSANs.some((name) => typeof name !== 'string'))
    return '"certExtraSANs" should be a list of texts';
  if (data.runtime !== 'cri' && data.runtime !== 'simulated') return '"runtime" should be cri or simulated';
  if (!Number.isInteger(data.nodes) || (data.nodes ?? 0) < 0) return '"nodes" should be a whole number';
  for (const field of ['podCIDR', 'serviceCIDR'] as const)
    if (!areRanges(data[field]))
      return `"${field}" should be a range, or one of each family with a comma between`;
  const { apiServerArgs = [] } = data;
  if (!Array.isArray(apiServerArgs) || apiServerArgs.some((arg) => typeof arg !== 'string'))
    return '"apiServerArgs" should be a list of texts';
  return undefined;
}

/**
 * Whether this cluster had a store once, so that a missing one is a loss and not a beginning: the administrator's kubeconfig is written when
 * the API server answers for the first time, which is after the store was made.
 */
export function hasRun(dir: DataDir, settings: ClusterSettings | undefined): boolean {
  return existsSync(dir.kubeconfig) && settings?.keepsNothing !== true;
}

/** Ranges with commas between. */
export function areRanges(text: unknown): text is string {
  return typeof text === 'string' && text.split(',').every((range) => parseCIDR(range) !== undefined);
}

/** The settings of a new directory; if another process created some at the same moment, those are returned. */
export function createSettings(dir: DataDir, settings: ClusterSettings): ClusterSettings {
  const draft = `${dir.settingsFile}.${process.pid}`;
  try {
    writeFileAtomic(draft, textOf(settings));
    linkSync(draft, dir.settingsFile);
    return settings;
  } catch (error) {
    const stored = (error as NodeJS.ErrnoException).code === 'EEXIST' ? readSettings(dir) : undefined;
    if (stored) return stored;
    throw error instanceof UserError ? error : describeDiskError(dir.settingsFile, error);
  } finally {
    rmSync(draft, { force: true });
  }
}

function textOf(settings: ClusterSettings): string {
  return `${JSON.stringify(settings, undefined, 2)}\n`;
}

export function writeSettings(dir: DataDir, settings: ClusterSettings): void {
  writeFileAtomic(dir.settingsFile, textOf(settings));
}

/** As replaceFile, with a UserError for errors of the disk. */
export function writeFileAtomic(path: string, text: string, mode = 0o600): void {
  try {
    replaceFile(path, text, mode);
  } catch (error) {
    throw describeDiskError(path, error);
  }
}

export function newClusterId(): string {
  return randomBytes(4).toString('hex');
}

/** A short stable name for things whose length the system bounds (interfaces: 15 characters, unix sockets: 107). */
export function shortHash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 8);
}
