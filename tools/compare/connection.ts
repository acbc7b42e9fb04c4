/** One server under comparison: sends requests over HTTP/1.1 (whose headers and bodies come as they are) with a kubeconfig's credentials, or without any. */
import * as https from 'node:https';
import { readFileSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import type { HttpsOptions } from '#client/https.ts';

export interface Answer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  readonly body: Buffer;
  /** Set where no whole answer came: the error's words. */
  readonly broken?: string;
}

export interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Buffer | undefined;
  readonly anonymous?: boolean | undefined;
}

export interface Connection {
  /** 'https://127.0.0.1:6443', which answers may mention. */
  readonly server: string;
  /** Never throws. `onHead` is called when the answer begins. */
  send(request: Sent, onHead?: () => void): Promise<Answer>;
  close(): void;
}

const TIMEOUT_MS = 40_000;
const MAX_BODY_BYTES = 64 * 1024 * 1024;

export function connect(kubeconfig: string, { maxSockets }: { readonly maxSockets: number }): Connection {
  const { options } = resolveContext(loadKubeconfig({ path: kubeconfig }));
  const url = new URL(options.server);
  const trust = {
    ...(options.insecureSkipVerify ? { rejectUnauthorized: false } : {}),
    ...pem('ca', options.ca, options.caFile),
  };
  const own = new https.Agent({
    keepAlive: true,
    maxSockets,
    ...trust,
    ...pem('cert', options.cert, options.certFile),
    ...pem('key', options.key, options.keyFile),
  });
  const nobody = new https.Agent({ keepAlive: true, maxSockets, ...trust });
  const credentials = authorization(options);
  return {
    server: options.server,
    send: (request, onHead) =>
      send(request, {
        url,
        agent: request.anonymous ? nobody : own,
        credentials: request.anonymous ? {} : credentials,
        onHead,
      }),
    close() {
      own.destroy();
      nobody.destroy();
    },
  };
}

function pem(name: string, given: unknown, file: string | undefined): Record<string, unknown> {
  return given !== undefined ? { [name]: given } : file !== undefined ? { [name]: readFileSync(file) } : {};
}

function authorization({ token, tokenFile, basic }: HttpsOptions): Record<string, string> {
  const bearer = token ?? (tokenFile === undefined ? undefined : readFileSync(tokenFile, 'utf8').trim());
  if (bearer !== undefined) return { authorization: `Bearer ${bearer}` };
  return basic
    ? { authorization: `Basic ${Buffer.from(`${basic.username}:${basic.password}`).toString('base64')}` }
    : {};
}

interface Way {
  readonly url: URL;
  readonly agent: https.Agent;
  readonly credentials: Record<string, string>;
  readonly onHead: (() => void) | undefined;
}

function send(
  { method, path, headers, body }: Sent,
  { url, agent, credentials, onHead }: Way,
): Promise<Answer> {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const broken = (error: Error): void => {
    onHead?.();
    resolve({ status: 0, headers: {}, body: Buffer.alloc(0), broken: error.message });
  };
  try {
    const request = https.request(
      {
        agent,
        method,
        host: url.hostname,
        port: url.port || 443,
        path: url.pathname.replace(/\/$/, '') + path,
        timeout: TIMEOUT_MS,
        headers: {
          ...credentials,
          ...headers,
          ...(body ? { 'content-length': String(body.length) } : {}),
        } as Record<string, string | string[]>,
      },
      (response) => {
        onHead?.();
        const chunks: Buffer[] = [];
        let size = 0;
        response.on('data', (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_BODY_BYTES)
            request.destroy(new Error(`the answer is larger than ${MAX_BODY_BYTES} bytes`));
          else chunks.push(chunk);
        });
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: headerLists(response.rawHeaders),
            body: Buffer.concat(chunks),
          }),
        );
        response.on('error', broken);
      },
    );
    request.on('error', broken);
    const tunnel = (response: IncomingMessage, socket: Duplex): void => {
      onHead?.();
      socket.destroy();
      resolve({
        status: response.statusCode ?? 0,
        headers: headerLists(response.rawHeaders),
        body: Buffer.alloc(0),
      });
    };
    request.on('connect', tunnel);
    request.on('upgrade', tunnel);
    request.on('close', () => broken(new Error('the connection closed')));
    request.on('timeout', () => request.destroy(new Error(`no answer for ${TIMEOUT_MS / 1000} s`)));
    request.end(body);
  } catch (error) {
    broken(error as Error);
  }
  return promise;
}

function headerLists(raw: readonly string[]): Record<string, string[]> {
  const lists: Record<string, string[]> = {};
  for (let at = 0; at + 1 < raw.length; at += 2) (lists[raw[at]!.toLowerCase()] ??= []).push(raw[at + 1]!);
  return lists;
}
