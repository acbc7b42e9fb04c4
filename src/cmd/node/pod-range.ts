/** The node's pod range: --pod-cidr, else the one that the node IPAM controller writes into the registered Node. Also the network between nodes. */
import { UserError } from '#deploy/data-dir.ts';
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { newNode } from '#node/agent/node/node-registration.ts';
import type { PodNetworkMode } from '#node/network/peers.ts';
import type { Component } from '#runtime/component.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { readFlags } from '../flags/define.ts';
import { MACHINE_FLAGS, type NodeFlags } from './flags.ts';
import type { NodeSettings } from './settings.ts';

/** As of the controller manager and the service proxy. */
const DEFAULT_CLUSTER_CIDR = '10.244.0.0/16';
const WAIT_MS = 5 * 60_000;
const ASK_EVERY_MS = 500;
/** How often the wait is logged. */
const LOG_EVERY_MS = 30_000;

/** undefined: routes to the pods of other nodes are somebody else's. Throws a UserError. */
export function podNetworkMode(flags: NodeFlags): PodNetworkMode | undefined {
  const mode = readFlags(MACHINE_FLAGS, flags).podNetwork ?? (flags.podCidr === undefined ? 'auto' : 'none');
  if (mode === 'wireguard')
    throw new UserError('--pod-network wireguard is not supported; auto, direct and vxlan are.');
  return mode === 'none' ? undefined : mode;
}

/** Of all pods of the cluster. */
export function clusterRange(flags: NodeFlags): string {
  return flags.clusterCidr ?? flags.podCidr ?? DEFAULT_CLUSTER_CIDR;
}

interface Assigned {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  readonly settings: NodeSettings;
  /** Ends the wait. */
  readonly stopping?: AbortSignal;
}

/** Throws a UserError when no range was assigned after WAIT_MS, and the reason of `stopping`. */
export async function assignedPodRange(options: Assigned): Promise<string> {
  const { clock, log, nodeName, stopping } = options;
  const deadline = clock.monotonic() + WAIT_MS;
  for (let lastLogMs = -Infinity; ; await clock.sleep(ASK_EVERY_MS, stopping)) {
    let problem = 'no controller assigned one';
    try {
      const range = await askForRange(options);
      if (range !== undefined) return range;
    } catch (error) {
      problem = errorMessage(error);
    }
    const nowMs = clock.monotonic();
    if (nowMs > deadline)
      throw new UserError(
        `Node ${nodeName} has no pod range after ${WAIT_MS / 60_000} minutes (${problem}): does the node IPAM controller run, and is a range of --cluster-cidr left? Or give one with --pod-cidr.`,
      );
    if (nowMs - lastLogMs < LOG_EVERY_MS) continue;
    lastLogMs = nowMs;
    log.info('waiting for the pod range of this node', { node: nodeName, problem });
  }
}

/**
 * A node that started with the range of its last start, while no API server answered: fails when its Node has another one by now (it was deleted
 * meanwhile), so that it is started again with that.
 */
export function withConfirmedRange(
  component: Component,
  { podCIDR, ...options }: Assigned & { readonly podCIDR: string },
): Component {
  const stop = new AbortController();
  const failed = Promise.withResolvers<Error>();
  const confirm = async (): Promise<void> => {
    await component.start();
    const range = await assignedPodRange({ ...options, stopping: stop.signal });
    if (range !== podCIDR)
      failed.resolve(
        new Error(`the pod range of node ${options.nodeName} is ${range} by now, it started with ${podCIDR}`),
      );
  };
  return {
    name: component.name,
    async start() {
      await confirm().catch((error: unknown) => {
        if (!stop.signal.aborted) throw error;
      });
    },
    stop() {
      stop.abort(new Error('node agent stopped'));
      return component.stop();
    },
    onFailure(callback) {
      component.onFailure?.(callback);
      void failed.promise.then(callback);
    },
  };
}

async function askForRange({ api, nodeName, settings }: Assigned): Promise<string | undefined> {
  const node = await api.get(nodes, { name: nodeName }).catch((error: unknown) => {
    if (!isStatusError(error, 'NotFound')) throw error;
    const { labels = {}, taints = [] } = settings.agent ?? {};
    return api.create(nodes, newNode({ nodeName, podCIDR: undefined, labels, taints }));
  });
  const ranges = node.spec?.podCIDRs ?? (node.spec?.podCIDR ? [node.spec.podCIDR] : []);
  const range = ranges.find((one) => !one.includes(':'));
  if (ranges.length > 0 && range === undefined)
    throw new UserError(`the range of node ${nodeName} is ${ranges.join()}: pods need an IPv4 range`);
  return range;
}
