/**
 * The files of one authority through its rotation. Old and new pairs are in PKI/rotation, and PKI's content follows from them and the phase alone: each step
 * can be repeated after an interruption.
 */
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createAuthority } from '#pki/certificate.ts';
import { belongsTo } from '#pki/chain.ts';
import { generateKeyPem, publicKeyPem, type KeyAlgorithm } from '#pki/keys.ts';
import { certificatesIn, splitPem } from '#pki/pem.ts';
import { isSelfIssued, readSubject } from '#pki/read.ts';
import { UserError } from '../../data-dir.ts';
import {
  PRIVATE_MODE,
  PUBLIC_MODE,
  readIfPresent,
  syncDirectory,
  writeFileAtomically,
} from '../../pki/files.ts';
import { AUTHORITY_LIFETIME_MS } from '../../pki/validity.ts';
import { rotationDir, type RotationPhase } from './record.ts';

export type RotatedName = 'ca' | 'front-proxy-ca' | 'etcd-ca' | 'sa';

export interface RotatedAuthority {
  readonly name: RotatedName;
  readonly pkiDir: string;
}

const FILES: Readonly<Record<RotatedName, string>> = {
  ca: 'ca',
  'front-proxy-ca': 'front-proxy-ca',
  'etcd-ca': 'etcd/ca',
  sa: 'sa',
};

/** The existing ones, in the order of rotation. */
export function authoritiesIn(pkiDir: string): readonly RotatedAuthority[] {
  return (Object.keys(FILES) as RotatedName[])
    .filter(
      (name) => existsSync(join(pkiDir, `${FILES[name]}.key`)) || existsSync(publicPath({ name, pkiDir })),
    )
    .map((name) => ({ name, pkiDir }));
}

function publicPath({ name, pkiDir }: RotatedAuthority): string {
  return join(pkiDir, `${FILES[name]}.${name === 'sa' ? 'pub' : 'crt'}`);
}

function keyPath({ name, pkiDir }: RotatedAuthority): string {
  return join(pkiDir, `${FILES[name]}.key`);
}

/** Certificates (of 'sa': public keys), PEM. */
export interface Generations {
  readonly old: string;
  readonly new: string;
}

function kept({ name, pkiDir }: RotatedAuthority, file: string): string {
  return join(rotationDir(pkiDir), `${name}.${file}`);
}

function publicFile(name: RotatedName): 'pub' | 'crt' {
  return name === 'sa' ? 'pub' : 'crt';
}

interface StageOptions {
  readonly nowMs: number;
  readonly algorithm?: KeyAlgorithm | undefined;
  readonly lifetimeMs?: number | undefined;
}

/** Copies the old pair and creates the new one, or uses the provided one: rotation/NAME.new.{crt,key}. Changes nothing in use. */
export async function stage(authority: RotatedAuthority, options: StageOptions): Promise<void> {
  const { name } = authority;
  const [oldPublic, oldKey] = await Promise.all([
    readIfPresent(publicPath(authority)),
    readIfPresent(keyPath(authority)),
  ]);
  const newKeyPath = kept(authority, 'new.key');
  const newPublicPath = kept(authority, `new.${publicFile(name)}`);
  const newKey = await readIfPresent(newKeyPath);
  const newPublic = await readIfPresent(newPublicPath);
  if (newKey === undefined || newPublic === undefined) {
    const made = makeNext(authority, { ...options, oldPublic, oldKey, newKey });
    await writeFileAtomically(newKeyPath, made.keyPem, PRIVATE_MODE);
    await writeFileAtomically(newPublicPath, made.publicPem, PUBLIC_MODE);
  } else if (name !== 'sa') checkGiven({ name, newPublicPath, newPublic, newKey });
  await writeFileAtomically(kept(authority, `old.${publicFile(name)}`), oldPublic ?? '', PUBLIC_MODE);
  await writeFileAtomically(kept(authority, 'old.key'), oldKey ?? '', PRIVATE_MODE);
  await syncDirectory(rotationDir(authority.pkiDir));
}

function makeNext(
  authority: RotatedAuthority,
  {
    nowMs,
    algorithm,
    lifetimeMs = AUTHORITY_LIFETIME_MS,
    oldPublic,
    oldKey,
    newKey,
  }: StageOptions & Readonly<Record<'oldPublic' | 'oldKey' | 'newKey', string | undefined>>,
): { readonly keyPem: string; readonly publicPem: string } {
  const { name } = authority;
  if (name === 'sa') {
    const keyPem = newKey ?? generateKeyPem(algorithm);
    return { keyPem, publicPem: publicKeyPem(keyPem) };
  }
  const old = new X509Certificate(oldPublic ?? '');
  if (oldKey === undefined || !isSelfIssued(old))
    throw new UserError(
      `${publicPath(authority)} is ${oldKey === undefined ? 'an external authority' : 'an intermediate'}: the next one is yours to make. Put it to ${kept(authority, 'new.crt')} and its key to ${kept(authority, 'new.key')}, and run this again.`,
    );
  const made = createAuthority({
    commonName: readSubject(old).commonName,
    nowMs,
    // It serves also where this machine's clock was ahead and is put right.
    notBeforeMs: Math.min(old.validFromDate.getTime(), nowMs),
    lifetimeMs,
    algorithm,
    keyPem: newKey,
  });
  return { keyPem: made.keyPem, publicPem: made.certificatePem };
}

function checkGiven({
  name,
  newPublicPath,
  newPublic,
  newKey,
}: Readonly<Record<'name' | 'newPublicPath' | 'newPublic' | 'newKey', string>>): void {
  const [certificate] = certificatesIn(newPublic);
  if (!certificate?.ca)
    throw new UserError(`${newPublicPath} is not a certificate authority: ${name} is not rotated to it.`);
  if (!belongsTo(certificate, newKey))
    throw new UserError(
      `${newPublicPath} does not belong to the key beside it: ${name} is not rotated to it.`,
    );
}

/** The trusted and the signing authority of this phase; 'none': before the rotation. */
export async function apply(authority: RotatedAuthority, phase: RotationPhase | 'none'): Promise<void> {
  const generations = await readGenerations(authority);
  const signer = phase === 'overlap' || phase === 'none' ? 'old' : 'new';
  const keyPem = await readIfPresent(kept(authority, `${signer}.key`));
  if (keyPem) await writeChanged(keyPath(authority), keyPem, PRIVATE_MODE);
  await writeChanged(publicPath(authority), trusted(generations, phase), PUBLIC_MODE);
  await syncDirectory(dirname(publicPath(authority)));
}

export async function readGenerations(authority: RotatedAuthority): Promise<Generations> {
  const [old, next] = await Promise.all(
    ['old', 'new'].map((generation) =>
      readIfPresent(kept(authority, `${generation}.${publicFile(authority.name)}`)),
    ),
  );
  if (old === undefined || next === undefined)
    throw new UserError(
      `${kept(authority, `${old === undefined ? 'old' : 'new'}.${publicFile(authority.name)}`)} is missing, though the rotation has begun: restore it from a copy.`,
    );
  return { old, new: next };
}

/** The signer first. */
function trusted({ old, new: next }: Generations, phase: RotationPhase | 'none'): string {
  const bundles = { none: [old], overlap: [old, next], issue: [next, old], drop: [next] }[phase];
  const blocks = bundles.flatMap((bundle) => [
    ...splitPem(bundle, 'CERTIFICATE'),
    ...splitPem(bundle, 'PUBLIC KEY'),
  ]);
  return [...new Set(blocks)].join('');
}

async function writeChanged(path: string, content: string, mode: number): Promise<void> {
  if ((await readIfPresent(path)) !== content) await writeFileAtomically(path, content, mode);
}
