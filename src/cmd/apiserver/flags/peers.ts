/** Flags of the mixed version proxy between API servers on one etcd. Upstream's names; as there, it is on once --peer-ca-file is given. */
import { isIP } from 'node:net';
import type { PeerSettings } from '#apiserver/peerproxy/peer-proxy.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { PEER_FLAGS } from '../flags.ts';

type PeerFlags = GivenFlags<typeof PEER_FLAGS>;

interface PeerFlagsContext {
  /** Whether UnknownVersionInteroperabilityProxy is on. */
  readonly isOn: boolean;
  /** Whether there is a certificate that peers know this server by. */
  readonly hasProxyClient: boolean;
  /** Reads a file for a flag, or throws a UserError. */
  readPem(flag: string, path: string): string;
}

/** Undefined: no request is passed on. Throws a UserError. */
export function peersFrom(
  flags: PeerFlags,
  { isOn, hasProxyClient, readPem }: PeerFlagsContext,
): PeerSettings | undefined {
  const { peerCaFile, peerAdvertiseIp: ip, peerAdvertisePort: port } = readFlags(PEER_FLAGS, flags);
  const given = Object.entries(NAMES).find(([name]) => flags[name as keyof typeof NAMES] !== undefined)?.[1];
  if (given === undefined) return undefined;
  if (!isOn)
    throw new UserError(`${given} needs the feature gate UnknownVersionInteroperabilityProxy, which is off.`);
  if (peerCaFile === undefined)
    throw new UserError(`${given} needs --peer-ca-file: without it no request is passed on.`);
  if (!hasProxyClient)
    throw new UserError(
      '--peer-ca-file needs --proxy-client-cert-file and --proxy-client-key-file: peers believe no user names of others.',
    );
  if (ip !== undefined && isIP(ip) === 0)
    throw new UserError(`--peer-advertise-ip is ${JSON.stringify(ip)}; it should be an IP address.`);
  return { ca: readPem('--peer-ca-file', peerCaFile), advertise: { ip, port } };
}

const NAMES = {
  peerCaFile: '--peer-ca-file',
  peerAdvertiseIp: '--peer-advertise-ip',
  peerAdvertisePort: '--peer-advertise-port',
} as const;
