/**
 * `capstan init` and `join --control-plane` with an external etcd of three members (etcd.external of ClusterConfiguration): each machine is a network
 * namespace, as is each member. The files of its client reach the second control plane by `kubeadm-certs`. That one has real containers, which run also
 * while no API server answers, and are gone when it leaves.
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
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { makeCertificates, memberFlags, type MemberAddress } from '#storage/drivers/etcd/test-etcd.ts';
import { BUSYBOX, buildBusyboxImage } from './busybox.ts';
import { runCommand, until, type CommandResult } from './cluster.ts';
import { etcdProgram } from './etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';

const MAIN = resolve(import.meta.dirname, '../cli/main.ts');
const REQUEST = resolve(import.meta.dirname, 'api-request.ts');
const BALANCER = 'https://127.0.0.1:7445';
const TIMEOUT_MS = 240_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=NumCPU,Mem'];
/** The second control plane has real containers where the machine can. */
const REAL = existsSync('/usr/bin/containerd') && existsSync('/bin/busybox');
const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'alone', namespace: 'default' },
  spec: {
    nodeName: 'm2',
    terminationGracePeriodSeconds: 1,
    automountServiceAccountToken: false,
    volumes: [{ name: 'memory', emptyDir: { medium: 'Memory' } }],
    containers: [
      {
        name: 'main',
        image: BUSYBOX,
        imagePullPolicy: 'Never',
        command: ['sh', '-c', 'trap "exit 0" TERM; while true; do sleep 0.1; done'],
        volumeMounts: [{ name: 'memory', mountPath: '/memory' }],
      },
    ],
  },
};
const CLIENT_DIR = '/etc/kubernetes/external-etcd';
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
const skip = !etcdProgram ? 'no etcd 3.5' : !canHaveNamespaces() && 'needs root and ip netns';

interface Machine {
  readonly name: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

/** Of its processes whose command line has these words. */
function pidsOf({ lan }: Machine, words: string): number[] {
  return lan.pids().filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').includes(words);
    } catch {
      return false; // ended in the meantime
    }
  });
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

  // ip netns exec would hide cgroups, which containers need.
  const inside = ({ lan: { name } }: Machine, words: readonly string[]): string[] => [
    'nsenter',
    `--net=/run/netns/${name}`,
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
    const real = ['--runtime=cri', '--ignore-preflight-errors=all'];
    const words = ['join', ...joinWords, '--control-plane', ...(REAL ? real : COMMON), '--node-name=m2'];
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

  async function loadImage(): Promise<void> {
    const image = await buildBusyboxImage();
    const load = ['image', 'load', '--data-dir', machinePaths({ rootfs: m2.rootfs }).node, image.path];
    const { code, stderr } = await runCommand(inside(m2, [MAIN, ...load]), { timeoutMs: TIMEOUT_MS });
    rmSync(dirname(image.path), { recursive: true });
    assert.equal(code, 0, stderr);
  }

  it(
    'a node agent that starts while no API server answers runs its static pods',
    { skip: !REAL },
    async () => {
      await loadImage();
      const servers = [m1, m2].flatMap((machine) => pidsOf(machine, 'main.ts apiserver'));
      assert.equal(servers.length, 2);
      const [agent = 0] = pidsOf(m2, 'together balancer');
      const ran = join(base, 'ran');
      mkdirSync(ran);
      for (const pid of servers) process.kill(pid, 'SIGSTOP');
      try {
        process.kill(agent, 'SIGKILL');
        const [container] = POD.spec.containers;
        const manifest = {
          ...POD,
          metadata: { name: 'static' },
          spec: {
            terminationGracePeriodSeconds: 1,
            volumes: [{ name: 'out', hostPath: { path: ran } }],
            containers: [
              {
                ...container,
                command: ['sh', '-c', 'touch /out/here; exec sleep 100000'],
                volumeMounts: [{ name: 'out', mountPath: '/out' }],
              },
            ],
          },
        };
        const { manifests } = machinePaths({ rootfs: m2.rootfs });
        writeFileSync(join(manifests, 'static.json'), JSON.stringify(manifest));
        await until('the static pod', () => existsSync(join(ran, 'here')), TIMEOUT_MS);
      } finally {
        for (const pid of servers) process.kill(pid, 'SIGCONT');
      }
      await until(
        'its mirror',
        async () =>
          /"phase":"Running"/.test(await api(m1, 'GET', '/api/v1/namespaces/default/pods/static-m2')),
        TIMEOUT_MS,
      );
    },
  );

  /** Mounts, interfaces, addresses, rules, network namespaces and cgroups that there are of the second machine. */
  function tracesOf({ rootfs, lan: { run: inMachine } }: Machine): string[] {
    const { runDir, cgroupRoot } = containerdLayout({
      dir: containerdDir(machinePaths({ rootfs })),
    });
    const lines = (text: string): string[] => text.split('\n').filter((line) => line.trim() !== '');
    return [
      ...lines(readFileSync('/proc/self/mounts', 'utf8')).filter(
        (line) => line.includes(rootfs) || line.includes(runDir),
      ),
      ...lines(inMachine('ip', '-o', 'link')).filter((line) => !/ (lo|eth0)[@:]/.test(line)),
      ...lines(inMachine('ip', '-o', 'address')).filter((line) => !/ (lo|eth0) /.test(line)),
      ...lines(inMachine('ip', 'route')).filter((line) => !/eth0/.test(line)),
      ...lines(inMachine('nft', 'list', 'tables')),
      ...[runDir, join('/sys/fs/cgroup', cgroupRoot)].filter((path) => existsSync(path)),
    ];
  }

  it(
    'a control plane with real containers leaves nothing of them when it leaves',
    { skip: !REAL },
    async () => {
      assert.match(await api(m1, 'POST', '/api/v1/namespaces/default/pods', JSON.stringify(POD)), /^201/);
      await until(
        'the pod',
        async () => /"phase":"Running"/.test(await api(m1, 'GET', '/api/v1/namespaces/default/pods/alone')),
        TIMEOUT_MS,
      );
      const traces = tracesOf(m2).join('\n');
      for (const one of [/tmpfs.*memory/, /veth/, /cap-[0-9a-f]{8}/, /table inet capstan-/])
        assert.match(traces, one);
      const { code, stderr } = await run(m2, ['leave', '--yes']);
      assert.equal(code, 1);
      assert.match(stderr, /would not be recreated, since they have no controller: default\/alone/);
      assert.match(await ok(m2, ['leave', '--force']), /This machine has left the cluster/);
      assert.deepEqual(tracesOf(m2), []);
      assert.deepEqual(m2.lan.pids(), []);
      assert.match(await api(m1, 'GET', '/api/v1/namespaces/default/pods/alone'), /^404/);
    },
  );

  it('is not touched by a control plane that leaves, nor by the last one', async () => {
    if (!REAL) await ok(m2, ['leave', '--yes']);
    assert.match(await api(m1, 'GET', '/api/v1/nodes/m2'), /^404/);
    assert.match(await api(m1, 'GET', `${CONFIG_MAPS}/first`), /^200/);
    await ok(m1, ['reset', '--force']);
    for (const machine of [m1, m2]) assert.deepEqual(machine.lan.pids(), [], machine.name);
    await ok(m1, initWords(initConfig()));
    assert.match(await api(m1, 'GET', `${CONFIG_MAPS}/first`), /^200/, 'the data are those of before');
    await ok(m1, ['reset', '--force']);
  });
});
