/** The files of this machine in each phase of a rotation: its authorities, who trusts them, and the certificates that they sign. */
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isIssuedBy } from '#pki/chain.ts';
import { certificatesIn } from '#pki/pem.ts';
import { PkiError } from '../../pki/checks.ts';
import { removeDrafts } from '../../pki/files.ts';
import type { CertificateFile, CertificateSet, FoundPair } from '../certificate-files.ts';
import { renewDue } from '../certificates-renew.ts';
import {
  apply,
  readGenerations,
  type Generations,
  type RotatedAuthority,
  type RotatedName,
} from './authorities.ts';
import type { RotateOptions } from './options.ts';
import { removeEnded, rotationDir, type RotationRecord } from './record.ts';

export function authoritiesOf(
  pkiDir: string,
  { authorities }: Pick<RotationRecord, 'authorities'>,
): readonly RotatedAuthority[] {
  return authorities.map((name) => ({ name: name as RotatedName, pkiDir }));
}

/** What killed runs left beside the files. 'ended': a rotation that only was to be removed. */
export async function removeLeftovers({ dir, files }: CertificateSet): Promise<'ended' | undefined> {
  const directories = new Set([dir, rotationDir(dir), ...files.map(({ path }) => dirname(path))]);
  for (const directory of directories) await removeDrafts(directory);
  return (await removeEnded(dir)) ? 'ended' : undefined;
}

/** Those of the record's phase. */
export async function applyPhase(
  { set, clock, print }: RotateOptions,
  record: RotationRecord,
): Promise<void> {
  for (const authority of authoritiesOf(set.dir, record)) await apply(authority, record.phase);
  await trustEverywhere(set);
  if (record.phase === 'overlap') return;
  const { renewed, skipped } = await renewDue(set, { nowMs: clock.now() });
  for (const name of renewed) print(`[rotate-ca] reissued ${name}`);
  for (const reason of skipped.filter((text) => !text.includes('is missing'))) print(`[rotate-ca] ${reason}`);
}

/** Those of before the rotation. */
export async function applyNone({ set }: RotateOptions, record: RotationRecord): Promise<void> {
  for (const authority of authoritiesOf(set.dir, record)) await apply(authority, 'none');
  await trustEverywhere(set);
}

/** The bundle that this machine's API server trusts. */
export function trustOf({ dir }: CertificateSet): Promise<string> {
  return readFile(join(dir, 'ca.crt'), 'utf8');
}

async function trustEverywhere(set: CertificateSet): Promise<void> {
  const caPem = await trustOf(set);
  for (const file of set.files) await file.writeAuthority?.(caPem);
}

/** Certificates of this machine that nobody accepts after the phase drop, one clause each. */
export async function staleCertificates(
  set: CertificateSet,
  record: RotationRecord,
): Promise<readonly string[]> {
  const stale: string[] = [];
  for (const authority of authoritiesOf(set.dir, record)) {
    if (authority.name === 'sa') continue;
    const generations = await readGenerations(authority);
    for (const file of set.files)
      if (file.authority === authority.name && isOld(await readOrNothing(file), generations))
        stale.push(`${file.path} is still of the old authority: renew or remove it`);
  }
  return stale;
}

function isOld(pair: FoundPair | undefined, { old, new: next }: Generations): boolean {
  if (pair?.certificatePem === undefined) return false;
  const certificate = new X509Certificate(pair.certificatePem);
  const isOf = (bundle: string): boolean =>
    certificatesIn(bundle).some((authority) => isIssuedBy(certificate, authority));
  return isOf(old) && !isOf(next);
}

/** A damaged one was named when the phase was applied. */
async function readOrNothing(file: CertificateFile): Promise<FoundPair | undefined> {
  try {
    return await file.read();
  } catch (error) {
    if (error instanceof PkiError) return undefined;
    throw error;
  }
}
