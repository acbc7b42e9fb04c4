/**
 * `capstan join`, `leave`, `reset` and `etcd recover` on machines that are network namespaces, with real etcd and simulated nodes: a control plane lost,
 * joins killed at every step, the quorum lost for good.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { EtcdMember } from '#machinery/etcd-membership.ts';
import { parseYaml, stringifyYaml } from '#machinery/yaml.ts';
import { runCommand, until, type CommandResult } from './cluster.ts';
import { etcdProgram } from './etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';

const MAIN = resolve(import.meta.dirname, '../cli/main.ts');
const REQUEST = resolve(import.meta.dirname, 'api-request.ts');
const BALANCER = 'https://127.0.0.1:7445';
/** Of a machine that many share. */
const TIMEOUT_MS = 240_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=all'];

const skip = !etcdProgram ? 'no etcd 3.5' : !canHaveNamespaces() && 'needs root and ip netns';

/** One of the machines: its namespace and its directory. */
interface Machine {
  readonly name: string;
  readonly address: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

describe('several machines', { skip }, () => {
  let lan: Lan;
  let base: string;
  let machines: Record<'m1' | 'm2' | 'm3' | 'w1', Machine>;
  let joinWords: readonly string[];
  let certificateKey: string;

  before(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-machines-'));
    lan = createLan(`cm${process.pid}`, '10.217.0');
    const machine = (name: string, index: number): Machine => {
      const made = lan.machine(name, `10.217.0.${index}`);
      made.run('ip', 'route', 'add', 'default', 'via', '10.217.0.254');
      return { name, address: made.address, rootfs: join(base, name), lan: made };
    };
    machines = { m1: machine('m1', 1), m2: machine('m2', 2), m3: machine('m3', 3), w1: machine('w1', 4) };
  });
  after(async () => {
    for (const one of Object.values(machines)) killAll(one);
    await lan.close();
    rmSync(base, { recursive: true, force: true });
  });

  const inside = ({ lan: { name } }: Machine, words: readonly string[]): string[] => [
    'ip',
    'netns',
    'exec',
    name,
    process.execPath,
    '--disable-warning=DEP0123',
    ...words,
  ];
  const commandOf = (machine: Machine, words: readonly string[]): string[] =>
    inside(machine, [MAIN, ...words, `--rootfs=${machine.rootfs}`]);
  const run = (machine: Machine, words: readonly string[]): Promise<CommandResult> =>
    runCommand(commandOf(machine, words), { timeoutMs: TIMEOUT_MS });
  const ok = async (machine: Machine, words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(machine, words);
    assert.equal(
      code,
      0,
      `${machine.name}: capstan ${words.join(' ')}\n${stdout}${stderr}${logsOf(machine)}`,
    );
    return stdout;
  };
  const refused = async (machine: Machine, words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(machine, words);
    assert.notEqual(code, 0, stdout);
    const [sentence = '', ...more] = stderr.split('\n').filter((line) => line.startsWith('capstan: '));
    assert.deepEqual(more, [], stderr);
    return sentence;
  };
  const joinAs = (machine: Machine, ...more: readonly string[]): readonly string[] => [
    'join',
    ...joinWords,
    `--node-name=${machine.name}`,
    ...COMMON,
    ...more,
  ];
  const asControlPlane = (machine: Machine): readonly string[] =>
    joinAs(machine, '--control-plane', `--certificate-key=${certificateKey}`, `--etcd-binary=${etcdProgram}`);
  const membersOf = async (machine: Machine): Promise<string[]> => {
    const { members } = JSON.parse(await ok(machine, ['etcd', 'members', '-o', 'json'])) as {
      members: EtcdMember[];
    };
    return members
      .map(({ name, isLearner }) => `${name || 'unstarted'}${isLearner ? ' learner' : ''}`)
      .toSorted();
  };
  const api = async (
    machine: Machine,
    words: readonly string[],
    { server = BALANCER, conf = 'admin' } = {},
  ): Promise<string> => {
    const kubeconfig = join(machine.rootfs, `etc/kubernetes/${conf}.conf`);
    const { code, stdout, stderr } = await runCommand(
      inside(machine, [REQUEST, kubeconfig, server, ...words]),
      { timeoutMs: 20_000 },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const configMap = (name: string): string =>
    JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name }, data: { made: 'here' } });
  const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
  const ALPHA = '/apis/internal.apiserver.k8s.io/v1alpha1/storageversions';
  /** What joins next serves an alpha version that the others do not, as while settings are changed. */
  const serveAlphaFromNowOn = async (): Promise<void> => {
    const { m1 } = machines;
    const path = '/api/v1/namespaces/kube-system/configmaps/kubeadm-config';
    const object = JSON.parse((await api(m1, ['GET', path])).replace(/^200 /, ''));
    const configuration = parseYaml(object.data.ClusterConfiguration).value as { apiServer?: object };
    const extraArgs = [{ name: 'runtime-config', value: 'internal.apiserver.k8s.io/v1alpha1=true' }];
    const changed = { ...configuration, apiServer: { ...configuration.apiServer, extraArgs } };
    object.data.ClusterConfiguration = stringifyYaml(changed);
    assert.match(await api(m1, ['PUT', path, JSON.stringify(object)]), /^200/);
  };

  it('init on the first, and a worker joins', { timeout: TIMEOUT_MS }, async () => {
    const { m1, w1 } = machines;
    const printed = await ok(m1, [
      'init',
      ...COMMON,
      '--node-name=m1',
      '--upload-certs',
      `--control-plane-endpoint=${m1.address}:6443`,
      `--etcd-binary=${etcdProgram}`,
    ]);
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? '';
    certificateKey = word(/--certificate-key (\S+)/);
    joinWords = [
      `${m1.address}:6443`,
      `--token=${word(/--token (\S+)/)}`,
      `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
    ];
    const said = await ok(w1, joinAs(w1));
    assert.match(said, /This node has joined the cluster/);
    assert.match(await api(w1, ['GET', '/api/v1/nodes/w1'], { conf: 'kubelet' }), /^200 .*"w1"/);
    assert.ok(!existsSync(join(w1.rootfs, 'etc/kubernetes/bootstrap-kubelet.conf')));
    assert.match(await ok(w1, joinAs(w1)), /This node has joined the cluster/, 'again is harmless');
  });

  it('says what is wrong in one sentence', { timeout: TIMEOUT_MS }, async () => {
    const { m2 } = machines;
    const [endpoint, token, hash] = joinWords as [string, string, string];
    const wrong = (...words: string[]): Promise<string> =>
      refused(m2, ['join', ...words, '--node-name=m2', ...COMMON]);
    assert.match(await wrong(endpoint, `${token.slice(0, -1)}~`, hash), /token should be like abcdef/);
    assert.match(
      await wrong(endpoint, token.replace(/\..*/, '.0000000000000000'), hash),
      /not signed with the token/,
    );
    assert.match(
      await wrong(endpoint, '--token=zzzzzz.0000000000000000', hash),
      /not one of the cluster at .* or it has expired.*capstan token create/,
    );
    assert.match(await wrong(token, hash), /needs HOST:PORT/);
    const other = `--discovery-token-ca-cert-hash=sha256:${'0'.repeat(64)}`;
    assert.match(await wrong(endpoint, token, other), /the hash is of another cluster/);
    assert.match(
      await wrong(endpoint, token, hash, '--control-plane', `--certificate-key=${'0'.repeat(64)}`),
      /cannot be decrypted with this certificate key/,
    );
    assert.match(await wrong(endpoint, token, hash, '--control-plane'), /needs --certificate-key/);
    assert.deepEqual(await membersOf(machines.m1), ['m1']);
    // The wrong key came after the first phase that writes.
    await ok(m2, ['reset', '--force']);
  });

  /** Its last line before the kill, by what it is about to do or has just done. */
  const KILLS = [
    '[download-certs] Saving',
    '[kubeconfig] Writing "admin.conf"',
    '[kubelet-start] Starting',
    '[etcd] Adding etcd member',
    '[etcd] Starting etcd',
    '[etcd] Waiting for the learner',
    '[control-plane] Setting up the service "apiserver"',
    '[wait-control-plane] Waiting',
    '[mark-control-plane]',
  ];
  it('goes on after kill -9 at each step; no dead learner stays', { timeout: 2 * TIMEOUT_MS }, async () => {
    const { m1, m2 } = machines;
    const reached: string[] = [];
    for (const line of KILLS) if (await killedAt(commandOf(m2, asControlPlane(m2)), line)) reached.push(line);
    assert.ok(reached.length >= KILLS.length - 2, reached.join(', '));
    await ok(m2, asControlPlane(m2));
    assert.deepEqual(await membersOf(m1), ['m1', 'm2']);
    assert.match(await api(m2, ['GET', '/api/v1/nodes/m2']), /node-role\.kubernetes\.io\/control-plane/);
  });

  it('goes on after the whole machine died while it joined', { timeout: TIMEOUT_MS }, async () => {
    const { m1, m3 } = machines;
    await serveAlphaFromNowOn();
    await killedAt(commandOf(m3, asControlPlane(m3)), '[etcd] Starting etcd', () => killAll(m3));
    await ok(m3, asControlPlane(m3));
    assert.deepEqual(await membersOf(m1), ['m1', 'm2', 'm3']);
  });

  it('a server passes on what only another one serves', { timeout: TIMEOUT_MS }, async () => {
    const { m1 } = machines;
    const own = { server: `https://${m1.address}:6443` };
    await until('the answer of m3', async () => (await api(m1, ['GET', ALPHA], own)).startsWith('200'));
  });

  it(
    'goes on without the first control plane, through the local balancer',
    { timeout: TIMEOUT_MS },
    async () => {
      const { m1, m2, w1 } = machines;
      assert.match(await api(m2, ['POST', CONFIG_MAPS, configMap('before')]), /^201/);
      killAll(m1);
      await until('a write through the balancer', async () =>
        (await api(m2, ['POST', CONFIG_MAPS, configMap('after')])).startsWith('201'),
      );
      assert.match(await api(w1, ['GET', '/api/v1/nodes/w1'], { conf: 'kubelet' }), /^200/);
      assert.match(
        (await refused(m2, ['etcd', 'status'])).toString(),
        /1 of 3 members of etcd are not healthy/,
      );
      assert.match(
        await refused(machines.m3, ['leave', '--yes']),
        /Without m3 etcd has 2 voting members of which 1 is healthy, and needs 2/,
      );
      await ok(m2, ['etcd', 'remove', 'm1', '--yes']);
      assert.deepEqual(await membersOf(m2), ['m2', 'm3']);
    },
  );

  it('a control plane leaves and joins again', { timeout: TIMEOUT_MS }, async () => {
    const { m2, m3 } = machines;
    const [, token, hash] = joinWords as [string, string, string];
    joinWords = [`${m2.address}:6443`, token, hash];
    assert.match(await ok(m3, ['leave', '--yes']), /This machine has left the cluster/);
    assert.deepEqual(await membersOf(m2), ['m2']);
    assert.match(await api(m2, ['GET', '/api/v1/nodes/m3']), /^404/);
    for (const path of ['etc/kubernetes/pki/ca.key', 'etc/kubernetes/admin.conf', 'var/lib/etcd/member'])
      assert.ok(!existsSync(join(m3.rootfs, path)), path);
    assert.match(await ok(m3, ['leave', '--yes']), /of no cluster/, 'again is harmless');
    await ok(m3, asControlPlane(m3));
    assert.deepEqual(await membersOf(m2), ['m2', 'm3']);
  });

  it('recovers when the quorum is lost for good', { timeout: TIMEOUT_MS }, async () => {
    const { m2, m3 } = machines;
    assert.match(await refused(m2, ['etcd', 'recover', '--yes']), /there is nothing to recover/);
    killAll(m3);
    rmSync(m3.rootfs, { recursive: true });
    const recovered = await until('etcd to notice', async () => {
      const { code, stdout, stderr } = await run(m2, ['etcd', 'recover', '--yes']);
      if (code !== 0 && /nothing to recover/.test(stderr)) return undefined;
      assert.equal(code, 0, `${stdout}${stderr}`);
      return stdout;
    });
    assert.match(recovered, /A copy of the data as they were is in/);
    assert.deepEqual(await membersOf(m2), ['m2']);
    await until('the API to answer', async () =>
      (await api(m2, ['GET', `${CONFIG_MAPS}/after`])).startsWith('200'),
    );
    assert.match(await api(m2, ['POST', CONFIG_MAPS, configMap('later')]), /^201/);
    // Its heartbeats are not yet missed.
    assert.match(await refused(m3, asControlPlane(m3)), /a Node with name "m3" and status "Ready" already/);
    assert.match(await api(m2, ['DELETE', '/api/v1/nodes/m3']), /^200/);
    await ok(m3, asControlPlane(m3));
    assert.deepEqual(await membersOf(m2), ['m2', 'm3']);
  });

  it('a witness votes and holds no key of the cluster', { timeout: TIMEOUT_MS }, async () => {
    const { m1, m2 } = machines;
    rmSync(m1.rootfs, { recursive: true, force: true });
    const words = joinAs(
      m1,
      '--witness',
      `--certificate-key=${certificateKey}`,
      `--etcd-binary=${etcdProgram}`,
    );
    assert.match(await ok(m1, words), /This machine is a witness/);
    assert.deepEqual(await membersOf(m1), ['m1', 'm2', 'm3']);
    assert.ok(!existsSync(join(m1.rootfs, 'etc/kubernetes/pki/ca.key')));
    assert.ok(!existsSync(join(m1.rootfs, 'etc/kubernetes/admin.conf')));
    await ok(m1, ['leave', '--yes']);
    assert.deepEqual(await membersOf(m2), ['m2', 'm3']);
  });

  it('ends with the last control plane only when told', { timeout: TIMEOUT_MS }, async () => {
    const { m2, m3, w1 } = machines;
    await ok(m3, ['reset', '--yes']);
    assert.deepEqual(await membersOf(m2), ['m2']);
    assert.match(await refused(m2, ['reset', '--yes']), /is the last control plane/);
    await ok(w1, ['leave', '--yes', `--kubeconfig=${join(m2.rootfs, 'etc/kubernetes/admin.conf')}`]);
    assert.match(await api(m2, ['GET', '/api/v1/nodes/w1']), /^404/);
    await ok(m2, ['reset', '--force']);
    for (const machine of [m2, m3, w1]) assert.deepEqual(pidsOf(machine), [], machine.name);
  });
});

/** SIGKILL as soon as it prints the line; `also` beside it. False: it ended before. */
function killedAt(command: readonly string[], line: string, also = (): void => {}): Promise<boolean> {
  const child = spawn(command[0]!, command.slice(1), { stdio: ['ignore', 'pipe', 'ignore'] });
  let printed = '';
  let killed = false;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    if (killed || !printed.includes(line)) return;
    killed = true;
    child.kill('SIGKILL');
    also();
  });
  return new Promise((done) => child.once('close', () => done(killed)));
}

function pidsOf({ lan }: Machine): number[] {
  return lan.pids();
}

/** A power cut: everything that runs on the machine is gone in an instant. */
function killAll(machine: Machine): void {
  for (let pids = pidsOf(machine); pids.length > 0; pids = pidsOf(machine))
    for (const pid of pids)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
}

function logsOf({ rootfs }: Machine): string {
  return ['supervisor', 'node', 'etcd', 'apiserver', 'control']
    .map((name) => {
      try {
        const text = readFileSync(join(rootfs, `var/log/capstan/${name}.log`), 'utf8');
        return `\n${name}.log:\n${text.split('\n').slice(-8).join('\n')}`;
      } catch {
        return '';
      }
    })
    .join('');
}
