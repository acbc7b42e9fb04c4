/** The detector as a node on a real API server: kernel messages by a pipe and by the kernel's own device, a real journal, programs, and what becomes of them. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  constants,
  openSync,
  closeSync,
  mkdtempSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { NodeCondition } from '#api/types.ts';
import { parseLogMonitor, parsePluginMonitor } from '#addons/node-problem-detector/config.ts';
import { defaultMonitors } from '#addons/node-problem-detector/default-monitors.ts';
import { createNodeProblemDetector } from '#addons/node-problem-detector/node-problem-detector.ts';
import { events, nodes } from '#client/refs.ts';
import { nodeIdentity } from '#cmd/all-in-one/identities.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { freePort } from './cluster.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const PATIENCE_MS = 20_000;
const [kernel, readonly] = defaultMonitors().logs;

let server: TestApi;
let dir: string;
const stops: (() => Promise<unknown> | void)[] = [];
before(async () => {
  server = await startTestApi();
  dir = mkdtempSync(join(tmpdir(), 'capstan-problems-'));
});
after(async () => {
  for (const stop of stops.toReversed()) await stop();
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

async function until<T>(what: string, look: () => Promise<T | undefined | false>): Promise<T> {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const found = await look();
    if (found) return found;
    await realClock.sleep(50);
  }
  return assert.fail(`never came true: ${what}`);
}

type Options = Parameters<typeof createNodeProblemDetector>[0];

/** Its Node is made here; started before it returns. */
async function detect(
  nodeName: string,
  options: Partial<Options['monitors']> & Pick<Options, 'probes' | 'starts' | 'metricsPort'>,
): Promise<void> {
  await server.api.create(nodes, { metadata: { name: nodeName } });
  const { logs = [], plugins = [], ...more } = options;
  const detector = createNodeProblemDetector({
    api: server.clientAs(nodeIdentity(nodeName)),
    clock: realClock,
    log: silentLogger,
    nodeName,
    monitors: { logs, plugins },
    ...more,
  });
  await detector.start();
  stops.push(() => detector.stop());
}

const conditionOf = async (node: string, type: string): Promise<NodeCondition | undefined> =>
  (await server.api.get(nodes, { name: node })).status?.conditions?.find((one) => one.type === type);
const becomes = (node: string, type: string, status: string): Promise<NodeCondition> =>
  until(`${node}: ${type}=${status}`, async () => {
    const condition = await conditionOf(node, type);
    return condition?.status === status && condition;
  });
const event = (node: string, reason: string): Promise<string> =>
  until(`${node}: event ${reason}`, async () => {
    const { items } = await server.api.list(events, { fieldSelector: `involvedObject.name=${node}` });
    const found = items.find((one) => one.reason === reason);
    return found && `${found.type} ${found.source?.component}: ${found.message}`;
  });

/** A pipe in place of the device, with its records. */
function pipe(name: string): { readonly path: string; say(message: string): void } {
  const path = join(dir, name);
  assert.equal(spawnSync('mkfifo', [path]).status, 0);
  // Both ends, so that it never is without a writer.
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  stops.push(() => closeSync(fd));
  let sequence = 1;
  return {
    path,
    say(message) {
      const uptime = Math.round(Number(process.hrtime.bigint() / 1_000n));
      writeSync(fd, `6,${sequence++},${uptime},-;${message}\n SUBSYSTEM=test\n`);
    },
  };
}

describe('kernel messages', () => {
  it('an OOM kill, a hung task and a file system that became read-only', async () => {
    const kmsg = pipe('kmsg');
    const port = await freePort();
    const logs = [kernel!, readonly!].map((config) => ({ ...config, logPath: kmsg.path }));
    // Each monitor reads records of its own: the device gives all to each, a pipe does not.
    const other = pipe('kmsg-readonly');
    await detect('n1', { logs: [logs[0]!, { ...logs[1]!, logPath: other.path }], metricsPort: port });
    assert.equal((await becomes('n1', 'KernelDeadlock', 'False')).reason, 'KernelHasNoDeadlock');
    await becomes('n1', 'ReadonlyFilesystem', 'False');
    kmsg.say(
      'Out of memory: Killed process 4711 (leak) total-vm:120kB, anon-rss:8kB, file-rss:0kB, shmem-rss:0kB',
    );
    kmsg.say('INFO: task docker:1234 blocked for more than 120 seconds.');
    assert.match(
      await event('n1', 'OOMKilling'),
      /^Warning kernel-monitor: Out of memory: Killed process 4711/,
    );
    assert.match(await event('n1', 'TaskHung'), /^Warning kernel-monitor: INFO: task docker:1234 blocked/);
    assert.match(
      await event('n1', 'DockerHung'),
      /^Normal kernel-monitor: Node condition KernelDeadlock is now: True, reason: DockerHung, message: "INFO: task docker/,
    );
    other.say('EXT4-fs (sda1): Remounting filesystem read-only');
    const { reason, message } = await becomes('n1', 'ReadonlyFilesystem', 'True');
    assert.deepEqual(
      { reason, message },
      {
        reason: 'FilesystemIsReadOnly',
        message: 'EXT4-fs (sda1): Remounting filesystem read-only',
      },
    );
    const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
    assert.match(metrics, /^problem_counter\{reason="OOMKilling"\} 1$/m);
    assert.match(metrics, /^problem_counter\{reason="Ext4Error"\} 0$/m);
    assert.match(metrics, /^problem_gauge\{reason="FilesystemIsReadOnly",type="ReadonlyFilesystem"\} 1$/m);
    assert.match(metrics, /^problem_gauge\{reason="XfsHasShutdown",type="XfsShutdown"\} 0$/m);
  });

  it("the kernel's own device", async (t) => {
    const word = `capstan-test-${process.pid}`;
    try {
      appendFileSync('/dev/kmsg', `${word} before\n`);
    } catch {
      return t.skip('/dev/kmsg cannot be written here');
    }
    const monitor = (source: string, lookback: string) =>
      parseLogMonitor(
        JSON.stringify({
          plugin: 'kmsg',
          source,
          lookback,
          rules: [
            { type: 'temporary', reason: 'Before', pattern: `${word} before` },
            { type: 'temporary', reason: 'After', pattern: `${word} one\\n.*${word} two` },
          ],
        }),
      );
    await detect('n2', { logs: [monitor('looking-back', '1m')] });
    await event('n2', 'Before');
    appendFileSync('/dev/kmsg', `${word} one\n`);
    appendFileSync('/dev/kmsg', `${word} two\n`);
    assert.match(await event('n2', 'After'), new RegExp(`${word} one\n${word} two$`));
  });
});

describe('the journal', () => {
  it('messages of a unit, those before the start and those after', async (t) => {
    const journal = await startJournal();
    if (!journal) return t.skip('systemd-journald cannot be run here');
    await journal.say('Starting containerd.service - containerd container runtime...');
    const monitor = parseLogMonitor(
      JSON.stringify({
        plugin: 'journald',
        pluginConfig: { source: 'systemd' },
        logPath: journal.dir,
        lookback: '5m',
        source: 'systemd-monitor',
        rules: [
          { type: 'temporary', reason: 'KubeletStart', pattern: 'Started (kubelet.service - .*).' },
          {
            type: 'temporary',
            reason: 'ContainerdStart',
            pattern: 'Starting (containerd.service - .*)\\.\\.\\.',
          },
        ],
      }),
    );
    const counter = parsePluginMonitor(
      JSON.stringify({
        plugin: 'custom',
        pluginConfig: { invoke_interval: '200ms', timeout: '30s' },
        source: 'systemd-monitor',
        conditions: [
          { type: 'FrequentContainerdRestart', reason: 'NoFrequentContainerdRestart', message: 'good' },
        ],
        rules: [
          {
            type: 'permanent',
            condition: 'FrequentContainerdRestart',
            reason: 'FrequentContainerdRestart',
            path: '/home/kubernetes/bin/log-counter',
            args: [
              '--journald-source=systemd',
              `--log-path=${journal.dir}`,
              '--lookback=20m',
              '--count=3',
              '--pattern=Starting containerd.service',
            ],
          },
        ],
      }),
    );
    await detect('n3', { logs: [monitor], plugins: [counter] });
    assert.match(await event('n3', 'ContainerdStart'), /^Warning systemd-monitor: Starting containerd/);
    await journal.say('Started kubelet.service - Kubernetes kubelet.');
    assert.match(await event('n3', 'KubeletStart'), /Started kubelet\.service/);
    await becomes('n3', 'FrequentContainerdRestart', 'False');
    for (let start = 0; start < 2; start++) await journal.say('Starting containerd.service - again...');
    const { message } = await becomes('n3', 'FrequentContainerdRestart', 'True');
    assert.equal(message, 'Found 3 matching logs, which meets the threshold of 3');
  });
});

describe('programs', () => {
  const script = (name: string, text: string): string => {
    const path = join(dir, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  };

  it('exit codes make conditions and events, and a problem goes away', async () => {
    const state = join(dir, 'state');
    writeFileSync(state, '0');
    const plugins = [
      parsePluginMonitor(
        JSON.stringify({
          plugin: 'custom',
          pluginConfig: { invoke_interval: '100ms', timeout: '1s', max_output_length: 12, concurrency: 2 },
          source: 'ntp-monitor',
          conditions: [
            { type: 'NTPProblem', reason: 'NTPIsUp', message: 'ntp service is up' },
            { type: 'Hanging', reason: 'NotHanging', message: 'it ends' },
          ],
          rules: [
            {
              type: 'permanent',
              condition: 'NTPProblem',
              reason: 'NTPIsDown',
              path: script('ntp.sh', `echo "NTP service is down"; exit $(cat ${state})`),
            },
            { type: 'temporary', reason: 'Strange', path: script('odd.sh', 'echo odd; exit 1') },
            {
              type: 'permanent',
              condition: 'Hanging',
              reason: 'Hangs',
              path: script('hang.sh', 'sleep 60'),
              timeout: '200ms',
            },
          ],
        }),
      ),
    ];
    await detect('n4', { plugins });
    await becomes('n4', 'NTPProblem', 'False');
    assert.match(
      (await becomes('n4', 'Hanging', 'Unknown')).message ?? '',
      new RegExp(`^${dir.slice(0, 12)}`),
    );
    assert.match(await event('n4', 'Strange'), /^Warning ntp-monitor: odd$/);
    writeFileSync(state, '1');
    const down = await becomes('n4', 'NTPProblem', 'True');
    assert.deepEqual([down.reason, down.message], ['NTPIsDown', 'NTP service ']);
    writeFileSync(state, '0');
    assert.equal((await becomes('n4', 'NTPProblem', 'False')).message, 'ntp service is up');
    assert.match(await event('n4', 'NTPIsUp'), /NTPProblem is now: False/);
  });

  it('a container runtime that does not answer, and a kubelet that restarts often', async () => {
    let answers = true;
    const starts: number[] = [];
    await detect('n5', {
      plugins: defaultMonitors().plugins.map((config) => ({
        ...config,
        rules: config.rules.map((rule) => ({ ...rule, intervalMs: 100 })),
      })),
      probes: { cri: () => (answers ? Promise.resolve() : Promise.reject(new Error('no answer'))) },
      starts: () => starts,
    });
    await becomes('n5', 'ContainerRuntimeUnhealthy', 'False');
    await becomes('n5', 'FrequentKubeletRestart', 'False');
    answers = false;
    for (let start = 0; start < 5; start++) starts.push(Date.now());
    await becomes('n5', 'ContainerRuntimeUnhealthy', 'True');
    assert.equal(
      (await becomes('n5', 'FrequentKubeletRestart', 'True')).message,
      'started 5 times, which meets the threshold of 5',
    );
    answers = true;
    await becomes('n5', 'ContainerRuntimeUnhealthy', 'False');
  });
});

/** A journald of its own, in a mount namespace. Undefined: it cannot be run here. */
async function startJournal(): Promise<
  { readonly dir: string; say(message: string): Promise<void> } | undefined
> {
  const commands = [
    'mount --make-rprivate /',
    'mount -t tmpfs tmpfs /run',
    'mkdir -p /run/systemd/journal /run/log/journal',
    'exec /lib/systemd/systemd-journald',
  ];
  const child = spawn('unshare', ['--mount', 'sh', '-c', commands.join(' && ')], { stdio: 'ignore' });
  let ended = false;
  child.once('exit', () => (ended = true));
  child.once('error', () => (ended = true));
  stops.push(() => void child.kill('SIGKILL'));
  const root = `/proc/${child.pid}/root`;
  const enter = (words: readonly string[]) =>
    spawnSync('nsenter', [`--mount=/proc/${child.pid}/ns/mnt`, ...words], { encoding: 'utf8' });
  await until('the journal', () =>
    Promise.resolve(ended || enter(['test', '-S', '/run/systemd/journal/stdout']).status === 0),
  );
  if (ended) return undefined;
  return {
    dir: `${root}/run/log/journal`,
    async say(message) {
      const { status, stderr } = enter(['systemd-cat', '-t', 'systemd', 'echo', message]);
      assert.equal(status, 0, stderr);
      await until('the message is in the journal', () =>
        Promise.resolve(
          enter(['journalctl', '--quiet', '--output=cat', 'SYSLOG_IDENTIFIER=systemd']).stdout.includes(
            message,
          ),
        ),
      );
    },
  };
}
