/** `up --service`: the cluster as a service of systemd. */
import { join } from 'node:path';
import { UserError, type ClusterSettings, type DataDir } from '#deploy/data-dir.ts';
import { daemonCommand, readState } from '#deploy/daemon.ts';
import {
  installService,
  isInstalled,
  removeService,
  serviceObstacle,
  startService,
  unitName,
  type ServiceOwner,
} from '#deploy/service-unit.ts';
import type { ApiServerArgs } from '../apiserver-args.ts';
import { print } from '../context.ts';
import { createProgress } from '../progress.ts';
import type { UpOptions } from './options.ts';
import { CHECKOUT, PROGRAM, flagWords } from './program.ts';
import { summary } from './summary.ts';

export function requireService(): void {
  const obstacle = serviceObstacle();
  if (obstacle !== undefined) throw new UserError(`--service is not possible here: ${obstacle}.`);
}

/** Once installed, it is used from then on. */
export function useService({ service }: UpOptions, owner: ServiceOwner): boolean {
  if (service === false) removeService(owner);
  return service === true || isInstalled(owner);
}

interface ServiceStart {
  readonly dir: DataDir;
  readonly settings: ClusterSettings;
  readonly flags: ApiServerArgs;
  readonly progress: ReturnType<typeof createProgress>;
}

export async function upAsService({ dir, settings, flags, progress }: ServiceStart): Promise<void> {
  const startedAt = performance.now();
  const name = unitName(settings.id);
  progress.note(`Starting the service ${name}`);
  installService({
    clusterId: settings.id,
    dir,
    command: daemonCommand({ dir, program: PROGRAM, words: flagWords(flags) }),
    programDir: CHECKOUT,
    environment: {
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? join(CHECKOUT, '.cache/compile'),
    },
    scope: (await import('#cmd/node/scope.ts')).containerScope(dir),
  });
  startService(settings.id);
  const server = readState(dir)?.server ?? '';
  summary({ dir, settings, server, millis: performance.now() - startedAt });
  print('');
  print(`It starts again at each boot: systemctl status ${name}`);
}

export function requireSameService(
  { service }: UpOptions,
  {
    dir,
    pid,
    stored,
  }: { readonly dir: DataDir; readonly pid: number; readonly stored: ClusterSettings | undefined },
): void {
  if (service === undefined || (stored && service === isInstalled({ clusterId: stored.id, dir }))) return;
  throw new UserError(
    `The cluster in ${dir.path} is running (process ${pid}) ${service ? 'and is not a service' : 'as a service'}: stop it with 'capstan down' before that is changed.`,
  );
}
