/** How commands of this machine talk to its supervisor: HTTP on a unix socket that only root reaches. GET /status, GET /healthz, POST /follow. */
import { chmodSync, mkdirSync, rmSync } from 'node:fs';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import type { ChildStatus } from './child.ts';

interface ControlSocketOptions {
  readonly path: string;
  status(): readonly ChildStatus[];
  /** Responds when the record was applied. */
  follow(): Promise<void>;
}

const TIMEOUT_MS = 180_000;
const MAX_ANSWER_BYTES = 2 ** 20;

/** Throws the file system's errors. Replaces the socket of a killed supervisor: the caller holds its lock. */
export async function serveControlSocket(options: ControlSocketOptions): Promise<{ close(): void }> {
  mkdirSync(dirname(options.path), { recursive: true, mode: 0o700 });
  rmSync(options.path, { force: true });
  const server = createServer((incoming, outgoing) => void answer(options, { incoming, outgoing }));
  await listen(server, options.path);
  chmodSync(options.path, 0o600);
  return {
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
}

async function answer(options: ControlSocketOptions, { incoming, outgoing }: Exchange): Promise<void> {
  incoming.resume();
  const send = (code: number, text: string): void => void outgoing.writeHead(code).end(text);
  switch (`${incoming.method} ${incoming.url}`) {
    case 'GET /healthz':
      return send(200, 'ok');
    case 'GET /status':
      return send(200, JSON.stringify(options.status()));
    case 'POST /follow':
      await options.follow();
      return send(200, 'ok');
    default:
      return send(404, 'not found');
  }
}

/** Undefined: no supervisor is running. */
export async function askSupervisor(path: string): Promise<readonly ChildStatus[] | undefined> {
  const text = await call(path, { method: 'GET', target: '/status' }).catch(() => undefined);
  return text === undefined ? undefined : (JSON.parse(text) as readonly ChildStatus[]);
}

/** Resolves when the supervisor has started the record's services. Rejects where none responds. */
export async function tellSupervisor(path: string): Promise<void> {
  await call(path, { method: 'POST', target: '/follow' });
}

function call(
  socketPath: string,
  { method, target }: { readonly method: string; readonly target: string },
): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, method, path: target, timeout: TIMEOUT_MS }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
        if (text.length > MAX_ANSWER_BYTES) outgoing.destroy(new Error('the answer is too long'));
      });
      response.on('end', () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`HTTP ${response.statusCode}`)),
      );
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    outgoing.on('error', reject);
    outgoing.end();
  });
}
