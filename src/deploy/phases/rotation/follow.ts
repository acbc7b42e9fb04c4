/** A control plane that does not lead: it follows the cluster's rotation phase by phase, with the keys that the leading one shared, also back. */
import { join } from 'node:path';
import { assert } from '#stdx/assert.ts';
import { UserError } from '../../data-dir.ts';
import { PRIVATE_MODE, writeFileAtomically } from '../../pki/files.ts';
import { stage } from './authorities.ts';
import { downloadKeys, reportMachine, type ClusterRotation } from './cluster-record.ts';
import { applyNone, applyPhase, authoritiesOf, staleCertificates } from './machine-files.ts';
import { withAccess, type RotateOptions } from './options.ts';
import {
  removeRotation,
  rotationDir,
  writeRotation,
  type RotationPhase,
  type RotationRecord,
} from './record.ts';

/** 'done', or 'waiting': run it again after the next phase. */
export async function follow(
  options: RotateOptions,
  { cluster, local }: { readonly cluster: ClusterRotation; readonly local: RotationRecord | undefined },
): Promise<'done' | 'waiting'> {
  const { set, machineName, print } = options;
  const { phase: led } = cluster;
  assert(led !== 'aborted', 'a machine goes back by followBack');
  const phase = led === 'done' ? 'drop' : led;
  const record =
    local?.id === cluster.id ? { ...local, phase } : await beginFollowing(options, { cluster, phase });
  await writeRotation(set.dir, record);
  print(`[rotate-ca] ${cluster.leader} leads; this machine follows to phase ${phase}`);
  await applyPhase(options, record);
  const stale = phase === 'issue' ? await staleCertificates(set, record) : [];
  for (const gap of stale) print(`[rotate-ca] waiting: ${gap}`);
  if (stale.length > 0) return 'waiting';
  await withAccess(options, ({ api }) => reportMachine(api, { machine: machineName, phase }));
  if (led !== 'done') return 'waiting';
  await removeRotation(set.dir);
  print('[rotate-ca] done: the old authorities are trusted no more');
  return 'done';
}

/** The rotation was aborted on another control plane, or here by a run that was killed. */
export async function followBack(options: RotateOptions, record: RotationRecord): Promise<'done'> {
  await applyNone(options, record);
  await removeRotation(options.set.dir);
  options.print('[rotate-ca] the rotation was aborted: the old authorities are what they were');
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
