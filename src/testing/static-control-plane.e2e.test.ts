/**
 * `capstan init` and `join --control-plane` with --static-pods: etcd, API server, controllers and scheduler are static pods of a node agent that starts before
 * there is a cluster, with real containers. Each machine is a network namespace.
 */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ContainerStatus, Pod } from '#api/types.ts';
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { runCommand, until, type CommandResult } from './cluster.ts';
import { etcdProgram } from './etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';
import { containersMissing } from './real-containers.ts';

const MAIN = resolve(import.meta.dirname, '../cli/main.ts');
const REQUEST = resolve(import.meta.dirname, 'api-request.ts');
const BALANCER = 'https://127.0.0.1:7445';
const PODS = '/api/v1/namespaces/kube-system/pods';
const COMPONENTS = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler'];
const TIMEOUT_MS = 240_000;
const skip =
  containersMissing || (!etcdProgram && 'no etcd 3.5') || (!canHaveNamespaces() && 'needs root and ip netns');

interface Machine {
  readonly name: string;
  readonly lan: LanMachine;
  readonly paths: MachinePaths;
}
type Ids = Readonly<Record<string, string | undefined>>;

describe('a control plane of static pods', { skip, timeout: 2 * TIMEOUT_MS }, () => {
  let base: string;
  let lan: Lan;
  let m1: Machine;
  let m2: Machine;
  let joinWords: readonly string[];
  let started: Ids;

  before(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-static-'));
    lan = createLan(`cs${process.pid}`, '10.219.0');
    const machine = (name: string, index: number): Machine => {
      const made = lan.machine(name, `10.219.0.${index}`);
      made.run('ip', 'route', 'add', 'default', 'via', '10.219.0.254');
      return { name, lan: made, paths: machinePaths({ rootfs: join(base, name) }) };
    };
    [m1, m2] = [machine('m1', 1), machine('m2', 2)];
  });
  after(async () => {
    for (const machine of [m2, m1])
      if (machine && existsSync(machine.paths.capstan)) await run(machine, ['reset', '--force']);
    await lan?.close();
    rmSync(base, { recursive: true, force: true });
  });

  // ip netns exec would hide cgroups, which containers need.
  const inside = ({ lan: { name } }: Machine, words: readonly string[]): string[] => [
    'nsenter',
    `--net=/run/netns/${name}`,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    ...words,
  ];
  const run = (machine: Machine, words: readonly string[]): Promise<CommandResult> =>
    runCommand(inside(machine, [MAIN, ...words, `--rootfs=${machine.paths.rootfs}`]), {
      timeoutMs: TIMEOUT_MS,
    });
  const ok = async (machine: Machine, words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(machine, words);
    assert.equal(code, 0, `${machine.name}: capstan ${words.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  const machineWords = ({ name }: Machine): readonly string[] => [
    '--static-pods',
    '--ignore-preflight-errors=all',
    `--node-name=${name}`,
    `--etcd-binary=${etcdProgram}`,
  ];
  const get = async (path: string): Promise<string> => {
    const words = [REQUEST, m1.paths.kubeconfig('admin'), BALANCER, 'GET', path];
    const { stdout } = await runCommand(inside(m1, words), { timeoutMs: 20_000 });
    return stdout;
  };

  /** Of each component of a machine that is there and ready, by its name. */
  async function ready({ name: nodeName }: Machine): Promise<ReadonlyMap<string, ContainerStatus>> {
    const [, json = '{"items":[]}'] = /^200 (.*)$/s.exec(await get(PODS)) ?? [];
    const { items } = JSON.parse(json) as { readonly items: readonly Pod[] };
    return new Map(
      items
        .filter(({ spec }) => spec?.nodeName === nodeName)
        .flatMap(({ metadata, status }) => {
          const [container] = status?.containerStatuses ?? [];
          return container?.ready ? [[metadata?.name?.replace(`-${nodeName}`, '') ?? '', container]] : [];
        }),
    );
  }
  const allReady = (machine: Machine): Promise<ReadonlyMap<string, ContainerStatus>> =>
    until(
      `every component of ${machine.name}`,
      async () => {
        const found = await ready(machine);
        return COMPONENTS.every((name) => found.has(name)) ? found : undefined;
      },
      TIMEOUT_MS,
    );
  const ids = (found: ReadonlyMap<string, ContainerStatus>): Ids =>
    Object.fromEntries(COMPONENTS.map((name) => [name, found.get(name)?.containerID]));

  function agentsOf({ lan: { pids } }: Machine): number[] {
    return pids().filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
          .replaceAll('\0', ' ')
          .includes('together balancer');
      } catch {
        return false; // ended in the meantime
      }
    });
  }

  function requireClean({ lan: { pids }, paths }: Machine): void {
    assert.deepEqual(pids(), []);
    assert.deepEqual(readdirSync(paths.manifests), []);
    const { runDir, cgroupRoot } = containerdLayout({ dir: containerdDir(paths) });
    for (const path of [runDir, join('/sys/fs/cgroup', cgroupRoot), join(paths.etcdData, 'member')])
      assert.equal(existsSync(path), false, path);
  }

  it('is refused where there are no containers', async () => {
    const { code, stderr } = await run(m1, ['init', ...machineWords(m1), '--runtime=simulated']);
    assert.equal(code, 1);
    assert.match(stderr, /--static-pods needs real containers, and --runtime=simulated has none/);
    assert.equal(existsSync(m1.paths.capstan), false);
  });

  it('comes up at the first start of its node, which then gets a pod range', async () => {
    const printed = await ok(m1, ['init', ...machineWords(m1), '--upload-certs']);
    assert.match(printed, /Your Kubernetes control-plane has initialized successfully!/);
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? assert.fail(printed);
    joinWords = [
      '10.219.0.1:6443',
      `--token=${word(/--token (\S+)/)}`,
      `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
      `--certificate-key=${word(/--certificate-key (\S+)/)}`,
    ];
    const manifests = COMPONENTS.map((name) => `${name}.yaml`);
    assert.deepEqual(readdirSync(m1.paths.manifests), manifests);
    const found = await allReady(m1);
    for (const name of COMPONENTS) assert.equal(found.get(name)?.restartCount, 0, name);
    started = ids(found);
    const node = await until('the node', async () => {
      const text = await get('/api/v1/nodes/m1');
      return /"reason":"KubeletReady"/.test(text) ? text : undefined;
    });
    assert.match(node, /"podCIDR":"10\.244\.\d+\.0\/24"/);
    const status = await ok(m1, ['status']);
    for (const name of ['etcd', 'apiserver', 'controller-manager', 'scheduler'])
      assert.match(status, new RegExp(`${name} \\(static pod\\) +running`));
  });

  it('is not disturbed by a node agent that is killed', async () => {
    const [agent = 0] = agentsOf(m1);
    process.kill(agent, 'SIGKILL');
    await until('another node agent', () => agentsOf(m1).some((pid) => pid !== agent));
    assert.deepEqual(ids(await allReady(m1)), started);
  });

  it('follows a changed manifest, of that component alone', async () => {
    const path = join(m1.paths.manifests, 'kube-scheduler.yaml');
    writeFileSync(path, readFileSync(path, 'utf8').replace('cpu: 100m', 'cpu: 110m'));
    const changed = await until(
      'another scheduler',
      async () => {
        const found = await ready(m1);
        const { containerID } = found.get('kube-scheduler') ?? {};
        return containerID !== undefined && containerID !== started['kube-scheduler'] ? found : undefined;
      },
      TIMEOUT_MS,
    );
    const others = (all: Ids): Ids => ({ ...all, 'kube-scheduler': undefined });
    assert.deepEqual(others(ids(changed)), others(started));
  });

  it('is joined by another one', async () => {
    const printed = await ok(m2, ['join', ...joinWords, '--control-plane', ...machineWords(m2)]);
    assert.match(printed, /This node has joined the cluster/);
    await allReady(m2);
    const members = await ok(m1, ['etcd', 'members']);
    for (const name of ['m1', 'm2']) assert.match(members, new RegExp(name));
  });

  it('which leaves, with its member of etcd and its pods', async () => {
    assert.match(await ok(m2, ['leave', '--force']), /This machine has left the cluster/);
    requireClean(m2);
    assert.doesNotMatch(await ok(m1, ['etcd', 'members']), /m2/);
    assert.match(await get('/api/v1/nodes/m2'), /^404/);
  });

  it('a reset leaves nothing of it', async () => {
    await ok(m1, ['reset', '--force']);
    requireClean(m1);
  });
});
