import assert from 'node:assert/strict';
import { createServer as createHttp } from 'node:http';
import { createServer as createHttp2 } from 'node:http2';
import { createServer as createTcp, type AddressInfo, type Server } from 'node:net';
import { after, describe, test } from 'node:test';
import type { Pod, Probe } from '#api/types.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { CriClient } from '../../cri/client.ts';
import { CriError } from '../../cri/errors.ts';
import type { PodRuntime, RuntimeContainer } from '../runtime-view.ts';
import { PodProbes } from './pod-probes.ts';
import { runProbe } from './probe.ts';

const servers: Server[] = [];
after(() => {
  for (const server of servers) server.close();
});

async function listen(server: Server): Promise<number> {
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
  const server = createTcp();
  const port = await listen(server);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('one run', () => {
  const target = {
    cri: {} as CriClient,
    container: { name: 'c', ports: [] as { name: string; containerPort: number }[] },
    containerId: 'x',
    podIP: '127.0.0.1',
  };

  test('httpGet: codes, redirects, headers, refusals, timeouts', async () => {
    const port = await listen(
      createHttp((request, response) => {
        if (request.url === '/slow') return;
        if (request.url === '/move') return void response.writeHead(302, { location: '/ok' }).end();
        if (request.url === '/away')
          return void response.writeHead(302, { location: 'http://other.example/' }).end();
        response
          .writeHead(request.url === '/ok' ? 200 : Number(request.url?.slice(1)))
          .end(request.headers['user-agent']);
      }),
    );
    const get = (path: string): ReturnType<typeof runProbe> =>
      runProbe(
        { httpGet: { port: 'web', path } },
        { ...target, container: { name: 'c', ports: [{ name: 'web', containerPort: port }] } },
      );
    assert.deepEqual(await get('/ok'), { result: 'success', output: 'kube-probe/1.36' });
    assert.equal((await get('/399')).result, 'success');
    assert.deepEqual(await get('/400'), {
      result: 'failure',
      output: 'HTTP probe failed with statuscode: 400',
    });
    assert.equal((await get('/move')).result, 'success');
    assert.deepEqual(await get('/away'), {
      result: 'success',
      output: 'Probe terminated redirects, Response body: ',
      warns: true,
    });
    assert.match((await get('/slow')).output, /context deadline exceeded/);
    const closed = await freePort();
    assert.deepEqual(await runProbe({ httpGet: { port: closed } }, target), {
      result: 'failure',
      output: `Get "http://127.0.0.1:${closed}/": dial tcp 127.0.0.1:${closed}: connect: connection refused`,
    });
    assert.equal((await runProbe({ httpGet: { port: 'none' } }, target)).result, 'error');
  });

  test('tcpSocket', async () => {
    assert.equal(
      (await runProbe({ tcpSocket: { port: await listen(createTcp()) } }, target)).result,
      'success',
    );
    assert.match(
      (await runProbe({ tcpSocket: { port: await freePort() } }, target)).output,
      /connect: connection refused$/,
    );
  });

  test('grpc: serving, not serving, another service, no server', async () => {
    const server = createHttp2();
    server.on('stream', (stream) => {
      const parts: Buffer[] = [];
      stream.on('data', (part: Buffer) => parts.push(part));
      stream.on('end', () => {
        const service = Buffer.concat(parts).subarray(7).toString();
        if (service === 'odd')
          return stream.respond(
            { ':status': 200, 'grpc-status': '12', 'grpc-message': 'unknown%20service' },
            { endStream: true },
          );
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
        stream.end(Buffer.from([0, 0, 0, 0, 2, 8, service === 'down' ? 2 : 1]));
      });
    });
    const port = await listen(server);
    assert.deepEqual(await runProbe({ grpc: { port } }, target), {
      result: 'success',
      output: 'service is healthy',
    });
    assert.deepEqual(await runProbe({ grpc: { port, service: 'down' } }, target), {
      result: 'failure',
      output: 'service unhealthy (responded with "NOT_SERVING")',
    });
    assert.match(
      (await runProbe({ grpc: { port, service: 'odd' } }, target)).output,
      /does not implement the grpc health protocol/,
    );
    assert.match(
      (await runProbe({ grpc: { port: await freePort() } }, target)).output,
      /failed to connect service/,
    );
  });

  test('exec: exit codes, time-outs, and what could not be found out', async () => {
    const answer = (
      execSync: () => Promise<{ exitCode: number; stdout: Buffer; stderr: Buffer }>,
    ): ReturnType<typeof runProbe> =>
      runProbe({ exec: { command: ['check'] } }, { ...target, cri: { execSync } as unknown as CriClient });
    const output = { stdout: Buffer.from('o'), stderr: Buffer.from('e') };
    assert.deepEqual(await answer(() => Promise.resolve({ exitCode: 0, ...output })), {
      result: 'success',
      output: 'oe',
    });
    assert.deepEqual(await answer(() => Promise.resolve({ exitCode: 1, ...output })), {
      result: 'failure',
      output: 'oe',
    });
    const failing = (code: 'deadline-exceeded' | 'unavailable'): ReturnType<typeof runProbe> =>
      answer(() => Promise.reject(new CriError({ code, method: 'ExecSync', details: 'd' })));
    assert.deepEqual(await failing('deadline-exceeded'), {
      result: 'failure',
      output: 'command timed out: "check" timed out after 1s',
    });
    assert.equal((await failing('unavailable')).result, 'error');
  });
});

describe("a pod's probes", () => {
  interface Bench {
    readonly clock: FakeClock;
    readonly probes: PodProbes;
    exit: number;
    runs: number;
    changes: number;
    sync(
      containerId: string | undefined,
      probe: Partial<Record<'livenessProbe' | 'readinessProbe' | 'startupProbe', Probe>>,
      before?: Pod['status'],
    ): RuntimeContainer | undefined;
    seconds(count: number): Promise<void>;
  }

  function bench(): Bench {
    const clock = new FakeClock(1_000_000);
    const made = { clock, exit: 0, runs: 0, changes: 0 } as unknown as {
      -readonly [Key in keyof Bench]: Bench[Key];
    };
    const cri = {
      execSync: () => {
        made.runs += 1;
        return Promise.resolve({ exitCode: made.exit, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) });
      },
    } as unknown as CriClient;
    made.probes = new PodProbes({
      cri,
      clock,
      events: { event: () => {} },
      onChange: () => {
        made.changes += 1;
      },
    });
    made.sync = (id, probe, before) => {
      const pod: Pod = {
        metadata: { name: 'p' },
        spec: { containers: [{ name: 'c', ...probe }] },
        ...(before ? { status: before } : {}),
      };
      const container =
        id === undefined
          ? undefined
          : ({
              id,
              name: 'c',
              sandboxId: 's',
              phase: 'running',
              startedAtMs: clock.now(),
            } as RuntimeContainer);
      made.probes.sync(pod, {
        runtime: { containers: container ? [container] : [] } as unknown as PodRuntime,
        podIP: '',
      });
      return container;
    };
    made.seconds = async (count) => {
      for (let second = 0; second < count; second += 1) {
        await settle();
        await clock.advance(1_000);
      }
      await settle();
    };
    return made;
  }

  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
  };
  const probe = (of: Partial<Probe> = {}): Probe => ({ exec: { command: ['x'] }, periodSeconds: 1, ...of });

  test('readiness: not before it passed; thresholds both ways', async () => {
    const of = bench();
    const readinessProbe = probe({ successThreshold: 2, failureThreshold: 3 });
    const container = of.sync('a', { readinessProbe }) as RuntimeContainer;
    await of.seconds(0);
    assert.equal(of.probes.isReady(container), false, 'one success is not two');
    await of.seconds(1);
    assert.equal(of.probes.isReady(container), true);
    of.exit = 1;
    await of.seconds(2);
    assert.equal(of.probes.isReady(container), true, 'two failures are not three');
    await of.seconds(1);
    assert.equal(of.probes.isReady(container), false);
    assert.equal(of.changes, 2);
    of.probes.stop();
  });

  test('liveness: a first verdict is success; after failure no probe until the container was replaced', async () => {
    const of = bench();
    const livenessProbe = probe({ failureThreshold: 2, initialDelaySeconds: 3 });
    of.exit = 1;
    of.sync('a', { livenessProbe });
    await of.seconds(2);
    assert.equal(of.runs, 0, 'not before the initial delay');
    await of.seconds(3);
    assert.equal(of.probes.states().get('a')?.liveness, 'failure');
    const { runs } = of;
    await of.seconds(5);
    assert.equal(of.runs, runs, 'on hold');
    of.exit = 0;
    of.sync(undefined, { livenessProbe });
    of.sync('b', { livenessProbe });
    assert.equal(of.probes.states().get('b')?.liveness, 'success');
    of.probes.stop();
  });

  test('startup holds the others back, and they begin at once when it passed', async () => {
    const of = bench();
    of.exit = 1;
    const container = of.sync('a', {
      startupProbe: probe({ failureThreshold: 5 }),
      readinessProbe: probe({ periodSeconds: 100 }),
    }) as RuntimeContainer;
    await of.seconds(2);
    assert.equal(of.probes.isStarted(container), false);
    assert.deepEqual(of.probes.states().get('a'), { startup: 'unknown' });
    of.exit = 0;
    await of.seconds(1);
    assert.equal(of.probes.isStarted(container), true);
    assert.equal(of.probes.isReady(container), true);
    of.probes.stop();
  });

  test('an adopted container keeps its readiness until a probe says otherwise', async () => {
    const of = bench();
    of.exit = 1;
    const before = {
      containerStatuses: [
        {
          name: 'c',
          containerID: 'containerd://a',
          ready: true,
          started: true,
          restartCount: 0,
          image: '',
          imageID: '',
        },
      ],
    };
    const container = of.sync(
      'a',
      { readinessProbe: probe({ failureThreshold: 2 }) },
      before,
    ) as RuntimeContainer;
    await of.seconds(0);
    assert.equal(of.probes.isReady(container), true);
    await of.seconds(1);
    assert.equal(of.probes.isReady(container), false);
    of.probes.stop();
  });
});
