/** The CLI part of conformance: kubectl, over simulated nodes. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { after, before, beforeEach, describe, it } from 'node:test';
import { runCommand, type CommandResult } from '../cluster.ts';
import { foreignTools } from '../foreign-tools.ts';
import { pod, replicationController, workload } from './manifests.ts';
import { startWorld, until, type Json, type World } from './world.ts';

const tools = foreignTools(35);

describe('conformance: CLI', { skip: 'missing' in tools && tools.missing }, () => {
  const kubectl = 'missing' in tools ? '' : tools.kubectl;
  let world: World;
  let namespace: string;
  let core: string;
  before(async () => {
    world = await startWorld();
  });
  beforeEach(async () => {
    namespace = await world.namespace();
    core = `/api/v1/namespaces/${namespace}`;
  });
  after(async () => world?.stop());

  const environment = (): Record<string, string> => ({ KUBECONFIG: world.kubeconfig, HOME: world.dir });
  const run = (words: readonly string[], input?: Json): Promise<CommandResult> =>
    runCommand([kubectl, '-n', namespace, ...words], {
      timeoutMs: 60_000,
      env: environment(),
      ...(input === undefined ? {} : { input: JSON.stringify(input) }),
    });
  /** What it printed; it must succeed. */
  const k = async (line: string | readonly string[], input?: Json): Promise<string> => {
    const words = typeof line === 'string' ? line.split(' ') : line;
    const { code, stdout, stderr } = await run(words, input);
    assert.equal(code, 0, `kubectl ${words.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  const running = (name: string): Promise<Json> =>
    world.reaches(`${core}/pods/${name}`, ({ status }) => status.phase === 'Running');
  const isValid = (replicas: number) => async (): Promise<boolean> => {
    const images = (
      await k([
        'get',
        'pods',
        '-l',
        'name=update-demo',
        '-o',
        'jsonpath={.items[?(@.status.phase=="Running")].spec.containers[0].image}',
      ])
    ).split(' ');
    return images.length === replicas && images.every((image) => image === 'nautilus:1.5');
  };
  const update = (replicas: number): Json =>
    replicationController('update-demo-nautilus', {
      replicas,
      labels: { name: 'update-demo' },
      image: 'nautilus:1.5',
    });

  it('Kubectl, check version v1', async () => {
    assert.ok((await k('api-versions')).trim().split('\n').includes('v1'));
  });

  it('Kubectl, cluster info', async () => {
    // oxlint-disable-next-line no-control-regex
    const plain = (await k('cluster-info')).replace(/\x1b\[[\d;]*m/g, '');
    assert.match(plain, new RegExp(`Kubernetes control plane is running at ${world.url}`));
  });

  it('Kubectl, describe pod or rc', async () => {
    await k(
      'create -f -',
      replicationController('agnhost-primary', {
        labels: { app: 'agnhost', role: 'primary' },
        image: 'agnhost:2',
      }),
    );
    await k('create -f -', {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'agnhost-primary', labels: { app: 'agnhost' } },
      spec: { selector: { app: 'agnhost' }, ports: [{ port: 6379 }] },
    });
    const name = await until(
      'its pod',
      async () => (await world.get(`${core}/pods`)).items[0]?.metadata.name as string | undefined,
    );
    await running(name);
    const shows = async (words: string, lines: readonly RegExp[]): Promise<void> => {
      const text = await k(words);
      for (const line of lines) assert.match(text, line, words);
    };
    await shows(`describe pod ${name}`, [
      new RegExp(`^Name: +${name}$`, 'm'),
      new RegExp(`^Namespace: +${namespace}$`, 'm'),
      /^Labels: +app=agnhost\n +role=primary$/m,
      /^Status: +Running$/m,
      /^IP: +10\./m,
      /^Controlled By: +ReplicationController\/agnhost-primary$/m,
      /Image: +agnhost:2/,
      /State: +Running/,
      /^QoS Class: +BestEffort$/m,
    ]);
    await shows('describe rc agnhost-primary', [
      /^Name: +agnhost-primary$/m,
      /^Selector: +app=agnhost,role=primary$/m,
      /^Replicas: +1 current \/ 1 desired$/m,
      /^Pods Status: +1 Running \/ 0 Waiting \/ 0 Succeeded \/ 0 Failed$/m,
      /Image: +agnhost:2/,
      /SuccessfulCreate/,
    ]);
    await shows('describe service agnhost-primary', [
      /^Name: +agnhost-primary$/m,
      /^Type: +ClusterIP$/m,
      /^IP: +10\.96\./m,
      /^Port: +<unset> +6379\/TCP$/m,
      /^Endpoints: +10\.\d+\.\d+\.\d+:6379$/m,
      /^Session Affinity: +None$/m,
    ]);
    await shows('describe node node-1', [
      /^Name: +node-1$/m,
      /^Labels: +/m,
      /^Annotations: +/m,
      /^CreationTimestamp: +/m,
      /^Conditions:$/m,
      /^Addresses:$/m,
      /^Capacity:$/m,
      /Kubelet Version: +v1\.36/,
      /^Non-terminated Pods: +/m,
    ]);
    await shows(`describe namespace ${namespace}`, [
      new RegExp(`^Name: +${namespace}$`, 'm'),
      /^Status: +Active$/m,
      /^No resource quota\.$/m,
      /^No LimitRange resource\.$/m,
    ]);
  });

  it('Kubectl, diff Deployment', async () => {
    await k('create -f -', workload('Deployment', 'diffed', { image: 'agnhost:2' }));
    const { code, stdout, stderr } = await run(
      ['diff', '-f', '-'],
      workload('Deployment', 'diffed', { image: 'busybox:1' }),
    );
    assert.equal(code, 1, stderr);
    assert.match(stdout, /^- +- image: agnhost:2$|^- +image: agnhost:2$|^-.*image: agnhost:2$/m);
    assert.match(stdout, /^\+.*image: busybox:1$/m);
  });

  it('Kubectl, create service, replication controller', async () => {
    await k('create -f -', replicationController('agnhost-primary', { image: 'agnhost:2' }));
    for (const [line, name, port] of [
      ['expose rc agnhost-primary --name=rm2 --port=1234 --target-port=6379', 'rm2', 1234],
      ['expose service rm2 --name=rm3 --port=2345 --target-port=6379', 'rm3', 2345],
    ] as const) {
      await k(line);
      const { spec } = await world.get(`${core}/services/${name}`);
      assert.deepEqual(
        [spec.ports[0].port, spec.ports[0].targetPort, spec.selector],
        [port, 6379, { app: 'agnhost-primary' }],
      );
      await world.reaches(`${core}/endpoints/${name}`, ({ subsets }) => subsets?.[0]?.ports[0].port === 6379);
    }
  });

  it('Kubectl, label update', async () => {
    await k('create -f -', pod('pause'));
    await k('label pods pause testing-label=testing-label-value');
    assert.match(await k('get pod pause -L testing-label'), /testing-label-value/);
    assert.match(await k('get pod -l testing-label=testing-label-value -o name'), /^pod\/pause$/m);
    await k('label pods pause testing-label-');
    assert.doesNotMatch(await k('get pod pause -L testing-label'), /testing-label-value/);
  });

  it('Kubectl, patch to annotate', async () => {
    await k('create -f -', replicationController('annotated', { replicas: 2 }));
    const pods = await until('its pods', async () => {
      const { items } = await world.get(`${core}/pods`);
      return items.length === 2 ? (items as Json[]) : undefined;
    });
    for (const { metadata } of pods)
      await k(['patch', 'pod', metadata.name as string, '-p', '{"metadata":{"annotations":{"x":"y"}}}']);
    for (const { metadata } of (await world.get(`${core}/pods`)).items)
      assert.equal(metadata.annotations.x, 'y');
  });

  it('Kubectl, replace', async () => {
    await k('run e2e-test-pod --image=httpd:2 --labels=run=e2e-test-pod');
    await running('e2e-test-pod');
    const live = JSON.parse(await k('get pod e2e-test-pod -o json')) as Json;
    live.spec.containers[0].image = 'busybox:1';
    await k('replace -f -', live);
    assert.equal((await world.get(`${core}/pods/e2e-test-pod`)).spec.containers[0].image, 'busybox:1');
    delete live.metadata.resourceVersion;
    live.spec.containers[0].image = 'httpd:3';
    await k('replace --force --grace-period=0 -f -', live);
    const fresh = await world.get(`${core}/pods/e2e-test-pod`);
    assert.notEqual(fresh.metadata.uid, live.metadata.uid);
    assert.equal(fresh.spec.containers[0].image, 'httpd:3');
  });

  it('Kubectl, run pod', async () => {
    await k('run e2e-test-pod --restart=Never --pod-running-timeout=2m0s --image=httpd:2');
    const { spec } = await world.get(`${core}/pods/e2e-test-pod`);
    assert.deepEqual(
      [spec.containers.length, spec.containers[0].image, spec.restartPolicy],
      [1, 'httpd:2', 'Never'],
    );
  });

  it('Kubectl, server-side dry-run Pod', async () => {
    await k('run e2e-test-pod --image=httpd:2 --labels=run=e2e-test-pod');
    const {
      metadata: { resourceVersion: _ },
    } = await running('e2e-test-pod');
    await k([
      'patch',
      'pod',
      'e2e-test-pod',
      '-p',
      '{"spec":{"containers":[{"name":"e2e-test-pod","image":"busybox:1"}]}}',
      '--dry-run=server',
    ]);
    assert.equal((await world.get(`${core}/pods/e2e-test-pod`)).spec.containers[0].image, 'httpd:2');
  });

  it('Kubectl, version', async () => {
    const { clientVersion, serverVersion } = JSON.parse(await k('version -o json')) as Json;
    for (const version of [clientVersion, serverVersion]) {
      for (const field of ['major', 'minor', 'gitVersion', 'platform']) assert.ok(version[field], field);
      assert.equal(typeof version.gitCommit, 'string');
    }
    assert.equal(serverVersion.minor, '36');
  });

  /** Starts the proxy, hands over what it says it serves on, and ends it. */
  async function proxy(words: readonly string[], use: (line: string) => Promise<void>): Promise<void> {
    const child: ChildProcess = spawn(kubectl, ['proxy', ...words], {
      env: { ...process.env, ...environment() },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        said += text;
      });
    try {
      await use(await until('the proxy to serve', () => /Starting to serve on (\S+)/.exec(said)?.[1]));
    } finally {
      child.kill('SIGKILL');
      await ended;
    }
  }
  const versions = (options: { readonly socketPath?: string; readonly port?: number }): Promise<Json> =>
    new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', path: '/api/', ...options }, (response) => {
        let text = '';
        response
          .setEncoding('utf8')
          .on('data', (part: string) => {
            text += part;
          })
          .on('end', () => resolve(JSON.parse(text)));
      })
        .on('error', reject)
        .end();
    });

  it('Kubectl, proxy socket', async () => {
    const socketPath = join(world.dir, 'proxy.socket');
    await proxy([`--unix-socket=${socketPath}`], async () =>
      assert.deepEqual((await versions({ socketPath })).versions, ['v1']),
    );
  });

  it('Kubectl, proxy port zero', () =>
    proxy(['--port=0', '--disable-filter'], async (address) =>
      assert.deepEqual((await versions({ port: Number(address.split(':')[1]) })).versions, ['v1']),
    ));

  it('Kubectl, replication controller', async () => {
    await k('create -f -', update(2));
    await until('two running pods', isValid(2));
  });

  it('Kubectl, scale replication controller', async () => {
    await k('create -f -', update(2));
    await until('two running pods', isValid(2));
    await k('scale rc update-demo-nautilus --replicas=1 --timeout=5m');
    await until('one running pod', isValid(1));
    await k('scale rc update-demo-nautilus --replicas=2 --timeout=5m');
    await until('two running pods', isValid(2));
  });
});
