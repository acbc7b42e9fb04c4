/** Who may use the kubelet API: clients with a certificate of the cluster's authority for one of the given names, and no one else. Pure. */
import type { PeerCertificate, TLSSocket } from 'node:tls';

export interface Refusal { readonly status: 401 | 403; readonly text: string }

export function refusal(socket: Pick<TLSSocket, 'authorized'> & { getPeerCertificate(): Partial<PeerCertificate> }, { clients, method, path, nodeName }: { readonly clients: readonly string[]; readonly method: string; readonly path: string; readonly nodeName: string }): Refusal | undefined {
  if (!socket.authorized) return { status: 401, text: 'Unauthorized' };
  const user = String(socket.getPeerCertificate().subject?.CN ?? '');
  if (clients.includes(user)) return undefined;
  return { status: 403, text: `Forbidden (user=${user}, verb=${verbOf(method)}, resource=nodes, subresource=${subresourceOf(path)}, node=${nodeName})` };
}

function verbOf(method: string): string {
  return { GET: 'get', POST: 'create', PUT: 'update', PATCH: 'patch', DELETE: 'delete' }[method] ?? method.toLowerCase();
}

function subresourceOf(path: string): string {
  const [first = ''] = path.split('/').filter((part) => part !== '');
  return { stats: 'stats', metrics: 'metrics', logs: 'log', healthz: 'healthz', pods: 'pods' }[first] ?? 'proxy';
}
