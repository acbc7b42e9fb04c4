/** What the benches of the API server and the servers they start have in common. */
import { fork } from 'node:child_process';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { NODE_FLAGS } from '#deploy/daemon.ts';

/** 'bench' is bound to cluster-admin by its group, so that RBAC is evaluated; 'root' is in system:masters and makes that binding. */
export const TOKENS = 'bench,bench,1,bench-admins\nroot,root,2,system:masters\n';

export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return port;
}

interface BenchServer {
  /** The next message of this type, after asking for it where there is a question. */
  answer<T>(type: string, question?: string): Promise<T>;
  stop(): void;
}

/** bench/apiserver-server.ts with Capstan's API server, in a process of its own; it answers 'ready' once it serves. */
export function forkApiServer({
  dir,
  cert,
  key,
}: {
  readonly dir: string;
  readonly cert: string;
  readonly key: string;
}): BenchServer {
  const child = fork(new URL('./apiserver-server.ts', import.meta.url), {
    execArgv: [...NODE_FLAGS],
    // As the launcher sets it.
    env: {
      NODE_COMPILE_CACHE: join(import.meta.dirname, '../.cache/compile'),
      ...process.env,
      BENCH_CONFIG: JSON.stringify({ kind: 'api', listBytes: 0, longBytes: 0, dir, cert, key }),
    },
  });
  return {
    answer: <T>(type: string, question?: string) =>
      new Promise<T>((resolve) => {
        child.on('message', function hear(message: { readonly type: string }): void {
          if (message.type !== type) return;
          child.off('message', hear);
          resolve(message as T);
        });
        if (question) child.send(question);
      }),
    stop: () => void child.send('stop'),
  };
}
