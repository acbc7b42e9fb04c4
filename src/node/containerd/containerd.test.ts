/** With a real containerd, in a temporary directory. Skipped, saying why, where there is none or no root. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { CriInput, PodSandboxConfig } from '../cri/types.ts';
import { buildBusyboxImage } from '../images/busybox-image.ts';
import { createContainerd, destroyContainerd } from './containerd.ts';
import type { Containerd } from './containerd.ts';
import { cgroupHierarchies, inspectMachine } from './machine.ts';
import { findProcess, findShims, isAlive, readStartTime } from './process.ts';
import { mountsBelow } from './teardown.ts';
import { run } from './run.ts';

const skip = await inspectMachine().then(
  () => (existsSync('/bin/busybox') ? false : 'no /bin/busybox: apt-get install busybox-static'),
  (error: Error) => error.message,
);
const HOST_PORT = 18_088;
const POD_CIDR = '10.211.7.0/24';
const LATE_CIDR = '10.211.46.0/24';

describe('containerd of a cluster', { skip }, () => {
  let dir: string;
  let runtime: Containerd;
  let pod: CriInput<PodSandboxConfig>;
  let sandboxId = '';
  let containerId = '';

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-containerd-'));
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: [POD_CIDR] });
    pod = {
      ...podConfig({ name: 'web', uid: 'u1', dir, cgroupRoot: runtime.cgroupRoot }),
      portMappings: [{ protocol: 'TCP', containerPort: 80, hostPort: HOST_PORT, hostIp: '' }],
    };
  });

  after(async () => {
    await runtime.stop();
    const problems = await destroyContainerd({ dir: join(dir, 'node') });
    await rm(dir, { recursive: true, force: true });
    assert.deepEqual(problems, []);
  });

  test('starts, with the sandbox image in it and the network ready', async () => {
    const { adopted } = await runtime.start();
    assert.equal(adopted, false);
    const { status } = await runtime.cri.status({});
    assert.deepEqual(
      status?.conditions.map(({ type, status: met }) => [type, met]),
      [
        ['RuntimeReady', true],
        ['NetworkReady', true],
      ],
    );
  });

  test('runs a container in a pod with an address, limits and a log', async () => {
    const [image] = await runtime.importImage((await buildBusyboxImage()).tar);
    assert.equal(image?.name, 'docker.io/library/busybox:latest');
    sandboxId = (await runtime.cri.runPodSandbox({ config: pod })).podSandboxId;
    containerId = await startContainer({
      runtime,
      pod,
      sandboxId,
      command: ['sh', '-c', 'echo hello; mkdir /w; echo hi > /w/index.html; httpd -f -p 80 -h /w'],
    });
    const address =
      (await runtime.cri.podSandboxStatus({ podSandboxId: sandboxId })).status?.network?.ip ?? '';
    assert.match(address, /^10\.211\.7\.\d+$/);
    assert.match(await get(address, 80), /hi\n$/);
    const limit = await runtime.cri.execSync({ containerId, cmd: ['cat', '/proc/self/cgroup'], timeout: 10 });
    assert.match(limit.stdout.toString(), new RegExp(`${runtime.cgroupRoot}/pods/u1/${containerId}`));
    assert.match(await readFile(join(dir, 'logs/main.log'), 'utf8'), /^\S+ stdout F hello\n/);
    const failed = await runtime.cri.execSync({
      containerId,
      cmd: ['sh', '-c', 'echo no >&2; exit 3'],
      timeout: 10,
    });
    assert.deepEqual([failed.exitCode, failed.stderr.toString()], [3, 'no\n']);
  });

  test('what a flush of the nftables ruleset takes away is restored', async () => {
    const { nftTable, networkName } = runtime.layout;
    const rules = spawnSync('iptables', ['-t', 'nat', '-S', 'CNI-HOSTPORT-DNAT'], {
      encoding: 'utf8',
    }).stdout;
    assert.match(await get('127.0.0.1', HOST_PORT), /hi\n$/);
    const own = rules
      .split('\n')
      .filter((rule) => rule.includes(`"${networkName}`) || rule.includes(`\\"${networkName}`));
    assert.ok(own.length > 0, rules);
    for (const rule of own)
      assert.equal(spawnSync('sh', ['-c', `iptables -t nat ${rule.replace('-A', '-D')}`]).status, 0, rule);
    assert.equal(spawnSync('nft', ['delete', 'table', 'inet', nftTable]).status, 0);
    assert.match(await get('127.0.0.1', HOST_PORT), /hi\n$/);
    assert.equal(spawnSync('nft', ['list', 'table', 'inet', nftTable]).status, 0);
  });

  test('a killed containerd comes back, its pods run on', async () => {
    const first = await findProcess(runtime.layout);
    assert.ok(first);
    process.kill(first.pid, 'SIGKILL');
    const second = await until('another containerd answers', async () => {
      const found = await findProcess(runtime.layout);
      return found &&
        found.pid !== first.pid &&
        (await runtime.cri.version({}).then(
          () => true,
          () => false,
        ))
        ? found
        : undefined;
    });
    assert.notEqual(second.pid, first.pid);
    const { status } = await runtime.cri.containerStatus({ containerId });
    assert.equal(status?.state, 'CONTAINER_RUNNING');
  });

  test('another program adopts it with its pods', async () => {
    const running = await findProcess(runtime.layout);
    await runtime.stop();
    const stale = `/var/lib/cni/results/${runtime.layout.networkName}-gone-eth0`;
    await writeFile(stale, JSON.stringify({ containerId: 'gone', ifName: 'eth0' }));
    // As after a crash in the middle of the start.
    await rm(runtime.layout.pidPath);
    await writeFile(
      join(runtime.layout.cniDataDir, runtime.layout.networkName, '10.211.7.200'),
      'gone\r\neth0',
    );
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: [POD_CIDR] });
    assert.equal((await runtime.start()).adopted, true);
    assert.deepEqual(await findProcess(runtime.layout), running);
    assert.equal((await runtime.cri.containerStatus({ containerId })).status?.state, 'CONTAINER_RUNNING');
    assert.equal(
      existsSync(join(runtime.layout.cniDataDir, runtime.layout.networkName, '10.211.7.200')),
      false,
      'the lease of a pod that is gone is given back',
    );
    assert.equal(existsSync(stale), false, 'its attachment is forgotten');
    assert.equal(leases(runtime).length, 1, 'the running pod keeps its lease');
  });

  test('stopAll ends pods and containerd and keeps images and sandboxes', async () => {
    const running = await findProcess(runtime.layout);
    assert.deepEqual(await runtime.stopAll({ gracePeriodSeconds: 1 }), []);
    assert.ok(running && !isAlive(running));
    assert.deepEqual(findShims(runtime.layout), []);
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: [POD_CIDR] });
    await runtime.start();
    assert.equal((await runtime.cri.containerStatus({ containerId })).status?.state, 'CONTAINER_EXITED');
    assert.ok((await runtime.cri.imageStatus({ image: { image: 'busybox' } })).image);
  });

  test('of sandboxes of earlier runs the last one of each pod stays', async () => {
    const metadata = { ...pod.metadata!, attempt: 1 };
    const newer = (await runtime.cri.runPodSandbox({ config: { ...pod, metadata, portMappings: [] } }))
      .podSandboxId;
    await runtime.stopAll({ gracePeriodSeconds: 1 });
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: [POD_CIDR] });
    await runtime.start();
    const { items } = await runtime.cri.listPodSandbox({});
    assert.deepEqual(
      items.map(({ id }) => id),
      [newer],
    );
  });

  test('destroy leaves nothing, even when containerd was killed with pods running', async () => {
    const config = podConfig({ name: 'other', uid: 'u2', dir, cgroupRoot: runtime.cgroupRoot });
    const { podSandboxId } = await runtime.cri.runPodSandbox({
      config: { ...config, portMappings: [{ protocol: 'TCP', containerPort: 80, hostPort: 28_713 }] },
    });
    const id = await startContainer({
      runtime,
      pod: config,
      sandboxId: podSandboxId,
      command: ['sleep', '1000'],
    });
    const info = JSON.parse(
      (await runtime.cri.containerStatus({ containerId: id, verbose: true })).info['info'] ?? '{}',
    ) as { pid: number };
    const namespace =
      (
        JSON.parse(
          (await runtime.cri.podSandboxStatus({ podSandboxId, verbose: true })).info['info'] ?? '{}',
        ) as { runtimeSpec: { linux: { namespaces: { type: string; path?: string }[] } } }
      ).runtimeSpec.linux.namespaces.find(({ type }) => type === 'network')?.path ?? '';
    assert.ok(existsSync(namespace), namespace);
    await runtime.stop();
    const running = await findProcess(runtime.layout);
    assert.ok(running);
    process.kill(running.pid, 'SIGKILL');
    await until('containerd is gone', async () => (isAlive(running) ? undefined : true));
    const { layout } = runtime;
    await rm(layout.configPath, { force: true }); // nor can it be started again by its configuration

    assert.deepEqual(await destroyContainerd({ dir: layout.dir }), []);
    assert.equal(readStartTime(info.pid), undefined, 'the container is gone');
    assert.deepEqual(findShims(layout), []);
    assert.deepEqual(await mountsBelow([layout.dir, layout.runDir]), []);
    assert.equal(existsSync(`/sys/class/net/${layout.bridge}`), false);
    assert.equal(
      cgroupHierarchies().some((hierarchy) => existsSync(join(hierarchy, layout.cgroupRoot))),
      false,
    );
    assert.notEqual((await run(['nft', 'list', 'table', 'inet', layout.nftTable])).code, 0);
    assert.doesNotMatch((await run(['nft', 'list', 'ruleset'])).stdout, /28713/);
    assert.equal(existsSync(layout.dir), false);
    assert.equal(existsSync(layout.runDir), false);
    assert.equal(existsSync(namespace), false, 'its network namespace is gone');
    assert.deepEqual(await destroyContainerd({ dir: layout.dir }), [], 'and again');
  });

  test('after a reboot, leases and sockets of the last boot are forgotten', async () => {
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: [POD_CIDR] });
    await runtime.start();
    assert.deepEqual(await runtime.stopAll(), []);
    await writeFile(runtime.layout.bootIdPath, 'another boot\n');
    await writeFile(join(runtime.layout.cniDataDir, 'stale'), '');
    runtime = createContainerd({ dir: join(dir, 'node'), podCIDRs: [POD_CIDR] });
    await runtime.start();
    assert.equal(existsSync(join(runtime.layout.cniDataDir, 'stale')), false);
    assert.notEqual(readFileSync(runtime.layout.bootIdPath, 'utf8'), 'another boot\n');
  });

  test('without a pod range it runs without a network, and has one as soon as it is configured', async () => {
    const late = createContainerd({ dir: join(dir, 'late') });
    const network = async (): Promise<boolean | undefined> =>
      (await late.cri.status({})).status?.conditions.find(({ type }) => type === 'NetworkReady')?.status;
    try {
      await late.start();
      assert.equal(await network(), false);
      await late.configureNetwork([LATE_CIDR]);
      assert.equal(await network(), true);
      await late.stopAll();
    } finally {
      assert.deepEqual(await destroyContainerd({ dir: late.layout.dir }), []);
    }
  });

  test('a range that the machine already uses is refused', async () => {
    await assert.rejects(
      runtime.configureNetwork(['127.0.0.0/16']),
      /the pod range 127\.0\.0\.0\/16 overlaps 127\.0\.0\.1\/8 of this machine's interface lo/,
    );
    await assert.rejects(runtime.configureNetwork(['10.0.0.0']), /"10\.0\.0\.0" is no address range/);
  });

  test('a containerd that cannot start tells why', async () => {
    const other = createContainerd({ dir: join(dir, 'broken') });
    try {
      await other.start();
      await other.stopAll();
      await rm(join(other.layout.root, 'io.containerd.metadata.v1.bolt'), { recursive: true });
      await writeFile(join(other.layout.root, 'io.containerd.metadata.v1.bolt'), '');
      const again = createContainerd({ dir: join(dir, 'broken') });
      await assert.rejects(
        again.start(),
        /^ContainerdError: containerd (ended right after its start|runs without its CRI plugin): .+\(its log: .+\)$/,
      );
      await again.stop();
    } finally {
      assert.deepEqual(await destroyContainerd({ dir: join(dir, 'broken') }), []);
    }
  });
});

function leases(runtime: Containerd): string[] {
  const { cniDataDir, networkName } = runtime.layout;
  return readdirNames(join(cniDataDir, networkName)).filter((name) => name.startsWith('10.'));
}

function readdirNames(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

function podConfig(of: {
  readonly name: string;
  readonly uid: string;
  readonly dir: string;
  readonly cgroupRoot: string;
}): CriInput<PodSandboxConfig> {
  return {
    metadata: { name: of.name, uid: of.uid, namespace: 'default', attempt: 0 },
    hostname: of.name,
    logDirectory: join(of.dir, 'logs'),
    linux: {
      cgroupParent: `${of.cgroupRoot}/pods/${of.uid}`,
      securityContext: { namespaceOptions: { network: 'POD' } },
    },
  };
}

async function startContainer(of: {
  readonly runtime: Containerd;
  readonly pod: CriInput<PodSandboxConfig>;
  readonly sandboxId: string;
  readonly command: string[];
}): Promise<string> {
  const resources = {
    memoryLimitInBytes: 64 * 1024 * 1024,
    cpuShares: 102,
    cpuPeriod: 100_000,
    cpuQuota: 50_000,
    oomScoreAdj: -997,
  };
  const { containerId } = await of.runtime.cri.createContainer({
    podSandboxId: of.sandboxId,
    sandboxConfig: of.pod,
    config: {
      metadata: { name: 'main', attempt: 0 },
      image: { image: 'busybox' },
      command: of.command,
      logPath: 'main.log',
      linux: { resources, securityContext: { seccomp: { profileType: 'RuntimeDefault' } } },
    },
  });
  await of.runtime.cri.startContainer({ containerId });
  return containerId;
}

/** An HTTP answer, once the server listens. */
function get(host: string, port: number): Promise<string> {
  return until(
    `an answer from ${host}`,
    () =>
      new Promise((resolve) => {
        const socket = connect({ host, port }, () => socket.write('GET / HTTP/1.0\r\n\r\n'));
        let text = '';
        socket.setEncoding('utf8').on('data', (part: string) => {
          text += part;
        });
        socket.on('close', () => resolve(text === '' ? undefined : text)).on('error', () => {});
      }),
  );
}

async function until<T>(what: string, probe: () => Promise<T | undefined>): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    assert.ok(performance.now() < deadline, `in 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
