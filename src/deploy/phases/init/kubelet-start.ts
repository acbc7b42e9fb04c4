/** Phase kubelet-start: the node's settings and its service; and the supervisor, which runs this machine's services from now on. */
import { mkdir } from 'node:fs/promises';
import { stringifyYaml } from '#machinery/yaml.ts';
import { balancerService, nodeService } from '../../machine/component-services.ts';
import { writeFileAtomically, PUBLIC_MODE } from '../../pki/files.ts';
import { hostPort } from '../../config/endpoint.ts';
import type { KubeletConfiguration } from '../../config/types.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';
import { addService } from './control-plane.ts';

export const kubeletStart: Phase<InitContext> = {
  name: 'kubelet-start',
  short: 'Write kubelet settings and (re)start the services of this machine',
  async run(context) {
    const { paths, cluster, init, kubelet, options, print, dryRun, program } = context;
    print(`[kubelet-start] Writing kubelet configuration to file "${paths.kubeletConfig}"`);
    if (!dryRun) {
      await mkdir(paths.kubeletPki, { recursive: true, mode: 0o700 });
      await mkdir(paths.manifests, { recursive: true, mode: 0o700 });
      await writeFileAtomically(paths.kubeletConfig, renderKubeletConfig(kubelet), PUBLIC_MODE);
    }
    await addService(
      context,
      nodeService({
        paths,
        cluster,
        kubelet,
        nodeName: init.nodeRegistration.name,
        address: init.localAPIEndpoint.advertiseAddress,
        taints: init.nodeRegistration.taints,
        extraArgs: init.nodeRegistration.kubeletExtraArgs,
        runtime: options.runtime,
      }),
      'kubelet-start',
    );
    const seeds = [hostPort(init.localAPIEndpoint.advertiseAddress, init.localAPIEndpoint.bindPort)];
    await addService(context, balancerService({ paths, seeds }), 'kubelet-start');
    if (dryRun) return;
    print('[kubelet-start] Starting the supervisor');
    await program.startSupervisor();
  },
};

export function renderKubeletConfig(kubelet: KubeletConfiguration): string {
  return stringifyYaml({
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    ...kubelet,
  });
}
