/** Exec, attach and port-forward against a real containerd, whose SPDY and WebSocket servers are upstream's. Skipped where it is missing. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import type { RawData } from 'ws';
import { openForward, PORT_FORWARD_PROTOCOL } from '#machinery/streams/portforward.ts';
import { PROTOCOL_HEADER, SPDY_PROTOCOLS } from '#machinery/streams/remotecommand.ts';
import type { RemoteCommandOptions } from '#machinery/streams/remotecommand.ts';
import { SpdyConnection } from '#machinery/streams/spdy.ts';
import { runRemoteCommand } from '#machinery/streams/spdy-remotecommand.ts';
import { requestUpgrade, UpgradeRefused } from '#machinery/streams/upgrade.ts';
import { createContainerd, destroyContainerd } from '../containerd/containerd.ts';
import type { Containerd } from '../containerd/containerd.ts';
import { inspectMachine } from '../containerd/machine.ts';
import { buildBusyboxImage } from '../images/busybox-image.ts';
import { proxyStream } from './streaming.ts';

const skip = await inspectMachine().then(
  () => (existsSync('/bin/busybox') ? false : 'no /bin/busybox: apt-get install busybox-static'),
  (error: Error) => error.message,
);
const PLAIN: RemoteCommandOptions = { stdin: false, stdout: true, stderr: true, tty: false };

describe('streams of a real container', { skip }, () => {
  let dir: string;
  let runtime: Containerd;
  let podSandboxId: string;
  let containerId: string;
  let kubelet: Server;
  let base: string;

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-streams-'));
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: ['10.211.8.0/24'] });
    await runtime.start();
    await runtime.importImage((await buildBusyboxImage()).tar);
    const config = {
      metadata: { name: 'p', uid: 'u', namespace: 'd', attempt: 0 },
      logDirectory: join(dir, 'logs'),
      linux: { cgroupParent: `${runtime.cgroupRoot}/p` },
    };
    ({ podSandboxId } = await runtime.cri.runPodSandbox({ config }));
    ({ containerId } = await runtime.cri.createContainer({
      podSandboxId,
      sandboxConfig: config,
      config: {
        metadata: { name: 'c', attempt: 0 },
        image: { image: 'busybox' },
        command: ['sh', '-c', 'mkdir /w; echo served > /w/index.html; exec httpd -f -p 8080 -h /w'],
        logPath: 'c.log',
      },
    }));
    await runtime.cri.startContainer({ containerId });
    kubelet = createServer();
    kubelet.on('upgrade', (request, socket, head) => {
      void streamingUrl(new URL(request.url ?? '/', 'http://kubelet')).then((url) =>
        proxyStream({ request, socket, head, url }),
      );
    });
    await new Promise<void>((resolve) => kubelet.listen(0, '127.0.0.1', resolve));
    base = `127.0.0.1:${(kubelet.address() as AddressInfo).port}`;
  });

  after(async () => {
    kubelet?.close();
    await runtime?.stop();
    assert.deepEqual(await destroyContainerd({ dir: join(dir, 'node') }), []);
    await rm(dir, { recursive: true, force: true });
  });

  async function streamingUrl({ pathname, searchParams }: URL): Promise<string> {
    if (pathname === '/nowhere') return 'http://127.0.0.1:1/exec/x';
    if (pathname === '/bad-token')
      return (await runtime.cri.exec({ containerId, cmd: ['true'], stdout: true })).url.replace(
        /[^/]+$/,
        'wrong',
      );
    if (pathname === '/portForward')
      return (await runtime.cri.portForward({ podSandboxId, port: [8080] })).url;
    const flag = (name: string): boolean => searchParams.get(name) === '1';
    return (
      await runtime.cri.exec({
        containerId,
        cmd: searchParams.getAll('command'),
        stdin: flag('input'),
        stdout: flag('output'),
        stderr: flag('error'),
        tty: flag('tty'),
      })
    ).url;
  }

  function query(command: readonly string[], options: RemoteCommandOptions): string {
    const flags = {
      input: options.stdin,
      output: options.stdout,
      error: options.stderr && !options.tty,
      tty: options.tty,
    };
    return new URLSearchParams([
      ...Object.entries(flags).flatMap(([name, on]) => (on ? [[name, '1']] : [])),
      ...command.map((part) => ['command', part]),
    ] as [string, string][]).toString();
  }

  async function exec(
    command: readonly string[],
    {
      options = PLAIN,
      stdin,
      resize,
    }: {
      readonly options?: RemoteCommandOptions;
      readonly stdin?: Readable;
      readonly resize?: Readable;
    } = {},
  ): Promise<{ readonly status: object; readonly stdout: string; readonly stderr: string }> {
    const upgraded = await requestUpgrade({
      url: new URL(`http://${base}/exec?${query(command, options)}`),
      method: 'POST',
      headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1', [PROTOCOL_HEADER]: SPDY_PROTOCOLS },
    });
    const connection = new SpdyConnection(upgraded.socket, { role: 'client', head: upgraded.head });
    const output = { stdout: '', stderr: '' };
    const collect = (name: 'stdout' | 'stderr'): Writable =>
      new Writable({
        write(chunk: Buffer, _encoding, done) {
          output[name] += chunk.toString();
          done();
        },
      });
    const status = await runRemoteCommand({
      connection,
      protocol: String(upgraded.response.headers[PROTOCOL_HEADER]),
      options,
      streams: { stdin, resize, stdout: collect('stdout'), stderr: collect('stderr') },
    });
    connection.close();
    return { status, ...output };
  }

  test('exec over SPDY: output, errors and the exit code', async () => {
    const { status, stdout, stderr } = await exec(['sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.equal(stdout, 'out\n');
    assert.equal(stderr, 'err\n');
    assert.deepEqual(
      { ...status, message: '' },
      {
        metadata: {},
        status: 'Failure',
        message: '',
        reason: 'NonZeroExitCode',
        details: { causes: [{ reason: 'ExitCode', message: '7' }] },
      },
    );
    assert.deepEqual((await exec(['true'])).status, { metadata: {}, status: 'Success' });
  });

  test('exec over SPDY: large input comes back whole', async () => {
    const data = Buffer.alloc(4 * 1024 * 1024, 'abcdefghij');
    const { stdout } = await exec(['sh', '-c', 'cat | md5sum; echo done'], {
      options: { ...PLAIN, stdin: true },
      stdin: Readable.from([data.subarray(0, 1000), data.subarray(1000)]),
    });
    assert.match(stdout, /^[0-9a-f]{32} {2}-\ndone\n$/);
    const echoed = await exec(['cat'], { options: { ...PLAIN, stdin: true }, stdin: Readable.from([data]) });
    assert.equal(echoed.stdout.length, data.length);
  });

  test('exec over SPDY: a terminal has the size it is given', async () => {
    const stdin = new PassThrough();
    const resize = new PassThrough();
    resize.write(JSON.stringify({ Width: 99, Height: 31 }));
    stdin.write('until stty size | grep -q "31 99"; do sleep 0.05; done; echo size-ok; exit\n');
    const { stdout } = await exec(['sh'], {
      options: { stdin: true, stdout: true, stderr: false, tty: true },
      stdin,
      resize,
    });
    assert.match(stdout, /\r\nsize-ok\r\n/);
  });

  test("exec over the runtime's own WebSocket", async () => {
    const socket = new WebSocket(`ws://${base}/exec?${query(['sh', '-c', 'echo hi; exit 2'], PLAIN)}`, [
      'v4.channel.k8s.io',
    ]);
    const channels = new Map<number, string>();
    socket.on('message', (data: RawData) => {
      const message = data as Buffer;
      channels.set(message[0] ?? -1, (channels.get(message[0] ?? -1) ?? '') + message.subarray(1).toString());
    });
    await new Promise((resolve) => socket.on('close', resolve));
    assert.equal(channels.get(1), 'hi\n');
    assert.match(channels.get(3) ?? '', /"ExitCode","message":"2"/);
  });

  test('port-forward over SPDY, several connections at once', async () => {
    const upgraded = await requestUpgrade({
      url: new URL(`http://${base}/portForward`),
      method: 'POST',
      headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1', [PROTOCOL_HEADER]: PORT_FORWARD_PROTOCOL },
    });
    const connection = new SpdyConnection(upgraded.socket, { role: 'client', head: upgraded.head });
    const answers = await Promise.all(
      [0, 1, 2].map(async (requestId) => {
        const { data } = await openForward(connection, { port: 8080, requestId });
        data.write('GET / HTTP/1.0\r\n\r\n');
        return text(data);
      }),
    );
    for (const answer of answers) assert.match(answer, /served\n$/);
    const { error } = await openForward(connection, { port: 9, requestId: 3 });
    assert.match(await text(error), /error forwarding port 9 to pod/);
    connection.close();
  });

  test('a refusal and a dead streaming server are answered', async () => {
    const ask = (path: string): Promise<unknown> =>
      requestUpgrade({
        url: new URL(`http://${base}${path}`),
        method: 'POST',
        headers: { connection: 'Upgrade', upgrade: 'SPDY/3.1' },
      });
    await assert.rejects(ask('/bad-token'), (error: UpgradeRefused) => error.response.statusCode === 404);
    await assert.rejects(
      ask('/nowhere'),
      (error: UpgradeRefused) => error.response.statusCode === 500 && /ECONNREFUSED/.test(error.message),
    );
  });
});

async function text(stream: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString();
}
