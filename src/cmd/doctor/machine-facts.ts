/** What checks ask of the machine that they run on: its certificates, members of etcd, disks and kernel settings. Reads only. */
import { X509Certificate } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statfsSync } from 'node:fs';
import { join, parse } from 'node:path';
import { inspectMembers } from '#deploy/etcd/members.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import type { CertificateFact, DiskFact, EtcdFacts, MachineFacts } from '#readiness/check.ts';
import { connectEtcd } from '../etcd/connect.ts';

/** Undefined: this machine is of no cluster of init or join. */
export function factsOfMachine(paths: MachinePaths): MachineFacts | undefined {
  const machine = machineFile(paths);
  if (!machine.exists()) return undefined;
  const { role = 'worker', services } = machine.read();
  const hasEtcd = services.some(({ name }) => name === 'etcd');
  return {
    role,
    certificates: () => certificatesOf(paths),
    etcd: () => (hasEtcd ? etcdOf(paths) : Promise.resolve(undefined)),
    disks: () => disksOf(paths),
    auditLogs: () => auditLogsOf(services),
    sysctl: (name) => {
      const path = join('/proc/sys', ...name.split('.'));
      return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
    },
  };
}

function certificatesOf({ pki, etcdPki, kubeletPki }: MachinePaths): CertificateFact[] {
  const below = [
    { dir: pki, prefix: '' },
    { dir: etcdPki, prefix: 'etcd/' },
    { dir: kubeletPki, prefix: 'kubelet/' },
  ];
  return below.flatMap(({ dir, prefix }) =>
    filesIn(dir).flatMap((file) => {
      if (!/\.crt$|-current\.pem$/.test(file)) return [];
      const name = prefix + file.replace(/\.(crt|pem)$/, '');
      const { validToDate, ca } = new X509Certificate(readFileSync(join(dir, file)));
      return [{ name, notAfterMs: validToDate.getTime(), renewed: !ca }];
    }),
  );
}

/** audit.log, and beside it audit-TIME.log or audit-TIME.log.gz. */
export function auditLogsOf(services: readonly ServiceSpec[]): readonly string[] {
  const apiServer = services.find(({ name }) => name === 'apiserver');
  const words = apiServer && 'capstan' in apiServer.run ? apiServer.run.capstan : [];
  const flag = '--audit-log-path=';
  const path = words.findLast((word) => word.startsWith(flag))?.slice(flag.length);
  if (path === undefined || path === '' || path === '-') return [];
  const { dir, name, ext } = parse(path);
  return filesIn(dir)
    .filter((file) => file.startsWith(name) && (file.endsWith(ext) || file.includes(`${ext}.`)))
    .map((file) => join(dir, file));
}

function filesIn(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir).toSorted() : [];
}

async function etcdOf({ rootfs }: MachinePaths): Promise<EtcdFacts> {
  const membership = connectEtcd({ rootfs });
  try {
    const reports = await inspectMembers(membership);
    const names = new Map(reports.map(({ member }) => [member.id, member.name]));
    const alarms = await membership.alarms().catch(() => []);
    return {
      members: reports.map(({ member, status, problem }) => ({
        name: member.name,
        isLearner: member.isLearner,
        dbSizeBytes: status?.dbSizeBytes,
        dbSizeInUseBytes: status?.dbSizeInUseBytes,
        version: status?.version,
        problem,
      })),
      alarms: alarms.map(({ type, memberId }) => `${type} at ${names.get(memberId) ?? memberId}`),
    };
  } finally {
    membership.close();
  }
}

/** Each file system once. */
function disksOf({ etcdData, capstan, logs, backups }: MachinePaths): DiskFact[] {
  const found = new Map<string, DiskFact>();
  for (const path of [etcdData, capstan, logs, backups]) {
    if (!existsSync(path)) continue;
    const { bavail, blocks, bsize, files } = statfsSync(path);
    const fact = { path, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
    const id = `${blocks}/${bsize}/${files}`;
    if (!found.has(id)) found.set(id, fact);
  }
  return [...found.values()];
}
