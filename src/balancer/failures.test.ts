/**
 * What a client sees through the balancer when an API server is killed, stopped or cut off: servers are processes, one of them in a network
 * namespace. The bounds asserted are generous; the longest pause is reported.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, test, type TestContext } from 'node:test';
import { createHttpsTransport } from '#client/https.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { formatAddress, type Address } from './address.ts';
import { createBalancer, type Balancer } from './balancer.ts';
import { authority, freePort } from './testing/fake-server.ts';
import type { ServerProcessSettings } from './testing/server-process.ts';

/** Of a server that dies; the figure of the design is 1 s. */
const DEAD_PAUSE_MS = 3_000;
/** Of a server that stops answering: the figure of the design is 1 s. Here the timeout of the check is allowed, for a machine that is busy. */
const SILENT_PAUSE_MS = 8_000;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

interface TestServer {
  readonly address: Address;
  readonly process: ChildProcess;
}

async function startServer(
  name: string,
  { host = '127.0.0.1', port = 0, netns = '' } = {},
): Promise<TestServer> {
  const address = { host, port: port || (await freePort()) };
  const settings: ServerProcessSettings = {
    name,
    ...address,
    ...authority.issue({ commonName: name, addresses: ['127.0.0.1'] }),
  };
  const program = [
    process.execPath,
    join(import.meta.dirname, 'testing/server-process.ts'),
    JSON.stringify(settings),
  ];
  const [command = '', ...words] = netns === '' ? program : ['ip', 'netns', 'exec', netns, ...program];
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'inherit'] });
  cleanups.push(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  await once(child.stdout, 'data');
  return { address, process: child };
}

async function balance(...servers: readonly TestServer[]): Promise<Balancer> {
  const balancer = createBalancer({
    clock: realClock,
    log: silentLogger,
    random: Math.random,
    listen: [{ host: '127.0.0.1', port: 0 }],
    seeds: servers.map(({ address }) => address),
    resolve: () => Promise.reject(new Error('no names here')),
    trust: () => ({ ca: authority.cert, serverName: '127.0.0.1' }),
  });
  cleanups.push(() => balancer.stop());
  await balancer.start();
  await until(() => balancer.servers.every(({ health }) => health === 'ready'));
  return balancer;
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error('it did not happen within 20 s');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function isEjected(balancer: Balancer, { address }: TestServer): () => boolean {
  return () => balancer.servers.find(({ key }) => key === formatAddress(address))?.health === 'ejected';
}

interface Reader {
  /** Since the start of the reader. */
  readonly longestPauseMs: number;
  readonly lastAnswer: string;
  readonly answers: number;
  stop(): Promise<void>;
}

/** Reads again and again on kept connections, as a component does. */
function startReader(balancer: Balancer): Reader {
  const transport = createHttpsTransport({
    server: `https://127.0.0.1:${balancer.ports[0]}`,
    ca: authority.cert,
  });
  const seen = { longestPauseMs: 0, lastAnswer: '', answers: 0 };
  let stopped = false;
  const read = async (): Promise<void> => {
    let lastMs = performance.now();
    while (!stopped) {
      try {
        const response = await transport.request({ method: 'GET', path: '/' });
        seen.lastAnswer = (await response.bytes()).toString();
        seen.answers += 1;
        const nowMs = performance.now();
        seen.longestPauseMs = Math.max(seen.longestPauseMs, nowMs - lastMs);
        lastMs = nowMs;
      } catch {
        // Counted as a part of the pause.
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  const reading = read();
  const reader = {
    get longestPauseMs() {
      return seen.longestPauseMs;
    },
    get lastAnswer() {
      return seen.lastAnswer;
    },
    get answers() {
      return seen.answers;
    },
    async stop() {
      stopped = true;
      await transport.close();
      await reading;
    },
  };
  cleanups.push(() => reader.stop());
  return reader;
}

/** The server of the machine that a reader of several seeds gets is the first: all are local here. */
async function read(
  t: TestContext,
  { lose, boundMs }: { readonly lose: (server: TestServer) => unknown; readonly boundMs: number },
): Promise<void> {
  const [a, b] = await Promise.all([startServer('a'), startServer('b')]);
  const balancer = await balance(a, b);
  const reader = startReader(balancer);
  await until(() => reader.answers > 20);
  assert.equal(reader.lastAnswer, 'a');
  await lose(a);
  await until(() => reader.lastAnswer === 'b');
  await until(isEjected(balancer, a));
  t.diagnostic(`longest pause: ${reader.longestPauseMs.toFixed(0)} ms`);
  assert.ok(reader.longestPauseMs < boundMs, `${reader.longestPauseMs} ms without an answer`);
}

test('a server is killed with kill -9', (t) =>
  read(t, { lose: ({ process: server }) => server.kill('SIGKILL'), boundMs: DEAD_PAUSE_MS }));

test('a server is stopped with SIGSTOP: its connections are cut', (t) =>
  read(t, { lose: ({ process: server }) => server.kill('SIGSTOP'), boundMs: SILENT_PAUSE_MS }));

const netns = `balancer-test-${process.pid}`;
const able = process.getuid?.() === 0 && spawnSync('ip', ['netns', 'add', netns]).status === 0;
if (able) spawnSync('ip', ['netns', 'delete', netns]);

test(
  'a server is cut off: packets to and from it are dropped',
  { skip: able ? false : 'needs root and ip netns' },
  async (t) => {
    const host = `bt${process.pid}`.slice(0, 13);
    const subnet = `10.213.${process.pid % 256}`;
    for (const words of [
      `netns add ${netns}`,
      `link add ${host} type veth peer name eth0 netns ${netns}`,
      `address add ${subnet}.1/24 dev ${host}`,
      `link set ${host} up`,
      `-n ${netns} address add ${subnet}.2/24 dev eth0`,
      `-n ${netns} link set eth0 up`,
    ]) {
      const { status, stderr } = spawnSync('ip', words.split(' '), { encoding: 'utf8' });
      assert.equal(status, 0, `ip ${words}: ${stderr}`);
    }
    cleanups.push(() => spawnSync('ip', ['netns', 'delete', netns]));
    const far = await startServer('far', { host: `${subnet}.2`, port: 6443, netns });
    const near = await startServer('near');
    // The near server counts as local, so it comes first; with it gone the reader is on the far one.
    const balancer = await balance(far, near);
    near.process.kill('SIGSTOP');
    await until(isEjected(balancer, near));
    const reader = startReader(balancer);
    await until(() => reader.lastAnswer === 'far');
    near.process.kill('SIGCONT');
    await until(() => !isEjected(balancer, near)());
    assert.equal(reader.lastAnswer, 'far', 'connections stay where they are when a server comes back');
    const rules =
      'table inet cut { chain input { type filter hook input priority 0; policy drop; }; chain output { type filter hook output priority 0; policy drop; }; }';
    const cut = spawnSync('ip', ['netns', 'exec', netns, 'nft', rules], { encoding: 'utf8' });
    assert.equal(cut.status, 0, cut.stderr);
    await until(() => reader.lastAnswer === 'near');
    t.diagnostic(`longest pause: ${reader.longestPauseMs.toFixed(0)} ms`);
    assert.ok(reader.longestPauseMs < SILENT_PAUSE_MS, `${reader.longestPauseMs} ms without an answer`);
    const healed = spawnSync('ip', ['netns', 'exec', netns, 'nft', 'delete table inet cut'], {
      encoding: 'utf8',
    });
    assert.equal(healed.status, 0, healed.stderr);
    await until(() => !isEjected(balancer, far)());
  },
);
