/**
 * YAML bodies: short texts and JSON are parsed at once, others in a worker thread, since a megabyte takes a second and more.
 *
 *   read(text) ─► short, or JSON ──────────────────────────────────────► value
 *              └► waits for the thread ─► read ──────────────────────────► value, or 400
 *                   │ MAX_WAITING: 429      └► beyond CPU_MS, WALL_MS or its memory: 413, and the thread is replaced
 */
import { Worker } from 'node:worker_threads';
import { statusErrors, type StatusError } from '#machinery/errors.ts';
import { requireFewValues, tooManyValues } from '#machinery/json.ts';
import { parsePlainJson, parseYamlBody, type ParsedYaml } from '#machinery/yaml.ts';
import type { YamlAnswer } from './yaml-worker.ts';

/** Returns a new value for each call, so that the caller may mutate it; throws StatusError 400. */
export type YamlReading = () => ParsedYaml;

/** Up to here starting a turn of another thread costs more than reading. */
const INLINE_BYTES = 8 * 1024;
/** Processor time of the worker thread for one text (garbage collection takes as much again), and the wall-clock limit where the machine is overloaded. */
const CPU_MS = 600,
  WALL_MS = 20_000;
/** Interval at which the thread's processor time is checked. */
const WATCH_MS = 50;
/** Texts that wait for the thread; more are 429. */
const MAX_WAITING = 16;
const MAX_HEAP_MIB = 512;

interface Job {
  readonly text: string;
  resolve(answer: YamlAnswer): void;
  reject(error: StatusError): void;
}

class YamlThread {
  #worker: Worker | undefined;
  #current: Job | undefined;
  readonly #waiting: Job[] = [];

  read(text: string): Promise<YamlAnswer> {
    if (this.#waiting.length >= MAX_WAITING)
      return Promise.reject(statusErrors.tooManyRequests('too many YAML bodies are waiting to be read', 1));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ text, resolve, reject });
      this.#next();
    });
  }

  #next(): void {
    if (this.#current) return;
    const job = (this.#current = this.#waiting.shift());
    if (!job) return void this.#worker?.unref();
    const worker = (this.#worker ??= this.#start());
    worker.ref();
    worker.postMessage(job.text);
    void this.#watch(worker, job);
  }

  #start(): Worker {
    const worker = new Worker(new URL('./yaml-worker.ts', import.meta.url), {
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MIB },
    });
    worker.on('message', (answer: YamlAnswer) => this.#settle((job) => job.resolve(answer)));
    worker.on('error', () => this.#drop(worker));
    return worker;
  }

  async #watch(worker: Worker, job: Job): Promise<void> {
    const startedMs = performance.now();
    const before = await worker.cpuUsage().catch(() => undefined);
    while (this.#current === job) {
      await new Promise((resolve) => setTimeout(resolve, WATCH_MS));
      if (this.#current !== job) return;
      const used = await worker.cpuUsage(before).catch(() => undefined);
      const cpuMs = used ? (used.user + used.system) / 1000 : 0;
      if (this.#current === job && (cpuMs > CPU_MS || performance.now() - startedMs > WALL_MS))
        this.#drop(worker);
    }
  }

  /** The text cost too much; the next one gets a new thread. */
  #drop(worker: Worker): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    void worker.terminate();
    this.#settle((job) =>
      job.reject(
        statusErrors.requestEntityTooLarge('reading the body as YAML takes too long; send it as JSON'),
      ),
    );
  }

  #settle(end: (job: Job) => void): void {
    const job = this.#current;
    this.#current = undefined;
    if (job) end(job);
    this.#next();
  }
}

/** One for the process: it keeps no state between texts. */
const thread = new YamlThread();

/** Rejects with 413 for a text that costs too much, 429 when too many wait. */
export async function readYaml(text: string): Promise<YamlReading> {
  if (text.length <= INLINE_BYTES) return () => bounded(parseYamlBody(text));
  const json = parsePlainJson(text);
  if (json) return afresh(json, () => parsePlainJson(text)!);
  const answer = await thread.read(text);
  if ('refused' in answer && answer.tooLarge) throw tooManyValues();
  if ('refused' in answer)
    return () => {
      throw statusErrors.badRequest(answer.refused);
    };
  const { problems } = answer;
  return () => ({ value: JSON.parse(answer.json) as unknown, problems: [...problems] });
}

/** Aliases make much of little. */
function bounded(reading: ParsedYaml): ParsedYaml {
  requireFewValues(reading.value);
  return reading;
}

function afresh(first: ParsedYaml, again: YamlReading): YamlReading {
  let next: ParsedYaml | undefined = first;
  return () => {
    const reading = next ?? again();
    next = undefined;
    return reading;
  };
}
