/**
 * `capstan init` and `join --control-plane` with an external etcd of three members (etcd.external of ClusterConfiguration): each machine is a network
 * namespace, etcd a fourth. The files of its client reach the second control plane by `kubeadm-certs`.
 */
import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { machineFile } from '#deploy/machine/record.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { makeCertificates, memberFlags, type MemberAddress } from '#storage/drivers/etcd/test-etcd.ts';
import { runCommand, until, type CommandResult } from './cluster.ts';
import { etcdProgram } from './etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';

const MAIN = resolve(import.meta.dirname, '../cli/main.ts');
const REQUEST = resolve(import.meta.dirname, 'api-request.ts');
const BALANCER = 'https://127.0.0.1:7445';
const TIMEOUT_MS = 240_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=NumCPU,Mem'];
const CLIENT_DIR = '/etc/kubernetes/external-etcd';
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
const skip = !etcdProgram ? 'no etcd 3.5' : !canHaveNamespaces() && 'needs root and ip netns';

interface Machine {
  readonly name: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

describe('an external etcd', { skip, timeout: 2 * TIMEOUT_MS }, () => {
  let lan: Lan;
  let base: string;
  let members: (MemberAddress & { readonly machine: LanMachine })[];
  let m1: Machine;
  let m2: Machine;
  let joinWords: readonly string[];

  before(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-external-etcd-'));
    lan = createLan(`ce${process.pid}`, '10.216.0');
    const machine = (name: string, index: number): Machine => {
      const made = lan.machine(name, `10.216.0.${index}`);
      made.run('ip', 'route', 'add', 'default', 'via', '10.216.0.254');
      return { name, rootfs: join(base, name), lan: made };
    };
    [m1, m2] = [machine('m1', 1), machine('m2', 2)];
    members = [11, 12, 13].map((index) => ({
      name: `e${index}`,
      endpoint: `https://10.216.0.${index}:2379`,
      peerUrl: `http://10.216.0.${index}:2380`,
      machine: lan.machine(`e${index}`, `10.216.0.${index}`),
    }));
    makeCertificates(base, ['10.216.0.11', '10.216.0.12', '10.216.0.13']);
    for (const member of members) startMember(member);
    // Where ClusterConfiguration says, on the first machine alone.
    mkdirSync(join(m1.rootfs, CLIENT_DIR), { recursive: true });
    for (const name of ['ca.crt', 'leaf.crt', 'leaf.key'])
      copyFileSync(join(base, name), join(m1.rootfs, CLIENT_DIR, name));
  });
  after(async () => {
    await lan?.close();
    rmSync(base, { recursive: true, force: true });
  });

  function startMember(member: (typeof members)[number]): void {
    member.machine.start([etcdProgram!, ...memberFlags(member, { dir: base, members })]);
  }

  const inside = ({ lan: { name } }: Machine, words: readonly string[]): string[] => [
    'ip',
    'netns',
    'exec',
    name,
    process.execPath,
    '--disable-warning=ExperimentalWarning',
    ...words,
  ];
  const run = (machine: Machine, words: readonly string[]): Promise<CommandResult> =>
    runCommand(inside(machine, [MAIN, ...words, `--rootfs=${machine.rootfs}`]), { timeoutMs: TIMEOUT_MS });
  const ok = async (machine: Machine, words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await run(machine, words);
    assert.equal(code, 0, `${machine.name}: capstan ${words.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  const api = async (machine: Machine, ...words: readonly string[]): Promise<string> => {
    const kubeconfig = join(machine.rootfs, 'etc/kubernetes/admin.conf');
    const { stdout } = await runCommand(inside(machine, [REQUEST, kubeconfig, BALANCER, ...words]), {
      timeoutMs: 20_000,
    });
    return stdout;
  };
  const written = (machine: Machine, name: string): Promise<string> =>
    api(
      machine,
      'POST',
      CONFIG_MAPS,
      JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } }),
    );

  function initConfig({ files = CLIENT_DIR } = {}): string {
    const path = join(base, 'init.yaml');
    writeFileSync(
      path,
      `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
controlPlaneEndpoint: 10.216.0.1:6443
etcd:
  external:
    endpoints: [${members.map(({ endpoint }) => endpoint).join(', ')}]
    caFile: ${files}/ca.crt
    certFile: ${files}/leaf.crt
    keyFile: ${files}/leaf.key
`,
    );
    return path;
  }
  const initWords = (config: string): readonly string[] => [
    'init',
    ...COMMON,
    '--node-name=m1',
    '--upload-certs',
    `--config=${config}`,
  ];

  it('is refused before anything is written where its files are not there', async () => {
    const { code, stderr } = await run(m1, initWords(initConfig({ files: '/nowhere' })));
    assert.equal(code, 1);
    assert.match(
      stderr,
      /ERROR ExternalEtcd\]: .*\/nowhere\/ca\.crt, .*leaf\.key of etcd\.external not found/,
    );
    assert.ok(!existsSync(join(m1.rootfs, 'etc/kubernetes/pki')));
  });

  it('holds what init makes; the machine has no etcd and none of its keys', async () => {
    const printed = await ok(m1, initWords(initConfig()));
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? assert.fail(printed);
    joinWords = [
      '10.216.0.1:6443',
      `--token=${word(/--token (\S+)/)}`,
      `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
      `--certificate-key=${word(/--certificate-key (\S+)/)}`,
    ];
    const { services } = machineFile(machinePaths({ rootfs: m1.rootfs })).read();
    assert.ok(!services.some(({ name }) => name === 'etcd'));
    assert.ok(!existsSync(join(m1.rootfs, 'etc/kubernetes/pki/etcd')));
    assert.match(await written(m1, 'first'), /^201/);
  });

  it('is joined by a second control plane, which gets its files encrypted', async () => {
    const words = ['join', ...joinWords, '--control-plane', ...COMMON, '--node-name=m2'];
    assert.match(await ok(m2, words), /External etcd mode: Skipping/);
    assert.equal(
      readFileSync(join(m2.rootfs, CLIENT_DIR, 'leaf.key'), 'utf8'),
      readFileSync(join(base, 'leaf.key'), 'utf8'),
    );
    assert.match(await ok(m2, words), /This node has joined the cluster/, 'again is harmless');
    assert.match(await api(m2, 'GET', `${CONFIG_MAPS}/first`), /^200/);
    assert.match(await api(m2, 'GET', '/api/v1/nodes/m2'), /node-role\.kubernetes\.io\/control-plane/);
  });

  it('goes on without one of its members', async () => {
    const [lost] = members;
    for (const pid of lost!.machine.pids()) process.kill(pid, 'SIGKILL');
    await until('a write on each control plane', async () => {
      const answers = await Promise.all([
        written(m1, `after-${Date.now()}`),
        written(m2, `behind-${Date.now()}`),
      ]);
      return answers.every((answer) => answer.startsWith('201'));
    });
    startMember(lost!);
  });

  it('is not touched by a control plane that leaves, nor by the last one', async () => {
    assert.match(await ok(m2, ['leave', '--yes']), /This machine has left the cluster/);
    assert.match(await api(m1, 'GET', '/api/v1/nodes/m2'), /^404/);
    assert.match(await api(m1, 'GET', `${CONFIG_MAPS}/first`), /^200/);
    await ok(m1, ['reset', '--force']);
    for (const machine of [m1, m2]) assert.deepEqual(machine.lan.pids(), [], machine.name);
    await ok(m1, initWords(initConfig()));
    assert.match(await api(m1, 'GET', `${CONFIG_MAPS}/first`), /^200/, 'the data are those of before');
    await ok(m1, ['reset', '--force']);
  });
});
