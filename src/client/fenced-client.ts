/**
 * The client of a leader: it sends no write once the lease may be over. A process that stood still finds work in its sockets before its timers tell it that it was
 * deposed; without this its next writes come beside those of the new leader. A write that was already sent is not called back: the API has no fencing tokens.
 */
import type { Client } from './client.ts';
import { TransportError } from './transport-error.ts';

const WRITES: ReadonlySet<unknown> = new Set<keyof Client>([
  'create',
  'update',
  'updateStatus',
  'updateSubresource',
  'patch',
  'delete',
  'deleteCollection',
  'createSubresource',
]);

/** mayWrite is asked before each write. Refused ones fail as 'refused', since they surely did not happen. Informers are those of the client. */
export function fencedClient(client: Client, mayWrite: () => boolean): Client {
  return new Proxy(client, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof value !== 'function') return value;
      if (WRITES.has(key) && !mayWrite())
        return () =>
          Promise.reject(new TransportError('refused', 'not sent: the lease of leader election may be over'));
      return value.bind(target) as unknown;
    },
  });
}
