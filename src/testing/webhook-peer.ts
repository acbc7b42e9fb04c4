/** A real HTTPS server on loopback that answers JSON webhooks, with an authority of its own and the kubeconfig that leads to it. For tests. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { renderKubeconfig } from '#deploy/pki/kubeconfig.ts';

export interface PeerCall {
  readonly body: unknown;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  /** Common name of the client's certificate, '' without one. */ readonly clientName: string;
}
/** status 0 = the connection is cut; a promise that never settles = no answer. */
export interface PeerAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** The body never ends: a blank now and then. */ readonly drips?: boolean;
}

export interface WebhookPeer {
  readonly url: string;
  readonly caPem: string;
  /** Path of a kubeconfig whose user shows the client certificate 'CN=kube-apiserver'. */
  readonly kubeconfig: string;
  /** For more files of a test; removed at stop(). */
  readonly dir: string;
  /** In the order they came. */
  readonly calls: readonly PeerCall[];
  /** From the next call on. */
  answer(handler: (call: PeerCall) => PeerAnswer | Promise<PeerAnswer>): void;
  stop(): Promise<void>;
}

const DRIP_MS = 20;

function drip(response: ServerResponse): void {
  const timer = setInterval(() => response.write(' '), DRIP_MS);
  response.on('close', () => clearInterval(timer));
}

const HOUR_MS = 3_600_000;

interface WebhookPeerOptions {
  /** A loopback address. Default 127.0.0.1. */
  readonly host?: string;
  /** Names of its certificate besides localhost. */
  readonly dnsNames?: readonly string[];
}

export async function startWebhookPeer(
  handler: (call: PeerCall) => PeerAnswer | Promise<PeerAnswer>,
  { host = '127.0.0.1', dnsNames = [] }: WebhookPeerOptions = {},
): Promise<WebhookPeer> {
  const nowMs = Date.now();
  const authority = createAuthority({ commonName: 'webhook authority', nowMs, lifetimeMs: HOUR_MS });
  const issue = (commonName: string, usages: ['serverAuth'] | ['clientAuth']): KeyPair =>
    issueCertificate(authority, {
      subject: { commonName },
      usages,
      altNames: { dnsNames: ['localhost', ...dnsNames], ipAddresses: [host] },
      nowMs,
      lifetimeMs: HOUR_MS,
    });
  const serving = issue('webhook', ['serverAuth']);
  const client = issue('kube-apiserver', ['clientAuth']);
  const dir = mkdtempSync(join(tmpdir(), 'capstan-peer-'));
  const calls: PeerCall[] = [];
  const sockets = new Set<Socket>();
  let current = handler;
  const server = createServer(
    {
      cert: serving.certificatePem,
      key: serving.keyPem,
      ca: authority.certificatePem,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const subject = (request.socket as TLSSocket).getPeerCertificate()?.subject as
          | { CN?: string }
          | undefined;
        const call: PeerCall = {
          body: JSON.parse(Buffer.concat(parts).toString() || 'null') as unknown,
          path: request.url ?? '',
          headers: request.headers,
          clientName: subject?.CN ?? '',
        };
        calls.push(call);
        void Promise.resolve(current(call)).then(
          ({ status = 200, headers = {}, body = '', drips = false }) => {
            if (status === 0) return void request.socket.destroy();
            response.writeHead(status, { 'content-type': 'application/json', ...headers });
            if (drips) return void drip(response);
            response.end(typeof body === 'string' ? body : JSON.stringify(body));
          },
        );
      });
    },
  );
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const url = `https://${host}:${(server.address() as AddressInfo).port}/webhook`;
  const kubeconfig = join(dir, 'webhook.kubeconfig');
  writeFileSync(
    kubeconfig,
    renderKubeconfig({
      server: url,
      caPem: authority.certificatePem,
      clusterName: 'webhook',
      userName: 'kube-apiserver',
      credentials: { certificate: client },
    }),
    { mode: 0o600 },
  );
  return {
    url,
    caPem: authority.certificatePem,
    kubeconfig,
    dir,
    calls,
    answer: (next) => {
      current = next;
    },
    async stop() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
