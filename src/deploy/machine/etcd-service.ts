/** The stacked etcd member of a machine as its supervisor runs it: flags as kubeadm's manifest has them, mutual TLS for clients and peers. */
import { join } from 'node:path';
import type { Arg } from '../config/types.ts';
import { hostPort } from '../config/endpoint.ts';
import type { MachinePaths } from './paths.ts';
import type { ServiceSpec } from './services.ts';

const CLIENT_PORT = 2379;
const PEER_PORT = 2380;
/**
 * After the loss of its leader etcd elects another one in one to two of these times; its own defaults, 100 ms and 1 s, are made for members that are far apart. They
 * ask for round trips of 40 ms at most and disks that seldom take 400 ms to sync: docs/several-machines.md. extraArgs replace them.
 */
const HEARTBEAT_MS = 40;
const ELECTION_MS = 400;
const METRICS_URL = 'http://127.0.0.1:2381';

interface EtcdService {
  readonly program: string;
  readonly paths: Pick<MachinePaths, 'etcdPki' | 'etcdData'>;
  readonly name: string;
  /** This machine's. */
  readonly address: string;
  /** 'name=https://10.0.0.1:2380,…' of all members, this one included. */
  readonly initialCluster: string;
  readonly state: 'new' | 'existing';
  readonly extraArgs?: readonly Arg[] | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export function clientURL(address: string): string {
  return `https://${hostPort(address, CLIENT_PORT)}`;
}

export function peerURL(address: string): string {
  return `https://${hostPort(address, PEER_PORT)}`;
}

export function etcdService(options: EtcdService): ServiceSpec {
  const { program, paths, name, address, extraArgs, env } = options;
  const pki = (file: string): string => join(paths.etcdPki, file);
  const flags = {
    name,
    'data-dir': paths.etcdData,
    'listen-client-urls': `${clientURL('127.0.0.1')},${clientURL(address)}`,
    'advertise-client-urls': clientURL(address),
    'listen-peer-urls': peerURL(address),
    'initial-advertise-peer-urls': peerURL(address),
    'initial-cluster': options.initialCluster,
    'initial-cluster-state': options.state,
    'client-cert-auth': 'true',
    'trusted-ca-file': pki('ca.crt'),
    'cert-file': pki('server.crt'),
    'key-file': pki('server.key'),
    'peer-client-cert-auth': 'true',
    'peer-trusted-ca-file': pki('ca.crt'),
    'peer-cert-file': pki('peer.crt'),
    'peer-key-file': pki('peer.key'),
    'listen-metrics-urls': METRICS_URL,
    'snapshot-count': '10000',
    'heartbeat-interval': String(HEARTBEAT_MS),
    'election-timeout': String(ELECTION_MS),
    logger: 'zap',
  };
  return {
    name: 'etcd',
    run: { program, args: withExtra(flags, extraArgs) },
    health: { url: `${METRICS_URL}/health` },
    env,
  };
}

/** '--name=value' each; extra ones replace those of the same name, and may be given several times. */
export function withExtra(flags: Readonly<Record<string, string>>, extra: readonly Arg[] = []): string[] {
  const replaced = new Set(extra.map(({ name }) => name));
  const kept = Object.entries(flags).filter(([name]) => !replaced.has(name));
  return [
    ...kept.map(([name, value]) => `--${name}=${value}`),
    ...extra.map(({ name = '', value }) => (value === undefined ? `--${name}` : `--${name}=${value}`)),
  ];
}
