/**
 * The parts of a machine that `capstan supervise --only` runs by themselves, for units of their own: each service, and the renewal of certificates. Names
 * the files by which such a supervisor is found. A machine has either one supervisor or one for each part, never both.
 */
import { join } from 'node:path';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { SERVICE_NAMES, type ServiceSpec } from '#deploy/machine/services.ts';
import { liveLockHolder } from '#stdx/process-lock.ts';
import { groupPrograms, type Program } from './programs.ts';

/** Renews the machine's certificates and runs nothing. */
export const CERTIFICATES = 'certificates';

/** In the order they start. */
export const PARTS = [CERTIFICATES, ...SERVICE_NAMES] as const;
export type Part = (typeof PARTS)[number];

export function isPart(name: string): name is Part {
  return (PARTS as readonly string[]).includes(name);
}

interface SupervisorFiles {
  readonly lock: string;
  readonly socket: string;
  /** Its processes, for the next one where it is killed. */
  readonly children: string;
}

type RunPaths = Pick<MachinePaths, 'run' | 'supervisorLock' | 'supervisorSocket'>;

export function supervisorFiles(
  { run, supervisorLock, supervisorSocket }: RunPaths,
  only?: Part,
): SupervisorFiles {
  if (only === undefined)
    return { lock: supervisorLock, socket: supervisorSocket, children: join(run, 'children.json') };
  const file = (ending: string): string => join(run, `supervise-${only}.${ending}`);
  return { lock: file('lock'), socket: file('sock'), children: file('json') };
}

/** What the part runs: at most one program. A member of a group is one of its own, and starts as in the group. */
export function programsOf(services: readonly ServiceSpec[], only: Part | undefined): Program[] {
  if (only === undefined) return groupPrograms(services);
  return groupPrograms(
    services
      .filter(({ name }) => name === only)
      .map((service) => (service.group === undefined ? service : { ...service, group: service.name })),
  );
}

/** Parts of which a record makes use. */
export function partsOf(services: readonly ServiceSpec[]): Part[] {
  return services.length === 0
    ? []
    : PARTS.filter((part) => part === CERTIFICATES || services.some(({ name }) => name === part));
}

/** Supervisors that run on this machine, in the order they start; undefined: the one of all services. */
export function liveSupervisors(
  paths: RunPaths,
): { readonly only: Part | undefined; readonly pid: number }[] {
  return [undefined, ...PARTS].flatMap((only) => {
    const pid = liveLockHolder(supervisorFiles(paths, only).lock)?.pid;
    return pid === undefined ? [] : [{ only, pid }];
  });
}
