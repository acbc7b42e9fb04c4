/** The same requests as a foreign client sends them: HTTP/2 by Node's client, and HTTP/1.1 written by hand, over TLS to a listener on loopback. */
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect as connectTls } from 'node:tls';
import { createTlsListener } from '#apiserver/http/listener.ts';
import type { ApiHandler } from '#apiserver/http/request.ts';
import type { Pki } from '#deploy/pki/pki.ts';
import { silentLogger } from '#stdx/log.ts';
import type { FuzzRequest } from './requests.ts';
import type { FuzzAnswer } from './verify.ts';

export interface Sockets {
  /** Undefined where the request cannot be written so, or the connection was refused: that is an answer too. */
  exchange(request: FuzzRequest): Promise<FuzzAnswer | undefined>;
  close(): Promise<void>;
}

const STREAM_MS = 300,
  ANSWER_MS = 20_000;

export async function openSockets(handler: ApiHandler, pki: Pki): Promise<Sockets> {
  const listener = createTlsListener({
    handler,
    tls: { cert: pki.apiServer.certificatePem, key: pki.apiServer.keyPem, clientCa: pki.ca.certificatePem },
    log: silentLogger,
  });
  const { port } = await listener.listen({ host: '127.0.0.1', port: 0 });
  const client = pki.clients['super-admin'];
  const tls = { ca: pki.ca.certificatePem, cert: client.certificatePem, key: client.keyPem };
  let session: ClientHttp2Session | undefined;
  let turn = 0;
  const http2 = (request: FuzzRequest): Promise<FuzzAnswer | undefined> => {
    if (!session || session.closed || session.destroyed) {
      session = connectHttp2(`https://127.0.0.1:${port}`, tls);
      session.on('error', () => {});
    }
    return overHttp2(session, request);
  };
  return {
    exchange: (request) => (turn++ % 2 === 0 ? http2(request) : overHttp1({ ...tls, port }, request)),
    async close() {
      session?.destroy();
      await listener.close({ drainMs: 100, graceMs: 100 });
    },
  };
}

function overHttp2(
  session: ClientHttp2Session,
  { method, path, query, headers, body }: FuzzRequest,
): Promise<FuzzAnswer | undefined> {
  return new Promise((resolve, reject) => {
    let stream;
    try {
      stream = session.request(
        { ':method': method, ':path': `${path}${query === '' ? '' : `?${query}`}`, ...headers },
        { endStream: body.length === 0 },
      );
    } catch {
      // Node does not write such a request.
      return resolve(undefined);
    }
    const chunks: Buffer[] = [];
    let status = 0,
      answered: Record<string, string> = {};
    const timer = setTimeout(() => {
      stream.close();
      reject(new Error('no answer by HTTP/2'));
    }, ANSWER_MS);
    const done = (answer: FuzzAnswer | undefined): void => {
      clearTimeout(timer);
      resolve(answer);
    };
    stream.on('response', (fields) => {
      const { ':status': code, ...rest } = fields;
      status = Number(code);
      answered = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, String(value)]));
      // A watch: enough seen.
      if (answered['content-length'] === undefined) setTimeout(() => stream.close(), STREAM_MS).unref();
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('error', () => {});
    stream.on('close', () =>
      done(
        status === 0
          ? undefined
          : {
              status,
              headers: answered,
              bytes: Buffer.concat(chunks),
              streamed: answered['content-length'] === undefined,
            },
      ),
    );
    if (body.length > 0) stream.end(body);
  });
}

function overHttp1(
  {
    port,
    ...tls
  }: { readonly port: number; readonly ca: string; readonly cert: string; readonly key: string },
  { method, path, query, headers, body }: FuzzRequest,
): Promise<FuzzAnswer | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: '127.0.0.1', port, ...tls, ALPNProtocols: ['http/1.1'] });
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => socket.destroy(), ANSWER_MS);
    let streamTimer: NodeJS.Timeout | undefined;
    socket.on('secureConnect', () => {
      const lines = Object.entries({
        host: 'localhost',
        connection: 'close',
        'content-length': String(body.length),
        ...headers,
      })
        .map(([name, value]) => `${name}: ${value}\r\n`)
        .join('');
      socket.write(
        Buffer.concat([
          Buffer.from(
            `${method} ${path}${query === '' ? '' : `?${query}`} HTTP/1.1\r\n${lines}\r\n`,
            'latin1',
          ),
          body,
        ]),
      );
    });
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      streamTimer ??= setTimeout(() => socket.destroy(), STREAM_MS * 10);
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      clearTimeout(streamTimer);
      const bytes = Buffer.concat(chunks);
      if (bytes.length === 0) return reject(new Error('no answer by HTTP/1.1'));
      resolve(readAnswer(bytes));
    });
  });
}

/** Undefined for what the server's HTTP parser refused. */
function readAnswer(bytes: Buffer): FuzzAnswer | undefined {
  const end = bytes.indexOf('\r\n\r\n');
  const [statusLine = '', ...lines] = bytes.toString('latin1', 0, Math.max(end, 0)).split('\r\n');
  const status = Number(statusLine.split(' ')[1]);
  const headers = Object.fromEntries(
    lines.map((line) => [
      line.slice(0, line.indexOf(':')).toLowerCase(),
      line.slice(line.indexOf(':') + 1).trim(),
    ]),
  );
  if (status === 100) return readAnswer(bytes.subarray(end + 4));
  const length = headers['content-length'];
  if (length === '0' && (status === 400 || status === 405 || status === 431)) return undefined;
  return { status, headers, bytes: bytes.subarray(end + 4), streamed: length === undefined };
}
