/** The node's pod ranges: --pod-cidr, else those that the node IPAM controller writes into the registered Node. Also the network between nodes. */
import { isIPv6 } from 'node:net';
import type { Node } from '#api/types.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { Client } from '#client/client.ts';
import { nodes } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { formatIP, parseIP, validateLegacyIP } from '#machinery/ip.ts';
import { isGlobalUnicast } from '#node/host-address.ts';
import { newNode } from '#node/agent/node/node-registration.ts';
import type { PodNetworkMode } from '#node/network/peers.ts';
import type { Component } from '#runtime/component.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { readFlags } from '../flags/define.ts';
import { parseRanges } from '../flags/ranges.ts';
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
  return mode === 'none' ? undefined : mode;
}

/** Of all pods of the cluster. Throws a UserError. */
export function clusterRanges(flags: NodeFlags): readonly string[] {
  if (flags.clusterCidr !== undefined) return parseRanges('--cluster-cidr', flags.clusterCidr);
  return givenRanges(flags) ?? [DEFAULT_CLUSTER_CIDR];
}

/** Of --pod-cidr. Throws a UserError. */
export function givenRanges({ podCidr }: NodeFlags): readonly string[] | undefined {
  return podCidr === undefined ? undefined : parseRanges('--pod-cidr', podCidr);
}

/** Of --node-ip: one, or one of each family, the primary one first. Throws a UserError. */
export function nodeAddresses({ nodeIp }: NodeFlags): readonly string[] | undefined {
  if (nodeIp === undefined) return undefined;
  const addresses = nodeIp.split(',').map((text) => {
    const address = text.trim();
    const [problem] = validateLegacyIP(address);
    if (problem !== undefined) throw new UserError(`--node-ip is "${nodeIp}"; "${address}" ${problem}.`);
    if (!isGlobalUnicast(address))
      throw new UserError(`--node-ip is "${nodeIp}"; ${address} is not an address that others can reach.`);
    return formatIP(parseIP(address)!);
  });
  const families = new Set(addresses.map((address) => isIPv6(address)));
  if (addresses.length > 2 || families.size !== addresses.length)
    throw new UserError(
      `--node-ip is "${nodeIp}"; it should be one address, or one of each IP family with a comma between.`,
    );
  return addresses;
}

interface Assigned {
  readonly api: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  readonly settings: NodeSettings;
  /** Ends the wait. */
  readonly stopping?: AbortSignal;
  /** The node agent runs: it registers the Node, and says there that a range is missing, so the wait has no other end. */
  readonly agentRuns?: boolean | undefined;
}

interface StartRanges {
  /** Undefined: the node starts without, and learns them later. */
  readonly podCIDRs: readonly string[] | undefined;
  /** Those of the last start, which the API has not confirmed. */
  readonly isUnconfirmed: boolean;
}

/** What a node can start with at once: given ones, its Node's, or while the API does not tell, those of its last start. */
export async function startRanges(
  options: Assigned & {
    readonly given: readonly string[] | undefined;
    readonly kept: readonly string[] | undefined;
    readonly apiAnswers: boolean;
  },
): Promise<StartRanges> {
  const { given, kept, apiAnswers, api, nodeName, log } = options;
  if (given) return { podCIDRs: given, isUnconfirmed: false };
  if (!apiAnswers) return { podCIDRs: kept, isUnconfirmed: kept !== undefined };
  try {
    const ranges = rangesOf(await api.get(nodes, { name: nodeName }));
    return { podCIDRs: ranges.length > 0 ? ranges : undefined, isUnconfirmed: false };
  } catch (error) {
    // Of a Node that was deleted meanwhile, the new one may get others.
    if (isStatusError(error, 'NotFound')) return { podCIDRs: undefined, isUnconfirmed: false };
    log.warn('error reading the pod range of this node', { node: nodeName, error: errorMessage(error) });
    return { podCIDRs: kept, isUnconfirmed: kept !== undefined };
  }
}

/** Throws a UserError when no range was assigned after WAIT_MS, and the reason of `stopping`. */
export async function assignedPodRanges(options: Assigned): Promise<readonly string[]> {
  const { clock, log, nodeName, stopping, agentRuns = false } = options;
  const deadline = agentRuns ? Infinity : clock.monotonic() + WAIT_MS;
  for (let lastLogMs = -Infinity; ; await clock.sleep(ASK_EVERY_MS, stopping)) {
    let problem = 'no controller assigned one';
    try {
      const ranges = await askForRanges(options);
      if (ranges.length > 0) return ranges;
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
  { podCIDRs, ...options }: Assigned & { readonly podCIDRs: readonly string[] },
): Component {
  const stop = new AbortController();
  const failed = Promise.withResolvers<Error>();
  const confirm = async (): Promise<void> => {
    await component.start();
    const ranges = await assignedPodRanges({ ...options, stopping: stop.signal });
    if (ranges.join() !== podCIDRs.join())
      failed.resolve(
        new Error(
          `the pod range of node ${options.nodeName} is ${ranges.join()} by now, it started with ${podCIDRs.join()}`,
        ),
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

async function askForRanges({ api, nodeName, settings, agentRuns }: Assigned): Promise<readonly string[]> {
  const node = await api.get(nodes, { name: nodeName }).catch((error: unknown) => {
    if (agentRuns || !isStatusError(error, 'NotFound')) throw error;
    const { labels = {}, taints = [] } = settings.agent ?? {};
    return api.create(nodes, newNode({ nodeName, podCIDRs: undefined, labels, taints }));
  });
  return rangesOf(node);
}

function rangesOf({ spec }: Node): readonly string[] {
  return spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : []);
}
