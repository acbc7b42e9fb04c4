/** What the scorecard asks of API servers by connections of its own: certificates, requests without credentials, and the loss of one after the other. */
import { connect as connectTls } from 'node:tls';
import { createServer, connect as connectTcp, type Socket } from 'node:net';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import type { FailOver, OutsideProbe } from '#readiness/scorecard/view.ts';

const CONNECT_TIMEOUT_MS = 3_000;
/** Of one request while a server is lost. */
const REQUEST_TIMEOUT_MS = 5_000;
const REQUESTS_EACH = 20;

export function createOutsideProbe(credentials: HttpsOptions): OutsideProbe {
  const { host } = new URL(credentials.server);
  const server = host.includes(':') ? host : `${host}:443`;
  return {
    server,
    certificateOf,
    anonymousStatus: (path) => anonymousStatus(credentials, path),
    failOver: (servers) => failOver(credentials, servers),
  };
}

/** '[fd00::1]:6443' as node:net takes it. */
function parse(server: string): { readonly host: string; readonly port: number } {
  const split = server.lastIndexOf(':');
  return { host: server.slice(0, split).replace(/^\[|\]$/g, ''), port: Number(server.slice(split + 1)) };
}

function certificateOf(server: string): Promise<{ readonly notAfterMs: number }> {
  // Only the dates are read, and nothing is sent: an expired or unknown certificate must be readable too.
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...parse(server), rejectUnauthorized: false }, () => {
      const { valid_to: validTo } = socket.getPeerCertificate();
      socket.destroy();
      resolve({ notAfterMs: Date.parse(validTo) });
    });
    socket.setTimeout(CONNECT_TIMEOUT_MS, () =>
      socket.destroy(new Error(`${server} does not answer within ${CONNECT_TIMEOUT_MS / 1_000} s`)),
    );
    socket.on('error', reject);
  });
}

async function anonymousStatus(credentials: HttpsOptions, path: string): Promise<number> {
  const { server, ca, caFile, insecureSkipVerify, serverName } = credentials;
  const transport = createHttpsTransport({
    server,
    timeoutMs: REQUEST_TIMEOUT_MS,
    ...(ca === undefined ? {} : { ca }),
    ...(caFile === undefined ? {} : { caFile }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(insecureSkipVerify === undefined ? {} : { insecureSkipVerify }),
  });
  try {
    const response = await transport.request({ method: 'GET', path });
    await response.bytes();
    return response.status;
  } finally {
    await transport.close();
  }
}

async function failOver(
  credentials: HttpsOptions,
  servers: readonly string[],
): Promise<FailOver | undefined> {
  const reachable = await Promise.all(servers.map(answers));
  if (reachable.includes(false)) return undefined;
  const relay = await startRelay(servers);
  const transport = createHttpsTransport({
    ...credentials,
    server: `https://127.0.0.1:${relay.port}`,
    timeoutMs: REQUEST_TIMEOUT_MS,
  });
  try {
    let total: FailOver = { requests: 0, failed: 0, longestMs: 0 };
    for (const lost of servers) {
      relay.lose(lost);
      total = add(total, await ask(transport));
    }
    return total;
  } finally {
    await transport.close();
    relay.close();
  }
}

type Requests = Pick<ReturnType<typeof createHttpsTransport>, 'request'>;

async function ask(transport: Requests): Promise<FailOver> {
  let failed = 0;
  let longestMs = 0;
  for (let request = 0; request < REQUESTS_EACH; request++) {
    const began = performance.now();
    try {
      const response = await transport.request({ method: 'GET', path: '/readyz' });
      await response.bytes();
      if (response.status !== 200) failed++;
    } catch {
      failed++; // It is counted: that is what this measures.
    }
    longestMs = Math.max(longestMs, performance.now() - began);
  }
  return { requests: REQUESTS_EACH, failed, longestMs };
}

function add(left: FailOver, right: FailOver): FailOver {
  return {
    requests: left.requests + right.requests,
    failed: left.failed + right.failed,
    longestMs: Math.max(left.longestMs, right.longestMs),
  };
}

function answers(server: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connectTcp({ ...parse(server), timeout: CONNECT_TIMEOUT_MS });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}

interface TestRelay {
  readonly port: number;
  /** Its connections are cut, and new ones go to the next server; the one that was lost before is back. */
  lose(server: string): void;
  close(): void;
}

async function startRelay(servers: readonly string[]): Promise<TestRelay> {
  const open = new Map<Socket, string>();
  let lost: string | undefined;
  let turn = 0;
  const listener = createServer((client) => {
    const left = servers.filter((server) => server !== lost);
    const server = left[turn++ % left.length]!;
    const upstream = connectTcp(parse(server));
    open.set(client, server);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      from.pipe(to);
      from.on('error', () => to.destroy());
      from.on('close', () => to.destroy());
    }
    client.on('close', () => open.delete(client));
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return {
    port: (listener.address() as { port: number }).port,
    lose(server) {
      lost = server;
      for (const [client, of] of open) if (of === server) client.destroy();
    },
    close() {
      for (const client of open.keys()) client.destroy();
      listener.close();
    },
  };
}
