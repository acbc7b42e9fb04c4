/** `capstan ha keepalived` and `capstan ha haproxy`: prints or writes the files that lead people to one address. They start nothing. */
import { mkdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isIP, isIPv6 } from 'node:net';
import { formatAddress, parseAddress } from '#balancer/address.ts';
import { describeDiskError, UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import { parseFloatingAddress, routerPassword } from '#deploy/ha/floating-address.ts';
import { haproxyFiles } from '#deploy/ha/haproxy.ts';
import { keepalivedFiles, type GeneratedFile } from '#deploy/ha/keepalived.ts';
import { readFlags } from '../flags/define.ts';
import { HAPROXY_FLAGS, KEEPALIVED_FLAGS, type HaproxyFlags, type KeepalivedFlags } from './flags.ts';

interface Output {
  readonly print: (text: string) => void;
}

interface Destination {
  readonly write: boolean;
  readonly rootfs: string;
}

export function runKeepalived(given: KeepalivedFlags, output: Output): void {
  const flags = readFlags(KEEPALIVED_FLAGS, given);
  const floating = parseFloatingAddress('--address', required('--address', flags.address));
  const own = requireIP('--own', required('--own', flags.own));
  const peers = (flags.peer ?? []).map((peer) => requireIP('--peer', peer)).filter((peer) => peer !== own);
  if (peers.length === 0) throw new UserError('--peer is needed: the addresses of the other control planes.');
  const odd = [own, ...peers].find((address) => isIPv6(address) !== isIPv6(floating.address));
  if (odd !== undefined)
    throw new UserError(`${odd} and --address ${floating.address} are of different address families.`);
  if ([own, ...peers].includes(floating.address))
    throw new UserError(
      `--address ${floating.address} is a machine's own address; it should be one that no machine has.`,
    );
  const files = keepalivedFiles({
    floating,
    device: requireDevice(required('--interface', flags.interface)),
    own,
    peers,
    serverPort: flags.securePort,
    caFile: requirePlainPath('--certificate-authority', flags.certificateAuthority),
    password: passwordOf(flags.passwordKeyFile, floating),
    dir: requirePlainPath('--dir', flags.dir),
    unitDir: requirePlainPath('--unit-dir', flags.unitDir),
    pidFile: requirePlainPath('--pid-file', flags.pidFile),
    stateFile: requirePlainPath('--state-file', flags.stateFile),
  });
  deliver(files, flags, output);
}

export function runHaproxy(given: HaproxyFlags, output: Output): void {
  const flags = readFlags(HAPROXY_FLAGS, given);
  const servers = (flags.server ?? []).map((text) => {
    const address = parseAddress(text);
    if (!address)
      throw new UserError(`--server is "${text}"; it should be HOST:PORT, for example 10.0.0.1:6443.`);
    return formatAddress(address);
  });
  if (servers.length === 0) throw new UserError('--server is needed: HOST:PORT of each API server.');
  const listen = flags.listen.replace(/^\*:/, '0.0.0.0:');
  const at = parseAddress(listen);
  if (!at || isIP(at.host) === 0)
    throw new UserError(`--listen is "${flags.listen}"; it should be ADDRESS:PORT or *:PORT.`);
  const caFile = requirePlainPath('--certificate-authority', flags.certificateAuthority);
  const file = requirePlainPath('--file', flags.file);
  deliver(haproxyFiles({ listen: flags.listen, servers, caFile, file }), flags, output);
}

function deliver(files: readonly GeneratedFile[], { write, rootfs }: Destination, { print }: Output): void {
  for (const { path, text, mode } of files) {
    if (!write) {
      print(`# ${path}\n${text}`);
      continue;
    }
    const at = join(rootfs, path);
    try {
      mkdirSync(dirname(at), { recursive: true });
    } catch (error) {
      throw describeDiskError(at, error);
    }
    writeFileAtomic(at, text, mode);
    print(`wrote ${at}`);
  }
}

function passwordOf(file: string, floating: Parameters<typeof routerPassword>[0]): string {
  try {
    return routerPassword(floating, readFileSync(file));
  } catch (error) {
    throw new UserError(
      `Cannot read --password-key-file ${file} (${(error as Error).message}): it should be a file that each control plane has.`,
      error,
    );
  }
}

function required(flag: string, value: string | undefined): string {
  if (value === undefined || value === '') throw new UserError(`${flag} is needed.`);
  return value;
}

function requireIP(flag: string, text: string): string {
  if (isIP(text) === 0) throw new UserError(`${flag} is "${text}"; it should be an IP address.`);
  return text;
}

function requireDevice(text: string): string {
  if (!/^[a-zA-Z0-9_.@-]{1,15}$/.test(text))
    throw new UserError(
      `--interface is "${text}"; it should be the name of a network interface, for example eth0.`,
    );
  return text;
}

/** It is written into scripts and configuration files verbatim. */
function requirePlainPath(flag: string, path: string): string {
  if (!/^\/[a-zA-Z0-9_./-]+$/.test(path))
    throw new UserError(
      `${flag} is "${path}"; it should be an absolute path of letters, digits, '.', '_', '-' and '/'.`,
    );
  return path;
}
