/**
 * Port-forward over SPDY ('portforward.k8s.io'). For every forwarded connection the client opens two streams with one requestID: 'error',
 * which stays empty unless something fails, and 'data', which transfers the bytes.
 */
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { SpdyConnection, SpdyStream } from './spdy.ts';

export const PORT_FORWARD_PROTOCOL = 'portforward.k8s.io';

interface ServePortForwardOptions {
  /** Opens the connection to the pod's port. A rejection is reported on the error stream. */
  readonly connect: (port: number) => Promise<Duplex>;
  /** The pod's name in messages of the error stream. */
  readonly pod: string;
}

interface Pair {
  error?: SpdyStream;
  data?: SpdyStream;
}

/** Timeout for the other stream of a pair: upstream's streamCreationTimeout. */
const PAIR_TIMEOUT_MS = 30_000;

/** Returns the onStream handler of a server SpdyConnection. */
export function servePortForward({ connect, pod }: ServePortForwardOptions): (stream: SpdyStream) => void {
  const waiting = new Map<string, Pair>();
  return (stream) => {
    const { streamtype: type, port: portText = '', requestid = '' } = stream.headers;
    const port = Number(portText);
    if ((type !== 'error' && type !== 'data') || !Number.isInteger(port) || port < 1 || port > 65535)
      return stream.reset();
    // Old clients send no requestID; then pairs are matched by stream ids: error n, data n+2.
    const key = requestid || String(type === 'error' ? stream.id : stream.id - 2);
    const pair = waiting.get(key) ?? {};
    if (pair[type]) return stream.reset();
    stream.reply();
    pair[type] = stream;
    if (!pair.error || !pair.data) {
      waiting.set(key, pair);
      setTimeout(() => {
        if (waiting.get(key) !== pair || (pair.error && pair.data)) return;
        waiting.delete(key);
        stream.reset();
      }, PAIR_TIMEOUT_MS).unref();
      return;
    }
    waiting.delete(key);
    void forward({ error: pair.error, data: pair.data, port, connect, pod });
  };
}

async function forward(
  of: {
    readonly error: SpdyStream;
    readonly data: SpdyStream;
    readonly port: number;
  } & ServePortForwardOptions,
): Promise<void> {
  try {
    const target = await of.connect(of.port);
    await join(of.data, target);
    of.error.end();
  } catch (error) {
    of.error.end(
      `an error occurred forwarding ${of.port} -> ${of.port}: error forwarding port ${of.port} to pod ${of.pod}: ${(error as Error).message}`,
    );
    of.data.end();
  }
}

/** Copies both ways until both ended. */
async function join(one: Duplex, other: Duplex): Promise<void> {
  await Promise.all([pipeline(one, other), pipeline(other, one)]);
}

/** The client's side: one forwarded connection. */
export async function openForward(
  connection: SpdyConnection,
  { port, requestId }: { readonly port: number; readonly requestId: number },
): Promise<{ readonly data: SpdyStream; readonly error: SpdyStream }> {
  const headers = { port: String(port), requestID: String(requestId) };
  const error = await connection.createStream({ ...headers, streamType: 'error' });
  error.end(); // only read
  const data = await connection.createStream({ ...headers, streamType: 'data' });
  return { data, error };
}
