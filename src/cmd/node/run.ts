/** `capstan node`: the node of this machine, or simulated nodes, as a program of its own. */
import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { runningPid } from '#deploy/daemon.ts';
import { dataDir, UserError } from '#deploy/data-dir.ts';
import { ensureBridge, computeGateway } from '#node/containerd/bridge.ts';
import { ContainerdError } from '#node/containerd/errors.ts';
import type { UsedCertificate } from '#node/certificates/trust-follower.ts';
import { findHostAddress } from '#node/host-address.ts';
import { podMtu } from '#node/network/kernel.ts';
import { wireguardProblem } from '#node/network/wireguard.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { isMachineStopping } from '#node/containerd/systemd.ts';
import { containerdDir as containerdDirOf } from './containerd-dir.ts';
import { nodeSettingsFrom, requireKernelDefaults, requireNoSwap } from './from-flags.ts';
import type { NodeSettings } from './settings.ts';
import {
  readClientCertificate,
  givenServing,
  joinCluster,
  keptServing,
  readFlagFile,
  withClientCertificate,
  withServingCertificate,
  withTrust,
  requireAuthority,
} from './certificates.ts';
import { lockNodeDir, readNodeRecord, requireSameRoot, writeNodeRecord } from './node-dir.ts';
import { createRealNode, type RealNode } from './compose.ts';
import {
  assignedPodRanges,
  clusterRanges,
  givenRanges,
  nodeAddresses,
  podNetworkMode,
  startRanges,
  withConfirmedRange,
} from './pod-range.ts';
import { createSimulatedNodes, simulatedNodeNames } from '#node/simulated/simulated-nodes.ts';
import { readFlags, shownFlags } from '../flags/define.ts';
import { runComponent } from '../run-component.ts';
import { KUBELET, KUBELET_FIELDS } from '#deploy/config/kubelet.ts';
import { loggerFrom } from '../flags/common.ts';
import { effectiveConfig, warnAll, withConfigFile } from '../flags/config-file.ts';
import { MACHINE_FLAGS, NODE_FLAGS, type NodeFlags } from './flags.ts';
import { KUBERNETES_VERSION } from '../version.ts';

export async function runNode(given: NodeFlags): Promise<void> {
  const { flags, warnings } = withConfigFile(NODE_FLAGS, given, { kind: KUBELET, fields: KUBELET_FIELDS });
  warnAll(warnings, loggerFrom(flags, 'kubelet'));
  if (readFlags(MACHINE_FLAGS, flags).runtime === 'cri')
    return runRealNode(flags).catch((error: unknown) => {
      throw explained(error);
    });
  const names = nodeNames(flags);
  const [nodeName = ''] = names;
  if (flags.bootstrapKubeconfig !== undefined && names.length > 1)
    throw new UserError('--bootstrap-kubeconfig is for one node: each has credentials of its own.');
  await joinCluster(flags, nodeName);
  await runComponent({
    name: 'simulated-nodes',
    flags,
    create: (context) =>
      withClientCertificate(createSimulatedNodes({ ...context, names, kubeletVersion: KUBERNETES_VERSION }), {
        flags,
        nodeName,
        context,
        used: [],
      }),
  });
}

/** Containers outlive it, unless the machine is shutting down: they are adopted when it starts again. */
async function runRealNode(flags: NodeFlags): Promise<void> {
  const dir = requireFlag(flags.dataDir, {
    flag: '--data-dir',
    why: "it is where containerd and the pods' files live",
  });
  requireRoot();
  refuseClusterDir(dir);
  await requirePodNetwork(flags);
  clusterRanges(flags);
  nodeAddresses(flags);
  const nodeName = (givenName(flags) ?? hostname()).toLowerCase();
  const settings = nodeSettingsFrom(flags);
  await requireKernelDefaults(flags);
  requireNoSwap(flags);
  const given = await givenServing(flags);
  const lock = lockNodeDir(dir);
  try {
    await joinCluster(flags, nodeName);
    await runLockedNode(flags, { dir, nodeName, settings, given });
  } finally {
    lock.release();
  }
}

async function requirePodNetwork(flags: NodeFlags): Promise<void> {
  if (podNetworkMode(flags) !== 'wireguard') return;
  const problem = await wireguardProblem();
  if (problem !== undefined) throw new UserError(`--pod-network wireguard: ${problem}.`);
}

function requireRoot(): void {
  if (process.platform !== 'linux')
    throw new UserError(
      `A node with real containers needs Linux; this is ${process.platform}. Simulated nodes: --runtime simulated.`,
    );
  if (process.getuid?.() !== 0)
    throw new UserError(
      'A node with real containers needs root. Simulated nodes do not: --runtime simulated.',
    );
}

/** Its node is in DIR/node, run by `capstan up`. */
function refuseClusterDir(path: string): void {
  const cluster = dataDir(path);
  if (!existsSync(cluster.settingsFile)) return;
  const pid = runningPid(cluster);
  throw new UserError(
    `${path} is the directory of a cluster of 'capstan up'${pid === undefined ? '' : `, whose node process ${pid} runs`}; it should be a directory of the node's own.`,
  );
}

interface NodePlan {
  readonly dir: string;
  readonly nodeName: string;
  readonly settings: NodeSettings;
  readonly given: Awaited<ReturnType<typeof givenServing>>;
}

async function runLockedNode(flags: NodeFlags, { dir, nodeName, settings, given }: NodePlan): Promise<void> {
  const { clusterDns: clusterDNS, vxlanId } = readFlags(MACHINE_FLAGS, flags);
  const clientCaPem =
    flags.clientCaFile === undefined ? undefined : await readFlagFile('--client-ca-file', flags.clientCaFile);
  const containerdDir = containerdDirOf({ node: dir });
  const { rootDir } = settings.agent ?? {};
  requireSameRoot(dir, rootDir);
  const before = readNodeRecord(dir);
  const kept = givenRanges(flags) ?? (before?.nodeName === nodeName ? before.podCIDR?.split(',') : undefined);
  let node: RealNode | undefined;
  await runComponent({
    name: 'kubelet',
    flags,
    // Its API server may be one of its static pods.
    startsAlone: kept !== undefined || settings.agent?.staticPodPath !== undefined,
    create: async (context) => {
      const { server } = context.connection.options;
      const record = (podCIDRs: readonly string[] | undefined): void =>
        writeNodeRecord(dir, { server, nodeName, podCIDR: podCIDRs?.join(), rootDir });
      record(kept);
      const ca = requireAuthority(context.connection);
      const assigned = { ...context, nodeName, settings };
      const found = await startRanges({
        ...assigned,
        given: givenRanges(flags),
        kept,
        apiAnswers: context.apiAnswers,
      });
      const own = nodeAddresses(flags) ?? (await hostAddresses());
      // Without an address of its own the machine is known by its bridge's, which comes of the range.
      const podCIDRs = found.podCIDRs ?? (own ? undefined : await assignedPodRanges(assigned));
      if (podCIDRs) record(podCIDRs);
      const addresses = own ?? [computeGateway(podCIDRs?.[0] ?? '')];
      const [address = ''] = addresses;
      const mode = podNetworkMode(flags);
      const podNetwork = mode && {
        mode,
        vxlanId,
        mtu: await podMtu(address, mode),
      };
      const layout = containerdLayout({ dir: containerdDir });
      const bridge = (ranges: readonly string[]): Promise<readonly string[]> =>
        ensureBridge(layout, { podCIDRs: ranges, mtu: podNetwork?.mtu });
      const gateways = podCIDRs ? await bridge(podCIDRs) : [];
      const serving =
        given ?? (await keptServing(flags, { nodeName, addresses, nowMs: context.clock.now() }));
      const made = await createRealNode({
        ...context,
        clientCertificate: () => readClientCertificate(context),
        async assignPodRanges(stopping) {
          const ranges = await assignedPodRanges({ ...assigned, stopping, agentRuns: true });
          record(ranges);
          await bridge(ranges);
          return ranges;
        },
        data: {
          nodeName,
          addresses,
          gateways,
          podCIDRs,
          clusterCIDRs: clusterRanges(flags),
          podNetwork,
          clusterDNS,
          dir,
          containerdDir,
          caPem: clientCaPem ?? ca,
          serving,
          settings,
          shown: {
            flags: shownFlags(NODE_FLAGS, flags),
            config: { kubeletconfig: effectiveConfig(NODE_FLAGS, flags, KUBELET_FIELDS) },
          },
        },
      });
      node = made;
      const names = { nodeName, dnsNames: [nodeName], ipAddresses: addresses };
      const used: UsedCertificate[] = [];
      const around = { flags, context, used };
      const component = given ? made.component : withServingCertificate(made, { ...around, names });
      const renewed = withClientCertificate(component, {
        ...around,
        nodeName,
        failed: () => made.renewFailed('client'),
      });
      const trusted = withTrust(renewed, { ...around, nodeName, node: made });
      return podCIDRs && found.isUnconfirmed
        ? withConfirmedRange(trusted, { ...assigned, podCIDRs })
        : trusted;
    },
  });
  // At shutdown nothing outlives it: the pods get their grace period before systemd ends their scope.
  if (await isMachineStopping()) await node?.stopContainers();
  else await node?.leave();
}

async function hostAddresses(): Promise<readonly string[] | undefined> {
  const address = await findHostAddress();
  return address === undefined ? undefined : [address];
}

/** An error that names what the machine lacks, in one sentence. */
function explained(error: unknown): unknown {
  if (!(error instanceof ContainerdError)) return error;
  return new UserError(
    error.code === 'network' && error.message.endsWith('choose another pod range')
      ? `${error.message} with --pod-cidr.`
      : error.message,
    error,
  );
}

function requireFlag(
  value: string | undefined,
  { flag, why }: { readonly flag: string; readonly why: string },
): string {
  if (!value) throw new UserError(`${flag} is needed: ${why}.`);
  return value;
}

/** Both flags mean the same. */
function givenName({ hostnameOverride, nodeName }: NodeFlags): string | undefined {
  return hostnameOverride ?? nodeName;
}

export function nodeNames(flags: NodeFlags): string[] {
  const { nodes } = readFlags(MACHINE_FLAGS, flags);
  const nodeName = givenName(flags);
  if (nodeName === undefined) return simulatedNodeNames(nodes);
  if (!/^[a-z0-9]([-a-z0-9.]{0,240}[a-z0-9])?$/.test(nodeName))
    throw new UserError(
      `--node-name is "${nodeName}"; it should be lower case letters, digits, '-' and '.', as in a DNS name.`,
    );
  return nodes === 1 ? [nodeName] : Array.from({ length: nodes }, (_, index) => `${nodeName}-${index + 1}`);
}
