/** A client of any API server but this machine's own, which is about to stop. */
import { existsSync, readFileSync } from 'node:fs';
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { errorMessage } from '#stdx/log.ts';
import { hostPort } from '../../config/endpoint.ts';
import { UserError } from '../../data-dir.ts';
import type { LeaveContext } from './context.ts';

/** UserError where none responds; own: this machine's too. */
export async function reachableApi(
  context: LeaveContext,
  { own = false }: { readonly own?: boolean } = {},
): Promise<Client> {
  const credentials = credentialsOf(context);
  const problems: string[] = [];
  for (const server of listServers(context, { own })) {
    const options = { ...credentials, server: `https://${server}` };
    const problem = await context.program.serverProblem(options);
    if (problem === undefined) return context.program.client(options);
    problems.push(`${server}: ${problem}`);
  }
  throw new UserError(
    `No ${own ? '' : 'other '}API server of the cluster answers (${problems.join('; ') || 'none is known'}).`,
  );
}

/** HOST:PORT. */
export function listServers(
  { machine, paths }: Pick<LeaveContext, 'machine' | 'paths'>,
  { own }: { readonly own: boolean },
): readonly string[] {
  const { seeds, controlPlaneEndpoint, advertiseAddress, bindPort } = machine.read();
  const self =
    advertiseAddress !== undefined && bindPort !== undefined ? hostPort(advertiseAddress, bindPort) : '';
  const all = [...listedServers(paths.apiServersFile), ...seeds, controlPlaneEndpoint ?? ''];
  return [...new Set([...(own ? [self] : []), ...all])].filter(
    (server) => server !== '' && (own || server !== self),
  );
}

/** From the balancer's file; a damaged one names none. */
function listedServers(path: string): readonly string[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    const list = Array.isArray(value) ? value : ((value as { servers?: unknown })?.servers ?? []);
    return (Array.isArray(list) ? list : []).filter((one): one is string => typeof one === 'string');
  } catch {
    return [];
  }
}

/** The administrator's, if this machine has it; else the node's own. */
function credentialsOf({ paths, options }: LeaveContext): HttpsOptions {
  const path = [options.kubeconfig, paths.kubeconfig('admin'), paths.kubeconfig('kubelet')].find(
    (one) => one !== undefined && (one === options.kubeconfig || existsSync(one)),
  );
  if (path === undefined)
    throw new UserError(
      'This machine has no credentials for the cluster: give --kubeconfig FILE of an administrator.',
    );
  try {
    return resolveContext(loadKubeconfig({ path })).options;
  } catch (error) {
    throw new UserError(`${path} cannot be used: ${errorMessage(error)}.`, error);
  }
}
