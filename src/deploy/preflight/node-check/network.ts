/** Checks of the network of a machine: its resolvers answer, and its peers are reached. */
import { lookup, Resolver } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { connect, isIP } from 'node:net';
import { formatHostPort } from '#stdx/host-port.ts';
import { errorMessage } from '#stdx/log.ts';
import { failure, warning, type Check, type Problem } from '../check.ts';

const CONNECT_TIMEOUT_MS = 3_000;
const RESOLVE_TIMEOUT_MS = 2_000;
/** An answer without an address is one, too. */
const SILENT = new Set(['ETIMEOUT', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH', 'ECANCELLED']);

interface ResolversOptions {
  /** Default /etc/resolv.conf. */
  readonly path?: string;
  /** Names that must have addresses: that of the cluster's endpoint. */
  readonly names?: readonly string[];
}

export function resolvers({ path = '/etc/resolv.conf', names = [] }: ResolversOptions = {}): Check {
  return {
    name: 'Resolvers',
    async run() {
      const servers = nameservers(path);
      const remedy = `correct ${path}: pods get their answers from these resolvers`;
      if (servers.length === 0) return failure(`${path} names no resolver`, remedy);
      const silent = (await Promise.all(servers.map(silence))).filter((problem) => problem !== undefined);
      const unknown = await Promise.all(
        names.filter((name) => isIP(name) === 0).map((name) => unresolved(name)),
      );
      const errors: readonly Problem[] = [
        ...(silent.length === servers.length ? silent.map((problem) => ({ problem, remedy })) : []),
        ...unknown
          .filter((problem) => problem !== undefined)
          .map((problem) => ({ problem, remedy: 'add it to DNS, or to /etc/hosts of every machine' })),
      ];
      return {
        evidence: `${servers.length - silent.length} of ${servers.length} answer: ${servers.join(', ')}`,
        errors,
        warnings: silent.length === servers.length ? [] : silent.map((problem) => ({ problem, remedy })),
      };
    },
  };
}

function nameservers(path: string): readonly string[] {
  try {
    return Array.from(
      readFileSync(path, 'utf8').matchAll(/^\s*nameserver\s+([^\s%]+)/gm),
      ([, address = '']) => address,
    );
  } catch {
    return [];
  }
}

async function silence(server: string): Promise<string | undefined> {
  const resolver = new Resolver({ timeout: RESOLVE_TIMEOUT_MS, tries: 1 });
  try {
    resolver.setServers([isIP(server) === 6 ? `[${server}]` : server]);
    await resolver.resolve('.', 'NS');
    return undefined;
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return SILENT.has(code) ? `the resolver ${server} does not answer (${code})` : undefined;
  }
}

async function unresolved(name: string): Promise<string | undefined> {
  try {
    await lookup(name);
    return undefined;
  } catch (error) {
    return `${name} has no address (${errorMessage(error)})`;
  }
}

export interface Peer {
  readonly host: string;
  readonly port: number;
  /** 'API server', 'etcd'. */
  readonly is: string;
}

/** Each takes connections. With nothing to ask it says so. */
export function peersReached(all: readonly Peer[]): Check {
  return {
    name: 'Peers',
    async run() {
      if (all.length === 0) return { evidence: 'none is known: give --join HOST:PORT or --peer HOST:PORT' };
      const outcomes = await Promise.all(all.map(async (peer) => ({ peer, tried: await reach(peer) })));
      const failed = outcomes.filter(({ tried }) => tried.problem !== undefined);
      return {
        evidence: outcomes
          .map(({ peer, tried }) => `${nameOf(peer)} ${tried.problem ?? `in ${tried.tookMs.toFixed(1)} ms`}`)
          .join(', '),
        errors: failed.map(({ peer, tried }) => ({
          problem: `${peer.is} ${nameOf(peer)} is not reached (${tried.problem})`,
          remedy: `let this machine connect to TCP port ${peer.port} there: firewalls and security groups in between, routes`,
        })),
      };
    },
  };
}

function nameOf({ host, port }: Peer): string {
  return formatHostPort(host, port);
}

interface Tried {
  readonly tookMs: number;
  readonly problem?: string;
}

function reach({ host, port }: Peer): Promise<Tried> {
  return new Promise((resolve) => {
    const began = performance.now();
    const socket = connect({ host, port });
    const end = (problem?: string): void => {
      socket.destroy();
      const tookMs = performance.now() - began;
      resolve(problem === undefined ? { tookMs } : { tookMs, problem });
    };
    socket.setTimeout(CONNECT_TIMEOUT_MS, () => end(`no answer within ${CONNECT_TIMEOUT_MS / 1_000} s`));
    socket.once('connect', () => end());
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
  });
}

/** Chains of other tables that drop packets of pods: an adapter, since the node's own code finds them. */
export function firewalls(find: () => Promise<string | undefined>): Check {
  return {
    name: 'Firewalls',
    async run() {
      const blocking = await find();
      return blocking === undefined
        ? { evidence: 'no chain of another table drops packets of pods' }
        : warning(blocking, "let through the pods' bridge and range there, or turn that firewall off");
    },
  };
}
