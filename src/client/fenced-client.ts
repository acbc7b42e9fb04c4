/**
 * The client of a leader: it sends no write once the lease may be over. A process that stood still finds work in its sockets before its timers tell it that it was
 * deposed; without this its next writes come beside those of the new leader. A write that was already sent is not called back: the API has no fencing tokens.
 */
import type { Client } from './client.ts';
import type { Transport } from './transport.ts';
import { TransportError } from './transport-error.ts';

const READS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** mayWrite is asked before each write is sent, retries included. Refused ones fail as 'refused', since they surely did not happen. Informers are those of the client. */
export function fencedClient(client: Client, mayWrite: () => boolean): Client {
  return client.over((transport) => fencedTransport(transport, mayWrite));
}

export function fencedTransport(transport: Transport, mayWrite: () => boolean): Transport {
  return {
    request: (request) =>
      READS.has(request.method) || mayWrite()
        ? transport.request(request)
        : Promise.reject(new TransportError('refused', 'not sent: the lease of leader election may be over')),
    close: () => transport.close(),
  };
}
