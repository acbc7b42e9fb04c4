/** For network-policies.test.ts: the enforcer over a fake API in a network namespace. One command a line on standard input, each answered by one. Ends with its input. */
import { createInterface } from 'node:readline';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import type { ResourceRef } from '#client/client.ts';
import { namespaces, networkPolicies, nodes, pods } from '#client/refs.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import type { KubeObject } from '#machinery/object.ts';
import { realClock } from '#stdx/clock.ts';
import { createLogger } from '#stdx/log.ts';
import { clusterNetworkPolicies } from '../cluster-network-policy.ts';
import { createNetworkPolicies } from '../network-policies.ts';

const REFS: Readonly<Record<string, ResourceRef>> = {
  ClusterNetworkPolicy: clusterNetworkPolicies as ResourceRef,
  Namespace: namespaces as ResourceRef,
  NetworkPolicy: networkPolicies as ResourceRef,
  Node: nodes as ResourceRef,
  Pod: pods as ResourceRef,
};

interface Command {
  readonly do: 'put' | 'delete';
  readonly kind: string;
  readonly object: KubeObject;
}

const api = createClient(createDirectTransport(createFakeApi().handler), {
  userAgent: 'test',
  clock: realClock,
});
const enforcer = createNetworkPolicies({
  api,
  clock: realClock,
  log: createLogger({ level: 'error' }),
  identity: 'test',
  nodeName: 'n1',
  table: 'capstan-policy-test',
  podCIDRs: () => ['10.244.0.0/24', 'fd00:1::/64'],
  sandboxes: async () => new Map(),
});

async function obey({ do: verb, kind, object }: Command): Promise<void> {
  const ref = REFS[kind]!;
  const { name = '', namespace } = object.metadata ?? {};
  if (verb === 'delete') return api.delete(ref, { name, namespace });
  await api.create(ref, object).catch(() => api.update(ref, object));
}

await enforcer.start();
console.log('"ready"');
for await (const line of createInterface({ input: process.stdin })) {
  const answer = await obey(JSON.parse(line) as Command).then(
    () => null,
    (error: unknown) => String(error),
  );
  console.log(JSON.stringify(answer));
}
process.exit(0);
