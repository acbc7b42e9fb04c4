/** `capstan fleet agent`, on a control plane: answers one request of `capstan fleet` as the cluster's administrator, at this machine's own API server. */
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import type { Node } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { configMaps, nodes } from '#client/refs.ts';
import { defaultCluster, defaultToken } from '#deploy/config/defaults.ts';
import { hostPort } from '#deploy/config/endpoint.ts';
import { parseClusterConfiguration } from '#deploy/config/read.ts';
import { generateToken } from '#deploy/config/token.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { AgentRequest, ClusterStatus, Invitation } from '#deploy/fleet/agent.ts';
import { configureAddons, listAddons } from '#deploy/addons/configure-addons.ts';
import { configureNode } from '#deploy/fleet/configure.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { deleteToken, writeToken } from '#deploy/phases/bootstrap-tokens.ts';
import { createCertificateKey, sharedFiles } from '#deploy/phases/kubeadm-certs.ts';
import { drainNode } from '#deploy/phases/leave/drain.ts';
import { uploadCertificates } from '#deploy/phases/upload-certs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { realClock } from '#stdx/clock.ts';
import { connectEtcd } from '../etcd/connect.ts';
import { KUBERNETES_VERSION } from '../version.ts';

const TOKEN_TTL = '1h0m0s';
const DRAIN_TIMEOUT_MS = 5 * 60_000;
/** A control plane that has just been made may not be ready yet. */
const READY_TIMEOUT_MS = 60_000;
const READY_POLL_MS = 250;

interface AgentFlags {
  readonly rootfs?: string;
}

export async function runFleetAgent({ rootfs }: AgentFlags, print: (line: string) => void): Promise<void> {
  const request = JSON.parse(await textOf(process.stdin)) as AgentRequest;
  const paths = machinePaths({ rootfs });
  const { options } = resolveContext(loadKubeconfig({ path: paths.kubeconfig('admin') }));
  const { advertiseAddress, bindPort } = machineFile(paths).read();
  if (advertiseAddress === undefined || bindPort === undefined)
    throw new UserError('This machine is no control plane.');
  const transport = createHttpsTransport({
    ...options,
    server: `https://${hostPort(advertiseAddress, bindPort)}`,
  });
  const api = createClient(transport, {
    userAgent: `capstan/${KUBERNETES_VERSION}`,
    refusedRetries: 5,
  });
  try {
    await waitUntilReady(transport);
    print(JSON.stringify((await answer(request, { api, paths })) ?? {}));
  } finally {
    await api.close();
    await transport.close();
  }
}

async function waitUntilReady(transport: ReturnType<typeof createHttpsTransport>): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    let problem: string;
    try {
      const { status } = await transport.request({ method: 'GET', path: '/readyz' });
      if (status === 200) return;
      problem = `it answers with HTTP ${status}`;
    } catch (error) {
      problem = (error as Error).message;
    }
    if (performance.now() > deadline)
      throw new UserError(`The API server of this machine is not ready: ${problem}.`);
    await realClock.sleep(READY_POLL_MS);
  }
}

interface Around {
  readonly api: Client;
  readonly paths: MachinePaths;
}

async function answer(request: AgentRequest, { api, paths }: Around): Promise<object | void> {
  switch (request.kind) {
    case 'status':
      return statusOf(api, paths);
    case 'configure': {
      const { dryRun, addons } = request;
      const ofNodes = [];
      for (const node of request.nodes) ofNodes.push(...(await configureNode(api, node, { dryRun })));
      return { changes: [...ofNodes, ...(addons ? await configureAddons(api, addons, { dryRun }) : [])] };
    }
    case 'invite':
      return invite(request.certificates, { api, paths });
    case 'revoke':
      return deleteToken(api, request.token);
    case 'drain':
      return drainNode(
        {
          clock: realClock,
          options: { force: request.force, drainTimeoutMs: DRAIN_TIMEOUT_MS, gracePeriodSeconds: undefined },
          print: () => {},
        },
        { api, nodeName: request.node },
      );
    case 'forget':
      try {
        return await api.delete(nodes, { name: request.node });
      } catch (error) {
        if (!isStatusError(error, 'NotFound')) throw error;
      }
  }
}

async function statusOf(api: Client, paths: MachinePaths): Promise<ClusterStatus> {
  const found = await api.list(nodes);
  return {
    nodes: found.items.map(({ metadata, status }) => ({
      name: metadata.name,
      ready: isReady(status),
      addresses: (status?.addresses ?? [])
        .filter(({ type }) => type === 'InternalIP')
        .map(({ address }) => address),
    })),
    members: await membersOf(paths),
    addons: await listAddons(api),
  };
}

function isReady(status: Node['status']): boolean {
  return status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') ?? false;
}

/** Undefined where this machine has no member of its own: etcd is external. */
async function membersOf(paths: MachinePaths): Promise<ClusterStatus['members']> {
  if (machineFile(paths).read().etcd === undefined) return undefined;
  const etcd = connectEtcd({ rootfs: paths.rootfs });
  try {
    return (await etcd.list()).map(({ name, peerURLs }) => ({ name, peerURLs }));
  } finally {
    etcd.close();
  }
}

async function invite(certificates: boolean, { api, paths }: Around): Promise<Invitation> {
  const nowMs = realClock.now();
  const token = defaultToken({ ttl: TOKEN_TTL, description: 'Made by capstan fleet apply' }, generateToken);
  const { data } = await api.get(configMaps, { name: 'kubeadm-config', namespace: 'kube-system' });
  const cluster = defaultCluster(parseClusterConfiguration(data?.['ClusterConfiguration'] ?? ''), {
    kubernetesVersion: KUBERNETES_VERSION,
  });
  const own = machinePaths({ rootfs: paths.rootfs, certificatesDir: cluster.certificatesDir });
  const authority = new X509Certificate(readFileSync(join(own.pki, 'ca.crt')));
  await writeToken(api, token, { nowMs });
  const invitation = { token: token.token, caCertHashes: [publicKeyHash(authority)] };
  if (!certificates) return invitation;
  const certificateKey = createCertificateKey();
  const { external } = cluster.etcd;
  const { caFile = '', certFile = '', keyFile = '' } = external ?? {};
  await uploadCertificates({
    api,
    files: sharedFiles(own, external && { caFile, certFile, keyFile }),
    certificateKey,
    nowMs,
  });
  return { ...invitation, certificateKey };
}
