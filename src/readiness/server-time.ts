/** The clock of the API server that answers, by the header of its responses: what Leases are judged by where this machine's clock may be wrong. */
import type { Client } from '#client/client.ts';

/** Whole seconds. Undefined: it does not say. */
export async function serverTime(api: Client): Promise<number | undefined> {
  const response = await api.transport.request({ method: 'GET', path: '/version' });
  await response.bytes();
  const ms = Date.parse(String(response.headers['date'] ?? ''));
  return Number.isNaN(ms) ? undefined : ms;
}
