/** The threads beside the main one: the data of the control thread and the node thread, and the watchdog of all of them. */
import { hostname } from 'node:os';
import { Worker } from 'node:worker_threads';
import type { ClusterSettings, DataDir } from '#deploy/data-dir.ts';
import type { Pki } from '#deploy/pki/pki.ts';
import type { Heartbeat } from '#runtime/heartbeat.ts';
import { watchdogMs } from '#runtime/service-manager.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import type { ComposedApiServer } from '../apiserver/compose.ts';
import type { ApiServerFlags } from '../apiserver/flags.ts';
import { featuresOn } from '../apiserver/flags/feature-gates.ts';
import { composeOptionsFrom } from '../apiserver/from-flags.ts';
import { containerdDir } from '../node/containerd-dir.ts';
import type { Addresses } from './addresses.ts';
import type { WatchdogData } from './watchdog.ts';
import type { ControlData } from './worker-control.ts';
import { startWorker, type WorkerHandle } from './worker-link.ts';
import type { NodeThreadData } from './worker-node.ts';

const CONTROL_HEAP_MB = 2048;
const NODE_HEAP_MB = 2048;

interface ThreadsOptions {
  readonly dir: DataDir;
  readonly settings: ClusterSettings;
  readonly flags: ApiServerFlags;
  readonly pki: Pki;
  readonly network: Addresses;
  /** Threads load meanwhile, and connect when it is ready. */
  readonly handler: Promise<ComposedApiServer['handler']>;
  readonly onState: (component: string, state: string) => void;
}

interface ClusterThreads {
  readonly control: WorkerHandle;
  readonly node: WorkerHandle;
}

export function startThreads(options: ThreadsOptions): ClusterThreads {
  const { handler, onState } = options;
  return {
    control: startWorker({
      file: new URL('./worker-control.ts', import.meta.url),
      name: 'scheduler and controllers',
      data: controlData(options),
      handler,
      onState,
      maxHeapMb: CONTROL_HEAP_MB,
    }),
    node: startWorker({
      file: new URL('./worker-node.ts', import.meta.url),
      name: 'node',
      data: nodeData(options),
      handler,
      onState,
      maxHeapMb: NODE_HEAP_MB,
    }),
  };
}

function controlData({ settings, flags, pki }: ThreadsOptions): ControlData {
  const { pki: keys, serving } = composeOptionsFrom(flags, { settings: {}, pki });
  return {
    identity: `${hostname()}_${settings.id}`,
    clusterCIDR: settings.podCIDR,
    pkiDir: pki.dir,
    serviceAccountKeyPem: keys.serviceAccountKey.keyPem,
    features: featuresOn(serving?.features),
    endpoints: settings.componentEndpoints ?? false,
  };
}

function nodeData({ dir, settings, pki, network }: ThreadsOptions): NodeThreadData {
  const shared = {
    clusterId: settings.id,
    clusterCIDR: settings.podCIDR,
    dnsServiceIP: network.dns,
    endpoints: settings.componentEndpoints ?? false,
  };
  if (settings.runtime === 'simulated') return { ...shared, simulatedNodes: settings.nodes };
  return {
    ...shared,
    simulatedNodes: 0,
    real: {
      nodeName: hostname().toLowerCase(),
      addresses: network.node,
      gateways: network.gateways,
      podCIDRs: network.nodePodCIDRs,
      clusterCIDRs: settings.podCIDR.split(','),
      clusterDNS: [network.dns],
      dir: dir.node,
      containerdDir: containerdDir(dir),
      serving: { pkiDir: dir.pki },
      caPem: pki.ca.certificatePem,
    },
  };
}

/** If requested by the service manager. */
export function startWatchdog(heartbeats: readonly Heartbeat[], log: Logger): void {
  const wantedMs = watchdogMs();
  if (wantedMs === undefined) return;
  const data: WatchdogData = { heartbeats, periodMs: Math.max(1_000, wantedMs / 4) };
  const watchdog = new Worker(new URL('./watchdog.ts', import.meta.url), { workerData: data });
  watchdog.on('error', (error) => log.error('watchdog ended', { error: errorMessage(error) }));
  watchdog.unref();
}
