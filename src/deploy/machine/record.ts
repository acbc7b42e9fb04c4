/**
 * The machine's record (machine.json): its role and names, its cluster, its supervisor's services, and the finished phases. Written atomically by each
 * phase. A damaged or newer one is refused with one sentence and kept.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { acquireProcessLock, LockedError, type ProcessLock } from '#stdx/process-lock.ts';
import { describeDiskError, UserError, writeFileAtomic } from '../data-dir.ts';
import type { MachinePaths } from './paths.ts';
import { SERVICE_NAMES, type ServiceSpec } from './services.ts';
import { writeManifests, type StaticPodsChoice } from './static-pods.ts';

const MACHINE_FORMAT = 1;

export type MachineRole = 'control-plane' | 'worker' | 'witness';

export interface MachineRecord {
  readonly format: number;
  readonly role?: MachineRole;
  readonly nodeName?: string;
  /** 8 hex digits from the cluster's certificate authority: part of the names of machine state, such as the nftables table. */
  readonly clusterID?: string;
  /** HOST:PORT */
  readonly controlPlaneEndpoint?: string;
  /** This machine's address, that others reach it by. */
  readonly advertiseAddress?: string;
  readonly bindPort?: number;
  /** HOST:PORT of API servers that the machine joined through, or its own: never forgotten. */
  readonly seeds: readonly string[];
  readonly networking?: {
    readonly serviceSubnet: string;
    readonly podSubnet: string;
    readonly dnsDomain: string;
  };
  readonly etcd?: EtcdMember;
  readonly services: readonly ServiceSpec[];
  /** Each service is a unit of systemd of its own: --separate-units. */
  readonly separateUnits?: boolean;
  /** Components of the control plane are static pods: --static-pods. */
  readonly staticPods?: StaticPodsChoice | undefined;
  /** During `capstan etcd recover`: the services that it stopped, and the copy of etcd's data. */
  readonly recovering?: {
    readonly services: readonly ServiceSpec[];
    readonly copy: string;
    readonly copied?: boolean;
  };
  /** By command ('init', 'join'), in the order they were done. */
  readonly phases: Readonly<Record<string, readonly string[]>>;
}

/** The stacked member of this machine. */
interface EtcdMember {
  readonly name: string;
  readonly peerURL: string;
  /** Hexadecimal. Absent until the member was added. */
  readonly memberID?: string | undefined;
}

const NEW: MachineRecord = { format: MACHINE_FORMAT, seeds: [], services: [], phases: {} };

export interface MachineFile {
  /** Where none was written yet: one with nothing in it. Throws a UserError for a damaged or newer file. */
  read(): MachineRecord;
  exists(): boolean;
  /** Read-modify-write, of the manifests of its static pods too. The caller holds the machine's lock. */
  update(change: (record: MachineRecord) => MachineRecord): MachineRecord;
  remove(): void;
}

/** choose: what each update sets besides; undefined: as it is. */
export function machineFile(
  paths: Pick<MachinePaths, 'machineFile' | 'manifests'>,
  { choose }: { readonly choose?: StaticPodsSwitch | undefined } = {},
): MachineFile {
  const { machineFile: path } = paths;
  const read = (): MachineRecord => {
    const text = textOf(path);
    return text === undefined ? NEW : parse(path, text);
  };
  return {
    read,
    exists: () => existsSync(path),
    update(change) {
      const record = chosen(change(read()), choose);
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      writeFileAtomic(path, `${JSON.stringify(record, undefined, 2)}\n`);
      if (record.role !== undefined) writeManifests(paths, record);
      return record;
    },
    remove: () => rmSync(path, { force: true }),
  };
}

/** --static-pods or --no-static-pods. */
export type StaticPodsSwitch = StaticPodsChoice | 'services';

/** What chose them before stays: a later command may be of another program. */
function chosen(record: MachineRecord, choose: StaticPodsSwitch | undefined): MachineRecord {
  if (choose === undefined) return record;
  return { ...record, staticPods: choose === 'services' ? undefined : (record.staticPods ?? choose) };
}

/** A UserError where another command changes this machine at this moment. */
export function lockMachine({ machineLock }: Pick<MachinePaths, 'machineLock'>): ProcessLock {
  try {
    mkdirSync(dirname(machineLock), { recursive: true, mode: 0o700 });
    return acquireProcessLock(machineLock);
  } catch (error) {
    if (error instanceof LockedError)
      throw new UserError(
        `Process ${error.holder.pid} is changing this machine: wait until it is done and run this again.`,
        error,
      );
    throw describeDiskError(machineLock, error);
  }
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw describeDiskError(path, error);
  }
}

function parse(path: string, text: string): MachineRecord {
  const damaged = (why: string, cause?: unknown): UserError =>
    new UserError(
      `${path} is damaged (${why}): it was left as it is; restore it from a copy, or clean this machine with: capstan reset`,
      cause,
    );
  let record: Partial<MachineRecord>;
  try {
    record = JSON.parse(text) as Partial<MachineRecord>;
  } catch (error) {
    throw damaged((error as Error).message, error);
  }
  if (typeof record !== 'object' || record === null || !Number.isInteger(record.format))
    throw damaged('no format number');
  if (record.format! > MACHINE_FORMAT)
    throw new UserError(
      `${path} was written by a newer Capstan (format ${record.format}; this program reads up to ${MACHINE_FORMAT}): use that version.`,
    );
  const problem = problemOf(record);
  if (problem) throw damaged(problem);
  return { ...NEW, ...record };
}

function problemOf({
  role,
  seeds = [],
  services = [],
  phases = {},
  staticPods,
}: Partial<MachineRecord>): string | undefined {
  if (role !== undefined && !['control-plane', 'worker', 'witness'].includes(role))
    return '"role" should be control-plane, worker or witness';
  if (!isTexts(seeds)) return '"seeds" should be a list of texts';
  if (!Array.isArray(services) || !services.every(isService))
    return `"services" should be a list of services, each with a "name" of ${SERVICE_NAMES.join(', ')} and what to "run"`;
  if (staticPods !== undefined && !isChoice(staticPods))
    return '"staticPods" should have the texts "checkout" and "node"';
  if (typeof phases !== 'object' || phases === null || !Object.values(phases).every(isTexts))
    return '"phases" should have a list of names for each command';
  return undefined;
}

function isChoice(value: unknown): boolean {
  const { checkout, node } = (value ?? {}) as Partial<StaticPodsChoice>;
  return typeof checkout === 'string' && typeof node === 'string';
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isService(value: unknown): boolean {
  const { name, run, checkout } = (value ?? {}) as Partial<ServiceSpec>;
  if (name === undefined || !SERVICE_NAMES.includes(name) || typeof run !== 'object') return false;
  if (checkout !== undefined && typeof checkout !== 'string') return false;
  return 'capstan' in run ? isTexts(run.capstan) : typeof run.program === 'string' && isTexts(run.args);
}
