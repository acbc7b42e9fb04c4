/**
 * The pods' network on this node: a bridge with host-local addresses and port mappings through CNI, and one nftables table that
 * masquerades what leaves it. The bridge plugin's own ipMasq is not used: it needs iptables.
 */
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { ipFamily } from '#machinery/ip.ts';
import { existsSync, readFileSync } from 'node:fs';
import { BlockList, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { switchOnForwarding } from '#stdx/ip-forwarding.ts';
import type { Logger } from '#stdx/log.ts';
import { loadBridgeFilter, switchOnBridgeFilter } from '#stdx/sysctl.ts';
import { cachedAttachments, forgetAttachment, type CachedAttachment } from './cached-attachments.ts';
import { ContainerdError } from './errors.ts';
import type { ContainerdLayout } from './layout.ts';
import { removePodNetwork } from '../network/kernel.ts';
import { run } from './run.ts';
import { releaseToNetworkd } from './systemd.ts';

interface PodNetwork {
  /** One per address family: ['10.244.0.0/24'] or with an IPv6 range too. */
  readonly podCIDRs: readonly string[];
  /** Of the whole cluster: pods of other nodes see the pods' own addresses. Default: the node's pods only. */
  readonly clusterCIDRs?: readonly string[] | undefined;
  readonly portmap: boolean;
  /** MTU of pods' interfaces. Default: the default route's, where it is below Ethernet's. */
  readonly mtu?: number | undefined;
}

/** Idempotent; pods that run keep their addresses. Throws ContainerdError 'network'. */
export async function configureNetwork(
  layout: ContainerdLayout,
  { network, log }: { readonly network: PodNetwork; readonly log: Logger },
): Promise<void> {
  for (const cidr of [...network.podCIDRs, ...(network.clusterCIDRs ?? [])]) parseCidr(cidr);
  await refuseOverlap(layout, network.podCIDRs);
  const bridgeFiltered = await prepareKernel(network.podCIDRs, log);
  await applyNft(renderNft({ layout, network, bridgeFiltered }));
  await writeCniConfig(layout, network);
}

async function writeCniConfig(layout: ContainerdLayout, network: PodNetwork): Promise<void> {
  await mkdir(layout.cniConfDir, { recursive: true });
  await mkdir(layout.cniDataDir, { recursive: true });
  const text = `${JSON.stringify(cniConfig(layout, network), undefined, 2)}\n`;
  if ((await readFile(layout.cniConfPath, 'utf8').catch(() => '')) === text) return;
  // containerd reads the directory on every change: it must never see half a file. Names without a known ending are ignored.
  const temporary = `${layout.cniConfPath}.new`;
  await writeFile(temporary, text);
  await rename(temporary, layout.cniConfPath);
}

function cniConfig(layout: ContainerdLayout, { podCIDRs, portmap, mtu = uplinkMtu() }: PodNetwork): object {
  const bridge = {
    type: 'bridge',
    bridge: layout.bridge,
    isGateway: true,
    forceAddress: true,
    hairpinMode: true,
    ipMasq: false,
    ...(mtu === undefined ? {} : { mtu }),
    ipam: {
      type: 'host-local',
      dataDir: layout.cniDataDir,
      ranges: podCIDRs.map((subnet) => [{ subnet }]),
      routes: podCIDRs.map((cidr) => ({ dst: cidr.includes(':') ? '::/0' : '0.0.0.0/0' })),
    },
  };
  // snat lets a pod, and this machine by 127.0.0.1, reach a hostPort of its own.
  const plugins = [
    bridge,
    ...(portmap ? [{ type: 'portmap', capabilities: { portMappings: true }, snat: true }] : []),
  ];
  return { cniVersion: '0.4.0', name: layout.networkName, plugins };
}

/** The default route's MTU where it is below Ethernet's 1500 (tunnels, clouds). */
function uplinkMtu(): number | undefined {
  try {
    const route = readFileSync('/proc/net/route', 'utf8')
      .split('\n')
      .slice(1)
      .map((line) => line.split('\t'))
      .find((fields) => fields[1] === '00000000');
    const mtu = Number(readFileSync(`/sys/class/net/${route?.[0] ?? ''}/mtu`, 'utf8'));
    return mtu >= 576 && mtu < 1500 ? mtu : undefined;
  } catch {
    return undefined; // no default route
  }
}

interface Cidr {
  readonly address: string;
  readonly prefix: number;
  readonly family: 'ipv4' | 'ipv6';
}

function parseCidr(text: string): Cidr {
  const [address = '', prefixText = ''] = text.split('/');
  const prefix = Number(prefixText);
  const family = isIPv6(address) ? 'ipv6' : 'ipv4';
  try {
    if (!/^\d+$/.test(prefixText)) throw new Error('no prefix length');
    new BlockList().addSubnet(address, prefix, family);
  } catch (error) {
    throw new ContainerdError(
      'network',
      `"${text}" is no address range: it should look like 10.244.0.0/24`,
      error,
    );
  }
  return { address, prefix, family };
}

/** A range that another interface already has (another cluster's bridge, the office network) would silently take its traffic. */
async function refuseOverlap(layout: ContainerdLayout, podCIDRs: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await run(['ip', '-json', 'address', 'show']);
  if (code === undefined)
    throw new ContainerdError('network', 'ip is not installed: apt-get install iproute2');
  if (code !== 0)
    throw new ContainerdError('network', `cannot list the machine's addresses: ${stderr.trim()}`);
  const links = JSON.parse(stdout) as {
    ifname?: string;
    addr_info?: { local?: string; prefixlen?: number }[];
  }[];
  for (const link of links) {
    if (link.ifname === layout.bridge || link.ifname === layout.overlay) continue;
    for (const { local, prefixlen } of link.addr_info ?? []) {
      const taken = podCIDRs.find(
        (cidr) =>
          local !== undefined &&
          prefixlen !== undefined &&
          overlaps(parseCidr(cidr), parseCidr(`${local}/${prefixlen}`)),
      );
      if (taken)
        throw new ContainerdError(
          'network',
          `the pod range ${taken} overlaps ${local}/${prefixlen} of this machine's interface ${link.ifname ?? ''}: choose another pod range`,
        );
    }
  }
}

function overlaps(one: Cidr, other: Cidr): boolean {
  if (one.family !== other.family) return false;
  const [wide, narrow] = one.prefix <= other.prefix ? [one, other] : [other, one];
  const block = new BlockList();
  block.addSubnet(wide.address, wide.prefix, wide.family);
  return block.check(narrow.address, narrow.family);
}

/**
 * Forwarding on. Traffic between two pods of one bridge must pass netfilter too, or an answer that belongs to a Service connection
 * would bypass its address translation; false when the kernel cannot do that.
 */
async function prepareKernel(podCIDRs: readonly string[], log: Logger): Promise<boolean> {
  for (const cidr of podCIDRs)
    await switchOnForwarding(ipFamily(cidr)).catch((error: unknown) => {
      throw new ContainerdError('network', (error as Error).message, error);
    });
  if (!(await loadBridgeFilter())) {
    log.warn(
      "the kernel has no br_netfilter: connections between pods of this node through a Service show the node's address as their source",
    );
    return false;
  }
  await switchOnBridgeFilter();
  return true;
}

/** Replaces the whole table in one transaction: add makes the delete succeed where none exists yet. */
export function renderNft(of: {
  readonly layout: ContainerdLayout;
  readonly network: Pick<PodNetwork, 'podCIDRs' | 'clusterCIDRs'>;
  readonly bridgeFiltered: boolean;
}): string {
  const table = `inet ${of.layout.nftTable}`;
  const { podCIDRs, clusterCIDRs = [] } = of.network;
  const rules = podCIDRs.flatMap((cidr) => {
    const family = cidr.includes(':') ? 'ip6' : 'ip';
    const multicast = family === 'ip6' ? 'ff00::/8' : '224.0.0.0/4';
    const kept = [
      multicast,
      cidr,
      ...clusterCIDRs.filter((range) => range !== cidr && range.includes(':') === cidr.includes(':')),
    ];
    // One match each: a range inside another is refused in an anonymous set.
    const leaving = `${family} saddr ${cidr} ${kept.map((range) => `${family} daddr != ${range}`).join(' ')} oifname != "${of.layout.bridge}" masquerade`;
    const samePortBack = `ct status dnat ${family} saddr ${cidr} ${family} daddr ${cidr} masquerade`;
    return of.bridgeFiltered ? [leaving] : [leaving, samePortBack];
  });
  return [
    `add table ${table}`,
    `delete table ${table}`,
    `table ${table} {`,
    '  comment "Capstan: pods of this node"',
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    ...rules.map((rule) => `    ${rule}`),
    '  }',
    '}',
    '',
  ].join('\n');
}

async function applyNft(ruleset: string): Promise<void> {
  const { code, stderr } = await run(['nft', '-f', '-'], { input: ruleset });
  if (code === undefined)
    throw new ContainerdError('network', 'nft is not installed: apt-get install nftables');
  if (code !== 0)
    throw new ContainerdError('network', `nft refused the pod network's rules: ${stderr.trim()}`);
}

/** The lease file's first line is the sandbox that holds the address. Leases of removed sandboxes (after a crash, a reboot) are released. */
export async function releaseStaleLeases(
  layout: ContainerdLayout,
  liveSandboxIds: ReadonlySet<string>,
): Promise<number> {
  const dir = join(layout.cniDataDir, layout.networkName);
  const names = await readdir(dir).catch(() => [] as string[]);
  let released = 0;
  for (const name of names) {
    if (name === 'lock' || name.startsWith('last_reserved_ip.')) continue;
    const holder = (await readFile(join(dir, name), 'utf8').catch(() => '')).split(/\r?\n/)[0] ?? '';
    if (liveSandboxIds.has(holder.trim())) continue;
    await rm(join(dir, name), { force: true });
    released += 1;
  }
  return released;
}

/** Deletes CNI's cache of sandboxes removed without it (a reboot, a crash). Returns their number. */
export async function forgetStaleAttachments(
  layout: ContainerdLayout,
  { liveSandboxIds, cniBinDir }: { readonly liveSandboxIds: ReadonlySet<string>; readonly cniBinDir: string },
): Promise<number> {
  const stale = (await cachedAttachments(layout)).filter(
    ({ containerId }) => !liveSandboxIds.has(containerId),
  );
  for (const attachment of stale) {
    if (attachment.portMappings.length > 0) await removePortMappings({ layout, attachment, cniBinDir });
    await forgetAttachment(attachment);
  }
  return stale.length;
}

/** Whether the pods' masquerade table exists. */
export async function hasPodTable(layout: Pick<ContainerdLayout, 'nftTable'>): Promise<boolean> {
  const { code } = await run(['nft', 'list', 'chain', 'inet', layout.nftTable, 'postrouting']);
  return code === 0;
}

/** Recreates the host ports of running pods. Returns failures, one sentence each. */
export async function restoreHostPorts(layout: ContainerdLayout, cniBinDir: string): Promise<string[]> {
  const problems: string[] = [];
  for (const attachment of await cachedAttachments(layout)) {
    const { portMappings, result, containerId } = attachment;
    if (portMappings.length === 0 || !result || !existsSync(attachment.netns)) continue;
    const call = { layout, attachment, cniBinDir, portMappings };
    // Remaining rules would exist twice.
    await runPortmap({ ...call, command: 'DEL' });
    const { code, stdout, stderr } = await runPortmap({ ...call, command: 'ADD', prevResult: result });
    if (code !== 0) problems.push(`host ports of sandbox ${containerId}: ${(stderr || stdout).trim()}`);
  }
  return problems;
}

interface DestroyNetworkOptions {
  /** Where CNI's plugins are, when they are still installed. */
  readonly cniBinDir: string | undefined;
  /** Known to be ours (podNamespaces). */
  readonly namespaces: readonly string[];
}

/** Deletes the bridge, the table, leftover namespaces and port mappings. Returns failures, one sentence each. */
export async function destroyNetwork(
  layout: ContainerdLayout,
  { cniBinDir, namespaces }: DestroyNetworkOptions,
): Promise<string[]> {
  const problems: string[] = [];
  for (const attachment of await cachedAttachments(layout)) {
    if (cniBinDir) await removePortMappings({ layout, attachment, cniBinDir });
    if (attachment.netns.startsWith('/')) await removeNamespace(attachment.netns, problems);
    await forgetAttachment(attachment);
  }
  for (const path of namespaces) await removeNamespace(path, problems);
  await removeDeadNamespaces();
  // Not read from /sys, which may show another network namespace.
  const bridge = await run(['ip', 'link', 'show', 'dev', layout.bridge]);
  if (bridge.code === 0) {
    const { code, stderr } = await run(['ip', 'link', 'delete', layout.bridge]);
    if (code !== 0) problems.push(`cannot delete the bridge ${layout.bridge}: ${stderr.trim()}`);
  }
  problems.push(...(await removePodNetwork(layout)));
  await releaseToNetworkd(layout);
  for (const table of [layout.nftTable, layout.policyTable, layout.tunnelTable])
    problems.push(...(await deleteTable(`inet ${table}`)));
  return problems;
}

/** Deletes the rules of network policies, for a node whose pods were stopped. Idempotent. */
export async function deletePolicyTable(layout: Pick<ContainerdLayout, 'policyTable'>): Promise<string[]> {
  return deleteTable(`inet ${layout.policyTable}`);
}

async function deleteTable(table: string): Promise<string[]> {
  const { code, stderr } = await run(['nft', '-f', '-'], {
    input: `add table ${table}\ndelete table ${table}\n`,
  });
  return code === undefined || code === 0
    ? []
    : [`cannot delete the nftables table ${table}: ${stderr.trim()}`];
}

interface PortmapCall {
  readonly layout: ContainerdLayout;
  readonly attachment: CachedAttachment;
  readonly cniBinDir: string;
}

async function removePortMappings(of: PortmapCall): Promise<void> {
  // DEL goes by the container's id, but does nothing without any mapping.
  await runPortmap({
    ...of,
    attachment: { ...of.attachment, netns: '' },
    command: 'DEL',
    portMappings: [{ hostPort: 1, containerPort: 1, protocol: 'tcp' }],
  });
}

function runPortmap(
  of: PortmapCall & {
    readonly command: 'ADD' | 'DEL';
    readonly portMappings: readonly object[];
    readonly prevResult?: object;
  },
): ReturnType<typeof run> {
  const { layout, attachment, cniBinDir, portMappings, prevResult } = of;
  return run([join(cniBinDir, 'portmap')], {
    input: JSON.stringify({
      cniVersion: '0.4.0',
      name: layout.networkName,
      type: 'portmap',
      snat: true,
      runtimeConfig: { portMappings },
      prevResult,
    }),
    env: {
      CNI_COMMAND: of.command,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.netns,
      CNI_IFNAME: attachment.ifName,
      CNI_PATH: cniBinDir,
    },
  });
}

async function removeNamespace(path: string, problems: string[]): Promise<void> {
  if (!existsSync(path)) return;
  await run(['umount', '-l', path]);
  await rm(path, { force: true }).catch((error: unknown) =>
    problems.push(`cannot delete the network namespace ${path}: ${(error as Error).message}`),
  );
}

const NETNS_DIR = '/run/netns';
/** A namespace's file exists for a moment before it is mounted. */
const NETNS_SETTLED_MS = 60_000;

/**
 * Makes the directory of network namespaces the shared mount that `ip netns add` makes of it. Done later, by whoever uses ip first, it
 * would hide the namespaces of running pods below it, and they could never be removed again.
 */
export async function shareNamespaceDir(): Promise<void> {
  await mkdir(NETNS_DIR, { recursive: true });
  if ((await readFile('/proc/self/mountinfo', 'utf8')).includes(` ${NETNS_DIR} `)) return;
  for (const command of [
    ['mount', '--bind', NETNS_DIR, NETNS_DIR],
    ['mount', '--make-shared', NETNS_DIR],
  ] as const) {
    const { code, stderr } = await run(command);
    if (code !== 0) throw new ContainerdError('network', `cannot share ${NETNS_DIR}: ${stderr.trim()}`);
  }
}

/**
 * A runtime killed while it removes a sandbox leaves the namespace's file without the namespace. Its owner is unknown and nothing can use it: files with
 * names of CNI runtimes that are no mount point, and not just being created, are removed.
 */
async function removeDeadNamespaces(): Promise<void> {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  for (const name of await readdir(NETNS_DIR).catch(() => [] as string[])) {
    const path = join(NETNS_DIR, name);
    if (!name.startsWith('cni-') || mounts.includes(` ${path} `)) continue;
    const changed = await stat(path).then(
      (info) => info.mtimeMs,
      () => Date.now(),
    );
    if (Date.now() - changed > NETNS_SETTLED_MS) await rm(path, { force: true }).catch(() => {});
  }
}
