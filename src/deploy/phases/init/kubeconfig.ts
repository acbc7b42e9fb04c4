/** Phase kubeconfig: who the administrator and each component of a control plane are. Components go through this machine's balancer. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { COMPONENT_SERVER } from '../../machine/component-services.ts';
import { describeDiskError } from '../../data-dir.ts';
import { ensureKubeconfig } from '../../machine/kubeconfigs.ts';
import { readIfPresent } from '../../pki/files.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

const FILES = {
  admin: 'Generate a kubeconfig file for the admin to use and for capstan itself',
  'super-admin': 'Generate a kubeconfig file for the super-admin',
  kubelet: 'Generate a kubeconfig file for the kubelet to use *only* for cluster bootstrapping purposes',
  'controller-manager': 'Generate a kubeconfig file for the controller manager to use',
  scheduler: 'Generate a kubeconfig file for the scheduler to use',
} as const;

export const kubeconfig: Phase<InitContext> = {
  name: 'kubeconfig',
  short:
    'Generate all kubeconfig files necessary to establish the control plane and the admin kubeconfig file',
  async run({ print, paths }) {
    print(`[kubeconfig] Using kubeconfig folder "${paths.kubernetes}"`);
  },
  phases: (Object.keys(FILES) as (keyof typeof FILES)[]).map((name) => ({
    name: `kubeconfig/${name}`,
    short: FILES[name],
    run: (context) => writeKubeconfigFile(context, name),
  })),
};

/** Also of the addons that have one. */
export async function writeKubeconfigFile(
  context: InitContext,
  name: keyof typeof FILES | 'dns',
): Promise<void> {
  const { paths, init, cluster, endpoint, clock, print, dryRun } = context;
  const file = `${name}.conf`;
  if (dryRun) return print(`[kubeconfig] Would write "${file}" kubeconfig file`);
  const isForPeople = name === 'admin' || name === 'super-admin';
  const done = await ensureKubeconfig({
    paths,
    name,
    nodeName: init.nodeRegistration.name,
    server: isForPeople ? `https://${endpoint}` : COMPONENT_SERVER,
    clusterName: cluster.clusterName,
    authority: await clusterAuthority(paths.pki),
    nowMs: clock.now(),
  });
  print(
    done === 'kept'
      ? `[kubeconfig] Using existing kubeconfig file: "${paths.kubeconfig(name)}"`
      : `[kubeconfig] Writing "${file}" kubeconfig file`,
  );
}

/** Without the key where an external authority signs. A UserError where phase certs was not done. */
export async function clusterAuthority(
  pki: string,
): Promise<{ readonly certificatePem: string; readonly keyPem?: string | undefined }> {
  const path = join(pki, 'ca.crt');
  try {
    return { certificatePem: await readFile(path, 'utf8'), keyPem: await readIfPresent(join(pki, 'ca.key')) };
  } catch (error) {
    throw describeDiskError(path, error);
  }
}
