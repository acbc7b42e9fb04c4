/** Asks the API servers of a cluster for history, each for its own, and merges what they know. */
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import type { Transport } from '#client/transport.ts';
import { compareChanges, type Gap } from '#history/change.ts';
import { UserError } from '#deploy/data-dir.ts';
import { hostPort } from '#deploy/config/endpoint.ts';
import { errorMessage } from '#stdx/log.ts';
import { HISTORY_PATH } from './endpoint.ts';
import { queryOf, type AskedHistory, type HistoryLine, type SeenChange } from './wire.ts';

export interface ServerTransport {
  readonly name: string;
  readonly transport: Transport;
}

export interface MergedHistory {
  readonly changes: readonly SeenChange[];
  /** The last change of a key before the first of `changes`. */
  readonly before: ReadonlyMap<string, SeenChange>;
  readonly gaps: readonly Gap[];
  /** How far back the one that reaches least reaches. */
  readonly from: { readonly revision: number; readonly timeMs?: number | undefined } | undefined;
  readonly logged: boolean;
  /** Servers that could not be asked. */
  readonly problems: readonly string[];
}

/** A 429 is another reader's turn. */
const ATTEMPTS = 10;
const WAIT_MS = 1_000;

/** Throws a UserError where no server answers. */
export async function askHistory(
  servers: readonly ServerTransport[],
  asked: AskedHistory,
): Promise<MergedHistory> {
  const path = `${HISTORY_PATH}?${queryOf(asked)}`;
  const merging = new Merging();
  const problems: string[] = [];
  for (const { name, transport } of servers)
    try {
      await readServer(transport, { path, merging });
    } catch (error) {
      problems.push(`${name} could not be asked: ${errorMessage(error)}`);
    }
  if (problems.length === servers.length) throw new UserError(`${problems[0]}.`);
  return { ...merging.finish(), problems };
}

async function readServer(
  transport: Transport,
  { path, merging }: { readonly path: string; readonly merging: Merging },
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    const response = await transport.request({ method: 'GET', path });
    if (response.status === 200) {
      for await (const line of linesOf(response.stream())) merging.take(JSON.parse(line) as HistoryLine);
      return merging.endServer();
    }
    const text = (await response.bytes()).toString();
    if (response.status !== 429 || attempt === ATTEMPTS)
      throw new Error(`it answered ${response.status}: ${messageOf(text)}`);
    await new Promise((resolve) => setTimeout(resolve, WAIT_MS));
  }
}

async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<string, void, void> {
  let rest: Buffer[] = [];
  for await (const chunk of stream) {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      yield Buffer.concat([...rest, chunk.subarray(start, end)]).toString();
      rest = [];
      start = end + 1;
    }
    if (start < chunk.length) rest.push(chunk.subarray(start));
  }
}

function messageOf(text: string): string {
  try {
    return (JSON.parse(text) as { message?: string }).message ?? text;
  } catch {
    return text.slice(0, 200);
  }
}

class Merging {
  readonly #changes = new Map<string, SeenChange>();
  readonly #before = new Map<string, SeenChange>();
  readonly #gaps: Gap[] = [];
  #from: MergedHistory['from'];
  #logged = true;
  #ended = false;

  take(line: HistoryLine): void {
    if (line.type === 'error') throw new Error(line.message);
    if (line.type === 'gap') this.#gaps.push(line.gap);
    else if (line.type === 'end') this.#end(line);
    else if (line.type === 'change') {
      const { revision, key } = line.change;
      const id = `${revision} ${key}`;
      // The server that served a write knows its user, and its time.
      if (this.#changes.get(id)?.user === undefined) this.#changes.set(id, line.change);
    } else {
      const { key, revision } = line.change;
      if ((this.#before.get(key)?.revision ?? 0) < revision) this.#before.set(key, line.change);
    }
  }

  #end({ from, logged }: Extract<HistoryLine, { type: 'end' }>): void {
    this.#ended = true;
    this.#logged &&= logged;
    if (from && (!this.#from || from.revision > this.#from.revision)) this.#from = from;
  }

  endServer(): void {
    if (!this.#ended) throw new Error('its answer ended in the middle');
    this.#ended = false;
  }

  finish(): Omit<MergedHistory, 'problems'> {
    return {
      changes: [...this.#changes.values()].toSorted(compareChanges),
      before: this.#before,
      gaps: this.#gaps.toSorted((a, b) => a.fromRevision - b.fromRevision),
      from: this.#from,
      logged: this.#logged,
    };
  }
}

/** The server of a kubeconfig, and every other one that the Service `kubernetes` leads to. Throws a UserError. */
export async function findServers(
  kubeconfig: string,
): Promise<{ readonly servers: readonly ServerTransport[]; readonly close: () => Promise<void> }> {
  const { options } = context(kubeconfig);
  const transport = createHttpsTransport(options);
  const servers: ServerTransport[] = [{ name: options.server, transport }];
  for (const address of await addressesOf(transport)) {
    const server = `https://${address}`;
    if (server === options.server) continue;
    servers.push({ name: server, transport: createHttpsTransport({ ...options, server }) });
  }
  // Behind a balancer the first is one of the others: asked twice, it would answer the same.
  const asked = servers.length > 2 ? servers.slice(1) : servers;
  return {
    servers: asked,
    async close() {
      for (const one of servers) await one.transport.close();
    },
  };
}

function context(kubeconfig: string): ReturnType<typeof resolveContext> {
  try {
    return resolveContext(loadKubeconfig({ path: kubeconfig }));
  } catch (error) {
    throw new UserError(`${errorMessage(error)}.`, error);
  }
}

async function addressesOf(transport: Transport): Promise<string[]> {
  const response = await transport.request({
    method: 'GET',
    path: '/api/v1/namespaces/default/endpoints/kubernetes',
  });
  const bytes = await response.bytes();
  if (response.status !== 200) return [];
  const { subsets = [] } = JSON.parse(bytes.toString()) as {
    subsets?: { addresses?: { ip: string }[]; ports?: { port: number }[] }[];
  };
  return subsets.flatMap(({ addresses = [], ports = [] }) =>
    addresses.flatMap(({ ip }) => ports.map(({ port }) => hostPort(ip, port))),
  );
}
