/** What the benches of the API server and the servers they start have in common. */
import { createServer, type AddressInfo } from 'node:net';

/** 'bench' is bound to cluster-admin by its group, so that RBAC is evaluated; 'root' is in system:masters and makes that binding. */
export const TOKENS = 'bench,bench,1,bench-admins\nroot,root,2,system:masters\n';

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return port;
}
