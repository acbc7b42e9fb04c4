/**
 * Rotates the authorities of a cluster without a failed request (record.ts draws the phases). The leading control plane decides the phase; each step looks first,
 * so that a run that was interrupted is taken up by the next; the others follow with the keys that the leader shares.
 */
import { randomBytes, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import { configMaps } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { publicKeyHash, type KeyAlgorithm } from '#pki/keys.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../../data-dir.ts';
import { PRIVATE_MODE, writeFileAtomically } from '../../pki/files.ts';
import type { CertificateSet } from '../certificate-files.ts';
import { renewDue } from '../certificates-renew.ts';
import { createCertificateKey } from '../kubeadm-certs.ts';
import {
  apply,
  authoritiesIn,
  readGenerations,
  stage,
  type RotatedAuthority,
  type RotatedName,
} from './authorities.ts';
import {
  downloadKeys,
  readClusterRotation,
  removeKeys,
  reportMachine,
  uploadKeys,
  writeClusterRotation,
  type ClusterRotation,
} from './cluster-record.ts';
import { otherControlPlanes, trustGaps, useGaps, type Rotating, type Surroundings } from './observe.ts';
import {
  readRotation,
  removeRotation,
  ROTATION_PHASES,
  rotationDir,
  writeRotation,
  type RotationPhase,
  type RotationRecord,
} from './record.ts';

/** A connection from the administrator's current kubeconfig. */
export interface Access {
  readonly api: Client;
  readonly connection: HttpsOptions;
  close(): Promise<void>;
}

export interface RotateOptions {
  readonly set: CertificateSet;
  /** Opened for each phase: the kubeconfig changes with it. */
  connect(): Promise<Access>;
  /** This machine's node name. */
  readonly machineName: string;
  readonly ownNodes: readonly string[];
  /** For a new rotation. Default: all existing ones. */
  readonly names?: readonly string[] | undefined;
  readonly algorithm?: KeyAlgorithm | undefined;
  /** How long to wait for those who are not there yet. */
  readonly waitMs: number;
  /** How long tokens of the old service account key are accepted after the new one signs. */
  readonly tokenOverlapMs: number;
  /** On another control plane than the leading one: what its keys were shared under. */
  readonly certificateKey?: string | undefined;
  /** Takes the lead over from a failed control plane. */
  readonly lead?: boolean | undefined;
  readonly clock: Clock;
  print(line: string): void;
}

export const DEFAULT_TOKEN_OVERLAP_MS = 24 * 3_600_000;
const LOOK_EVERY_MS = 1_000;
/** Lines of those who are not there yet. */
const MAX_GAPS_SHOWN = 20;

/** 'done', or 'waiting': run it again. */
export async function rotateAuthorities(options: RotateOptions): Promise<'done' | 'waiting'> {
  const cluster = await withAccess(options, ({ api }) => readClusterRotation(api));
  const local = await readRotation(options.set.dir);
  const isLedElsewhere = cluster !== undefined && cluster.leader !== options.machineName;
  const isUnderWay = cluster !== undefined && cluster.phase !== 'done';
  if (isLedElsewhere && !options.lead && (isUnderWay || local?.id === cluster.id))
    return follow(options, { cluster, local });
  if (isUnderWay && local?.id !== cluster.id)
    throw new UserError(
      `The cluster is in phase ${cluster.phase} of a rotation whose keys are not on this machine (${rotationDir(options.set.dir)}): restore them from a copy, or lead it from a control plane that has them, with --lead.`,
    );
  return lead(options, local ?? (await begin(options)));
}

/** In the order of phases, what would be done now. Changes nothing. */
export async function describeRotation(options: RotateOptions): Promise<readonly string[]> {
  const record = await readRotation(options.set.dir);
  const authorities = record
    ? authoritiesOf(options.set.dir, record)
    : chosen(options.set.dir, options.names);
  const lines = await Promise.all(authorities.map(describe));
  return [
    record ? `A rotation is under way, in phase ${record.phase}:` : 'A rotation would replace:',
    ...lines,
    '',
    'overlap  the new authorities are trusted beside the old ones; waits until every API server, node and control plane trusts them',
    'issue    the new ones sign; certificates of this machine are reissued; waits until none of the old ones is in use',
    'drop     the old ones are trusted no more, and their keys are removed',
    '',
    'Client certificates that users asked for, and copies of admin.conf, end with the old authority: reissue them before the phase drop.',
  ];
}

async function describe(authority: RotatedAuthority): Promise<string> {
  const { name, pkiDir } = authority;
  if (name === 'sa') return '  sa              the key of service account tokens';
  const path = join(pkiDir, `${name === 'etcd-ca' ? 'etcd/ca' : name}.crt`);
  const certificate = new X509Certificate(await readFile(path));
  return `  ${name.padEnd(15)} ${publicKeyHash(certificate)}, until ${certificate.validTo}`;
}

/** Only before the new ones sign anything. */
export async function abortRotation(options: RotateOptions): Promise<void> {
  const { set, print } = options;
  const record = await readRotation(set.dir);
  if (!record) throw new UserError('There is no rotation to abort.');
  if (record.phase !== 'overlap')
    throw new UserError(
      `The rotation is in phase ${record.phase}: the new authorities sign already, so it can only go on.`,
    );
  for (const authority of authoritiesOf(set.dir, record)) await apply(authority, 'none');
  const caPem = await trustOf(set);
  await trustEverywhere(set, caPem);
  await withAccess(options, async ({ api }) => {
    await writeClusterRotation(api, {
      rotation: { ...record, phase: 'done', leader: options.machineName },
      caPem,
    });
    await publishClusterInfo(api, caPem);
    await removeKeys(api);
  });
  await removeRotation(set.dir);
  print('[rotate-ca] aborted: the old authorities are what they were');
}

function chosen(pkiDir: string, names: readonly string[] | undefined): readonly RotatedAuthority[] {
  const all = authoritiesIn(pkiDir);
  const unknown = names?.find((name) => !all.some((authority) => authority.name === name));
  if (unknown !== undefined)
    throw new UserError(
      `There is no authority "${unknown}" here; there are ${all.map(({ name }) => name).join(', ')}.`,
    );
  return names?.length ? all.filter(({ name }) => names.includes(name)) : all;
}

function authoritiesOf(pkiDir: string, { authorities }: RotationRecord): readonly RotatedAuthority[] {
  return authorities.map((name) => ({ name: name as RotatedName, pkiDir }));
}

async function begin({ set, names, algorithm, clock }: RotateOptions): Promise<RotationRecord> {
  const authorities = chosen(set.dir, names);
  for (const authority of authorities) await stage(authority, { nowMs: clock.now(), algorithm });
  const record: RotationRecord = {
    format: 1,
    id: randomBytes(8).toString('hex'),
    authorities: authorities.map(({ name }) => name),
    phase: 'overlap',
    startedMs: clock.now(),
    phaseMs: clock.now(),
  };
  await writeRotation(set.dir, record);
  return record;
}

// ------------------------------------------------------------------------------------------------------------------------- leading

async function lead(options: RotateOptions, started: RotationRecord): Promise<'done' | 'waiting'> {
  const { set, print, clock } = options;
  for (let record = started; ;) {
    print(`[rotate-ca] phase ${record.phase}`);
    await applyPhase(options, record);
    await publish(options, record);
    if (record.phase === 'drop') return finish(options, record);
    const gaps = await waitForGate(options, record);
    if (gaps.length > 0) {
      for (const gap of gaps.slice(0, MAX_GAPS_SHOWN)) print(`[rotate-ca] waiting: ${gap}`);
      if (gaps.length > MAX_GAPS_SHOWN)
        print(`[rotate-ca] waiting: and ${gaps.length - MAX_GAPS_SHOWN} more`);
      return 'waiting';
    }
    record = { ...record, phase: nextPhase(record.phase), phaseMs: clock.now() };
    await writeRotation(set.dir, record);
  }
}

function nextPhase(phase: RotationPhase): RotationPhase {
  return ROTATION_PHASES[ROTATION_PHASES.indexOf(phase) + 1] ?? 'drop';
}

/** This machine's files. */
async function applyPhase({ set, clock, print }: RotateOptions, record: RotationRecord): Promise<void> {
  for (const authority of authoritiesOf(set.dir, record)) await apply(authority, record.phase);
  await trustEverywhere(set, await trustOf(set));
  if (record.phase === 'overlap') return;
  const { renewed, skipped } = await renewDue(set, { nowMs: clock.now() });
  for (const name of renewed) print(`[rotate-ca] reissued ${name}`);
  for (const reason of skipped.filter((text) => !text.includes('is missing'))) print(`[rotate-ca] ${reason}`);
}

function trustOf({ dir }: CertificateSet): Promise<string> {
  return readFile(join(dir, 'ca.crt'), 'utf8');
}

async function trustEverywhere({ files }: CertificateSet, caPem: string): Promise<void> {
  for (const file of files) await file.writeAuthority?.(caPem);
}

async function publish(options: RotateOptions, record: RotationRecord): Promise<void> {
  const { set, machineName, print } = options;
  const caPem = await trustOf(set);
  await withAccess(options, async ({ api }) => {
    const { id, phase, authorities } = record;
    await writeClusterRotation(api, { rotation: { id, phase, authorities, leader: machineName }, caPem });
    await publishClusterInfo(api, caPem);
    await reportMachine(api, { machine: machineName, phase });
    const others = await otherControlPlanes({ api, machineName });
    if (phase !== 'overlap' || others.length === 0) return;
    const certificateKey = createCertificateKey();
    await uploadKeys(api, { files: await newFiles(set.dir, record), certificateKey });
    print(`[rotate-ca] run on ${others.join(', ')}, now and after each phase:`);
    print(`[rotate-ca]   capstan certs rotate-ca --yes --certificate-key ${certificateKey}`);
  });
}

async function newFiles(pkiDir: string, record: RotationRecord): Promise<Readonly<Record<string, string>>> {
  const names = record.authorities.flatMap((name) => [
    `${name}.new.key`,
    `${name}.new.${name === 'sa' ? 'pub' : 'crt'}`,
  ]);
  const texts = await Promise.all(names.map((name) => readFile(join(rotationDir(pkiDir), name), 'utf8')));
  return Object.fromEntries(names.map((name, index) => [name, texts[index]!]));
}

/** Authorities that joining machines trust: the kubeconfig in kube-public/cluster-info, if any. */
async function publishClusterInfo(api: Client, caPem: string): Promise<void> {
  const place = { name: 'cluster-info', namespace: 'kube-public' };
  try {
    const map = await api.get(configMaps, place);
    const kubeconfig = map.data?.['kubeconfig'];
    const next = kubeconfig?.replace(
      /(certificate-authority-data: )[A-Za-z0-9+/=]+/,
      `$1${Buffer.from(caPem).toString('base64')}`,
    );
    if (next !== undefined && next !== kubeconfig)
      await api.update(configMaps, { ...map, data: { ...map.data, kubeconfig: next } });
  } catch (error) {
    if (!isStatusError(error, 'NotFound')) throw error;
  }
}

async function waitForGate(options: RotateOptions, record: RotationRecord): Promise<readonly string[]> {
  const { clock, waitMs } = options;
  const endMs = clock.monotonic() + waitMs;
  for (;;) {
    const gaps = await gapsNow(options, record);
    if (gaps.length === 0 || clock.monotonic() >= endMs) return gaps;
    await clock.sleep(LOOK_EVERY_MS);
  }
}

/** An unresponsive API server counts as a gap as well. */
async function gapsNow(options: RotateOptions, record: RotationRecord): Promise<readonly string[]> {
  const { set, clock, machineName, ownNodes } = options;
  const rotating = await rotatingOf(set.dir, record);
  try {
    return await withAccess(options, async ({ api, connection }) => {
      const around: Surroundings = { api, connection, machineName, ownNodes, nowMs: clock.now() };
      const observed =
        record.phase === 'overlap' ? await trustGaps(rotating, around) : await useGaps(rotating, around);
      return [...observed, ...tokenGaps(options, record), ...(await machineGaps(record, around))];
    });
  } catch (error) {
    return [errorMessage(error)];
  }
}

function rotatingOf(pkiDir: string, record: RotationRecord): Promise<Rotating[]> {
  return Promise.all(
    authoritiesOf(pkiDir, record).map(async (authority) => ({
      name: authority.name,
      generations: await readGenerations(authority),
      newKey: await readFile(join(rotationDir(pkiDir), `${authority.name}.new.key`), 'utf8'),
    })),
  );
}

function tokenGaps({ clock, tokenOverlapMs }: RotateOptions, record: RotationRecord): readonly string[] {
  if (record.phase !== 'issue' || !record.authorities.includes('sa')) return [];
  const leftMs = record.phaseMs + tokenOverlapMs - clock.now();
  return leftMs > 0
    ? [`tokens of the old service account key are accepted for ${Math.ceil(leftMs / 60_000)} more minutes`]
    : [];
}

async function machineGaps(record: RotationRecord, around: Surroundings): Promise<readonly string[]> {
  const others = await otherControlPlanes(around);
  if (others.length === 0) return [];
  const { machines = {} } = (await readClusterRotation(around.api)) ?? {};
  return others
    .filter((name) => machines[name] !== record.phase)
    .map((name) => `control plane ${name} has not followed to phase ${record.phase}`);
}

async function finish(options: RotateOptions, record: RotationRecord): Promise<'done'> {
  const { set, machineName, print } = options;
  await withAccess(options, async ({ api }) => {
    const rotation: Omit<ClusterRotation, 'machines'> = { ...record, phase: 'done', leader: machineName };
    await writeClusterRotation(api, { rotation, caPem: await trustOf(set) });
    await removeKeys(api);
    if ((await otherControlPlanes({ api, machineName })).length > 0)
      print('[rotate-ca] run it once more on the other control planes: they drop the old authorities too');
  });
  await removeRotation(set.dir);
  print('[rotate-ca] done: the old authorities are trusted no more');
  return 'done';
}

// ----------------------------------------------------------------------------------------------------------------------- following

async function follow(
  options: RotateOptions,
  { cluster, local }: { readonly cluster: ClusterRotation; readonly local: RotationRecord | undefined },
): Promise<'done' | 'waiting'> {
  const { set, machineName, print } = options;
  const phase = cluster.phase === 'done' ? 'drop' : cluster.phase;
  const record =
    local?.id === cluster.id ? { ...local, phase } : await beginFollowing(options, { cluster, phase });
  await writeRotation(set.dir, record);
  print(`[rotate-ca] ${cluster.leader} leads; this machine follows to phase ${phase}`);
  await applyPhase(options, record);
  await withAccess(options, ({ api }) => reportMachine(api, { machine: machineName, phase }));
  if (cluster.phase !== 'done') return 'waiting';
  await removeRotation(set.dir);
  print('[rotate-ca] done: the old authorities are trusted no more');
  return 'done';
}

async function beginFollowing(
  options: RotateOptions,
  { cluster, phase }: { readonly cluster: ClusterRotation; readonly phase: RotationPhase },
): Promise<RotationRecord> {
  const { set, certificateKey, clock } = options;
  if (certificateKey === undefined)
    throw new UserError(
      `${cluster.leader} leads a rotation: give the --certificate-key that it printed, or take the lead from it with --lead where it is gone.`,
    );
  const files = await withAccess(options, ({ api }) => downloadKeys(api, certificateKey));
  for (const [name, text] of Object.entries(files)) {
    if (!/^[a-z-]+\.new\.(?:key|crt|pub)$/.test(name))
      throw new UserError(
        `The Secret kube-system/capstan-ca-rotation has a file "${name}" that no rotation has.`,
      );
    await writeFileAtomically(join(rotationDir(set.dir), name), text, PRIVATE_MODE);
  }
  const nowMs = clock.now();
  const record: RotationRecord = {
    format: 1,
    id: cluster.id,
    authorities: cluster.authorities,
    phase,
    startedMs: nowMs,
    phaseMs: nowMs,
  };
  for (const authority of authoritiesOf(set.dir, record)) await stage(authority, { nowMs });
  return record;
}

async function withAccess<T>({ connect }: RotateOptions, work: (access: Access) => Promise<T>): Promise<T> {
  const access = await connect();
  try {
    return await work(access);
  } finally {
    await access.close();
  }
}
