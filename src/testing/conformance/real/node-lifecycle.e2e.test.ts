/** What becomes of containers: hooks, probes, ends and restarts, last words, output, streams, and resources that change while they run. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { WebSocket } from 'ws';
import { until } from '../../cluster.ts';
import type { Json } from '../bare-client.ts';
import { BUSYBOX, SERVER } from './images.ts';
import { idle, server, task } from './manifests.ts';
import {
  CONCURRENCY,
  inNamespace,
  isReady,
  missing,
  startRealWorld,
  type Place,
  type RealWorld,
} from './real-world.ts';

describe('conformance in real containers: lifecycle', { skip: missing, concurrency: CONCURRENCY }, () => {
  let world: RealWorld;
  before(async () => {
    world = await startRealWorld();
  });
  after(async () => world?.stop());
  const inPlace = (test: (place: Place) => Promise<void>): (() => Promise<void>) =>
    inNamespace(() => world, test);
  const statusOf = ({ status }: Json, list = 'containerStatuses'): Json => status[list]?.[0];
  const restarts = (pod: Json): number => statusOf(pod)?.restartCount ?? 0;

  // ------------------------------------------------------------------------------------------------------------------------------ probes

  const TIMES = { periodSeconds: 1, failureThreshold: 1 };
  /** The container's command keeps the file for so long. */
  const withFile = (seconds: number): string =>
    `touch /tmp/health; sleep ${seconds}; rm -f /tmp/health; sleep 100000`;
  const byFile = { exec: { command: ['cat', '/tmp/health'] }, initialDelaySeconds: 1, ...TIMES };
  /** The container is replaced by a new run, so often; each was told of as unhealthy. */
  const restartsTo = (count: number, pod: Json): (() => Promise<void>) =>
    inPlace(async (place) => {
      await world.post(`${place.core}/pods`, pod);
      await place.pod(pod.metadata.name, (seen) => restarts(seen) >= count);
      const counts = place.history(pod.metadata.name).map(restarts);
      assert.deepEqual(
        counts,
        counts.toSorted((left, right) => left - right),
        'never does it go down',
      );
      await until('the event', async () =>
        (await world.get(`${place.core}/events?fieldSelector=reason%3DUnhealthy`)).items.some(
          ({ message }: Json) => message.startsWith('Liveness probe failed: '),
        ),
      );
    });
  /** Probes go on, so many, and the container is left alone. asked says how many came. */
  const staysWell = (pod: Json, asked: (place: Place) => Promise<number>): (() => Promise<void>) =>
    inPlace(async (place) => {
      const { name } = pod.metadata;
      await world.post(`${place.core}/pods`, pod);
      await place.pod(name, ({ status }) => status.phase === 'Running');
      await until('several probes', async () => (await asked(place)) >= 5);
      assert.equal(restarts(await world.get(`${place.core}/pods/${name}`)), 0);
    });
  const lines = async (place: Place, name: string, command: string): Promise<number> =>
    (await place.sh(name, command)).split('\n').filter((line) => line !== '').length;

  /** How long it takes to listen counts for nothing. */
  const listens = (port: number): Json => ({ tcpSocket: { port }, periodSeconds: 1, failureThreshold: 100 });
  const probedServer = (livenessProbe: Json, healthyMs?: number): Json =>
    server('probed', {
      container: {
        readinessProbe: undefined,
        startupProbe: listens(8080),
        livenessProbe: { initialDelaySeconds: 1, ...TIMES, ...livenessProbe },
        env: healthyMs === undefined ? [] : [{ name: 'HEALTHY_MS', value: String(healthyMs) }],
      },
    });
  // Its backoffs take minutes, in which the others run.
  it(
    'Pod liveness probe, using http endpoint, multiple restarts (slow)',
    restartsTo(5, probedServer({ httpGet: { path: '/health', port: 8080 }, initialDelaySeconds: 0 }, 1)),
  );
  it(
    'Pod liveness probe, using local file, restart',
    restartsTo(
      1,
      idle('probed', {
        container: { command: ['sh', '-c', withFile(3)], livenessProbe: byFile },
        spec: { restartPolicy: 'Always' },
      }),
    ),
  );
  it(
    'Pod liveness probe, using local file, no restart',
    staysWell(
      idle('probed', {
        container: {
          command: ['sh', '-c', withFile(100_000)],
          livenessProbe: {
            ...byFile,
            exec: { command: ['sh', '-c', 'cat /tmp/health && echo probe >> /tmp/probes'] },
          },
        },
        spec: { restartPolicy: 'Always' },
      }),
      (place) => lines(place, 'probed', 'cat /tmp/probes'),
    ),
  );
  const calls = (place: Place): Promise<number> =>
    lines(place, 'probed', 'wget -qO- http://127.0.0.1:8080/calls');
  it(
    'Pod liveness probe, using http endpoint, restart',
    restartsTo(1, probedServer({ httpGet: { path: '/health', port: 8080 } }, 3000)),
  );
  it(
    'Pod liveness probe, using http endpoint, failure',
    staysWell(
      probedServer({
        httpGet: { path: '/calls/liveness', port: 8080 },
        failureThreshold: 5,
        timeoutSeconds: 10,
      }),
      calls,
    ),
  );
  it(
    'Pod liveness probe, using tcp socket, no restart',
    staysWell(probedServer({ tcpSocket: { port: 8080 }, failureThreshold: 5 }, 1), async (place) => {
      // Its answers to requests are errors by now.
      if ((await place.exec('probed', 'wget -qO- http://127.0.0.1:8080/health')).stderr.includes('500'))
        return lines(place, 'probed', 'cat /proc/net/tcp6 /proc/net/tcp | grep -i ":1F90 .* 06 "');
      return 0;
    }),
  );
  const grpc = (port: number): Json =>
    idle('probed', {
      container: {
        image: SERVER,
        command: undefined,
        args: ['grpc'],
        startupProbe: listens(5000),
        livenessProbe: { grpc: { port }, periodSeconds: 1, failureThreshold: 3, timeoutSeconds: 5 },
      },
      spec: { restartPolicy: 'Always' },
    });
  it(
    'Pod liveness probe, using grpc call, success',
    staysWell(
      grpc(5000),
      async (place) => (await place.logs('probed')).split('\n').filter((line) => line === 'called').length,
    ),
  );
  it('Pod liveness probe, using grpc call, failure', restartsTo(1, grpc(2333)));

  it(
    'Pod readiness probe, with initial delay',
    inPlace(async (place) => {
      const pod = await place.run(
        server('probed', {
          container: {
            readinessProbe: {
              httpGet: { path: '/health', port: 8080 },
              initialDelaySeconds: 6,
              periodSeconds: 1,
            },
          },
        }),
      );
      const readyAt = Date.parse(
        pod.status.conditions.find(({ type }: Json) => type === 'Ready').lastTransitionTime,
      );
      const startedAt = Date.parse(statusOf(pod).state.running.startedAt);
      // Both are whole seconds.
      assert.ok(readyAt - startedAt >= 5000, `ready after ${readyAt - startedAt} ms`);
      assert.equal(restarts(pod), 0);
    }),
  );
  it(
    'Pod readiness probe, failure',
    inPlace(async (place) => {
      await world.post(
        `${place.core}/pods`,
        idle('probed', {
          container: {
            readinessProbe: {
              exec: { command: ['sh', '-c', 'echo probe >> /tmp/probes; false'] },
              periodSeconds: 1,
            },
          },
          spec: { restartPolicy: 'Always' },
        }),
      );
      await place.pod('probed', ({ status }) => status.phase === 'Running');
      await until('several probes', async () => (await lines(place, 'probed', 'cat /tmp/probes')) >= 5);
      assert.ok(place.history('probed').every((pod) => !isReady(pod) && restarts(pod) === 0));
    }),
  );

  // ------------------------------------------------------------------------------------------------------------------------------ hooks

  /** A hook that calls another pod, which then was called. */
  const hook = (when: 'postStart' | 'preStop', action: (ip: string) => Json): (() => Promise<void>) =>
    inPlace(async (place) => {
      const {
        status: { podIP },
      } = await place.run(server('called'));
      const wasCalled = (): Promise<unknown> =>
        until(
          'the hook to be called',
          async () =>
            (await place.sh('called', 'wget -qO- http://127.0.0.1:8080/calls')) === `GET /calls/${when}`,
        );
      await place.run(
        idle('hooked', {
          container: { lifecycle: { [when]: action(podIP) } },
          spec: { terminationGracePeriodSeconds: 15 },
        }),
      );
      if (when === 'postStart') return void (await wasCalled());
      assert.equal(await place.sh('called', 'wget -qO- http://127.0.0.1:8080/calls'), '');
      await world.del(`${place.core}/pods/hooked`);
      await wasCalled();
      await place.podGone('hooked');
    });
  const byCommand =
    (when: string) =>
    (ip: string): Json => ({ exec: { command: ['wget', '-qO-', `http://${ip}:8080/calls/${when}`] } });
  const byRequest =
    (when: string) =>
    (ip: string): Json => ({ httpGet: { host: ip, port: 8080, path: `/calls/${when}` } });

  it('Pod Lifecycle, post start exec hook', hook('postStart', byCommand('postStart')));
  it('Pod Lifecycle, post start http hook', hook('postStart', byRequest('postStart')));
  it('Pod Lifecycle, prestop exec hook', hook('preStop', byCommand('preStop')));
  it('Pod Lifecycle, prestop http hook', hook('preStop', byRequest('preStop')));
  it(
    'Pods, prestop hook',
    hook('preStop', (ip) => ({
      exec: { command: ['sh', '-c', `sleep 1; wget -qO- http://${ip}:8080/calls/preStop`] },
    })),
  );

  // ----------------------------------------------------------------------------------------------------------------------- ends, last words

  const ended = async (place: Place, pod: Json): Promise<Json> => {
    const {
      metadata: { name },
    } = await world.post(`${place.core}/pods`, pod);
    return place.pod(name, ({ status }) => ['Succeeded', 'Failed'].includes(status.phase));
  };
  /** Fails in its first run, ends well in its second, and stays in its third. */
  const THREE_RUNS =
    'echo run >> /runs/file; case $(wc -l < /runs/file) in 1) exit 1;; 2) exit 0;; *) sleep 100000;; esac';

  it(
    'Container Runtime, Restart Policy, Pod Phases',
    inPlace(async (place) => {
      const cases = [
        { restartPolicy: 'Always', phase: 'Running', restartCount: 2, state: 'running', ready: true },
        {
          restartPolicy: 'OnFailure',
          phase: 'Succeeded',
          restartCount: 1,
          state: 'terminated',
          ready: false,
        },
        { restartPolicy: 'Never', phase: 'Failed', restartCount: 0, state: 'terminated', ready: false },
      ];
      await Promise.all(
        cases.map(async ({ restartPolicy, phase, restartCount, state, ready }) => {
          const name = restartPolicy.toLowerCase();
          await world.post(
            `${place.core}/pods`,
            task(name, THREE_RUNS, {
              container: { volumeMounts: [{ name: 'runs', mountPath: '/runs' }] },
              spec: { restartPolicy, volumes: [{ name: 'runs', emptyDir: { medium: 'Memory' } }] },
            }),
          );
          await place.pod(
            name,
            (pod) =>
              pod.status.phase === phase &&
              restarts(pod) === restartCount &&
              isReady(pod) === ready &&
              statusOf(pod).state[state] !== undefined,
          );
          assert.ok(place.history(name).every((pod) => restarts(pod) <= restartCount));
          await world.del(`${place.core}/pods/${name}`);
          await place.podGone(name);
        }),
      );
    }),
  );

  const lastWords = (
    script: string,
    {
      container,
      phase = 'Succeeded',
      message,
    }: { readonly container: Json; readonly phase?: string; readonly message: string | undefined },
  ): (() => Promise<void>) =>
    inPlace(async (place) => {
      const pod = await ended(place, task('speaking', script, { container }));
      assert.equal(pod.status.phase, phase);
      assert.equal(statusOf(pod).state.terminated.message, message);
    });
  const FROM_LOGS = {
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'FallbackToLogsOnError',
  };
  it(
    'Container Runtime, TerminationMessage, from log output of succeeding container',
    lastWords('echo DONE', { container: FROM_LOGS, message: undefined }),
  );
  it(
    'Container Runtime, TerminationMessage, from file of succeeding container',
    lastWords('printf OK > /dev/termination-log; echo DONE', { container: FROM_LOGS, message: 'OK' }),
  );
  it(
    "Container Runtime, TerminationMessage, from container's log output of failing container",
    lastWords('printf DONE; exit 1', { container: FROM_LOGS, phase: 'Failed', message: 'DONE' }),
  );
  it(
    'Container Runtime, TerminationMessagePath, non-root user and non-default path',
    lastWords('printf DONE > /dev/termination-custom-log', {
      container: {
        terminationMessagePath: '/dev/termination-custom-log',
        securityContext: { runAsUser: 10000 },
      },
      message: 'DONE',
    }),
  );

  it(
    'Kubelet, failed pod, terminated reason',
    inPlace(async (place) => {
      const {
        status: { containerStatuses },
      } = await ended(place, task('failing', '', { container: { command: ['/bin/false'] } }));
      assert.equal(containerStatuses.length, 1);
      assert.equal(containerStatuses[0].state.terminated.reason, 'Error');
      assert.equal(containerStatuses[0].state.terminated.exitCode, 1);
    }),
  );
  it(
    'Kubelet, log output, default',
    inPlace(async (place) => {
      const lines = (await place.output(task('talking', 'echo on stdout; echo on stderr >&2')))
        .trim()
        .split('\n');
      assert.deepEqual(lines.toSorted(), ['on stderr', 'on stdout']);
    }),
  );

  // ------------------------------------------------------------------------------------------------------------------- init containers

  const init = (
    commands: readonly string[],
    { restartPolicy, command }: { readonly restartPolicy: string; readonly command: string },
  ): Json =>
    idle('initialized', {
      container: { command: ['sh', '-c', command], resources: { limits: { cpu: '100m' } } },
      spec: {
        restartPolicy,
        initContainers: commands.map((one, index) => ({
          name: `init${index + 1}`,
          image: BUSYBOX,
          command: [one],
        })),
      },
    });
  const initStates = ({ status }: Json): Json[] =>
    status.initContainerStatuses.map(({ state }: Json) => state);

  it(
    'init-container-starts-app-restartnever-pod',
    inPlace(async (place) => {
      const pod = await ended(
        place,
        init(['/bin/true', '/bin/true'], { restartPolicy: 'Never', command: 'true' }),
      );
      assert.equal(pod.status.phase, 'Succeeded');
      assert.equal(pod.status.conditions.find(({ type }: Json) => type === 'Initialized').status, 'True');
      for (const { terminated } of [...initStates(pod), statusOf(pod).state])
        assert.equal(terminated.exitCode, 0);
      assert.equal(restarts(pod), 0);
    }),
  );
  it(
    'init-container-starts-app-restartalways-pod',
    inPlace(async (place) => {
      const pod = await place.run(
        init(['/bin/true', '/bin/true'], { restartPolicy: 'Always', command: 'sleep 100000' }),
      );
      assert.equal(pod.status.phase, 'Running');
      assert.equal(pod.status.conditions.find(({ type }: Json) => type === 'Initialized').status, 'True');
      for (const { terminated } of initStates(pod)) assert.equal(terminated.exitCode, 0);
      assert.notEqual(statusOf(pod).state.running, undefined);
    }),
  );
  it(
    'init-container-fails-stops-app-restartnever-pod',
    inPlace(async (place) => {
      const pod = await ended(
        place,
        init(['/bin/true', '/bin/false'], { restartPolicy: 'Never', command: 'true' }),
      );
      assert.equal(pod.status.phase, 'Failed');
      assert.deepEqual(
        initStates(pod).map(({ terminated }) => terminated.exitCode),
        [0, 1],
      );
      const { status, message } = pod.status.conditions.find(({ type }: Json) => type === 'Initialized');
      assert.deepEqual([status, message], ['False', 'containers with incomplete status: [init2]']);
      assert.deepEqual(statusOf(pod).state, { waiting: { reason: 'PodInitializing' } });
    }),
  );
  it(
    'init-container-fails-stops-app-restartalways-pod',
    inPlace(async (place) => {
      await world.post(
        `${place.core}/pods`,
        init(['/bin/false', '/bin/true'], { restartPolicy: 'Always', command: 'sleep 100000' }),
      );
      const pod = await place.pod(
        'initialized',
        (seen) => (statusOf(seen, 'initContainerStatuses')?.restartCount ?? 0) >= 3,
      );
      assert.equal(pod.status.phase, 'Pending');
      const [first, second] = pod.status.initContainerStatuses;
      assert.equal((first.lastState.terminated ?? first.state.terminated).exitCode, 1);
      assert.equal(second.state.waiting.reason, 'PodInitializing');
      assert.equal(
        pod.status.conditions.find(({ type }: Json) => type === 'Initialized').message,
        'containers with incomplete status: [init1 init2]',
      );
      for (const seen of place.history('initialized'))
        for (const { state } of seen.status.containerStatuses ?? [])
          assert.deepEqual(state, { waiting: { reason: 'PodInitializing' } });
    }),
  );

  // ----------------------------------------------------------------------------------------------------------------------------- streams

  /** The messages of a WebSocket until it closes. */
  const messages = (path: string, protocol: string): Promise<Buffer[]> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(
        `${world.url.replace('https', 'wss')}${path}`,
        [protocol],
        world.credentials,
      );
      const all: Buffer[] = [];
      socket
        .on('message', (message: Buffer) => void all.push(message))
        .on('error', reject)
        .on('close', () => resolve(all));
    });
  it(
    'Pods, remote command execution over websocket',
    inPlace(async (place) => {
      await place.run(idle('commanded'));
      const all = await messages(
        `${place.core}/pods/commanded/exec?stderr=1&stdout=1&container=main&command=echo&command=remote%20execution%20test`,
        'v4.channel.k8s.io',
      );
      const of = (channel: number): string =>
        Buffer.concat(
          all.filter((message) => message[0] === channel).map((message) => message.subarray(1)),
        ).toString();
      assert.equal(of(1), 'remote execution test\n');
      assert.equal(JSON.parse(of(3)).status, 'Success');
    }),
  );
  it(
    'Pods, logs from websockets',
    inPlace(async (place) => {
      await place.run(
        idle('logging', { container: { command: ['sh', '-c', 'echo container is alive; sleep 100000'] } }),
      );
      await until('the output', async () => (await place.logs('logging')) !== '');
      const all = await messages(`${place.core}/pods/logging/log?container=main`, 'binary.k8s.io');
      assert.equal(Buffer.concat(all).toString(), 'container is alive\n');
    }),
  );

  // --------------------------------------------------------------------------------------------------------------- resources that change

  type Amounts = readonly [cpuRequest: string, cpuLimit: string, memoryRequest: string, memoryLimit: string];
  /** As a spec has them; '' is absent. */
  const resources = ([cpuRequest, cpuLimit, memoryRequest, memoryLimit]: Amounts): Json => {
    const list = (cpu: string, memory: string): Json => ({
      ...(cpu ? { cpu } : {}),
      ...(memory ? { memory } : {}),
    });
    const [requests, limits] = [list(cpuRequest, memoryRequest), list(cpuLimit, memoryLimit)];
    return {
      ...(Object.keys(requests).length > 0 ? { requests } : {}),
      ...(Object.keys(limits).length > 0 ? { limits } : {}),
    };
  };
  const MIB = 2 ** 20;
  const milli = (cpu: string): number => Number(cpu.replace('m', ''));
  /** What the kernel must have for a container with these: as it reads them itself. */
  const kernelSays = async (
    place: Place,
    name: string,
  ): Promise<readonly [weight: number, quota: number, memory: number]> => {
    const v2 = 'cat /sys/fs/cgroup/cpu.weight /sys/fs/cgroup/cpu.max /sys/fs/cgroup/memory.max';
    const v1 =
      'cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/memory/memory.limit_in_bytes';
    const [weight = '', quota = '', memory = ''] = (
      await place.sh(
        'resized',
        `if test -f /sys/fs/cgroup/cgroup.controllers; then ${v2}; else ${v1}; fi`,
        name,
      )
    ).split('\n');
    const number = (text: string): number =>
      text.startsWith('max') || text === '-1' || Number(text) > 2 ** 60 ? 0 : Number(text.split(' ')[0]);
    return [number(weight), number(quota), number(memory)];
  };
  const kernelWanted = (
    cgroupVersion: number,
    [cpuRequest, cpuLimit, , memoryLimit]: Amounts,
  ): readonly number[] => {
    const shares = Math.max(2, Math.floor(milli(cpuRequest || cpuLimit || '0m') * 1.024));
    const weight = cgroupVersion === 1 ? shares : Math.floor(1 + ((shares - 2) * 9999) / 262142);
    return [
      weight,
      cpuLimit ? Math.max(1000, milli(cpuLimit) * 100) : 0,
      Number(memoryLimit.replace('Mi', '')) * MIB,
    ];
  };
  const isSettled = ({ metadata, status }: Json): boolean =>
    status.observedGeneration === metadata.generation &&
    !status.conditions.some(({ type }: Json) => type.startsWith('PodResize'));

  /** From the spec to the status to the kernel. Values that the kernel does not tell apart are shown as they were asked for. */
  const showsAmounts = async (place: Place, amounts: readonly Amounts[], restartCount = 0): Promise<void> => {
    const isAsked = ({ spec }: Json): boolean =>
      amounts.every((one, index) => isDeepStrictEqual(spec.containers[index].resources, resources(one)));
    const pod = await place.pod('resized', (seen) => isAsked(seen) && isReady(seen) && isSettled(seen));
    const version =
      (await place.exec('resized', 'test -f /sys/fs/cgroup/cgroup.controllers', 'c1')).code === 0 ? 2 : 1;
    for (const [index, wanted] of amounts.entries()) {
      const {
        name,
        resources: shown,
        allocatedResources,
        restartCount: count,
      } = pod.status.containerStatuses[index];
      const asked = resources(wanted);
      assert.deepEqual(shown, asked, name);
      assert.deepEqual(allocatedResources, asked.requests, name);
      assert.equal(count, restartCount, name);
      assert.deepEqual(await kernelSays(place, name), kernelWanted(version, wanted), name);
    }
  };
  const resizable = (amounts: readonly Amounts[]): Json => {
    const [container] = idle('resized').spec.containers;
    return idle('resized', {
      spec: {
        restartPolicy: 'OnFailure',
        containers: amounts.map((one, index) => ({
          ...container,
          name: `c${index + 1}`,
          resources: resources(one),
        })),
      },
    });
  };
  /** There and, where that is allowed, back again. */
  const resizes = (
    from: readonly Amounts[],
    to: readonly Amounts[],
    { back = true } = {},
  ): (() => Promise<void>) =>
    inPlace(async (place) => {
      const ask = (amounts: readonly Amounts[]): Promise<Json> =>
        world.patch(
          `${place.core}/pods/resized/resize`,
          {
            spec: {
              containers: amounts.map((one, index) => ({ name: `c${index + 1}`, resources: resources(one) })),
            },
          },
          'strategic',
        );
      await place.run(resizable(from));
      await showsAmounts(place, from);
      await ask(to);
      await showsAmounts(place, to);
      if (!back) return;
      await ask(from);
      await showsAmounts(place, from);
    });
  /** Of a container whose requests are its limits. */
  const equal = (cpu: number, memory: number): Amounts => [
    `${cpu}m`,
    `${cpu}m`,
    `${memory}Mi`,
    `${memory}Mi`,
  ];
  const GUARANTEED = [equal(20, 35), equal(22, 37), equal(24, 39)];

  it(
    'In-place Pod Resize, guaranteed pods with multiple containers, net increase',
    resizes(GUARANTEED, [equal(25, 40), equal(27, 42), equal(19, 34)]),
  );
  it(
    'In-place Pod Resize, guaranteed pods with multiple containers, net decrease',
    resizes(GUARANTEED, [equal(25, 40), equal(17, 32), equal(19, 34)]),
  );
  it(
    'In-place Pod Resize, guaranteed pods with multiple containers, various operations',
    resizes(GUARANTEED, [equal(25, 35), equal(17, 42), equal(29, 44)]),
  );
  it(
    'In-place Pod Resize, burtable pod with multiple containers and various operations',
    resizes(
      [
        ['20m', '', '', ''],
        ['', '', '35Mi', ''],
        ['20m', '', '35Mi', ''],
        ['20m', '', '', ''],
        ['', '', '35Mi', ''],
        ['20m', '30m', '35Mi', '45Mi'],
      ],
      [
        ['25m', '35m', '', ''],
        ['', '', '30Mi', '50Mi'],
        ['20m', '', '30Mi', ''],
        ['15m', '', '35Mi', ''],
        ['20m', '', '40Mi', ''],
        ['15m', '35m', '40Mi', '50Mi'],
      ],
      { back: false },
    ),
  );
  it(
    'In-place Pod Resize, burstable pod resized with equivalents',
    resizes([['2m', '10m', '', '']], [['1m', '5m', '', '']]),
  );
  it(
    'In-place Pod Resize, read and replace endpoints',
    inPlace(async (place) => {
      const path = `${place.core}/pods/resized`;
      const [from, to]: readonly [Amounts, Amounts] = [
        ['20m', '', '35Mi', ''],
        ['25m', '', '40Mi', ''],
      ];
      const made = await place.run(resizable([from]));
      assert.equal(made.metadata.generation, 1);
      const live = await world.get(path);
      live.spec.containers[0].resources = resources(to);
      await world.put(`${path}/resize`, live);
      const updated = await world.get(path);
      assert.equal(updated.metadata.generation, 2);
      assert.deepEqual(updated.spec.containers[0].resources, resources(to));
      await showsAmounts(place, [to]);
      const [whole, part] = [await world.get(path), await world.get(`${path}/resize`)];
      assert.deepEqual(part, whole);
    }),
  );
});
