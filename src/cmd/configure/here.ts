/** One machine's part of a changed configuration: the flags of its services, and its kubelet's file. The supervisor follows; containers run on. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import type { DefaultedCluster } from '#deploy/config/defaults.ts';
import { parseConfigDocuments } from '#deploy/config/read.ts';
import type { KubeletConfiguration } from '#deploy/config/types.ts';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import {
  apiServerService,
  controllerManagerService,
  schedulerService,
} from '#deploy/machine/component-services.ts';
import { argument, ENCRYPTION_FLAG, encryptionPath } from '#deploy/machine/encryption-file.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { lockMachine, machineFile, type MachineRecord } from '#deploy/machine/record.ts';
import type { ServiceSpec } from '#deploy/machine/services.ts';
import { PUBLIC_MODE, removeDrafts } from '#deploy/pki/files.ts';
import { renderKubeletConfig } from '#deploy/phases/init/kubelet-start.ts';
import { onMachine } from '#upgrade/configuration/kubelet.ts';
import { ensureSupervised, isSupervised } from '../machine/supervise.ts';
import { readUpgrade, writeUpgrade } from '../upgrade/node.ts';
import { parseShared, type SharedConfiguration } from './documents.ts';

type Print = (line: string) => void;

/** From a file or standard input ('-'); the ConfigMaps are not touched. */
export async function configureHere(
  { rootfs, config }: { readonly rootfs?: string | undefined; readonly config: string },
  print: Print,
): Promise<void> {
  const isFile = config !== '-';
  const content = isFile ? readFileSync(config, 'utf8') : await textOf(process.stdin);
  if (isFile && parseShared(content).encryption !== undefined)
    throw new UserError(
      'An EncryptionConfiguration cannot be changed on one machine alone: the others could not read what it writes. Run capstan config apply on a control plane, with --inventory.',
    );
  await configureMachine({ rootfs, content }, print);
}

export async function configureMachine(
  { rootfs, content }: { readonly rootfs?: string | undefined; readonly content: string },
  print: Print,
): Promise<void> {
  const shared = parseShared(content);
  const paths = machinePaths({ rootfs, certificatesDir: shared.cluster.certificatesDir });
  const lock = lockMachine(paths);
  try {
    await removeDrafts(paths.pki);
    const record = machineFile(paths).read();
    const isKubelet = shared.kubelet !== undefined && writeKubelet(paths, shared.kubelet);
    const isWritten = writeEncryption(paths, shared, print) || isKubelet;
    const made = servicesFor(record, { paths, shared });
    const services = replaced(record.services, made);
    const upgrade = readUpgrade(paths);
    // The way back of an earlier upgrade keeps the new configuration.
    if (upgrade) writeUpgrade(paths, { ...upgrade, before: replaced(upgrade.before, made) });
    if (!isWritten && JSON.stringify(services) === JSON.stringify(record.services))
      return print('[configure] this machine is so already');
    const { networking } = shared.cluster;
    machineFile(paths).update((current) => ({ ...current, networking, services }));
    if (isSupervised(paths)) await ensureSupervised(paths);
    for (const name of changedNames(record.services, services))
      print(`[configure] ${name} runs with the new configuration`);
  } finally {
    lock.release();
  }
}

function changedNames(before: readonly ServiceSpec[], after: readonly ServiceSpec[]): string[] {
  return after
    .filter((service, index) => JSON.stringify(service) !== JSON.stringify(before[index]))
    .map(({ name }) => name);
}

/** Of a control plane; its API server follows the file. False: the file is so already. */
function writeEncryption(
  paths: MachinePaths,
  { cluster, encryption }: SharedConfiguration,
  print: Print,
): boolean {
  const { apiServer, certificatesDir } = cluster;
  const named = argument(apiServer?.extraArgs, ENCRYPTION_FLAG);
  if (encryption === undefined || named === undefined) return false;
  const path = encryptionPath(paths, { path: named, certificatesDir });
  if (existsSync(path) && readFileSync(path, 'utf8') === encryption) return false;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileAtomic(path, encryption);
  print(`[configure] ${path} is written`);
  return true;
}

/** False: the file is so already. */
function writeKubelet({ kubeletConfig }: MachinePaths, shared: KubeletConfiguration): boolean {
  if (!existsSync(kubeletConfig)) return false;
  const before = readFileSync(kubeletConfig, 'utf8');
  const own = parseConfigDocuments(before).kubelet ?? {};
  const after = renderKubeletConfig(onMachine(own, shared));
  if (after === before) return false;
  writeFileAtomic(kubeletConfig, after, PUBLIC_MODE);
  return true;
}

interface Making {
  readonly paths: MachinePaths;
  readonly shared: SharedConfiguration;
}

/** Those that the configuration decides. */
function servicesFor(record: MachineRecord, { paths, shared }: Making): readonly ServiceSpec[] {
  const { role, services } = record;
  if (role !== 'control-plane' && role !== 'worker')
    throw new UserError('This machine is no control plane and no worker of a cluster.');
  const planes = role === 'control-plane' ? planeServices(record, { paths, cluster: shared.cluster }) : [];
  const { podSubnet } = shared.cluster.networking;
  const ofNode = services.flatMap((service) => {
    if (service.name === 'proxy') return [withFlag(service, 'cluster-cidr', podSubnet)];
    if (service.name !== 'node') return [];
    const ranged = withFlag(service, 'cluster-cidr', podSubnet);
    return [shared.kubelet ? withKubelet(ranged, { paths, kubelet: shared.kubelet }) : ranged];
  });
  return [...planes, ...ofNode];
}

function planeServices(
  { advertiseAddress, bindPort }: MachineRecord,
  around: { readonly paths: MachinePaths; readonly cluster: DefaultedCluster },
): readonly ServiceSpec[] {
  if (advertiseAddress === undefined || bindPort === undefined)
    throw new UserError(
      'The record of this machine has no address of its API server: run init or join again.',
    );
  return [
    apiServerService({ ...around, local: { advertiseAddress, bindPort } }),
    controllerManagerService(around),
    schedulerService(around),
  ];
}

const KUBELET_FILE_ENV = 'CAPSTAN_KUBELET_CONFIG_SHA256';

/** The agent reads its file when it starts: a digest among its settings has the supervisor start it again. */
function withKubelet(
  service: ServiceSpec,
  { paths, kubelet }: { readonly paths: MachinePaths; readonly kubelet: KubeletConfiguration },
): ServiceSpec {
  if (!existsSync(paths.kubeletConfig)) return service;
  const digest = createHash('sha256').update(readFileSync(paths.kubeletConfig)).digest('hex');
  return {
    ...withFlag(service, 'rotate-server-certificates', String(kubelet.serverTLSBootstrap ?? true)),
    env: { ...service.env, [KUBELET_FILE_ENV]: digest },
  };
}

/** Where it has the flag. */
function withFlag(service: ServiceSpec, flag: string, value: string): ServiceSpec {
  if (!('capstan' in service.run)) return service;
  const words = service.run.capstan.map((word) =>
    word.startsWith(`--${flag}=`) ? `--${flag}=${value}` : word,
  );
  return { ...service, run: { capstan: words } };
}

/** What runs it and how its health is asked stays. */
function replaced(services: readonly ServiceSpec[], made: readonly ServiceSpec[]): ServiceSpec[] {
  return services.map((service) => {
    const next = made.find(({ name }) => name === service.name);
    return next ? { ...service, run: next.run, env: next.env } : service;
  });
}
