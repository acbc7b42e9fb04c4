/**
 * Rotates the authorities of a cluster without a failed request (record.ts draws the phases). The leading control plane decides the phase; each step looks first,
 * so that a run that was interrupted is taken up by the next; the others follow with the keys that the leader shares.
 */
import { randomBytes, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from '#client/client.ts';
import { configMaps } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { errorMessage } from '#stdx/log.ts';
import { describeDiskError, UserError } from '../../data-dir.ts';
import { createCertificateKey } from '../kubeadm-certs.ts';
import { removeUploadedCertificates } from '../upload-certs.ts';
import { authoritiesIn, readGenerations, stage, type RotatedAuthority } from './authorities.ts';
import {
  readClusterRotation,
  removeKeys,
  reportMachine,
  uploadKeys,
  writeClusterRotation,
  type ClusterRotation,
} from './cluster-record.ts';
import { follow, followBack } from './follow.ts';
import {
  applyNone,
  applyPhase,
  authoritiesOf,
  removeLeftovers,
  staleCertificates,
  trustOf,
} from './machine-files.ts';
import { otherControlPlanes, trustGaps, useGaps, type Rotating, type Surroundings } from './observe.ts';
import { withAccess, type RotateOptions } from './options.ts';
import {
  readRotation,
  removeRotation,
  ROTATION_PHASES,
  rotationDir,
  writeRotation,
  type RotationPhase,
  type RotationRecord,
} from './record.ts';

export const DEFAULT_TOKEN_OVERLAP_MS = 24 * 3_600_000;
const LOOK_EVERY_MS = 1_000;
const DISK_ERRORS: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EROFS', 'EIO']);
/** Lines of those who are not there yet. */
const MAX_GAPS_SHOWN = 20;

/** 'done', or 'waiting': run it again. */
export function rotateAuthorities(options: RotateOptions): Promise<'done' | 'waiting'> {
  return describingDisk(options, () => rotate(options));
}

async function rotate(options: RotateOptions): Promise<'done' | 'waiting'> {
  // Whoever runs it again after a kill means that rotation, and no further one.
  if ((await removeLeftovers(options.set)) === 'ended') {
    options.print(
      '[rotate-ca] the rotation had ended here, and its keys are removed now: run it again for another one',
    );
    return 'done';
  }
  const cluster = await withAccess(options, ({ api }) => readClusterRotation(api));
  const local = await readRotation(options.set.dir);
  const isLedElsewhere = cluster !== undefined && cluster.leader !== options.machineName;
  const isUnderWay = cluster !== undefined && cluster.phase !== 'done' && cluster.phase !== 'aborted';
  if (local && local.id === cluster?.id && cluster.phase === 'aborted') return followBack(options, local);
  if (isLedElsewhere && !options.lead && (isUnderWay || local?.id === cluster.id))
    return follow(options, { cluster, local });
  if (isUnderWay && local?.id !== cluster.id)
    throw new UserError(
      `The cluster is in phase ${cluster.phase} of a rotation whose keys are not on this machine (${rotationDir(options.set.dir)}): restore them from a copy, or lead it from a control plane that has them, with --lead.`,
    );
  return lead(options, local ? await resumed(options, { local, cluster }) : await begin(options));
}

/** A full disk and its like as a sentence; it can be run again. */
async function describingDisk<T>({ set }: RotateOptions, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (error instanceof UserError || !DISK_ERRORS.has(code)) throw error;
    throw describeDiskError(set.dir, error);
  }
}

/** One that takes the lead may be behind: phases only go on. */
async function resumed(
  { set, clock }: RotateOptions,
  { local, cluster }: { readonly local: RotationRecord; readonly cluster: ClusterRotation | undefined },
): Promise<RotationRecord> {
  const led = cluster?.id === local.id && cluster.phase === 'done' ? 'drop' : cluster?.phase;
  const ledIndex = cluster?.id === local.id ? ROTATION_PHASES.findIndex((known) => known === led) : -1;
  const phase = ROTATION_PHASES[Math.max(ledIndex, ROTATION_PHASES.indexOf(local.phase))]!;
  // A clock that was put back: the phase has lasted since now, and not until next year.
  const phaseMs = Math.min(local.phaseMs, clock.now());
  if (phase === local.phase && phaseMs === local.phaseMs) return local;
  const record = { ...local, phase, phaseMs };
  await writeRotation(set.dir, record);
  return record;
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
export function abortRotation(options: RotateOptions): Promise<void> {
  return describingDisk(options, () => abort(options));
}

async function abort(options: RotateOptions): Promise<void> {
  const { set, print, machineName } = options;
  await removeLeftovers(set);
  const record = await readRotation(set.dir);
  if (!record) throw new UserError('There is no rotation to abort.');
  const cluster = await withAccess(options, ({ api }) => readClusterRotation(api));
  const led = cluster?.id === record.id ? cluster.phase : record.phase;
  const further = [record.phase, led].find((phase) => phase !== 'overlap' && phase !== 'aborted');
  if (further !== undefined)
    throw new UserError(
      `The rotation is in phase ${further}: the new authorities sign already, so it can only go on.`,
    );
  await applyNone(options, record);
  const caPem = await trustOf(set);
  await withAccess(options, async ({ api }) => {
    const rotation = { ...record, phase: 'aborted', leader: machineName } as const;
    await writeClusterRotation(api, { rotation, caPem, mayTakeLead: true });
    await publishClusterInfo(api, caPem);
    await removeKeys(api);
    if ((await otherControlPlanes({ api, machineName })).length > 0)
      print('[rotate-ca] run `capstan certs rotate-ca --yes` on the other control planes: they go back too');
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

async function publish(options: RotateOptions, record: RotationRecord): Promise<void> {
  const { set, machineName, print } = options;
  const caPem = await trustOf(set);
  await withAccess(options, async ({ api }) => {
    const { id, phase, authorities } = record;
    const rotation = { id, phase, authorities, leader: machineName };
    await writeClusterRotation(api, { rotation, caPem, mayTakeLead: options.lead });
    await publishClusterInfo(api, caPem);
    await reportMachine(api, { machine: machineName, phase });
    if (await removeUploadedCertificates(api))
      print(
        '[rotate-ca] Secret kubeadm-certs is removed: control planes join after capstan init phase upload-certs --upload-certs',
      );
    const others = await otherControlPlanes({ api, machineName });
    const { machines = {} } = (await readClusterRotation(api)) ?? {};
    // A new key makes the one that was printed before useless.
    if (phase === 'drop' || others.every((name) => machines[name] !== undefined)) return;
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
      const stale = record.phase === 'issue' ? await staleCertificates(set, record) : [];
      return [...observed, ...stale, ...tokenGaps(options, record), ...(await machineGaps(record, around))];
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
  const leftMs = Math.min(record.phaseMs + tokenOverlapMs - clock.now(), tokenOverlapMs);
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
