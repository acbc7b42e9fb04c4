/**
 * Phase kubelet-start: the node's credentials and settings, its services, and the supervisor that runs them; and phase wait-node, until the node has its
 * certificate and is Ready. A witness has no node.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname, join as joinPath } from 'node:path';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { nodes } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { isConditionTrue } from '#component-helpers/conditions.ts';
import { pollDelayMs } from '#stdx/backoff.ts';
import { errorMessage } from '#stdx/log.ts';
import { timeoutMs } from '../../config/defaults.ts';
import { UserError } from '../../data-dir.ts';
import {
  COMPONENT_SERVER,
  balancerService,
  nodeService,
  proxyService,
} from '../../machine/component-services.ts';
import { PUBLIC_MODE, writeFileAtomically } from '../../pki/files.ts';
import { writeKubeconfig } from '../../pki/kubeconfig.ts';
import { addService } from '../init/control-plane.ts';
import { renderKubeletConfig } from '../init/kubelet-start.ts';
import type { Phase } from '../phase.ts';
import { asInit } from './as-init.ts';
import { claim } from './claim.ts';
import { bootstrapClient, type JoinContext, type JoinedCluster } from './context.ts';

const LOOK = { minimumMs: 100, maximumMs: 5_000 };

export const kubeletStart: Phase<JoinContext> = {
  name: 'kubelet-start',
  short: 'Write kubelet settings, certificates and (re)start the services of this machine',
  async run(context) {
    const { role, paths, print, dryRun, program } = context;
    if (role === 'witness') return;
    if (dryRun)
      return print('[kubelet-start] Would write the settings of the kubelet and start its services');
    const joined = await context.discovered();
    const isNew = !existsSync(paths.kubeconfig('kubelet'));
    if (isNew) await requireFreeName(context, joined);
    await claim(context, joined);
    await writeFiles(context, joined);
    await addServices(context, joined);
    print('[kubelet-start] Starting the kubelet');
    await program.startSupervisor();
  },
};

/** A node of the same name that is alive is another machine. */
async function requireFreeName(context: JoinContext, joined: JoinedCluster): Promise<void> {
  const { name } = context.join.nodeRegistration;
  try {
    const node = await bootstrapClient(context, joined).get(nodes, { name });
    if (!isConditionTrue(node.status?.conditions, 'Ready')) return;
  } catch (error) {
    // Not every cluster lets tokens look.
    if (isStatusError(error, 'NotFound') || isStatusError(error, 'Forbidden')) return;
    throw new UserError(`The nodes of the cluster cannot be read: ${errorMessage(error)}.`, error);
  }
  throw new UserError(
    `a Node with name "${name}" and status "Ready" already exists in the cluster: delete it there (kubectl delete node ${name}), or give this machine another name with --node-name`,
  );
}

async function writeFiles(context: JoinContext, joined: JoinedCluster): Promise<void> {
  const { paths, join, print } = context;
  await mkdir(paths.kubeletPki, { recursive: true, mode: 0o700 });
  await mkdir(paths.manifests, { recursive: true, mode: 0o700 });
  const authority = joinPath(paths.rootfs, join.caCertPath);
  if (!existsSync(authority)) {
    await mkdir(dirname(authority), { recursive: true, mode: 0o755 });
    await writeFileAtomically(authority, joined.caPem, PUBLIC_MODE);
  }
  // Also with an existing kubeconfig: its certificate may have expired.
  await writeBootstrapKubeconfig(context, joined);
  print(`[kubelet-start] Writing kubelet configuration to file "${paths.kubeletConfig}"`);
  await writeFileAtomically(
    paths.kubeletConfig,
    renderKubeletConfig({
      ...joined.kubelet,
      staticPodPath: paths.manifests,
      authentication: { ...joined.kubelet.authentication, x509: { clientCAFile: authority } },
    }),
    PUBLIC_MODE,
  );
}

async function writeBootstrapKubeconfig({ paths }: JoinContext, joined: JoinedCluster): Promise<void> {
  const { token, tokenFile, cert, key } = joined.credentials;
  if (tokenFile !== undefined || (token === undefined && cert === undefined))
    throw new UserError(
      'The credentials of the discovery file are in files of their own: write them into it (token, client-certificate-data and client-key-data).',
    );
  await writeKubeconfig(paths.kubeconfig('bootstrap-kubelet'), {
    server: COMPONENT_SERVER,
    caPem: joined.caPem,
    clusterName: joined.cluster.clusterName,
    userName: 'tls-bootstrap-token-user',
    credentials:
      token === undefined
        ? { certificate: { certificatePem: String(cert), keyPem: String(key) } }
        : { token },
  });
}

async function addServices(context: JoinContext, joined: JoinedCluster): Promise<void> {
  const { paths, join, options, role, local, machine } = context;
  const { cluster } = joined;
  const init = asInit(context, joined);
  const nodeName = join.nodeRegistration.name;
  await addService(init, balancerService({ paths, seeds: machine.read().seeds }), 'kubelet-start');
  await addService(
    init,
    nodeService({
      paths,
      cluster,
      kubelet: init.kubelet,
      nodeName,
      address: role === 'control-plane' ? local.advertiseAddress : undefined,
      taints: join.nodeRegistration.taints,
      extraArgs: join.nodeRegistration.kubeletExtraArgs,
      runtime: options.runtime,
    }),
    'kubelet-start',
  );
  const { clusterID = '' } = machine.read();
  if (options.runtime === 'cri' && !cluster.proxy?.disabled)
    await addService(init, proxyService({ paths, cluster, nodeName, clusterID }), 'kubelet-start');
}

async function waitForCredentials(context: JoinContext): Promise<void> {
  const { paths, print, join, clock, program } = context;
  const path = paths.kubeconfig('kubelet');
  const limitMs = timeoutMs(join.timeouts, 'tlsBootstrap');
  print(
    `[wait-node] Waiting for the kubelet to perform the TLS Bootstrap. This can take up to ${limitMs / 1000}s`,
  );
  for (const begin = clock.monotonic(); !existsSync(path); await clock.sleep(LOOK.minimumMs))
    if (clock.monotonic() - begin > limitMs)
      throw new UserError(
        `the kubelet has no certificate after ${limitMs / 1000} s. ${(await program.failedService()) ?? 'No service has failed'}: was its request approved (kubectl get csr)? The logs are in ${paths.logs}`,
      );
}

/** Phase wait-node: until this machine's Node is Ready. */
export const waitNode: Phase<JoinContext> = {
  name: 'wait-node',
  short: 'Wait for the Node of this machine to be Ready',
  async run(context) {
    const { role, paths, print, dryRun, join, clock, program } = context;
    if (role === 'witness') return;
    const { name } = join.nodeRegistration;
    if (dryRun) return print(`[wait-node] Would wait until the Node "${name}" is Ready`);
    // Not before: etcd and the API server of a control plane come up meanwhile.
    await waitForCredentials(context);
    const limitMs = timeoutMs(join.timeouts, 'kubeletHealthCheck');
    print(`[wait-node] Waiting for the Node "${name}" to be Ready. This can take up to ${limitMs / 1000}s`);
    const api = program.client(resolveContext(loadKubeconfig({ path: paths.kubeconfig('kubelet') })).options);
    const begin = clock.monotonic();
    for (;;) {
      const problem = await api.get(nodes, { name }).then(
        ({ status }) =>
          isConditionTrue(status?.conditions, 'Ready')
            ? undefined
            : (status?.conditions?.find(({ type }) => type === 'Ready')?.message ??
              'it has said nothing yet'),
        (error: unknown) => errorMessage(error),
      );
      const tookMs = clock.monotonic() - begin;
      if (problem === undefined) await rm(paths.kubeconfig('bootstrap-kubelet'), { force: true });
      if (problem === undefined)
        return print(`[wait-node] The Node is Ready after ${(tookMs / 1000).toFixed(1)}s`);
      if (tookMs > limitMs)
        throw new UserError(
          `the Node "${name}" is not Ready after ${limitMs / 1000} s (${problem}). ${(await program.failedService()) ?? 'No service has failed'}; the logs are in ${paths.logs}`,
        );
      await clock.sleep(pollDelayMs(tookMs, LOOK));
    }
  },
};
