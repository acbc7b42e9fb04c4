/**
 * Phase addon: the service proxy and the cluster DNS, which are services of the machine here and not pods. The DNS server maintains their Service. And the
 * addons of the configuration, which the cluster's controller keeps applied from then on.
 */
import { X509Certificate } from 'node:crypto';
import { configureAddons } from '../../addons/configure-addons.ts';
import { dnsService, proxyService } from '../../machine/component-services.ts';
import { deriveClusterID } from '../../machine/cluster-id.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';
import { addService } from './control-plane.ts';
import { clusterAuthority, writeKubeconfigFile } from './kubeconfig.ts';

export const addon: Phase<InitContext> = {
  name: 'addon',
  short: 'Install required addons for passing conformance tests',
  phases: [
    { name: 'addon/coredns', short: 'Install the cluster DNS', run: installDns },
    { name: 'addon/kube-proxy', short: 'Install the service proxy', run: installProxy },
    {
      name: 'addon/manifests',
      short: 'Hand the addons of the configuration to the controller that keeps them applied',
      run: handOver,
    },
  ],
};

async function installDns(context: InitContext): Promise<void> {
  const { cluster, init, paths, print, program, dryRun } = context;
  if (cluster.dns?.disabled) return print('[addons] Skipping DNS: dns.disabled is set');
  await writeKubeconfigFile(context, 'dns');
  await addService(
    context,
    dnsService({ paths, cluster, address: init.localAPIEndpoint.advertiseAddress }),
    'addons',
  );
  if (!dryRun) await program.startSupervisor();
  print('[addons] Applied essential addon: CoreDNS');
}

async function installProxy(context: InitContext): Promise<void> {
  const { cluster, init, options, paths, print, program, dryRun } = context;
  if (cluster.proxy?.disabled) return print('[addons] Skipping the service proxy: proxy.disabled is set');
  if (options.runtime === 'simulated')
    return print('[addons] Skipping the service proxy: simulated nodes have no traffic');
  const nodeName = init.nodeRegistration.name;
  const clusterID = dryRun
    ? '00000000'
    : deriveClusterID(new X509Certificate((await clusterAuthority(paths.pki)).certificatePem));
  await addService(context, proxyService({ paths, cluster, nodeName, clusterID }), 'addons');
  if (!dryRun) await program.startSupervisor();
  print('[addons] Applied essential addon: kube-proxy');
}

/** Without such a section in the configuration, what addons the cluster has stay. */
async function handOver({ addons, program, print, dryRun }: InitContext): Promise<void> {
  if (!addons) return;
  const names = addons.map(({ name }) => name).join(', ') || 'none';
  if (dryRun) return print(`[addons] Would make these the addons of the cluster: ${names}`);
  for (const { object, change } of await configureAddons(program.api(), addons, { dryRun }))
    print(`[addons] ${object}: ${change}`);
  print(`[addons] Addons that the cluster keeps applied: ${names}`);
}
