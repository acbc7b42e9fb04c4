/**
 * How far the rotation of this machine's authorities is: PKI/rotation/rotation.json. A damaged or newer one is refused and kept.
 *
 *   (none) ─ stage the new keys ─► overlap ─ everyone trusts the new ─► issue ─ nobody uses the old ─► drop ─► (none)
 *                                  both are trusted, the old signs       both are trusted, the new signs    the old is trusted no more
 */
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isJsonObject } from '#machinery/json.ts';
import { UserError } from '../../data-dir.ts';
import { readIfPresent, syncDirectory, writeFileAtomically } from '../../pki/files.ts';

export const ROTATION_PHASES = ['overlap', 'issue', 'drop'] as const;
export type RotationPhase = (typeof ROTATION_PHASES)[number];

export interface RotationRecord {
  readonly format: 1;
  /** The same on every machine of one rotation. */
  readonly id: string;
  /** 'ca', 'front-proxy-ca', 'etcd-ca', 'sa' */
  readonly authorities: readonly string[];
  /** The phase whose files are written, or are being written. */
  readonly phase: RotationPhase;
  readonly startedMs: number;
  /** When the phase began. */
  readonly phaseMs: number;
}

/** Directory of the old and the new keys until the end. */
export function rotationDir(pkiDir: string): string {
  return join(pkiDir, 'rotation');
}

function recordPath(pkiDir: string): string {
  return join(rotationDir(pkiDir), 'rotation.json');
}

export async function readRotation(pkiDir: string): Promise<RotationRecord | undefined> {
  const path = recordPath(pkiDir);
  const text = await readIfPresent(path);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw damaged(path, error);
  }
  if (!isJsonObject(value)) throw damaged(path);
  if (typeof value['format'] === 'number' && value['format'] > 1)
    throw new UserError(`${path} was written by a newer Capstan (format ${value['format']}); use that one.`);
  if (!isRecord(value)) throw damaged(path);
  return value;
}

function isRecord(value: Record<string, unknown>): value is Record<string, unknown> & RotationRecord {
  const { format, id, authorities, phase, startedMs, phaseMs } = value;
  return (
    format === 1 &&
    typeof id === 'string' &&
    Array.isArray(authorities) &&
    authorities.every((name) => typeof name === 'string') &&
    ROTATION_PHASES.some((known) => known === phase) &&
    typeof startedMs === 'number' &&
    typeof phaseMs === 'number'
  );
}

function damaged(path: string, cause?: unknown): UserError {
  return new UserError(
    `${path} is damaged: it was left as it is. Restore it from a copy; the old and the new keys are beside it.`,
    cause,
  );
}

export async function writeRotation(pkiDir: string, record: RotationRecord): Promise<void> {
  await writeFileAtomically(recordPath(pkiDir), `${JSON.stringify(record, undefined, 2)}\n`);
}

/** The rotation is over: with it goes the old key. All at once, by a rename: a part of the files would be taken for keys of the next one. */
export async function removeRotation(pkiDir: string): Promise<void> {
  await removeEnded(pkiDir);
  await rename(rotationDir(pkiDir), endedDir(pkiDir));
  await syncDirectory(pkiDir);
  await removeEnded(pkiDir);
}

/** What a run left that was killed while it removed a rotation. Whether there was something. */
export async function removeEnded(pkiDir: string): Promise<boolean> {
  const wasThere = existsSync(endedDir(pkiDir));
  await rm(endedDir(pkiDir), { recursive: true, force: true });
  return wasThere;
}

function endedDir(pkiDir: string): string {
  return join(pkiDir, 'rotation.ended');
}
