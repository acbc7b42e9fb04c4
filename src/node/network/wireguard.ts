/**
 * The WireGuard device of the pod network: all traffic between pods of different nodes is encrypted. Each node makes its own key, which never leaves it,
 * and shows the public one as an annotation of its Node. Keys and peers are set by wg(8), from a file that only its owner reads: no command line has a key.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { replaceFile } from '#stdx/atomic-file.ts';
import { ContainerdError } from '../containerd/errors.ts';
import { run } from '../containerd/run.ts';
import type { Route } from './peers.ts';

/** The one that WireGuard's users know. */
const PORT = 51_820;
const KEY_BYTES = 32;
const KEY_FILE = 'wireguard.key';
const CONFIGURATION_FILE = 'wireguard.conf';
/** In the directory of the node. The second one exists while wg(8) reads it. */
export const WIREGUARD_FILES = [KEY_FILE, CONFIGURATION_FILE] as const;
/** Before the 32 bytes of an X25519 private key in PKCS #8 (RFC 8410). */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');

const NOT_INSTALLED = 'wg is not installed: apt-get install wireguard-tools';

/** Base64, as wg(8) has them. */
export interface WireguardKeys {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** Made where the node's directory has none. Throws an Error that names a file that is no key; it is kept. */
export function ensureKeys(dir: string): WireguardKeys {
  const path = join(dir, KEY_FILE);
  if (!existsSync(path)) {
    const { privateKey } = generateKeyPairSync('x25519');
    const der = privateKey.export({ type: 'pkcs8', format: 'der' });
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    replaceFile(path, `${der.subarray(PKCS8_PREFIX.length).toString('base64')}\n`);
  }
  const key = Buffer.from(readFileSync(path, 'utf8').trim(), 'base64');
  if (key.length !== KEY_BYTES)
    throw new Error(
      `${path} is no WireGuard key: it should be ${KEY_BYTES} bytes in base64. Remove it, and the node makes another one.`,
    );
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, key]),
    format: 'der',
    type: 'pkcs8',
  });
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { privateKey: key.toString('base64'), publicKey: Buffer.from(x, 'base64url').toString('base64') };
}

/** What lacks on this machine, one sentence; makes a device and removes it. */
export async function wireguardProblem(): Promise<string | undefined> {
  const device = `cwg-${process.pid}`;
  const made = await run(['ip', 'link', 'add', device, 'type', 'wireguard']);
  if (made.code !== 0)
    return `the kernel has no WireGuard (${made.stderr.trim()}): use --pod-network auto, or a kernel with the module wireguard`;
  await run(['ip', 'link', 'delete', device]);
  const { code } = await run(['wg', '--version']);
  return code === 0 ? undefined : NOT_INSTALLED;
}

/** Peers that are not in routes are removed; sessions with the others go on. Throws ContainerdError 'network'. */
export async function setWireguardPeers(
  device: string,
  of: { readonly dir: string; readonly privateKey: string; readonly routes: readonly Route[] },
): Promise<void> {
  const path = join(of.dir, CONFIGURATION_FILE);
  // One that a killed agent left is not written into: the mode is that of a new file.
  rmSync(path, { force: true });
  try {
    writeFileSync(path, renderConfiguration(of.privateKey, of.routes), { mode: 0o600, flag: 'wx' });
    const { code, stderr } = await run(['wg', 'syncconf', device, path]);
    if (code === undefined) throw new ContainerdError('network', NOT_INSTALLED);
    if (code !== 0) throw new ContainerdError('network', `wg syncconf ${device} failed: ${stderr.trim()}`);
  } finally {
    rmSync(path, { force: true });
  }
}

/** In the format of wg(8): one peer a node, with the ranges of all its pods. */
export function renderConfiguration(privateKey: string, routes: readonly Route[]): string {
  const peers = new Map<string, { readonly address: string; readonly ranges: string[] }>();
  for (const { podCIDR, wireguard } of routes) {
    if (!wireguard) continue;
    const peer = peers.get(wireguard.publicKey) ?? { address: wireguard.address, ranges: [] };
    peer.ranges.push(podCIDR);
    peers.set(wireguard.publicKey, peer);
  }
  return [
    `[Interface]\nPrivateKey = ${privateKey}\nListenPort = ${PORT}\n`,
    ...Array.from(
      peers,
      ([publicKey, { address, ranges }]) =>
        `[Peer]\nPublicKey = ${publicKey}\nEndpoint = ${address.includes(':') ? `[${address}]` : address}:${PORT}\nAllowedIPs = ${ranges.join(', ')}\n`,
    ),
  ].join('\n');
}
