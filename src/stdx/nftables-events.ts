/**
 * Reports when an nftables table of this network namespace is deleted by any program (`flush ruleset`, `nft delete table`), using kernel notifications
 * that are polled a few times a second. Where these are unavailable, nothing is reported, and callers must check periodically.
 */
import type { Clock, Timer } from './clock.ts';
import { openNetlink, SocketError, type DatagramSocket } from './datagram-socket.ts';
import { errorMessage, type Logger } from './log.ts';
import { readMessages } from './netlink.ts';

const NETLINK_NETFILTER = 12;
const NFTABLES_GROUP = 7;
/** NFNL_SUBSYS_NFTABLES and NFT_MSG_DELTABLE. */
const TABLE_DELETED = (10 << 8) | 2;
const POLL_MS = 250;
/** Maximum number of datagrams read at once; the kernel queues the rest and reports dropped ones. */
const MAX_DATAGRAMS = 256;

export interface TableEvents {
  close(): void;
}

/** onDeleted: a table was deleted, or notifications were lost. */
export function watchTableDeletions(of: {
  readonly clock: Clock;
  readonly log: Logger;
  readonly onDeleted: () => void;
}): TableEvents {
  let socket: DatagramSocket | undefined;
  let timer: Timer | undefined;
  let closed = false;
  const failed = (error: unknown): void =>
    of.log.warn('nftables notifications unavailable: a flushed ruleset is detected by periodic checks only', {
      error: errorMessage(error),
    });
  const poll = (): void => {
    if (closed || !socket) return;
    try {
      if (someDeleted(socket)) of.onDeleted();
      timer = of.clock.after(POLL_MS, poll);
    } catch (error) {
      failed(error);
    }
  };
  openNetlink({ protocol: NETLINK_NETFILTER, groups: [NFTABLES_GROUP] }).then((opened) => {
    socket = opened;
    if (closed) opened.close();
    else poll();
  }, failed);
  return {
    close() {
      closed = true;
      timer?.cancel();
      socket?.close();
    },
  };
}

function someDeleted(socket: DatagramSocket): boolean {
  let deleted = false;
  try {
    for (let left = MAX_DATAGRAMS; left > 0; left -= 1) {
      const datagram = socket.receive();
      if (datagram === undefined) return deleted;
      for (const { type } of readMessages(datagram)) deleted ||= type === TABLE_DELETED;
    }
    return deleted;
  } catch (error) {
    if (error instanceof SocketError && error.code === 'ENOBUFS') return true;
    throw error;
  }
}
