/**
 * Imports an image archive into the node's containerd: `capstan image load`. CRI has no such call, so containerd's own client `ctr` does it, in CRI's
 * namespace. Pods can use the image when the promise resolves.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createWriteStream } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { CriClient } from '../cri/client.ts';
import { inspectArchive, openArchive } from './archive.ts';
import { ImageError } from './errors.ts';

interface ImageImportTarget {
  /** containerd's socket. */
  readonly address: string;
  /** The snapshotter that the node's containerd uses for CRI: the image is unpacked for it. */
  readonly snapshotter: string;
  readonly cri: CriClient;
  /** Where streams and bytes are spooled, made when missing; the system's temporary directory by default. */
  readonly spoolDir?: string;
  /** 'ctr' on the PATH by default. */
  readonly ctr?: string;
}

export interface ImportedImage {
  /** 'docker.io/library/busybox:latest' */
  readonly name: string;
  /** 'sha256:…' */
  readonly id: string;
  readonly sizeBytes: number;
}

/** containerd's namespace of everything that CRI sees. */
const CRI_NAMESPACE = 'k8s.io';
/** How long to wait until CRI, which learns of a new image by an event, lists it. */
const VISIBLE_TIMEOUT_MS = 30_000;
const POLL_MS = 20;
const MAX_ERROR_TEXT = 4_000;

/** Takes a path, the bytes, or a stream (spooled to a temporary file, since it is read twice). Throws ImageError. */
export async function importImage(
  source: string | Buffer | Readable,
  target: ImageImportTarget,
): Promise<readonly ImportedImage[]> {
  if (typeof source === 'string') return importFile(source, target);
  const spoolDir = target.spoolDir ?? tmpdir();
  await mkdir(spoolDir, { recursive: true });
  const directory = await mkdtemp(join(spoolDir, 'capstan-image-'));
  try {
    const path = join(directory, 'image.tar');
    if (Buffer.isBuffer(source)) await writeFile(path, source);
    else await pipeline(source, createWriteStream(path));
    return await importFile(path, target);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function importFile(path: string, target: ImageImportTarget): Promise<readonly ImportedImage[]> {
  const contents = await inspectArchive(path);
  if (contents.names.length === 0) {
    throw new ImageError(
      'unsupported',
      `${path} holds an image without a name: save it with one, such as 'docker save registry/name:tag'`,
    );
  }
  await runImport({ path, gzip: contents.gzip, target });
  return Promise.all(contents.names.map((name) => waitUntilVisible(name, target.cri)));
}

async function runImport({
  path,
  gzip,
  target,
}: {
  readonly path: string;
  readonly gzip: boolean;
  readonly target: ImageImportTarget;
}): Promise<void> {
  const child = spawn(
    target.ctr ?? 'ctr',
    [
      '--address',
      target.address,
      '--namespace',
      CRI_NAMESPACE,
      'images',
      'import',
      '--snapshotter',
      target.snapshotter,
      '-',
    ],
    { stdio: ['pipe', 'ignore', 'pipe'] },
  );
  let errorText = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errorText = (errorText + chunk.toString()).slice(-MAX_ERROR_TEXT);
  });
  const { promise: ended, resolve, reject } = Promise.withResolvers<number>();
  child.on('error', reject);
  child.on('close', (code) => resolve(code ?? -1));
  // When ctr ends early the pipe breaks: its exit code and words tell why, not EPIPE.
  const fed = pipeline(openArchive(path, gzip), child.stdin).catch(() => {});
  try {
    const code = await ended;
    await fed;
    if (code !== 0)
      throw new ImageError(
        'import-failed',
        `containerd refused ${path}: ${lastLine(errorText) || `ctr ended with code ${code}`}`,
      );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new ImageError(
        'tool-missing',
        "ctr is not installed: it comes with containerd's package (apt-get install containerd)",
        error,
      );
    throw error;
  }
}

async function waitUntilVisible(name: string, cri: CriClient): Promise<ImportedImage> {
  const deadline = performance.now() + VISIBLE_TIMEOUT_MS;
  for (;;) {
    const { image } = await cri.imageStatus({ image: { image: name } });
    if (image) return { name, id: image.id, sizeBytes: image.size };
    if (performance.now() > deadline)
      throw new ImageError(
        'import-failed',
        `containerd imported ${name}, but its CRI plugin does not show it after ${VISIBLE_TIMEOUT_MS / 1000} s: is it built for this machine's architecture?`,
      );
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function lastLine(text: string): string {
  return (text.trim().split('\n').at(-1) ?? '').replace(/^ctr: /, '');
}
