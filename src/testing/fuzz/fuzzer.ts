/**
 * The fuzzing run: random requests against a whole API server (authentication, RBAC, admission, flow control, every version and encoding) over the
 * memory store, in this process, a share of them over TLS by HTTP/2 and by raw HTTP/1.1. Ends with the list of what did not hold.
 */
import { writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { composeApiServer, type ComposedApiServer } from '#cmd/apiserver/compose.ts';
import { ensurePki } from '#deploy/pki/pki.ts';
import type { ResponseSink } from '#apiserver/http/request.ts';
import { realClock } from '#stdx/clock.ts';
import type { Logger } from '#stdx/log.ts';
import { RESOURCES } from '#resources/registry.ts';
import { seededRandom } from '#stdx/random.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import type { Store } from '#storage/store.ts';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RequestGenerator, type FuzzRequest, type Remembered } from './requests.ts';
import { BOMBS, type Bomb } from './bombs.ts';
import { measure } from './processor-time.ts';
import { pick } from './random-values.ts';
import { WIDGETS } from './seeds.ts';
import { openSockets, type Sockets } from './sockets.ts';
import { faultOfAnswer, request, verifyStored, type FuzzAnswer } from './verify.ts';

interface FuzzOptions {
  readonly requests: number;
  readonly seed: number;
  /** Of the requests that go over sockets. Default 0.02. */
  readonly socketShare?: number;
  /** Everything stored is looked at after so many requests, and at the end. Default 50,000. */
  readonly verifyEvery?: number;
  readonly onProgress?: (report: FuzzReport) => void;
  /** The requests under way are written there before they are sent: what is in it after a crash caused it. */
  readonly trace?: string | undefined;
}

interface Fault {
  readonly what: string;
  readonly example: string;
  times: number;
}

export interface FuzzReport {
  readonly requests: number;
  readonly seconds: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly overSockets: number;
  readonly objects: number;
  /** After each look at what is stored, collected. */
  readonly heapMiB: readonly number[];
  readonly longestMs: number;
  readonly faults: readonly Fault[];
}

/** Of the batches, those that a structured bomb goes ahead of. */
const BOMB_SHARE = 0.005,
  BOMB_ATTEMPTS = 4;
const PARALLEL = 8,
  SOCKET_BATCH = 4;
/** Namespaces that a request deleted come back after so many. */
const PREPARE_EVERY = 500;
/** Processor time of one request, told from collecting garbage and compiling by asking again. */
const LONGEST_MS = 200;
/** The heap may move, but not grow with the requests: only with writes, of which each resource's watch window remembers the newest 8192. */
const HEAP_GROWTH_MIB = 32,
  BYTES_PER_EVENT = 1400;
const OPEN_WATCHES = 30;
const STRAGGLER_MS = 50,
  MAX_PENDING = 100;
const REMEMBERED = 50;

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const run = await FuzzRun.start(options);
  try {
    return await run.run();
  } finally {
    await run.stop();
  }
}

class FuzzRun {
  readonly #options: FuzzOptions;
  readonly #dir: string;
  readonly #store: Store;
  /** What the server logged as errors. */
  readonly #problems: string[];
  readonly #server: ComposedApiServer;
  readonly #sockets: Sockets;
  readonly #faults = new Map<string, Fault>();
  readonly #remembered: Remembered & { tokens: string[]; revisions: string[] } = {
    tokens: [],
    revisions: [],
  };
  readonly #watches: OpenWatch[] = [];
  readonly #statuses: Record<string, number> = {};
  readonly #heap: number[] = [];
  readonly #startedMs = performance.now();
  readonly #pending = new Set<Promise<unknown>>();
  #sent = 0;
  #overSockets = 0;
  #objects = 0;
  #longestMs = 0;
  readonly #onUnhandled = (error: unknown): void =>
    this.#fault(`unhandled: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, '');

  static async start(options: FuzzOptions): Promise<FuzzRun> {
    const dir = await mkdtemp(join(tmpdir(), 'capstan-fuzz-'));
    const store = createMemoryStore({ autoCompact: { keepRevisions: 2000 } });
    const problems: string[] = [];
    const pki = await ensurePki({
      dir: join(dir, 'pki'),
      nowMs: Date.now(),
      apiServer: { hostName: 'localhost', serviceIP: '10.96.0.1', bindAddresses: ['127.0.0.1'] },
    });
    const server = await composeApiServer({
      store,
      pki,
      serviceCIDR: '10.96.0.0/16',
      clock: realClock,
      log: errorLogger((message) => problems.push(message)),
      advertiseAddress: '127.0.0.1',
      port: 0,
      listen: [],
      serving: { isEnabled: () => true, cbor: true },
      settings: { requestLimits: { requestTimeoutMs: 5000 } },
    });
    await server.ready();
    const run = new FuzzRun(options, {
      dir,
      store,
      server,
      problems,
      sockets: await openSockets(server.handler, pki),
    });
    await run.#prepare();
    return run;
  }

  private constructor(
    options: FuzzOptions,
    {
      dir,
      store,
      server,
      problems,
      sockets,
    }: {
      readonly dir: string;
      readonly store: Store;
      readonly problems: string[];
      readonly server: ComposedApiServer;
      readonly sockets: Sockets;
    },
  ) {
    this.#options = options;
    this.#dir = dir;
    this.#store = store;
    this.#problems = problems;
    this.#server = server;
    this.#sockets = sockets;
    process.on('unhandledRejection', this.#onUnhandled);
    process.on('uncaughtException', this.#onUnhandled);
  }

  async stop(): Promise<void> {
    process.off('unhandledRejection', this.#onUnhandled);
    process.off('uncaughtException', this.#onUnhandled);
    for (const watch of this.#watches) watch.close();
    await this.#sockets.close();
    await this.#server.stop();
    await this.#store.close();
    await rm(this.#dir, { recursive: true, force: true });
  }

  /** What requests need to find: namespaces, an account for pods, a custom resource. Made anew when some request has deleted it. */
  async #prepare(): Promise<void> {
    const create = (path: string, object: object): Promise<FuzzAnswer> =>
      this.#exchange(
        request('POST', path, {
          headers: { 'content-type': 'application/json' },
          body: Buffer.from(JSON.stringify(object)),
        }),
      );
    for (const name of ['default', 'fuzz', 'other']) {
      await create('/api/v1/namespaces', { metadata: { name } });
      // Without a controller that finishes it, a namespace that was deleted stays so.
      const current = await this.#exchange(request('GET', `/api/v1/namespaces/${name}`));
      const object = JSON.parse(current.bytes.toString()) as {
        metadata: { deletionTimestamp?: string };
        spec?: object;
      };
      if (object.metadata.deletionTimestamp) {
        await this.#exchange(
          request('PUT', `/api/v1/namespaces/${name}/finalize`, {
            headers: { 'content-type': 'application/json' },
            body: Buffer.from(JSON.stringify({ ...object, spec: { finalizers: [] } })),
          }),
        );
        await create('/api/v1/namespaces', { metadata: { name } });
      }
      await create(`/api/v1/namespaces/${name}/serviceaccounts`, { metadata: { name: 'default' } });
    }
    await create('/apis/apiextensions.k8s.io/v1/customresourcedefinitions', WIDGETS);
  }

  async run(): Promise<FuzzReport> {
    const { requests, seed, socketShare = 0.02, verifyEvery = 50_000, onProgress } = this.#options;
    const random = seededRandom(seed),
      generator = new RequestGenerator(random, this.#remembered);
    let nextVerify = verifyEvery,
      nextPrepare = PREPARE_EVERY;
    while (this.#sent < requests) {
      if (random() < BOMB_SHARE) await this.#explode(pick(random, BOMBS));
      if (random() < (socketShare * PARALLEL) / SOCKET_BATCH) {
        const batch = Array.from({ length: SOCKET_BATCH }, () => generator.next());
        await Promise.all(batch.map((one) => this.#overSocket(one)));
      } else
        await this.#batch(
          Array.from({ length: Math.min(PARALLEL, requests - this.#sent) }, () => generator.next()),
        );
      if (this.#sent >= nextPrepare) {
        nextPrepare = this.#sent + PREPARE_EVERY;
        await this.#prepare();
      }
      if (this.#sent < nextVerify && this.#sent < requests) continue;
      nextVerify += verifyEvery;
      await this.#verify();
      onProgress?.(this.#report());
    }
    if (this.#heap.length >= 4) {
      const [first = 0] = this.#heap.slice(1).toSorted((a, b) => a - b),
        last = Math.min(...this.#heap.slice(-2));
      const events = Math.min(
        (await this.#store.list('/registry/', { limit: 1 })).revision,
        8192 * RESOURCES.length,
      );
      if (last - first > HEAP_GROWTH_MIB + (events * BYTES_PER_EVENT) / 2 ** 20)
        this.#fault(`the heap grows: ${this.#heap.join(' ')} MiB`, '');
    }
    return this.#report();
  }

  #report(): FuzzReport {
    return {
      requests: this.#sent,
      seconds: (performance.now() - this.#startedMs) / 1000,
      statuses: { ...this.#statuses },
      overSockets: this.#overSockets,
      objects: this.#objects,
      heapMiB: [...this.#heap],
      longestMs: this.#longestMs,
      faults: [...this.#faults.values()],
    };
  }

  #fault(what: string, example: string): void {
    // Faults of one kind differ by names and numbers.
    const key = what.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}|\d+/g, '#').slice(0, 160);
    const known = this.#faults.get(key);
    if (known) known.times++;
    else this.#faults.set(key, { what, example, times: 1 });
  }

  async #batch(batch: readonly FuzzRequest[]): Promise<void> {
    if (this.#options.trace)
      writeFileSync(this.#options.trace, `${this.#sent}\n${batch.map(describe).join('\n')}\n`);
    const before = process.threadCpuUsage();
    const all = Promise.all(batch.map((one) => this.#one(one)));
    this.#pending.add(all);
    void all.then(() => this.#pending.delete(all));
    // Some wait for a revision that never comes: they hold up no others.
    await Promise.race([all, new Promise((resolve) => setTimeout(resolve, STRAGGLER_MS))]);
    if (this.#pending.size > MAX_PENDING) await Promise.all(this.#pending);
    for (const problem of this.#problems.splice(0))
      this.#fault(`logged: ${problem}`, batch.map(describe).join('\n  '));
    const { user, system } = process.threadCpuUsage(before);
    if ((user + system) / 1000 > LONGEST_MS) await this.#findSlow(batch);
  }

  async #one(one: FuzzRequest): Promise<void> {
    this.#sent++;
    try {
      const answer = await this.#exchange(one);
      this.#judge(one, answer);
    } catch (error) {
      this.#fault(
        `thrown: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
        describe(one),
      );
    }
  }

  #judge(one: FuzzRequest, answer: FuzzAnswer): void {
    this.#statuses[answer.status] = (this.#statuses[answer.status] ?? 0) + 1;
    const fault = faultOfAnswer(one, answer);
    if (fault) this.#fault(fault, describe(one));
    if (answer.status === 200 && !answer.streamed && one.method === 'GET' && answer.bytes.length < 100_000)
      this.#remember(answer.bytes);
  }

  #remember(bytes: Buffer): void {
    const head = bytes.toString('latin1', 0, 2000);
    const keep = (list: string[], found: string | undefined): void => {
      if (found === undefined) return;
      list.push(found);
      if (list.length > REMEMBERED) list.shift();
    };
    keep(this.#remembered.tokens, /"continue":"([^"]+)"/.exec(head)?.[1]);
    keep(this.#remembered.revisions, /"resourceVersion":"(\d+)"/.exec(head)?.[1]);
  }

  /** A request as wide as it may be: what a turn of the event loop costs counts, not the whole. */
  async #explode({ name, request }: Bomb): Promise<void> {
    const one = request();
    let longest = Infinity;
    for (let attempt = 0; attempt < BOMB_ATTEMPTS && longest > LONGEST_MS; attempt++)
      longest = Math.min(longest, (await measure(() => this.#one(one))).longestTurnMs);
    if (longest > LONGEST_MS) this.#fault(`a turn takes ${longest.toFixed(0)} ms of the processor`, name);
  }

  async #findSlow(batch: readonly FuzzRequest[]): Promise<void> {
    for (const one of batch) {
      const times: number[] = [];
      for (let round = 0; round < 3; round++) {
        const before = process.threadCpuUsage();
        await this.#exchange(one);
        const { user, system } = process.threadCpuUsage(before);
        times.push((user + system) / 1000);
      }
      const ms = Math.min(...times);
      this.#longestMs = Math.max(this.#longestMs, ms);
      if (ms > LONGEST_MS) this.#fault(`a request takes ${ms.toFixed(0)} ms of the processor`, describe(one));
    }
  }

  async #exchange(one: FuzzRequest): Promise<FuzzAnswer> {
    const { method, path, query, headers, body, user } = one;
    let aborted = (): void => {};
    const {
      status,
      headers: answered,
      body: answer,
    } = await this.#server.handler({
      method,
      path,
      query,
      headers,
      body: async () => body,
      onAbort: (callback) => (aborted = callback),
      remoteAddress: '127.0.0.1',
      user,
    });
    if (typeof answer !== 'function')
      return {
        status,
        headers: answered,
        bytes: Buffer.isBuffer(answer) ? answer : Buffer.concat(answer),
        streamed: false,
      };
    const watch = new OpenWatch(() => aborted());
    answer(watch);
    this.#watches.push(watch);
    if (this.#watches.length > OPEN_WATCHES) this.#watches.shift()!.close();
    return { status, headers: answered, bytes: Buffer.alloc(0), streamed: true };
  }

  async #overSocket(one: FuzzRequest): Promise<void> {
    this.#sent++;
    this.#overSockets++;
    try {
      const answer = await this.#sockets.exchange(one);
      if (answer) this.#judge(one, answer);
    } catch (error) {
      this.#fault(`over a socket: ${error instanceof Error ? error.message : String(error)}`, describe(one));
    }
  }

  async #verify(): Promise<void> {
    await Promise.all(this.#pending);
    for (const watch of this.#watches.splice(0)) watch.close();
    await this.#prepare();
    const { objects, faults } = await verifyStored(this.#store, (one) => this.#exchange(one));
    this.#objects = objects;
    for (const { what, example } of faults) this.#fault(`stored: ${what}`, example);
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
    this.#heap.push(Math.round(process.memoryUsage().heapUsed / 2 ** 20));
    await this.#prepare();
  }
}

function describe({ method, path, query, headers, body }: FuzzRequest): string {
  return `${method} ${path}${query === '' ? '' : `?${query}`} ${JSON.stringify(headers)} ${body.length > 0 ? JSON.stringify(body.toString('latin1').slice(0, 4000)) : ''}`;
}

/** Keeps what the server calls an error. */
function errorLogger(report: (message: string) => void): Logger {
  const log: Logger = {
    debug() {},
    info() {},
    warn() {},
    error: (message, fields) => report(`${message} ${JSON.stringify(fields)}`),
    with: () => log,
  };
  return log;
}

let gc: (() => void) | undefined;

function collectGarbage(): void {
  if (!gc) {
    setFlagsFromString('--expose-gc');
    gc = runInNewContext('gc') as () => void;
  }
  gc();
}

/** Someone who watches, and is slow now and then. */
class OpenWatch implements ResponseSink {
  closed = false;
  readonly bufferedBytes = 0;
  readonly #abort: () => void;
  #closes: (() => void)[] = [];

  constructor(abort: () => void) {
    this.#abort = abort;
  }

  write(): boolean {
    return !this.closed;
  }
  drained(): Promise<void> {
    return Promise.resolve();
  }
  end(): void {
    this.close();
  }
  onClose(callback: () => void): void {
    if (this.closed) callback();
    else this.#closes.push(callback);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.#abort();
    for (const callback of this.#closes.splice(0)) callback();
  }
}
