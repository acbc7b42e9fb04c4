/**
 * Reads static pods from a directory, or from one file: each a Pod in YAML or JSON. Knows the file system and names, not the API.
 * Bounds: MAX_FILES files of MAX_BYTES each; the rest is reported and not read.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Pod } from '#api/types.ts';
import { readApiReference, CONFIG_HASH, CONFIG_SOURCE, FROM_FILE } from '#component-helpers/static-pods.ts';
import { objectKey } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';

/** Decodes, defaults (the namespace too) and validates a Pod. Throws an Error with the reason. */
export type DecodePod = (text: string) => Pod;

interface Problem {
  readonly file: string;
  readonly message: string;
}
interface Manifests {
  /** In the order of the files' names; of two with one name, the first. */
  readonly pods: readonly Pod[];
  readonly problems: readonly Problem[];
}
interface ManifestOptions {
  readonly nodeName: string;
  readonly decode: DecodePod;
}

export const MAX_FILES = 500;
export const MAX_BYTES = 1 << 20;
/** Characters of a file's problem: a manifest may have thousands of invalid fields. */
export const MAX_MESSAGE = 1000;

/** A path that does not exist has no pods. Throws when it cannot be read, so that no pod is considered removed. */
export async function readManifests(path: string, options: ManifestOptions): Promise<Manifests> {
  const files = await filesOf(path);
  const pods = new Map<string, Pod>();
  const beyond = files.length - MAX_FILES;
  const problems: Problem[] =
    beyond > 0 ? [{ file: path, message: `more than ${MAX_FILES} manifests: ${beyond} are not read` }] : [];
  for (const file of files.slice(0, MAX_FILES)) {
    try {
      const pod = staticPod(options.decode(await readBounded(file)), { file, nodeName: options.nodeName });
      if (pods.has(objectKey(pod))) throw new Error(`another file has a pod named ${objectKey(pod)}`);
      pods.set(objectKey(pod), pod);
    } catch (error) {
      if (!isMissing(error)) problems.push({ file, message: errorMessage(error).slice(0, MAX_MESSAGE) });
    }
  }
  return { pods: [...pods.values()], problems };
}

/** Skips files whose names begin with a dot: editor files and partial writes. */
async function filesOf(path: string): Promise<string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const entries = await readdir(path, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.name.startsWith('.') && (entry.isFile() || entry.isSymbolicLink()))
      .map(({ name }) => join(path, name))
      .sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function readBounded(file: string): Promise<string> {
  // A pipe without a writer would hold up the other files.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (!(await handle.stat()).isFile()) throw new Error('not a regular file');
    const parts: Buffer[] = [];
    let bytes = 0;
    // One byte more than is taken: a file may grow while it is read.
    for await (const part of handle.createReadStream({ end: MAX_BYTES, autoClose: false })) {
      parts.push(part as Buffer);
      bytes += (part as Buffer).length;
    }
    if (bytes > MAX_BYTES) throw new Error(`too large: at most ${MAX_BYTES} bytes are read`);
    return Buffer.concat(parts).toString();
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  return (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** As upstream names it: the node's name behind its own; the UID is a hash of the file's place and content, so that a change makes another pod. */
function staticPod(
  given: Pod,
  { file, nodeName }: { readonly file: string; readonly nodeName: string },
): Pod {
  const { metadata, spec } = given;
  if (!metadata?.name) throw new Error('metadata.name: Required value');
  const referenced = spec && readApiReference(spec);
  if (referenced) throw new Error(`static pods may not reference ${referenced}`);
  const uid =
    metadata.uid ||
    createHash('sha256')
      .update(`${nodeName}\0${file}\0${JSON.stringify(given)}`)
      .digest('hex')
      .slice(0, 32);
  return {
    ...given,
    metadata: {
      ...metadata,
      name: `${metadata.name}-${nodeName}`,
      uid,
      annotations: { ...metadata.annotations, [CONFIG_HASH]: uid, [CONFIG_SOURCE]: FROM_FILE },
    },
    spec: {
      ...spec!,
      nodeName,
      // Static pods tolerate every taint.
      tolerations: [...(spec?.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }],
    },
    status: { phase: 'Pending' },
  };
}
