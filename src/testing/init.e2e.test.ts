/** `capstan init` on a machine of its own, with a real etcd and a simulated node: killed at each phase, run again, looked at with the stock kubectl, its supervisor killed. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { machineStatus } from '#cmd/machine/supervise.ts';
import { INIT_WORKFLOW } from '#deploy/phases/init/workflow.ts';
import { installedEtcd, unpackedEtcd35 } from '#storage/drivers/etcd/test-etcd.ts';
import { foreignTools } from './foreign-tools.ts';
import { createMachine, machineObstacle, type InitMachine } from './init-machine.ts';

const etcd = unpackedEtcd35() ?? installedEtcd();
const tools = foreignTools(35);
const skip =
  machineObstacle() ?? (etcd === undefined ? 'there is no etcd' : 'missing' in tools ? tools.missing : false);
const WAIT_MS = 90_000;

/** What each phase prints when it begins or soon after. */
const KILLED_AT = [
  '[certs] Generating "ca"',
  '[certs] Generating "etcd/peer"',
  '[kubeconfig] Writing "admin.conf"',
  '[etcd] Local etcd',
  '[control-plane] Setting up the service "apiserver"',
  '[kubelet-start] Starting the supervisor',
  '[wait-control-plane] Waiting',
  '[upload-config] Storing',
  '[upload-certs] Storing',
  '[mark-control-plane] Marking',
  '[bootstrap-token] Creating the "cluster-info"',
  '[kubelet-finalize] Updating',
  '[addons] Setting up the service "dns"',
];

describe('init', { skip }, () => {
  let machine: InitMachine;
  const words = (...more: string[]): string[] => [
    'init',
    '--node-name=machine1',
    '--runtime=simulated',
    `--etcd-binary=${etcd}`,
    '--upload-certs',
    ...more,
  ];
  const kubectl = async (...line: string[]): Promise<string> => {
    const { code, stdout, stderr } = await machine.run([
      'missing' in tools ? '' : tools.kubectl,
      `--kubeconfig=${machine.paths.kubeconfig('admin')}`,
      ...line,
    ]);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  before(() => (machine = createMachine('init', { address: '10.77.9.1' })));
  after(() => machine.close());

  test('a dry run names every phase and writes nothing', async () => {
    const { code, stdout, stderr } = await machine.capstan(words('--dry-run'));
    assert.equal(code, 0, stderr);
    for (const phase of ['preflight', 'certs', 'kubeconfig', 'etcd', 'bootstrap-token', 'addons'])
      assert.ok(stdout.includes(`[${phase}]`), phase);
    assert.equal(existsSync(machine.paths.kubernetes) || existsSync(machine.paths.capstan), false);
  });

  test('a flag that a component does not have is refused by name', async () => {
    const config = `${machine.paths.rootfs}/config.yaml`;
    writeFileSync(
      config,
      'apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nscheduler: {extraArgs: [{name: nonsense, value: "1"}]}\n',
    );
    const { code, stderr } = await machine.capstan(words('--dry-run', `--config=${config}`));
    assert.equal(code, 1);
    assert.match(stderr, /phase control-plane\/scheduler: capstan scheduler has no flag --nonsense/);
  });

  test('separate units are refused where systemd does not run the machine', async () => {
    const { code, stderr } = await machine.capstan(words('--separate-units'));
    assert.equal(code, 1);
    assert.equal(
      stderr,
      "capstan: --separate-units needs systemd as this machine's init: without it one supervisor runs all services.\n",
    );
    assert.equal(existsSync(machine.paths.kubernetes) || existsSync(machine.paths.capstan), false);
  });

  test('killed at each phase, and completed by the next run', async () => {
    for (const text of KILLED_AT) assert.ok(await machine.killedAt(text, words()), `killed at ${text}`);
    const { code, stdout, stderr } = await machine.capstan(words());
    assert.equal(code, 0, stderr);
    assert.match(stdout, /Your Kubernetes control-plane has initialized successfully!/);
    assert.match(
      stdout,
      /capstan join 10\.77\.9\.1:6443 --token [a-z0-9]{6}\.[a-z0-9]{16} \\\n\t--discovery-token-ca-cert-hash sha256:[0-9a-f]{64} /,
    );
  });

  test('the stock kubectl works at the endpoint and through the balancer', async () => {
    const node = JSON.parse(await kubectl('get', 'node', 'machine1', '-o', 'json')) as {
      metadata: { labels: Record<string, string> };
      spec: { taints: readonly { key: string }[] };
    };
    assert.equal(node.metadata.labels['node-role.kubernetes.io/control-plane'], '');
    assert.deepEqual(
      node.spec.taints.map(({ key }) => key),
      ['node-role.kubernetes.io/control-plane'],
    );
    await kubectl('wait', '--for=condition=Ready', 'node/machine1', '--timeout=60s');
    const through = await kubectl('--server=https://127.0.0.1:7445', 'get', 'svc', '-A', '-o', 'name');
    assert.deepEqual(through.trim().split('\n').toSorted(), ['service/kube-dns', 'service/kubernetes']);
  });

  test('what machines that join read is there, and signed', async () => {
    const config = await kubectl(
      'get',
      'cm',
      '-n',
      'kube-system',
      'kubeadm-config',
      '-o',
      'jsonpath={.data.*}',
    );
    assert.match(config, /kind: ClusterConfiguration\n/);
    assert.match(config, /serviceSubnet: 10\.96\.0\.0\/12\n/);
    const kubelet = await kubectl(
      'get',
      'cm',
      '-n',
      'kube-system',
      'kubelet-config',
      '-o',
      'jsonpath={.data.kubelet}',
    );
    assert.match(kubelet, /clusterDNS:\n- 10\.96\.0\.10\n/);
    assert.match(
      await kubectl('get', 'secret', '-n', 'kube-system', 'kubeadm-certs', '-o', 'name'),
      /kubeadm-certs/,
    );
    const signatures = (): Promise<string> =>
      kubectl('get', 'cm', '-n', 'kube-public', 'cluster-info', '-o', 'json');
    await until(
      async () => /"jws-kubeconfig-[a-z0-9]{6}"/.test(await signatures()),
      'cluster-info is signed',
    );
  });

  test('each phase can be run by itself again', async () => {
    for (const { name } of INIT_WORKFLOW.phases) {
      const { code, stderr } = await machine.capstan(['init', 'phase', name, ...words().slice(1)]);
      assert.equal(code, 0, `${name}: ${stderr}`);
    }
    const { code, stdout } = await machine.capstan([
      'init',
      'phase',
      'certs',
      'etcd-peer',
      ...words().slice(1),
    ]);
    assert.equal(code, 0);
    assert.match(stdout, /Using existing "etcd\/peer"/);
  });

  test('addons of the file are kept applied', async () => {
    const config = `${machine.paths.rootfs}/addons.yaml`;
    const manifests = '{apiVersion: v1, kind: ConfigMap, metadata: {name: note, namespace: kube-system}}';
    const handOver = async (addons: string): Promise<string> => {
      writeFileSync(
        config,
        `apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n---\napiVersion: fleet.capstan.dev/v1alpha1\nkind: Addons\naddons: ${addons}\n`,
      );
      const line = ['init', 'phase', 'addon', 'manifests', ...words(`--config=${config}`).slice(1)];
      const { code, stdout, stderr } = await machine.capstan(line);
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const note = (): Promise<string> =>
      kubectl('get', 'cm', '-n', 'kube-system', 'note', '--ignore-not-found', '-o', 'name');
    const isThere = async (): Promise<boolean> => (await note()) !== '';
    assert.match(
      await handOver(`[{name: notes, manifests: [${manifests}]}]`),
      /\[addons\] addon notes: added: 1 objects\n/,
    );
    await until(isThere, 'its object');
    await kubectl('delete', 'cm', '-n', 'kube-system', 'note');
    await until(isThere, 'its object, made again');
    assert.match(await handOver('[]'), /\[addons\] addon notes: removed\n/);
    await until(async () => !(await isThere()), 'its object to be gone');
  });

  test('with other words it is refused', async () => {
    const { code, stderr } = await machine.capstan(words('--control-plane-endpoint=other.example.org'));
    assert.equal(code, 1);
    assert.match(
      stderr,
      /initialized with the control-plane endpoint 10\.77\.9\.1:6443, and now other\.example\.org:6443/,
    );
  });

  test('tokens', async () => {
    const created = await machine.capstan(['token', 'create', '--ttl=1h', '--print-join-command']);
    const [, token = ''] =
      /^capstan join 10\.77\.9\.1:6443 --token (\S+) --discovery-token-ca-cert-hash sha256:[0-9a-f]{64}\n$/.exec(
        created.stdout,
      ) ?? [];
    assert.notEqual(token, '', created.stderr + created.stdout);
    const listed = await machine.capstan(['token', 'list']);
    assert.match(
      listed.stdout,
      new RegExp(`${token.replace('.', '\\.')} +(59m|1h) +\\S+ +authentication,signing`),
    );
    const [id = ''] = token.split('.');
    assert.equal(
      (await machine.capstan(['token', 'delete', id])).stdout,
      `bootstrap token "${id}" deleted\n`,
    );
    assert.ok(!(await machine.capstan(['token', 'list'])).stdout.includes(token));
  });

  test('a supervisor that is killed leaves its services, and the next one ends them before it starts them anew', async () => {
    const [supervisor = 0] = machine.pids('supervise');
    const before = machine.pids('etcd', '--data-dir');
    assert.equal(before.length, 1);
    process.kill(supervisor, 'SIGKILL');
    await until(() => Promise.resolve(machine.pids('supervise').length === 0), 'the supervisor has ended');
    assert.deepEqual(machine.pids('etcd', '--data-dir'), before);
    const { code, stderr } = await machine.capstan(['init', 'phase', 'kubelet-start', ...words().slice(1)]);
    assert.equal(code, 0, stderr);
    await until(
      async () => (await kubectl('get', '--raw=/readyz').catch(() => '')) === 'ok',
      'the API server is ready',
    );
    const now = machine.pids('etcd', '--data-dir');
    assert.equal(now.length, 1);
    assert.notDeepEqual(now, before);
  });

  test('a service that is killed comes back', async () => {
    const [server = 0] = machine.pids('main.ts apiserver');
    process.kill(server, 'SIGKILL');
    await until(
      () => Promise.resolve(machine.pids('main.ts apiserver').some((pid) => pid !== server)),
      'it is started',
    );
    await until(async () => (await kubectl('get', '--raw=/readyz').catch(() => '')) === 'ok', 'it is ready');
    const status = await machineStatus(machine.paths);
    assert.equal(status?.find(({ name }) => name === 'apiserver')?.lastEnd, 'SIGKILL');
  });

  test('a damaged record is refused and kept', async () => {
    const path = machine.paths.machineFile;
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.slice(0, 40));
    const { code, stderr } = await machine.capstan(words());
    assert.equal(code, 1);
    assert.match(stderr, /machine\.json is damaged .*it was left as it is/);
    assert.equal(readFileSync(path, 'utf8'), text.slice(0, 40));
    // What runs goes on by what was read before.
    assert.equal(machine.pids('etcd', '--data-dir').length, 1);
    writeFileSync(path, text);
  });
});

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MS;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `not within ${WAIT_MS / 1000} s: ${what}`);
    await sleep(100);
  }
}
