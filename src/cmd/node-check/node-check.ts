/** `capstan node check`: what keeps this machine from being a good node, before it joins a cluster and after. Changes nothing but a file of 2 MB, which it removes. */
import { writeFile } from 'node:fs/promises';
import { request } from 'node:https';
import { hostname } from 'node:os';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile, type MachineFile, type MachineRecord } from '#deploy/machine/record.ts';
import { parseHostPort } from '#deploy/config/endpoint.ts';
import { listServers } from '#deploy/phases/leave/api.ts';
import { nodeChecks, type NodeCheckPlan } from '#deploy/preflight/node-check/list.ts';
import type { Peer } from '#deploy/preflight/node-check/network.ts';
import { gatherOutcomes, type NodeReport } from '#deploy/preflight/node-check/report.ts';
import { formatTime } from '#machinery/time.ts';
import { describeBlocking, findBlockingChains } from '#node/containerd/firewall.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { findHostAddress } from '#node/host-address.ts';
import { isSupervised } from '../machine/supervise.ts';
import { containerdDir } from '../node/containerd-dir.ts';
import { RENDERERS } from './render.ts';

export interface NodeCheckFlags {
  /** HOST:PORT of an API server. */
  readonly join?: string;
  readonly peer?: readonly string[];
  readonly role?: NodeCheckPlan['role'];
  readonly nodeName?: string;
  readonly check?: readonly string[];
  readonly output: ReportFormat;
  readonly file?: string;
  readonly rootfs?: string;
}

export type ReportFormat = keyof typeof RENDERERS;

export const REPORT_FORMATS = Object.keys(RENDERERS) as ReportFormat[];

const API_SERVER_PORT = 6443;
const DATE_TIMEOUT_MS = 3_000;
const DEFAULT_POD_RANGE = '10.244.0.0/16';

/** Its exit code: 0 nothing is wrong, 1 something is, 2 something may be. */
export async function runNodeCheck(flags: NodeCheckFlags, print: (line: string) => void): Promise<number> {
  const plan = await planOf(flags);
  const all = nodeChecks(plan);
  const wanted = flags.check ?? [];
  const strange = wanted.find((name) => !all.some((check) => isNamed(check.name, name)));
  if (strange !== undefined)
    throw new UserError(
      `--check names ${strange}, which is no check of a ${plan.role}; there are: ${all.map(({ name }) => name).join(', ')}.`,
    );
  const checks =
    wanted.length === 0 ? all : all.filter(({ name }) => wanted.some((word) => isNamed(name, word)));
  const report: NodeReport = {
    node: plan.nodeName,
    role: plan.role,
    time: formatTime(plan.nowMs),
    checks: await gatherOutcomes(checks),
  };
  const lines = RENDERERS[flags.output](report);
  if (flags.file === undefined) for (const line of lines) print(line);
  else await writeFile(flags.file, `${lines.join('\n')}\n`);
  const found = new Set(report.checks.map(({ status }) => status));
  return found.has('error') ? 1 : found.has('warning') ? 2 : 0;
}

function isNamed(check: string, word: string): boolean {
  return check.toLowerCase() === word.toLowerCase();
}

async function planOf(flags: NodeCheckFlags): Promise<NodeCheckPlan> {
  const paths = machinePaths({ rootfs: flags.rootfs });
  const machine = machineFile(paths);
  const record = machine.read();
  const join =
    flags.join === undefined ? undefined : parsePeer('--join', { text: flags.join, is: 'API server' });
  const servers = join ? [join] : knownServers(paths, machine);
  const given = (flags.peer ?? []).map((text) => parsePeer('--peer', { text, is: 'machine' }));
  const [server] = servers;
  return {
    role: flags.role ?? record.role ?? 'worker',
    nodeName: (flags.nodeName ?? record.nodeName ?? hostname()).toLowerCase(),
    address: record.advertiseAddress ?? (await findHostAddress()) ?? '',
    etcdData: paths.etcdData,
    nodeDir: paths.node,
    nowMs: Date.now(),
    holdsPorts: () => isSupervised(paths),
    names: join ? [join.host] : [],
    peers: [...servers, ...given],
    server: server && { address: server.host, dateMs: () => dateOf(server) },
    blockingFirewall: () => blockingFirewall(paths, record),
  };
}

function parsePeer(flag: string, { text, is }: { readonly text: string; readonly is: string }): Peer {
  const { host, port = flag === '--join' ? API_SERVER_PORT : undefined } = parseHostPort(text) ?? {};
  if (host === undefined || port === undefined)
    throw new UserError(`${flag} is "${text}"; it should be HOST:PORT, for example 10.0.0.10:6443.`);
  return { host, port, is };
}

/** Of a machine that has joined: API servers that its balancer knows, and those that it joined through. */
function knownServers(paths: MachinePaths, machine: MachineFile): readonly Peer[] {
  return listServers({ machine, paths }, { own: true }).flatMap((text) => {
    const { host, port = API_SERVER_PORT } = parseHostPort(text) ?? {};
    return host === undefined ? [] : [{ host, port, is: 'API server' }];
  });
}

/** Of any answer; its certificate is not looked at, since nothing is sent or believed but the time. */
function dateOf({ host, port }: Peer): Promise<number | undefined> {
  return new Promise((resolve) => {
    const call = request(
      { host, port, path: '/version', rejectUnauthorized: false, timeout: DATE_TIMEOUT_MS },
      (response) => {
        response.resume();
        const date = Date.parse(response.headers.date ?? '');
        resolve(Number.isNaN(date) ? undefined : date);
      },
    );
    call.once('timeout', () => call.destroy());
    call.once('error', () => resolve(undefined));
    call.once('close', () => resolve(undefined));
    call.end();
  });
}

async function blockingFirewall(
  paths: MachinePaths,
  { networking }: MachineRecord,
): Promise<string | undefined> {
  const { bridge } = containerdLayout({ dir: containerdDir({ node: paths.node }) });
  const network = { bridge, podCIDRs: (networking?.podSubnet ?? DEFAULT_POD_RANGE).split(',') };
  const chains = await findBlockingChains(network);
  return chains.length === 0 ? undefined : describeBlocking(chains, network).replace(/\.$/, '');
}
