/**
 * For pod-network.test.ts: runs inside a network namespace that stands for a machine, and keeps its pod network over a fake API. One JSON object a line on
 * its standard input; each is answered by a line, the result in JSON. Its argument is the options of the pod network.
 */
import { createInterface } from 'node:readline';
import type { Node } from '#api/types.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { nodes } from '#client/refs.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { podMtu, removePodNetwork } from '../kernel.ts';
import { removeTunnelGuard } from '../tunnel-guard.ts';
import { createPodNetwork, type PodNetworkOptions } from '../pod-network.ts';

export type AgentOptions = Pick<
  PodNetworkOptions,
  'names' | 'nodeName' | 'podCIDRs' | 'clusterCIDRs' | 'nodeAddress' | 'mode' | 'vxlanId' | 'wireguardDir'
>;

export type AgentCommand =
  | { readonly do: 'put'; readonly node: Node }
  | { readonly do: 'annotate'; readonly name: string; readonly annotations: Readonly<Record<string, string>> }
  | { readonly do: 'get'; readonly name: string }
  | { readonly do: 'delete'; readonly name: string }
  | { readonly do: 'stop' }
  | { readonly do: 'remove' };

const options = JSON.parse(process.argv[2] ?? '{}') as AgentOptions;
const fake = createFakeApi();
const api = createClient(createDirectTransport(fake.handler, { user: { name: 'node', groups: [] } }), {
  userAgent: 'test',
});
const network = createPodNetwork({
  ...options,
  mtu: await podMtu(options.nodeAddress, options.mode),
  api,
  clock: realClock,
  log: createLogger({ level: 'warn' }),
  identity: 'test',
});

async function execute(command: AgentCommand): Promise<unknown> {
  if (command.do === 'put') return api.create(nodes, command.node);
  if (command.do === 'get') return api.get(nodes, { name: command.name });
  if (command.do === 'annotate')
    return api.patch(
      nodes,
      { name: command.name },
      { type: 'merge', patch: { metadata: { annotations: command.annotations } } },
    );
  if (command.do === 'delete') return api.delete(nodes, { name: command.name });
  if (command.do === 'stop') return network.stop();
  await removeTunnelGuard(options.names);
  return removePodNetwork(options.names);
}

await network.start();
console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify((await execute(JSON.parse(line) as AgentCommand)) ?? null));
}
await network.stop();
process.exit(0);
