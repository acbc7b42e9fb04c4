/**
 * The main job, on real containers and with the real kubectl: a Deployment with a Service and a ConfigMap comes up; pods reach each other by address,
 * ClusterIP and name; NodePort answers; what is killed restarts, what is deleted is replaced; a rolling update loses no request; exec, cp, logs,
 * port-forward and attach work; images come from a file and from a registry on loopback.
 */
import assert from 'node:assert/strict';
import { containersMissing } from './real-containers.ts';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { dataDir } from '#deploy/data-dir.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { buildBusyboxImage, BUSYBOX } from './busybox.ts';
import { capstan, freePort, runCommand, testCluster, until, type TestCluster } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';
import { pushImage, startRegistry, type Registry } from './registry.ts';

const tools = foreignTools(35);
const missing = containersMissing || ('missing' in tools && tools.missing);

function web(version: string): string {
  return `
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data:
  index.html: "hello ${version}"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}
  template:
    metadata: {labels: {app: web}, annotations: {version: "${version}"}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: web
        image: ${BUSYBOX}
        imagePullPolicy: IfNotPresent
        command: [sh, -c, "trap 'sleep 1; exit 0' TERM; httpd -f -p 8080 -h /www & wait"]
        ports: [{containerPort: 8080, name: http}]
        readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
        volumeMounts: [{name: page, mountPath: /www}]
        lifecycle: {preStop: {sleep: {seconds: 2}}}
      volumes:
      - name: page
        configMap: {name: page}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: http}]
`;
}

describe('a real node', { skip: missing }, () => {
  let cluster: TestCluster;
  let registry: Registry | undefined;
  let nodePort = 0;
  const children: ChildProcess[] = [];

  const kubectl = async (...words: string[]): Promise<string> => {
    const result = await cluster.kubectl(words);
    assert.equal(result.code, 0, `kubectl ${words.join(' ')}:\n${result.stdout}${result.stderr}`);
    return result.stdout.trim();
  };
  const apply = async (yaml: string): Promise<void> => {
    const result = await cluster.kubectl(['apply', '-f', '-'], { input: yaml });
    assert.equal(result.code, 0, result.stderr);
  };

  before(async () => {
    if ('missing' in tools) return;
    cluster = await testCluster({ runtime: 'cri', kubectl: tools.kubectl });
    await cluster.up();
    const image = await buildBusyboxImage();
    const loaded = await capstan(['image', 'load', image.path, '--data-dir', cluster.dir]);
    assert.equal(loaded.code, 0, loaded.stderr);
  });

  after(async () => {
    for (const child of children) child.kill('SIGKILL');
    await registry?.stop();
    await cluster?.delete();
  });

  it('brings a Deployment, a Service and a ConfigMap up', { timeout: 120_000 }, async () => {
    await apply(web('one'));
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
    nodePort = Number(await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.ports[0].nodePort}'));
    assert.ok(nodePort >= 30000);
  });

  it(
    'is a node of the control plane, and no second agent takes its directory',
    { timeout: 30_000 },
    async () => {
      await until('the role', async () =>
        /\bcontrol-plane\b/.test(await kubectl('get', 'nodes', '--no-headers')),
      );
      assert.equal(await kubectl('get', 'nodes', '-o', 'jsonpath={.items[0].spec.taints}'), '');
      const at = (dir: string): readonly string[] => [
        'node',
        '--kubeconfig',
        cluster.kubeconfig,
        '--data-dir',
        dir,
      ];
      const second = await capstan(at(join(cluster.dir, 'node')));
      assert.equal(second.code, 1);
      assert.match(second.stderr, /is already run by the cluster in \S+ \(process \d+\)\./);
      const whole = await capstan(at(cluster.dir));
      assert.equal(whole.code, 1);
      assert.match(
        whole.stderr,
        /is the directory of a cluster of 'capstan up', whose node process \d+ runs/,
      );
    },
  );

  it('answers on the node port, also by 127.0.0.1', { timeout: 30_000 }, async () => {
    assert.equal(
      await until('the node port to answer', () => fetchText(`http://127.0.0.1:${nodePort}/index.html`)),
      'hello one',
    );
  });

  it('lets pods reach each other by address, cluster address and name', { timeout: 90_000 }, async () => {
    await kubectl(
      'run',
      'client',
      `--image=${BUSYBOX}`,
      '--restart=Never',
      '--command',
      '--',
      'sleep',
      '100000',
    );
    await kubectl('wait', '--for=condition=Ready', 'pod/client', '--timeout=30s');
    const podIP = await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[0].status.podIP}');
    const clusterIP = await kubectl('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
    for (const host of [`${podIP}:8080`, clusterIP, 'web', 'web.default', 'web.default.svc.cluster.local']) {
      assert.equal(
        await kubectl('exec', 'client', '--', 'wget', '-qO-', `http://${host}/index.html`),
        'hello one',
        host,
      );
    }
  });

  it('gives pods their service account and the API', { timeout: 30_000 }, async () => {
    const out = await kubectl(
      'exec',
      'client',
      '--',
      'sh',
      '-c',
      'ls /var/run/secrets/kubernetes.io/serviceaccount && nc -w 3 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null && echo reached',
    );
    assert.match(out, /ca\.crt\nnamespace\ntoken\nreached/);
  });

  it('restarts a killed container and replaces a deleted pod', { timeout: 90_000 }, async () => {
    const [victim = '', other = ''] = (
      await kubectl('get', 'pods', '-l', 'app=web', '-o', 'jsonpath={.items[*].metadata.name}')
    ).split(' ');
    await cluster.kubectl(['exec', victim, '--', 'sh', '-c', 'kill -9 -1']);
    await until(
      'the killed container to run again',
      async () =>
        (await kubectl(
          'get',
          'pod',
          victim,
          '-o',
          'jsonpath={.status.containerStatuses[0].restartCount}/{.status.containerStatuses[0].ready}',
        )) === '1/true',
    );
    assert.notEqual((await cluster.kubectl(['logs', victim, '--previous'])).code, 1);
    await kubectl('delete', 'pod', other, '--wait=false');
    await until('a pod in place of the deleted one', async () => {
      const names = (
        await kubectl(
          'get',
          'pods',
          '-l',
          'app=web',
          '--field-selector=status.phase=Running',
          '-o',
          'jsonpath={.items[*].metadata.name}',
        )
      ).split(' ');
      return names.length === 3 && !names.includes(other);
    });
  });

  it('loses no request in a rolling update', { timeout: 180_000 }, async () => {
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=60s');
    let stop = false;
    let served = 0;
    const problems: string[] = [];
    const load = Array.from({ length: 4 }, async () => {
      while (!stop) {
        try {
          await fetchText(`http://127.0.0.1:${nodePort}/index.html`);
          served += 1;
        } catch (error) {
          problems.push(String(error));
        }
      }
    });
    await apply(web('two'));
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=120s');
    stop = true;
    await Promise.all(load);
    assert.deepEqual(problems, [], `of ${served + problems.length} requests`);
    assert.ok(served > 100, `only ${served} requests were made`);
    await until(
      'the new page',
      async () => (await fetchText(`http://127.0.0.1:${nodePort}/index.html`)) === 'hello two',
    );
  });

  it('undoes and restarts a rollout', { timeout: 180_000 }, async () => {
    await kubectl('rollout', 'undo', 'deployment/web');
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
    assert.equal(
      await kubectl(
        'get',
        'deployment',
        'web',
        '-o',
        'jsonpath={.spec.template.metadata.annotations.version}',
      ),
      'one',
    );
    await kubectl('rollout', 'restart', 'deployment/web');
    await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
  });

  it('copies files in and out, streams logs, attaches', { timeout: 90_000 }, async () => {
    const dir = await mkdtemp(join(tmpdir(), 'capstan-cp-'));
    try {
      await writeFile(join(dir, 'in'), 'x'.repeat(300_000));
      await kubectl('cp', join(dir, 'in'), 'client:/tmp/file');
      await kubectl('cp', 'client:/tmp/file', join(dir, 'out'));
      assert.equal(await readFile(join(dir, 'out'), 'utf8'), 'x'.repeat(300_000));
    } finally {
      await rm(dir, { recursive: true });
    }
    await kubectl(
      'run',
      'talker',
      `--image=${BUSYBOX}`,
      '--restart=Never',
      '--stdin',
      '--attach=false',
      '--command',
      '--',
      'sh',
      '-c',
      'for i in 1 2 3; do echo line $i; done; while read l; do echo got $l; done',
    );
    await kubectl('wait', '--for=condition=Ready', 'pod/talker', '--timeout=30s');
    const attached = await cluster.kubectl(['attach', '-i', 'talker'], {
      input: 'one\ntwo\n',
      timeoutMs: 20_000,
    });
    assert.match(attached.stdout, /got one[\s\S]*got two/);
    assert.match(await kubectl('logs', 'talker', '--tail=2'), /got/);
  });

  it('runs commands with a terminal, passes exit codes and large input', { timeout: 60_000 }, async () => {
    assert.equal((await cluster.kubectl(['exec', 'client', '--', 'sh', '-c', 'exit 7'])).code, 7);
    const big = 'y'.repeat(1_000_000);
    const echoed = await cluster.kubectl(['exec', '-i', 'client', '--', 'wc', '-c'], { input: big });
    assert.equal(echoed.stdout.trim(), '1000000');
    const terminal = spawnSync(
      'script',
      [
        '-qec',
        `${'missing' in tools ? '' : tools.kubectl} --kubeconfig ${cluster.kubeconfig} exec -it client -- sh -c 'tty && echo done'`,
        '/dev/null',
      ],
      { encoding: 'utf8', timeout: 20_000 },
    );
    // script, whose own input is at its end, may echo that between the two.
    if (terminal.error === undefined) assert.match(terminal.stdout, /\/dev\/pts\/\d+\r?\n[\s\S]*done/);
  });

  it('forwards a port', { timeout: 60_000 }, async () => {
    const port = await freePort();
    const child = spawn(
      'missing' in tools ? '' : tools.kubectl,
      ['--kubeconfig', cluster.kubeconfig, 'port-forward', 'service/web', `${port}:80`],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    children.push(child);
    await until('the forwarded port', () => canConnect(port), 20_000);
    for (let turn = 0; turn < 5; turn += 1)
      assert.match(await fetchText(`http://127.0.0.1:${port}/index.html`), /^hello/);
    child.kill();
  });

  it(
    'pulls from a registry on loopback',
    {
      timeout: 90_000,
      skip: existsSync('/usr/bin/docker-registry') ? false : 'needs the Debian package docker-registry',
    },
    async () => {
      registry = await startRegistry();
      const name = await pushImage(registry, { from: '/bin/busybox', as: 'tools/box:2' });
      await kubectl(
        'run',
        'pulled',
        `--image=${name}`,
        '--restart=Never',
        '--command',
        '--',
        'sh',
        '-c',
        'echo pulled; sleep 10000',
      );
      await kubectl('wait', '--for=condition=Ready', 'pod/pulled', '--timeout=40s');
      assert.equal(await kubectl('logs', 'pulled'), 'pulled');
      await kubectl('run', 'absent', `--image=${registry.host}/no/such:1`, '--restart=Never');
      await until('ErrImagePull', async () =>
        /ErrImagePull|ImagePullBackOff/.test(await kubectl('get', 'pod', 'absent')),
      );
    },
  );

  it('restarts containerd when it is killed, without touching pods', { timeout: 60_000 }, async () => {
    const before = await kubectl(
      'get',
      'pod',
      'client',
      '-o',
      'jsonpath={.status.containerStatuses[0].containerID}',
    );
    const pids = (await runCommand(['pgrep', '-f', `containerd.*${cluster.dir}`])).stdout
      .trim()
      .split('\n')
      .filter((pid) => pid !== '' && !isShim(pid));
    assert.ok(pids.length > 0, 'containerd is found');
    for (const pid of pids) process.kill(Number(pid), 'SIGKILL');
    await until(
      'exec to work again',
      async () => (await cluster.kubectl(['exec', 'client', '--', 'echo', 'back'])).stdout.trim() === 'back',
    );
    assert.equal(
      await kubectl('get', 'pod', 'client', '-o', 'jsonpath={.status.containerStatuses[0].containerID}'),
      before,
    );
  });

  it(
    'stops with down, comes back with up, and leaves nothing after delete',
    { timeout: 180_000 },
    async () => {
      await cluster.down();
      await cluster.up();
      await kubectl('rollout', 'status', 'deployment/web', '--timeout=90s');
      assert.match(
        await until('the node port after a restart', () =>
          fetchText(`http://127.0.0.1:${nodePort}/index.html`),
        ),
        /^hello/,
      );
      const { id, bridge, nftTable } = containerdLayout({ dir: containerdDir(dataDir(cluster.dir)) });
      const settings = JSON.parse(await readFile(join(cluster.dir, 'capstan.json'), 'utf8')) as {
        readonly id: string;
      };
      await cluster.delete();
      assert.equal(existsSync(cluster.dir), false);
      const left = await runCommand([
        'sh',
        '-c',
        `ps ax -o args | grep -F '${cluster.dir}' | grep -v grep; mount | grep -F '${cluster.dir}'; nft list tables | grep -E '${nftTable}|${settings.id}'; ls /sys/class/net | grep -F '${bridge}'; ip netns list | grep -F '${id}'; ls -d /sys/fs/cgroup/*/*${id}* 2>/dev/null; true`,
      ]);
      assert.equal(left.stdout.trim(), '');
    },
  );
});

function isShim(pid: string): boolean {
  return spawnSync('cat', [`/proc/${pid}/cmdline`], { encoding: 'utf8' }).stdout.includes('shim');
}

/** A new connection each time, as independent clients make. */
function fetchText(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const call = get(url, { agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`HTTP ${response.statusCode}`)),
      );
      response.on('error', reject);
    });
    call.on('timeout', () => call.destroy(new Error('timed out')));
    call.on('error', reject);
  });
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
