/**
 * The list of API servers on disk: the last content of EndpointSlice default/kubernetes, for a start without a reachable seed. A damaged file is renamed
 * (`FILE.damaged`) and ignored; the seeds still lead to the cluster.
 */
import { readFileSync, renameSync } from 'node:fs';
import { replaceFile } from '#stdx/atomic-file.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { formatAddress, parseAddress, type Address } from './address.ts';

const API_VERSION = 'balancer.capstan.dev/v1';
/** More are left out: a list never has more than a few servers. */
export const MAX_SERVERS = 64;
const MAX_FILE_BYTES = 64 * 1024;

/** Empty when there is none, or it cannot be used, which is logged. */
export function readLastGoodList(path: string, log: Logger): readonly Address[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
      log.error('error reading the last list of API servers', { path, error: errorMessage(error) });
    return [];
  }
  try {
    return parseList(text);
  } catch (error) {
    const kept = keepDamaged(path);
    log.error('the last list of API servers is damaged, ignoring it', {
      path,
      ...(kept ? { kept } : {}),
      error: errorMessage(error),
    });
    return [];
  }
}

function parseList(text: string): Address[] {
  if (text.length > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES} bytes`);
  const value: unknown = JSON.parse(text);
  const { apiVersion, servers } = value as { readonly apiVersion?: unknown; readonly servers?: unknown };
  if (apiVersion !== API_VERSION)
    throw new Error(`apiVersion is ${JSON.stringify(apiVersion)}, not ${API_VERSION}`);
  if (!Array.isArray(servers) || servers.length > MAX_SERVERS)
    throw new Error(`servers should be a list of at most ${MAX_SERVERS}`);
  return servers.map((server: unknown) => {
    const address = typeof server === 'string' ? parseAddress(server) : undefined;
    if (!address) throw new Error(`server ${JSON.stringify(server)} should be "ADDRESS:PORT"`);
    return address;
  });
}

function keepDamaged(path: string): string | undefined {
  try {
    renameSync(path, `${path}.damaged`);
    return `${path}.damaged`;
  } catch {
    // It stays until the next good list replaces it.
    return undefined;
  }
}

/** A reader sees the old or the new list, also after a power cut. Throws the file system's errors. */
export function writeLastGoodList(path: string, servers: readonly Address[]): void {
  replaceFile(
    path,
    `${JSON.stringify({ apiVersion: API_VERSION, servers: servers.map(formatAddress) }, undefined, 2)}\n`,
  );
}
