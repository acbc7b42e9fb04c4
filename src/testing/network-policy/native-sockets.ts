/**
 * For tests only: non-blocking sockets in any network namespace of this machine, for thousands of connections from one process. A socket belongs to the
 * namespace that the thread was in when it was made. Needs root. Linux only.
 */
import { parseIP } from '#machinery/ip.ts';

const AF_INET = 2;
const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const IPPROTO_SCTP = 132;
const SOCK_NONBLOCK_CLOEXEC = 0o2004000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const SO_RCVBUF = 8;
const SO_REUSEADDR = 2;
const CLONE_NEWNET = 0x40000000;
const O_RDONLY_CLOEXEC = 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const RECEIVE_QUEUE_BYTES = 4 * 1024 * 1024;
const BACKLOG = 4096;
const RECEIVE_BYTES = 2_048;

interface End {
  readonly address: string;
  readonly port: number;
}

/** Its methods throw at what is not expected of a socket; 'EAGAIN' and refusals are results. */
export interface NativeSocket {
  /** undefined: done. Else the kernel's error, 'EINPROGRESS'. Called again it says how far a connection is. */
  connect(to: End): string | undefined;
  /** undefined: none waits. */
  accept(): NativeSocket | undefined;
  send(data: Buffer, to?: End): void;
  /** undefined: nothing waits, or the connection was refused. */
  receive(): { readonly data: Buffer; readonly from: End } | undefined;
  /** A connection is reset: the kernel keeps nothing of it. */
  close(): void;
}

interface SocketSpec {
  readonly type: number;
  readonly protocol?: number;
  readonly at: End;
  readonly listens?: boolean;
}

export interface NativeSockets {
  /** A bound socket in the namespace of this name (`ip netns`). */
  open(namespace: string, spec: SocketSpec): NativeSocket;
  close(): void;
}

interface Libc {
  open(path: string, flags: number): number;
  setns(fd: number, kind: number): number;
  socket(family: number, type: number, protocol: number): number;
  setsockopt(fd: number, level: number, name: number, value: Buffer, length: number): number;
  bind(fd: number, address: Buffer, length: number): number;
  listen(fd: number, backlog: number): number;
  connect(fd: number, address: Buffer, length: number): number;
  accept4(fd: number, address: null, length: null, flags: number): number;
  send(fd: number, data: Buffer, length: number, flags: number): number;
  sendto(fd: number, data: Buffer, length: number, flags: number, to: Buffer, toLength: number): number;
  recvfrom(fd: number, data: Buffer, length: number, flags: number, from: Buffer, size: Buffer): number;
  close(fd: number): number;
  lastError(): string;
}

export async function loadNativeSockets(): Promise<NativeSockets> {
  const { default: koffi } = await import('koffi');
  const library = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]));
  const libc = {
    open: library.func('int open(const char *path, int flags)'),
    setns: library.func('int setns(int fd, int kind)'),
    socket: library.func('int socket(int family, int type, int protocol)'),
    setsockopt: library.func(
      'int setsockopt(int fd, int level, int name, const void *value, uint32_t length)',
    ),
    bind: library.func('int bind(int fd, const void *address, uint32_t length)'),
    listen: library.func('int listen(int fd, int backlog)'),
    connect: library.func('int connect(int fd, const void *address, uint32_t length)'),
    accept4: library.func('int accept4(int fd, void *address, void *length, int flags)'),
    send: library.func('intptr_t send(int fd, const void *data, size_t length, int flags)'),
    sendto: library.func(
      'intptr_t sendto(int fd, const void *data, size_t length, int flags, const void *address, uint32_t addressLength)',
    ),
    recvfrom: library.func(
      'intptr_t recvfrom(int fd, _Out_ void *data, size_t length, int flags, _Out_ void *from, _Inout_ void *size)',
    ),
    close: library.func('int close(int fd)'),
    lastError: () => names.get(koffi.errno()) ?? String(koffi.errno()),
  } as Libc;
  return new Sockets(libc);
}

class Sockets implements NativeSockets {
  readonly #libc: Libc;
  readonly #home: number;
  readonly #namespaces = new Map<string, number>();

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#home = check(libc, {
      call: 'open',
      result: libc.open('/proc/thread-self/ns/net', O_RDONLY_CLOEXEC),
    });
  }

  open(namespace: string, { type, protocol = 0, at, listens = false }: SocketSpec): NativeSocket {
    const libc = this.#libc;
    const isIPv6 = at.address.includes(':');
    const fd = this.#inside(namespace, () =>
      check(libc, {
        call: 'socket',
        result: libc.socket(isIPv6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK_CLOEXEC, protocol),
      }),
    );
    const option = (name: number, value: readonly number[]): void => {
      const bytes = Buffer.alloc(value.length * 4);
      value.forEach((one, index) => bytes.writeInt32LE(one, index * 4));
      check(libc, { call: 'setsockopt', result: libc.setsockopt(fd, SOL_SOCKET, name, bytes, bytes.length) });
    };
    option(SO_RCVBUF, [RECEIVE_QUEUE_BYTES]);
    option(SO_REUSEADDR, [1]);
    if (type === SOCK_STREAM && !listens) option(SO_LINGER, [1, 0]);
    const address = socketAddress(at);
    check(libc, { call: `bind to ${at.address}:${at.port}`, result: libc.bind(fd, address, address.length) });
    if (listens) check(libc, { call: 'listen', result: libc.listen(fd, BACKLOG) });
    return socketOf(libc, fd);
  }

  close(): void {
    for (const fd of [...this.#namespaces.values(), this.#home]) this.#libc.close(fd);
  }

  /** work must not wait: everything else of the process would go on there. */
  #inside<T>(namespace: string, work: () => T): T {
    const libc = this.#libc;
    let fd = this.#namespaces.get(namespace);
    if (fd === undefined) {
      fd = check(libc, { call: 'open', result: libc.open(`/run/netns/${namespace}`, O_RDONLY_CLOEXEC) });
      this.#namespaces.set(namespace, fd);
    }
    check(libc, { call: 'setns', result: libc.setns(fd, CLONE_NEWNET) });
    try {
      return work();
    } finally {
      check(libc, { call: 'setns', result: libc.setns(this.#home, CLONE_NEWNET) });
    }
  }
}

function socketOf(libc: Libc, fd: number): NativeSocket {
  const room = Buffer.alloc(RECEIVE_BYTES);
  const from = Buffer.alloc(28);
  const size = Buffer.alloc(4);
  return {
    connect(to) {
      const address = socketAddress(to);
      if (libc.connect(fd, address, address.length) === 0) return undefined;
      const error = libc.lastError();
      return error === 'EISCONN' ? undefined : error;
    },
    accept() {
      const accepted = libc.accept4(fd, null, null, SOCK_NONBLOCK_CLOEXEC);
      return accepted < 0 ? undefined : socketOf(libc, accepted);
    },
    send(data, to) {
      const address = to && socketAddress(to);
      const sent = address
        ? libc.sendto(fd, data, data.length, MSG_NOSIGNAL, address, address.length)
        : libc.send(fd, data, data.length, MSG_NOSIGNAL);
      // A refusal of an earlier datagram is reported here.
      if (sent < 0 && libc.lastError() !== 'ECONNREFUSED') check(libc, { call: 'send', result: sent });
    },
    receive() {
      size.writeUInt32LE(from.length);
      const length = libc.recvfrom(fd, room, room.length, 0, from, size);
      return length < 0 ? undefined : { data: Buffer.from(room.subarray(0, length)), from: endOf(from) };
    },
    close() {
      libc.close(fd);
    },
  };
}

function socketAddress({ address, port }: End): Buffer {
  const { family, bits } = parseIP(address)!;
  const bytes = Buffer.alloc(family === 6 ? 28 : 16);
  bytes.writeUInt16LE(family === 6 ? AF_INET6 : AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  if (family === 6) Buffer.from(bits.toString(16).padStart(32, '0'), 'hex').copy(bytes, 8);
  else bytes.writeUInt32BE(Number(bits), 4);
  return bytes;
}

function endOf(bytes: Buffer): End {
  const port = bytes.readUInt16BE(2);
  if (bytes.readUInt16LE(0) === AF_INET) return { address: bytes.subarray(4, 8).join('.'), port };
  const words = Array.from({ length: 8 }, (_none, index) => bytes.readUInt16BE(8 + index * 2).toString(16));
  return { address: words.join(':'), port };
}

function check(libc: Libc, { call, result }: { readonly call: string; readonly result: number }): number {
  if (result < 0) throw new Error(`${call} failed: ${libc.lastError()}`);
  return result;
}
