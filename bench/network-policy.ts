/**
 * Time from a change of a NetworkPolicy to packets that follow it, in a cluster with many policies: the enforcer of one node over an API of its own process, real nftables, and
 * connections between two of its pods as network namespaces. As root: `node bench/network-policy.ts [--policies 1000] [--pods 1000] [--local-pods 100] [--changes 200]`
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { KubeObject } from '#machinery/object.ts';
import { createLan, type LanMachine } from '#testing/lan.ts';
import { loadNativeSockets, SOCK_STREAM } from '#testing/network-policy/native-sockets.ts';

const PORT = 8080;
const FIRST_SOURCE_PORT = 20_000;
/** A connection that is let through is open before that. */
const OPEN_MS = 3;
const TIMEOUT_MS = 10_000;
const ENFORCER = new URL('../src/node/network-policy/testing/enforcer.ts', import.meta.url).pathname;

const { values } = parseArgs({
  options: {
    policies: { type: 'string', default: '1000' },
    pods: { type: 'string', default: '1000' },
    'local-pods': { type: 'string', default: '100' },
    changes: { type: 'string', default: '200' },
  },
});
const counts = {
  policies: Number(values.policies),
  pods: Number(values.pods),
  local: Number(values['local-pods']),
  changes: Number(values.changes),
};

function pod(name: string, ip: string, node: string): KubeObject {
  const number = /\d+$/.exec(name)?.[0];
  const app = number === undefined ? name : `app-${Number(number) % 50}`;
  return {
    metadata: { name, namespace: 'default', uid: name, labels: { app, name } },
    spec: { nodeName: node, containers: [{ name: 'c', ports: [{ name: 'web', containerPort: PORT }] }] },
    status: { phase: 'Running', podIPs: [{ ip }] },
  } as KubeObject;
}

/** Most select some pods of the node, by their app; peers are pods and blocks, ports numbers and names. */
function policy(index: number): KubeObject {
  const from = [
    { podSelector: { matchLabels: { app: `app-${(index * 7) % 50}` } } },
    { ipBlock: { cidr: `192.0.${index % 250}.0/24`, except: [`192.0.${index % 250}.128/25`] } },
  ];
  return {
    metadata: { name: `policy-${index}`, namespace: 'default' },
    spec: {
      podSelector: { matchLabels: { app: `app-${index % 50}` } },
      policyTypes: ['Ingress'],
      ingress: [{ from, ports: [{ port: 'web' }, { port: 1_000 + index }] }],
    },
  } as KubeObject;
}

const toggled = (allows: boolean): KubeObject =>
  ({
    metadata: { name: 'toggled', namespace: 'default' },
    spec: {
      podSelector: { matchLabels: { name: 'server' } },
      policyTypes: ['Ingress'],
      ingress: allows ? [{ from: [{ podSelector: { matchLabels: { name: 'client' } } }] }] : [],
    },
  }) as KubeObject;

const lan = createLan(`bench-policy-${process.pid}`, '10.217.0');
const sockets = await loadNativeSockets();
try {
  const node = lan.machine('node', '10.217.0.1');
  node.run('ip', 'link', 'add', 'bridge', 'type', 'bridge');
  node.run('ip', 'address', 'add', '10.244.0.1/24', 'dev', 'bridge');
  node.run('ip', 'link', 'set', 'bridge', 'up');
  const attach = (name: string, address: string): LanMachine => {
    const machine = lan.namespace(name);
    node.run('ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', machine.name);
    node.run('ip', 'link', 'set', name, 'master', 'bridge', 'up');
    machine.run('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
    machine.run('ip', 'link', 'set', 'eth0', 'up');
    return machine;
  };
  const [client, server] = ['10.244.0.2', '10.244.0.3'];
  const from = attach('client', client!);
  const listener = sockets.open(attach('server', server!).name, {
    type: SOCK_STREAM,
    at: { address: server!, port: PORT },
    listens: true,
  });
  const enforcer = node.start([process.execPath, ENFORCER]);
  enforcer.stderr!.pipe(process.stderr);
  const answers = createInterface({ input: enforcer.stdout! })[Symbol.asyncIterator]();
  await answers.next();
  const put = async (kind: string, object: KubeObject): Promise<void> => {
    enforcer.stdin!.write(`${JSON.stringify({ do: 'put', kind, object })}\n`);
    await answers.next();
  };
  let sourcePort = FIRST_SOURCE_PORT;
  const isThrough = async (): Promise<boolean> => {
    sourcePort += 1;
    const at = { address: client!, port: sourcePort };
    const socket = sockets.open(from.name, { type: SOCK_STREAM, at });
    const to = { address: server!, port: PORT };
    let problem = socket.connect(to);
    for (let waitedMs = 0; problem !== undefined && waitedMs < OPEN_MS; waitedMs += 1) {
      await sleep(1);
      problem = socket.connect(to);
    }
    socket.close();
    for (let one = listener.accept(); one; one = listener.accept()) one.close();
    return problem === undefined;
  };
  /** Milliseconds until connections are as wanted; the resolution is OPEN_MS. */
  const change = async (allows: boolean): Promise<number> => {
    const startedMs = performance.now();
    const told = put('NetworkPolicy', toggled(allows));
    for (;;) {
      const triedMs = performance.now();
      if ((await isThrough()) === allows) {
        await told;
        return (allows ? performance.now() : triedMs) - startedMs;
      }
      if (triedMs - startedMs > TIMEOUT_MS) throw new Error('the change is not in force');
    }
  };
  await put('Namespace', { metadata: { name: 'default', labels: {} } } as KubeObject);
  await put('Pod', pod('client', client!, 'n1'));
  await put('Pod', pod('server', server!, 'n1'));
  for (let index = 0; index < counts.local; index += 1)
    await put('Pod', pod(`local-${index}`, `10.244.0.${index + 10}`, 'n1'));
  for (let index = 0; index < counts.pods; index += 1)
    await put('Pod', pod(`pod-${index}`, `10.244.${1 + (index >> 8)}.${index & 255}`, 'n2'));
  for (let index = 0; index < counts.policies; index += 1) await put('NetworkPolicy', policy(index));
  for (let warm = 0; warm < 10; warm += 1) await change(warm % 2 === 1);
  const took: number[] = [];
  for (let index = 0; index < counts.changes; index += 1) took.push(await change(index % 2 === 1));
  took.sort((a, b) => a - b);
  const at = (share: number): string =>
    took[Math.min(took.length - 1, Math.floor(took.length * share))]!.toFixed(0);
  console.log(
    `${counts.policies} policies, ${counts.pods + counts.local} pods, ${counts.local} of the node: ${took.length} changes in force after p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, at most ${at(1)} ms`,
  );
  enforcer.kill('SIGKILL');
  await once(enforcer, 'exit');
} finally {
  sockets.close();
  await lan.close();
}
