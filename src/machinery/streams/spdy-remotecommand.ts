/** Exec and attach over SPDY: the client's side (the API server towards a kubelet) and the server's (a node that runs no real containers). */
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Status } from '../errors.ts';
import { exitStatus, hasResize, hasStatus, internalErrorStatus, successStatus } from './remotecommand.ts';
import type { RemoteCommandOptions, TerminalSize } from './remotecommand.ts';
import type { SpdyConnection, SpdyStream } from './spdy.ts';

interface RemoteCommandStreams {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  /** JSON of TerminalSize objects, concatenated, passed on unchanged. */
  readonly resize?: Readable | undefined;
}

interface RunRemoteCommandOptions {
  readonly connection: SpdyConnection;
  /** The protocol that the server chose from SPDY_PROTOCOLS. */
  readonly protocol: string;
  readonly options: RemoteCommandOptions;
  readonly streams: RemoteCommandStreams;
}

/** Maximum size of the server's message on the error stream. */
const MAX_STATUS_BYTES = 64 * 1024;

/**
 * Runs one command to its end. Resolves with the server's message on the error stream: a Status in JSON from v4 on; before that ''
 * or a text, which is converted to a Status here. Rejects when the connection breaks before that.
 */
export async function runRemoteCommand({
  connection,
  protocol,
  options,
  streams,
}: RunRemoteCommandOptions): Promise<Partial<Status>> {
  // The order is that of the protocol: servers count streams. Streams that are only read get their FIN at once, too: a server that closes with
  // unread bytes from us resets the connection, and its last output is lost.
  const open = (streamType: string, wanted: boolean, onlyRead: boolean): Promise<SpdyStream> | undefined =>
    wanted ? connection.createStream({ streamType }, { end: onlyRead }) : undefined;
  const opening = [
    open('error', true, true),
    open('stdin', options.stdin, false),
    open('stdout', options.stdout, true),
    open('stderr', options.stderr && !options.tty, true),
    open('resize', options.tty && hasResize(protocol), false),
  ] as const;
  const [error, stdin, stdout, stderr, resize] = await Promise.all(opening);
  const outcome = readText(error ?? Readable.from([]), MAX_STATUS_BYTES);
  const outputs = [copyOut(stdout, streams.stdout), copyOut(stderr, streams.stderr)];
  // The command may end without reading all of these, which is no failure.
  void copyIn(streams.stdin, stdin);
  void copyIn(streams.resize, resize);
  const [text] = await Promise.all([outcome, ...outputs]);
  stdin?.destroy();
  resize?.destroy();
  return parseOutcome(text, protocol);
}

async function copyIn(from: Readable | undefined, to: SpdyStream | undefined): Promise<void> {
  if (!to) return;
  if (!from) return void to.end();
  await pipeline(from, to).catch(() => {});
}

async function copyOut(from: SpdyStream | undefined, to: Writable | undefined): Promise<void> {
  if (!from) return;
  if (!to) return void from.resume();
  // Waits until all output is delivered: the result must not overtake it.
  await pipeline(from, to);
}

async function readText(stream: Readable, maxBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes <= maxBytes) parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

function parseOutcome(text: string, protocol: string): Partial<Status> {
  if (!hasStatus(protocol)) return text === '' ? successStatus() : internalErrorStatus(text);
  if (text === '') return internalErrorStatus('the connection ended before the status of the command came');
  try {
    return JSON.parse(text) as Partial<Status>;
  } catch {
    return internalErrorStatus(`error stream protocol error: ${JSON.stringify(text)}`);
  }
}

/** The server's view of a command whose client has opened all its streams. */
export interface RemoteCommandSession {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  /** Terminal sizes, as they arrive. */
  readonly resize?: AsyncIterable<TerminalSize>;
  /** Ends the command: 0, another exit code, or the error for which it could not run. */
  finish(outcome: number | string): Promise<void>;
}

/** Timeout for a client to open its streams: upstream's streamCreationTimeout. */
const STREAM_CREATION_TIMEOUT_MS = 30_000;

interface AcceptRemoteCommandOptions {
  readonly protocol: string;
  readonly options: RemoteCommandOptions;
}

interface RemoteCommandAcceptor {
  /** The onStream handler of a SpdyConnection. */
  readonly onStream: (stream: SpdyStream) => void;
  /** Resolves when all expected streams are open. */
  readonly session: Promise<RemoteCommandSession>;
}

export function acceptRemoteCommand({
  protocol,
  options,
}: AcceptRemoteCommandOptions): RemoteCommandAcceptor {
  const expected = [
    'error',
    ...(options.stdin ? ['stdin'] : []),
    ...(options.stdout ? ['stdout'] : []),
    ...(options.stderr && !options.tty ? ['stderr'] : []),
    ...(options.tty && hasResize(protocol) ? ['resize'] : []),
  ];
  const found = new Map<string, SpdyStream>();
  const { promise, resolve, reject } = Promise.withResolvers<RemoteCommandSession>();
  const timer = setTimeout(
    () => reject(new Error('timed out waiting for client to create streams')),
    STREAM_CREATION_TIMEOUT_MS,
  );
  timer.unref();
  return {
    session: promise,
    onStream(stream) {
      const type = stream.headers['streamtype'] ?? '';
      if (!expected.includes(type) || found.has(type)) return stream.reset();
      stream.reply();
      found.set(type, stream);
      if (found.size < expected.length) return;
      clearTimeout(timer);
      resolve(createSession(found, protocol));
    },
  };
}

function createSession(streams: ReadonlyMap<string, SpdyStream>, protocol: string): RemoteCommandSession {
  const [stdin, stdout, stderr, resize] = ['stdin', 'stdout', 'stderr', 'resize'].map((name) =>
    streams.get(name),
  );
  return {
    stdin,
    stdout,
    stderr,
    ...(resize ? { resize: terminalSizes(resize) } : {}),
    async finish(outcome) {
      const error = streams.get('error');
      await Promise.all(
        [stdout, stderr].map((stream) => stream && new Promise<void>((done) => stream.end(done))),
      );
      if (error && !error.destroyed)
        await new Promise<void>((done) => error.end(outcomeText(outcome, protocol), done));
    },
  };
}

function outcomeText(outcome: number | string, protocol: string): string {
  if (hasStatus(protocol))
    return JSON.stringify(
      typeof outcome === 'string'
        ? internalErrorStatus(outcome)
        : outcome === 0
          ? successStatus()
          : exitStatus(outcome),
    );
  if (outcome === 0) return '';
  return typeof outcome === 'string'
    ? outcome
    : `error executing command in container: command terminated with exit code ${outcome}`;
}

/** Concatenated JSON objects without strings, so braces delimit them. */
async function* terminalSizes(stream: Readable): AsyncGenerator<TerminalSize> {
  let text = '';
  for await (const part of stream as AsyncIterable<Buffer>) {
    text = (text + part.toString()).slice(-MAX_STATUS_BYTES);
    for (let end = text.indexOf('}'); end >= 0; end = text.indexOf('}')) {
      const size = JSON.parse(text.slice(0, end + 1)) as Partial<TerminalSize>;
      text = text.slice(end + 1);
      yield { Width: size.Width ?? 0, Height: size.Height ?? 0 };
    }
  }
}
