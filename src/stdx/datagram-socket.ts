/**
 * Datagram sockets of kinds that Node.js has no API for: unix datagrams (a service manager's notifications), netlink (the kernel's tables) and packets (frames of a network interface).
 * Uses the C library through koffi, with non-blocking calls only, so that none blocks the event loop. Linux only.
 */
import { assert } from './assert.ts';

type Koffi = (typeof import('koffi'))['default'];

export interface DatagramSocket {
  /** Sends to the socket's peer. Throws the kernel's error. */
  send(message: Buffer): void;
  /** The next message. undefined: none is waiting. Throws a SocketError 'ENOBUFS' when messages were lost, and others. */
  receive(): Buffer | undefined;
  close(): void;
}

export class SocketError extends Error {
  override readonly name = 'SocketError';
  readonly code: string;
  constructor(call: string, code: string) {
    super(`${call} failed: ${code}`);
    this.code = code;
  }
}

const AF_UNIX = 1;
const AF_NETLINK = 16;
const AF_PACKET = 17;
const SOCK_DGRAM = 2;
const SOCK_RAW = 3;
const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const FILTER_INSTRUCTION_BYTES = 8;
/** EAGAIN and EWOULDBLOCK are the same number; after EINTR the next poll reads again. */
const NOTHING_WAITS: ReadonlySet<string> = new Set(['EAGAIN', 'EWOULDBLOCK', 'EINTR']);
const SUN_PATH_BYTES = 108;
/** A netlink dump's parts hold up to 32 KiB. */
const RECEIVE_BYTES = 64 * 1024;
/** Receive buffer for messages between two polls. */
const RECEIVE_QUEUE_BYTES = 4 * 1024 * 1024;

interface Libc {
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number;
  sendto(
    fd: number,
    data: Buffer,
    length: number,
    flags: number,
    address: Buffer,
    addressLength: number,
  ): number;
  attachFilter(fd: number, filter: Buffer): number;
  recv(fd: number, data: Buffer, length: number, flags: number): number;
  close(fd: number): number;
  /** Name of the last call's errno, 'EAGAIN'. */
  lastError(): string;
}

let loaded: Promise<Libc> | undefined;

/** Sends to the unix datagram socket of this path; '@name' is an abstract one. */
export async function openUnixSender(path: string): Promise<DatagramSocket> {
  const libc = await loadLibc();
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  assert(name.length <= SUN_PATH_BYTES, 'a unix socket path has at most 107 bytes');
  const address = Buffer.concat([uint16(AF_UNIX), name]);
  const fd = check(libc, {
    call: 'socket',
    result: libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK_CLOEXEC, 0),
  });
  return socketOf(libc, { fd, address });
}

/** A netlink socket to the kernel. groups: multicast groups to listen to, numbered from 1. */
export async function openNetlink({
  protocol,
  groups = [],
}: {
  readonly protocol: number;
  readonly groups?: readonly number[];
}): Promise<DatagramSocket> {
  const libc = await loadLibc();
  const fd = check(libc, {
    call: 'socket',
    result: libc.socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK_CLOEXEC, protocol),
  });
  const address = (mask: number): Buffer => {
    const bytes = Buffer.alloc(12);
    bytes.writeUInt16LE(AF_NETLINK, 0);
    bytes.writeUInt32LE(mask, 8);
    return bytes;
  };
  const size = Buffer.alloc(4);
  size.writeInt32LE(RECEIVE_QUEUE_BYTES);
  libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, size, size.length);
  try {
    const mask = groups.reduce((sum, group) => sum | (1 << (group - 1)), 0);
    check(libc, { call: 'bind', result: libc.bind(fd, address(mask), 12) });
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return socketOf(libc, { fd, address: address(0) });
}

/** Whole Ethernet frames of one interface and protocol (0x0806), received and sent. filter: a classic BPF program; only frames that it accepts are received. */
export async function openPackets({
  interfaceIndex,
  protocol,
  filter,
}: {
  readonly interfaceIndex: number;
  readonly protocol: number;
  readonly filter?: Buffer | undefined;
}): Promise<DatagramSocket> {
  const libc = await loadLibc();
  const address = Buffer.alloc(20);
  address.writeUInt16LE(AF_PACKET, 0);
  address.writeUInt16BE(protocol, 2);
  address.writeInt32LE(interfaceIndex, 4);
  // Protocol 0 receives nothing: the filter is in place before the first frame.
  const fd = check(libc, {
    call: 'socket',
    result: libc.socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK_CLOEXEC, 0),
  });
  try {
    if (filter) check(libc, { call: 'setsockopt', result: libc.attachFilter(fd, filter) });
    check(libc, { call: 'bind', result: libc.bind(fd, address, address.length) });
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return socketOf(libc, { fd, address });
}

function socketOf(
  libc: Libc,
  { fd, address }: { readonly fd: number; readonly address: Buffer },
): DatagramSocket {
  const room = Buffer.allocUnsafeSlow(RECEIVE_BYTES);
  let open = true;
  return {
    send(message) {
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
      check(libc, {
        call: 'sendto',
        result: libc.sendto(fd, message, message.length, flags, address, address.length),
      });
    },
    receive() {
      const length = libc.recv(fd, room, room.length, MSG_DONTWAIT);
      if (length >= 0) return Buffer.from(room.subarray(0, length));
      const code = libc.lastError();
      if (NOTHING_WAITS.has(code)) return undefined;
      throw new SocketError('recv', code);
    },
    close() {
      if (open) libc.close(fd);
      open = false;
    },
  };
}

function check(libc: Libc, { call, result }: { readonly call: string; readonly result: number }): number {
  if (result < 0) throw new SocketError(call, libc.lastError());
  return result;
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** Loaded on first use: most programs do not need it. */
function loadLibc(): Promise<Libc> {
  loaded ??= import('koffi').then(({ default: koffi }) => bindLibc(koffi));
  return loaded;
}

function bindLibc(koffi: Koffi): Libc {
  const library = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const program = koffi.struct({ length: 'uint16_t', filter: 'const uint8_t *' });
  const setFilter = library.func('setsockopt', 'int', [
    'int',
    'int',
    'int',
    koffi.pointer(program),
    'uint32_t',
  ]);
  return {
    attachFilter: (fd, filter) =>
      setFilter(
        fd,
        SOL_SOCKET,
        SO_ATTACH_FILTER,
        { length: filter.length / FILTER_INSTRUCTION_BYTES, filter },
        koffi.sizeof(program),
      ) as number,
    socket: library.func('int socket(int family, int type, int protocol)'),
    bind: library.func('int bind(int fd, const void *address, uint32_t length)'),
    setsockopt: library.func(
      'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
    ),
    sendto: library.func(
      'intptr_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
    ),
    recv: library.func('intptr_t recv(int fd, _Out_ void *data, size_t length, int flags)'),
    close: library.func('int close(int fd)'),
    lastError: () => names.get(koffi.errno()) ?? String(koffi.errno()),
  } as Libc;
}
