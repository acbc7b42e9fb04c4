/**
 * The two ends between the main thread of all-in-one and its worker threads: the main end starts a worker, provides ports to the API (one per user it acts
 * as) and receives its state; the worker end requests ports and reports. Both are trusted.
 *
 *   main: spawn ──workerData──► worker ──ask {user}──► main ──port──► worker ──started | failed──► main ──stop──► worker ──stopped──► exit
 */
import { MessageChannel, parentPort, Worker, workerData, type MessagePort } from 'node:worker_threads';
import { createPortTransport, servePort } from '#client/port.ts';
import type { DirectHandler } from '#client/direct.ts';
import type { Transport } from '#client/transport.ts';
import type { UserInfo } from '#machinery/object.ts';
import { createHeartbeat, startBeating, type Heartbeat } from '#runtime/heartbeat.ts';
import { assert } from '#stdx/assert.ts';
import { errorMessage } from '#stdx/log.ts';

type ToWorker =
  | { readonly type: 'port'; readonly id: number; readonly port: MessagePort }
  | { readonly type: 'stop'; readonly reason: string };
type ToMain =
  | { readonly type: 'ask'; readonly id: number; readonly user: UserInfo }
  | { readonly type: 'state'; readonly component: string; readonly state: string }
  | { readonly type: 'started' }
  | { readonly type: 'failed'; readonly message: string }
  | { readonly type: 'stopped'; readonly problem: string | undefined };

export interface WorkerHandle {
  /** Resolves when the worker's components have started, rejects when they cannot. */
  readonly started: Promise<void>;
  /** Resolves when the worker has ended, with an error message if that was unexpected. */
  readonly ended: Promise<string | undefined>;
  /** Resolves when it has ended, with what it could not stop, if anything. */
  stop(reason: string): Promise<string | undefined>;
  /** Its event loop, as other threads see it. */
  readonly heartbeat: Heartbeat;
  /** Ends it at once, whatever it is doing. */
  kill(): Promise<void>;
}

interface WorkerOptions {
  readonly file: URL;
  /** For messages: 'scheduler and controllers'. */
  readonly name: string;
  /** Structured-cloneable. */
  readonly data: object;
  /** May be a promise: ports are served once the API handler exists. */
  readonly handler: Promise<DirectHandler>;
  readonly onState: (component: string, state: string) => void;
  readonly maxHeapMb: number;
}

/** The reason of a stop that must take the node's containers down too. */
export const STOP_CONTAINERS = 'down';

const STOP_TIMEOUT_MS = 60_000;
/** Components produce little garbage; most of V8's default of 48 MB per thread would be idle. */
const YOUNG_HEAP_MB = 8;

export function startWorker(options: WorkerOptions): WorkerHandle {
  const heartbeat = createHeartbeat(options.name);
  const worker = new Worker(options.file, {
    workerData: { data: options.data, heartbeat } satisfies WorkerInput<object>,
    resourceLimits: { maxOldGenerationSizeMb: options.maxHeapMb, maxYoungGenerationSizeMb: YOUNG_HEAP_MB },
  });
  let stopping = false;
  let leftover: string | undefined;
  let settle: { resolve(): void; reject(error: Error): void };
  const started = new Promise<void>((resolve, reject) => {
    settle = { resolve, reject };
  });
  started.catch(() => {});
  worker.on('message', (message: ToMain) => {
    if (message.type === 'ask')
      void givePort(worker, { id: message.id, user: message.user, handler: options.handler });
    else if (message.type === 'state') options.onState(message.component, message.state);
    else if (message.type === 'started') settle.resolve();
    else if (message.type === 'failed') settle.reject(new Error(message.message));
    else leftover = message.problem;
  });
  const ended = new Promise<string | undefined>((resolve) => {
    let problem: string | undefined;
    worker.on('error', (error) => {
      problem = errorMessage(error);
    });
    worker.on('exit', (code) => {
      const why = problem ?? (code === 0 || stopping ? undefined : `exit code ${code}`);
      settle.reject(new Error(why ?? 'the worker ended'));
      resolve(stopping ? undefined : (why ?? 'it ended by itself'));
    });
  });
  return {
    started,
    ended,
    async stop(reason) {
      stopping = true;
      worker.postMessage({ type: 'stop', reason } satisfies ToWorker);
      const late = setTimeout(() => {
        leftover = `${options.name} did not stop within ${STOP_TIMEOUT_MS / 1000} s`;
        void worker.terminate();
      }, STOP_TIMEOUT_MS);
      await ended;
      clearTimeout(late);
      return leftover;
    },
    heartbeat,
    async kill() {
      stopping = true;
      await worker.terminate();
      await ended;
    },
  };
}

async function givePort(
  worker: Worker,
  {
    id,
    user,
    handler,
  }: { readonly id: number; readonly user: UserInfo; readonly handler: Promise<DirectHandler> },
): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  servePort(port1, await handler, user);
  worker.postMessage({ type: 'port', id, port: port2 } satisfies ToWorker, [port2]);
}

interface WorkerInput<Data> {
  readonly data: Data;
  readonly heartbeat: Heartbeat;
}

interface WorkerEnd<Data> {
  readonly data: Data;
  transportFor(user: UserInfo): Promise<Transport>;
  state(component: string, state: string): void;
  /** Runs start and reports; on request, runs stop with the reason and ends the thread. */
  run(start: () => Promise<void>, stop: (reason: string) => Promise<void>): void;
}

export function workerEnd<Data>(): WorkerEnd<Data> {
  assert(parentPort, 'runs as a worker thread');
  const main = parentPort;
  const { data, heartbeat } = workerData as WorkerInput<Data>;
  startBeating(heartbeat);
  const asked = new Map<number, (port: MessagePort) => void>();
  let nextId = 1;
  let onStop: ((reason: string) => void) | undefined;
  main.on('message', (message: ToWorker) => {
    if (message.type === 'port') {
      asked.get(message.id)?.(message.port);
      asked.delete(message.id);
    } else onStop?.(message.reason);
  });
  const send = (message: ToMain): void => main.postMessage(message);
  return {
    data,
    transportFor: (user) =>
      new Promise((resolve) => {
        const id = nextId++;
        asked.set(id, (port) => resolve(createPortTransport(port)));
        send({ type: 'ask', id, user });
      }),
    state: (component, state) => send({ type: 'state', component, state }),
    run(start, stop) {
      onStop = (reason) =>
        void stop(reason)
          .then(() => undefined, errorMessage)
          .then((problem) => {
            send({ type: 'stopped', problem });
            process.exit(0);
          });
      start().then(
        () => send({ type: 'started' }),
        (error: unknown) => {
          send({ type: 'failed', message: errorMessage(error) });
          process.exit(1);
        },
      );
    },
  };
}
