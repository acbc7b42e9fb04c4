/**
 * What the tests of behaviours that need real containers share: a real cluster as a user starts it (API server, scheduler, controllers, node agent with
 * containerd, service proxy, DNS), the bare client, and hands in its pods. One cluster per test file; each test has a namespace of its own, so that
 * tests run side by side.
 */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { WebSocket } from 'ws';
import { testCluster, type TestCluster } from '../../cluster.ts';
import { createBareClient, type BareClient, type Json } from '../bare-client.ts';
import { loadImages } from './images.ts';

export { containersMissing as missing } from '../../real-containers.ts';

/** Tests at the same time, on two processors. */
export const CONCURRENCY = 8;
const WAIT_MS = 300_000;

interface ExecResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RealWorld extends Omit<BareClient, 'disconnect'> {
  readonly cluster: TestCluster;
  /** Its only node, as it was at the start. */
  readonly node: Json;
  /** The client's credentials, for connections that are no plain requests. */
  readonly credentials: { readonly ca: string; readonly cert: string; readonly key: string };
  stop(): Promise<void>;
}

/** A test's namespace and its pods. */
export interface Place {
  readonly world: RealWorld;
  readonly namespace: string;
  /** '/api/v1/namespaces/<it>' */
  readonly core: string;
  pods(): Json[];
  /** Makes it and waits until it is Ready. */
  run(pod: Json): Promise<Json>;
  /** Makes it, waits for its end, which must be Succeeded, and answers what its containers wrote, one after the other. */
  output(pod: Json): Promise<string>;
  /** The pod with this name, as soon as it passes. */
  pod(name: string, check: (pod: Json) => unknown): Promise<Json>;
  /** Every version of the pod that was seen so far, oldest first. */
  history(name: string): readonly Json[];
  podGone(name: string): Promise<void>;
  exec(name: string, command: readonly string[] | string, container?: string): Promise<ExecResult>;
  /** Its standard output, without the newline at the end; it must succeed. */
  sh(name: string, command: readonly string[] | string, container?: string): Promise<string>;
  logs(name: string, query?: string): Promise<string>;
  /** Waits until the command's output passes. */
  says(name: string, command: readonly string[] | string, check: (text: string) => boolean): Promise<string>;
}

export async function startRealWorld(): Promise<RealWorld> {
  const cluster = await testCluster({ runtime: 'cri' });
  await cluster.up();
  try {
    await loadImages(cluster.dir);
    const { clusters, users } = parse(await readFile(cluster.kubeconfig, 'utf8')) as Json;
    const pem = (text: string): string => Buffer.from(text, 'base64').toString();
    const { server, 'certificate-authority-data': ca } = clusters[0].cluster;
    const { 'client-certificate-data': cert, 'client-key-data': key } = users[0].user;
    const credentials = { ca: pem(ca), cert: pem(cert), key: pem(key) };
    const { disconnect, ...client } = createBareClient({
      url: server,
      caPem: credentials.ca,
      certificatePem: credentials.cert,
      keyPem: credentials.key,
    });
    const [node] = (await client.get('/api/v1/nodes')).items;
    return {
      ...client,
      cluster,
      node,
      credentials,
      async stop() {
        disconnect();
        await cluster.delete();
      },
    };
  } catch (error) {
    await cluster.delete();
    throw error;
  }
}

/** A test in a namespace of its own, which goes away after it. */
export function inNamespace(
  world: () => RealWorld,
  test: (place: Place) => Promise<void>,
  labels: Readonly<Record<string, string>> = {},
): () => Promise<void> {
  return async () => {
    const namespace = await world().namespace(labels);
    const { place, close } = await placeIn(world(), namespace);
    try {
      await test(place);
    } finally {
      close();
      await world().del(`/api/v1/namespaces/${namespace}`);
    }
  };
}

/** Follows the namespace's pods by one watch. */
async function placeIn(
  world: RealWorld,
  namespace: string,
): Promise<{ readonly place: Place; close(): void }> {
  const core = `/api/v1/namespaces/${namespace}`;
  const seen = new Map<string, Json[]>();
  const changed = new EventEmitter().setMaxListeners(0);
  const watch = await world.watch(`${core}/pods`);
  let read = 0;
  const timer = setInterval(() => {
    if (watch.events.length === read) return;
    for (const { type, object } of watch.events.slice(read))
      seen.set(object.metadata.name, [
        ...(seen.get(object.metadata.name) ?? []),
        type === 'DELETED' ? undefined : object,
      ]);
    read = watch.events.length;
    changed.emit('change');
  }, 20);
  const waitFor = async (what: string, check: () => unknown): Promise<Json> => {
    const deadline = AbortSignal.timeout(WAIT_MS);
    for (;;) {
      const value = check();
      if (value !== undefined && value !== false) return value;
      await new Promise<void>((resolve, reject) => {
        const onAbort = (): void =>
          reject(
            new Error(
              `waited ${WAIT_MS / 1000} s in vain for: ${what}\n${JSON.stringify(
                [...seen].map(([name, versions]) => [name, versions.at(-1)?.status]),
                null,
                1,
              )}`,
            ),
          );
        deadline.addEventListener('abort', onAbort, { once: true });
        changed.once('change', () => {
          deadline.removeEventListener('abort', onAbort);
          resolve();
        });
      });
    }
  };
  const place: Place = {
    world,
    namespace,
    core,
    pods: () => [...seen.values()].map((versions) => versions.at(-1)).filter((pod) => pod !== undefined),
    async run(pod) {
      const {
        metadata: { name },
      } = await world.post(`${core}/pods`, pod);
      return place.pod(name, isReady);
    },
    async output(pod) {
      const {
        metadata: { name },
      } = await world.post(`${core}/pods`, pod);
      const ended = await place.pod(name, ({ status }) => ['Succeeded', 'Failed'].includes(status.phase));
      const texts = [];
      for (const container of ended.spec.containers)
        texts.push(await place.logs(name, `container=${container.name}`));
      assert.equal(ended.status.phase, 'Succeeded', `${texts.join('')}${JSON.stringify(ended.status)}`);
      return texts.join('');
    },
    pod: (name, check) =>
      waitFor(`pod ${name}: ${check.toString()}`, () => {
        const pod = seen.get(name)?.at(-1);
        return pod && check(pod) ? pod : undefined;
      }),
    history: (name) => (seen.get(name) ?? []).filter((pod) => pod !== undefined),
    podGone: async (name) =>
      void (await waitFor(
        `pod ${name} to be gone`,
        () => seen.has(name) && seen.get(name)?.at(-1) === undefined,
      )),
    exec: (name, command, container) =>
      exec(world, `${core}/pods/${name}`, { command: words(command), container }),
    async sh(name, command, container) {
      const { code, stdout, stderr } = await place.exec(name, command, container);
      assert.equal(code, 0, `${words(command).join(' ')}: exit code ${code}\n${stdout}${stderr}`);
      return stdout.replace(/\n$/, '');
    },
    async logs(name, query = '') {
      const { status, text } = await world.send(`GET ${core}/pods/${name}/log?${query}`);
      assert.equal(status, 200, text);
      return text;
    },
    async says(name, command, check) {
      const deadline = performance.now() + WAIT_MS;
      for (;;) {
        const { stdout, stderr } = await place.exec(name, command);
        if (check(stdout)) return stdout;
        if (performance.now() > deadline)
          throw new Error(
            `waited ${WAIT_MS / 1000} s in vain for: ${words(command).join(' ')}: ${check.toString()}\nlast: ${stdout}${stderr}`,
          );
        await new Promise((done) => setTimeout(done, 250));
      }
    },
  };
  return {
    place,
    close() {
      clearInterval(timer);
      watch.close();
    },
  };
}

export function isReady({ status }: Json): boolean {
  return (status.conditions ?? []).some(
    (condition: Json) => condition.type === 'Ready' && condition.status === 'True',
  );
}

function words(command: readonly string[] | string): readonly string[] {
  return typeof command === 'string' ? ['sh', '-c', command] : command;
}

const CHANNELS = { stdout: 1, stderr: 2, status: 3 };

/** A command in a pod over a WebSocket: the first byte of each message is its channel, the last message a Status. */
function exec(
  world: RealWorld,
  path: string,
  { command, container }: { readonly command: readonly string[]; readonly container: string | undefined },
): Promise<ExecResult> {
  const query = new URLSearchParams([
    ['stdout', 'true'],
    ['stderr', 'true'],
    ...(container === undefined ? [] : [['container', container] as [string, string]]),
    ...command.map((word): [string, string] => ['command', word]),
  ]);
  const socket = new WebSocket(
    `${world.url.replace('https', 'wss')}${path}/exec?${query}`,
    ['v4.channel.k8s.io'],
    world.credentials,
  );
  const texts: Buffer[][] = [[], [], [], []];
  return new Promise((resolve, reject) => {
    socket.on('message', (message: Buffer) => texts[message[0] ?? 0]?.push(message.subarray(1)));
    socket.on('unexpected-response', (_, response) => {
      let text = '';
      response
        .setEncoding('utf8')
        .on('data', (part: string) => {
          text += part;
        })
        .on('end', () => reject(new Error(`${path}/exec: ${response.statusCode} ${text}`)));
    });
    socket.on('error', reject);
    socket.on('close', () => {
      const of = (channel: number): string => Buffer.concat(texts[channel] ?? []).toString();
      const status =
        of(CHANNELS.status) === ''
          ? { status: 'Failure', message: 'no status came' }
          : (JSON.parse(of(CHANNELS.status)) as Json);
      const code =
        status.status === 'Success'
          ? 0
          : Number(status.details?.causes?.find(({ reason }: Json) => reason === 'ExitCode')?.message ?? -1);
      resolve({
        code,
        stdout: of(CHANNELS.stdout),
        stderr: of(CHANNELS.stderr) + (code === -1 ? JSON.stringify(status) : ''),
      });
    });
  });
}
