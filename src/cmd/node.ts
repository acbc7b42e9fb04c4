/** `capstan node`: simulated nodes as a program of its own. */
import { UserError } from '#deploy/data-dir.ts';
import { createSimulatedNodes, simulatedNodeNames } from '#node/simulated/simulated-nodes.ts';
import { runComponent, type ComponentFlags } from './run-component.ts';
import { KUBERNETES_VERSION } from './version.ts';

export interface NodeFlags extends ComponentFlags {
  readonly runtime: 'cri' | 'simulated';
  /** Simulated only. Default 1. */
  readonly nodes?: number;
  /** Simulated: name of the only node, or what the names of several begin with. Default 'node'. */
  readonly nodeName?: string;
}

export async function runNode(flags: NodeFlags): Promise<void> {
  if (flags.runtime === 'cri') throw new UserError('--runtime cri is not possible by itself yet: real containers come with capstan up.');
  const names = nodeNames(flags);
  await runComponent({
    name: 'simulated-nodes', flags,
    create: (context) => createSimulatedNodes({ ...context, names, kubeletVersion: KUBERNETES_VERSION }),
  });
}

export function nodeNames({ nodeName, nodes = 1 }: Pick<NodeFlags, 'nodeName' | 'nodes'>): string[] {
  if (nodeName === undefined) return simulatedNodeNames(nodes);
  if (!/^[a-z0-9]([-a-z0-9.]{0,240}[a-z0-9])?$/.test(nodeName)) throw new UserError(`--node-name is "${nodeName}"; it should be lower case letters, digits, '-' and '.', as in a DNS name.`);
  return nodes === 1 ? [nodeName] : Array.from({ length: nodes }, (_, index) => `${nodeName}-${index + 1}`);
}
