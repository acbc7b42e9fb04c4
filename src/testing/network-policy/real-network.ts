/**
 * For tests only: a cluster's network in namespaces of this machine, with the rules of network policies that each node's agent would write, in real nftables.
 *
 *   outside .254 ── segment 10.213.0.0/24, fd00:213::/64 ── n1 .1 ── bridge 10.244.1.0/24, fd00:244:1::/64 ── pods n1-1 .2, n1-2 .3 …
 *                                                       └── n2 .2 …
 *
 * Nodes route to each other's pods, and translate an address of a Service for each pod.
 */
import { spawnSync } from 'node:child_process';
import { emptyPolicyContent, type PolicyContent, type Ruleset } from '#node/network-policy/ruleset.ts';
import { policyDifference, renderPolicyBase } from '#node/network-policy/table.ts';
import { BRIDGE_ADDRESS, createLan, type Lan, type LanMachine } from '../lan.ts';
import type { Host } from './connections.ts';

export interface NetworkHost extends Host {
  readonly name: string;
  /** undefined: outside of the cluster. */
  readonly node: string | undefined;
  readonly isPod: boolean;
  /** By family, as addresses. Of pods alone. */
  readonly serviceAddresses: readonly string[];
}

interface NetworkNode {
  readonly name: string;
  readonly podCIDRs: readonly string[];
}

interface Size {
  readonly nodes: number;
  readonly podsPerNode: number;
}

const TABLE = 'capstan-policy-test';
const SUBNET = '10.213.0';

export class RealNetwork {
  readonly nodes: readonly NetworkNode[];
  readonly hosts: readonly NetworkHost[];
  readonly #lan: Lan;
  readonly #written = new Map<string, { content: PolicyContent; cleanup: string }>();

  constructor({ nodes, podsPerNode }: Size) {
    this.#lan = createLan(`netpol-real-${process.pid}`, SUBNET);
    try {
      const indexes = Array.from({ length: nodes }, (_none, index) => index + 1);
      this.nodes = indexes.map((index) => ({ name: `n${index}`, podCIDRs: podCIDRs(index) }));
      const machines = indexes.map((index) => this.#makeNode(index));
      const pods = indexes.flatMap((index) =>
        Array.from({ length: podsPerNode }, (_none, at) =>
          this.#makePod(machines[index - 1]!, { index, at }),
        ),
      );
      this.#connect(machines);
      this.hosts = [
        ...pods,
        ...machines.map((machine, index) => ({
          ...hostOf(machine, segmentAddresses(index + 1)),
          name: `n${index + 1}`,
          node: `n${index + 1}`,
        })),
        { ...hostOf(this.#lan.outside, segmentAddresses(254)), name: 'outside', node: undefined },
      ];
      for (const machine of machines) this.#nft(machine, serviceRules(pods));
    } catch (error) {
      void this.#lan.close();
      throw error;
    }
  }

  /** As the agent: the difference to what it wrote before; whole: as after its restart. */
  write(node: string, ruleset: Ruleset, { whole = false }: { readonly whole?: boolean } = {}): void {
    const machine = this.#lan.namespaceOf(node);
    const before = whole ? undefined : this.#written.get(node);
    const content = ruleset.content();
    const { script, cleanup } = policyDifference(TABLE, {
      from: before?.content ?? emptyPolicyContent(),
      to: content,
    });
    if (before?.cleanup) this.#nft(machine, before.cleanup);
    if (before === undefined) this.#nft(machine, `${renderPolicyBase(TABLE)}${script}`);
    else if (script !== '') this.#nft(machine, script);
    this.#written.set(node, { content, cleanup });
  }

  close(): Promise<void> {
    return this.#lan.close();
  }

  #makeNode(index: number): LanMachine {
    const machine = this.#lan.machine(`n${index}`, `${SUBNET}.${index}`);
    batch(machine, [
      `address add ${segmentAddresses(index)[1]}/64 dev eth0 nodad`,
      `link add bridge address ${BRIDGE_ADDRESS} type bridge`,
      ...bridgeAddresses(index).map(
        (address, family) => `address add ${address}/${family ? '64 dev bridge nodad' : '24 dev bridge'}`,
      ),
      'link set bridge up',
    ]);
    const settings = {
      'ipv4/ip_forward': 1,
      'ipv6/conf/all/forwarding': 1,
      'bridge/bridge-nf-call-iptables': 1,
      'bridge/bridge-nf-call-ip6tables': 1,
      'ipv4/conf/all/rp_filter': 0,
      'ipv4/conf/eth0/rp_filter': 0,
      'ipv4/conf/bridge/rp_filter': 0,
    };
    const lines = Object.entries(settings).map(([path, value]) => `echo ${value} > /proc/sys/net/${path}`);
    machine.run('sh', '-ec', lines.join('\n'));
    return machine;
  }

  #makePod(node: LanMachine, { index, at }: { readonly index: number; readonly at: number }): NetworkHost {
    const name = `n${index}-${at + 1}`;
    const machine = this.#lan.namespace(name);
    const addresses = [`10.244.${index}.${at + 2}`, `fd00:244:${index}::${at + 2}`];
    batch(node, [
      `link add ${name} type veth peer name eth0 netns ${machine.name}`,
      `link set ${name} master bridge up`,
    ]);
    batch(machine, [
      ...addresses.map(
        (address, family) => `address add ${address}/${family ? '64 dev eth0 nodad' : '24 dev eth0'}`,
      ),
      'link set eth0 up',
      ...bridgeAddresses(index).map((via) => `route add default via ${via} dev eth0`),
    ]);
    return {
      ...hostOf(machine, addresses),
      name,
      node: `n${index}`,
      isPod: true,
      serviceAddresses: [`10.96.${index}.${at + 2}`, `fd00:96:${index}::${at + 2}`],
    };
  }

  #connect(machines: readonly LanMachine[]): void {
    const routesTo = (index: number): string[] =>
      podCIDRs(index).map((range, family) => `route add ${range} via ${segmentAddresses(index)[family]}`);
    for (const machine of [...machines, this.#lan.outside])
      batch(machine, [
        ...(machine === this.#lan.outside
          ? [`address add ${segmentAddresses(254)[1]}/64 dev segment nodad`]
          : []),
        ...machines.flatMap((other, index) => (other === machine ? [] : routesTo(index + 1))),
        // Service addresses need a route before they are translated.
        ...(machine === this.#lan.outside
          ? []
          : segmentAddresses(254).map((via) => `route add default via ${via}`)),
      ]);
  }

  #nft(machine: LanMachine, script: string): void {
    const { status, stderr } = spawnSync('ip', ['netns', 'exec', machine.name, 'nft', '-f', '-'], {
      input: script,
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`nft refused in ${machine.name}: ${stderr}\n${script}`);
  }
}

function hostOf(machine: LanMachine, addresses: readonly string[]) {
  return { namespace: machine.name, addresses, isPod: false, serviceAddresses: [] };
}

function podCIDRs(index: number): readonly string[] {
  return [`10.244.${index}.0/24`, `fd00:244:${index}::/64`];
}

function bridgeAddresses(index: number): readonly string[] {
  return [`10.244.${index}.1`, `fd00:244:${index}::1`];
}

function segmentAddresses(index: number): readonly string[] {
  return [`${SUBNET}.${index}`, `fd00:213::${index.toString(16)}`];
}

function serviceRules(pods: readonly NetworkHost[]): string {
  const rules = pods.flatMap(({ addresses, serviceAddresses }) =>
    serviceAddresses.map((from, family) => {
      const ip = family === 0 ? 'ip' : 'ip6';
      return `    ${ip} daddr ${from} dnat ${ip} to ${addresses[family]}`;
    }),
  );
  const chain = (hook: string): string =>
    [`  chain ${hook} {`, `    type nat hook ${hook} priority -100; policy accept;`, ...rules, '  }'].join(
      '\n',
    );
  return `table inet services {\n${chain('prerouting')}\n${chain('output')}\n}\n`;
}

function batch(machine: LanMachine, lines: readonly string[]): void {
  const { status, stderr } = spawnSync('ip', ['-netns', machine.name, '-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`ip refused in ${machine.name}: ${stderr}\n${lines.join('\n')}`);
}
