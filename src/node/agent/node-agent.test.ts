/** Real pods: an API server in this process, our own containerd, the node agent between them. Skipped where containers are not possible. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { request as httpsRequest } from 'node:https';
import { tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { ContainerStatus, Pod, PodSpec, PodStatus } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { TransportError } from '#client/transport-error.ts';
import {
  clusterRoleBindings,
  clusterRoles,
  configMaps,
  events,
  nodes,
  pods,
  secrets,
  serviceAccounts,
} from '#client/refs.ts';
import { decodeStaticPod } from '#cmd/node/decode-static-pod.ts';
import { startControllerManager } from '#cmd/controller-manager/compose.ts';
import { realClock } from '#stdx/clock.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { createLogger, silentLogger } from '#stdx/log.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { pushImage, REGISTRY_USER, startRegistry } from '#testing/registry.ts';
import { createContainerd, destroyContainerd, type Containerd } from '../containerd/containerd.ts';
import { inspectMachine } from '../containerd/machine.ts';
import { buildBusyboxImage } from '../images/busybox-image.ts';
import {
  readCredentialProviders,
  type CredentialProviderSettings,
} from '../images/credential-providers/configuration.ts';
import { NetworkPolicyError } from '../network-policy/node-pods.ts';
import { GpuPlugin, gpus } from '../devices/testing/gpu-plugin.ts';
import { NetworkReadiness, networkNotReady } from './network-readiness.ts';
import { createNodeAgent, type NodeAgent, type NodeAgentOptions } from './node-agent.ts';
import { mount, unmountBelow } from './volumes/mounts.ts';

const skip = await inspectMachine().then(
  () => (existsSync('/bin/busybox') ? false : 'no /bin/busybox: apt-get install busybox-static'),
  (error: Error) => error.message,
);
const runtimeVersion = existsSync('/sys/fs/cgroup/cgroup.controllers') ? 2 : 1;
const NODE = 'real-node';
const TIMEOUT_MS = 60_000;
interface Cpu {
  readonly usageCoreNanoSeconds: number;
}

const POD_PIDS = 200;
const RUN_ON = 'trap "exit 0" TERM; while true; do sleep 0.1; done';

describe('node agent with real containers', { skip }, () => {
  let dir: string;
  let runtime: Containerd;
  let cluster: TestApi;
  let agent: NodeAgent;
  const clients: Client[] = [];

  const AS_NODE = { name: `system:node:${NODE}`, groups: ['system:nodes', 'system:authenticated'] };

  async function startAgent(more: Partial<NodeAgentOptions> = {}): Promise<NodeAgent> {
    const made = newAgent(cluster.clientAs(AS_NODE), more);
    await made.start();
    return made;
  }

  function newAgent(api: Client, more: Partial<NodeAgentOptions> = {}): NodeAgent {
    // Any serving certificate of the cluster for 127.0.0.1 will do.
    const serving = cluster.pki.apiServer;
    return createNodeAgent({
      context: {
        api,
        clock: realClock,
        log: process.env['TEST_LOG'] ? createLogger({ level: 'debug' }) : silentLogger,
        identity: 'test',
      },
      nodeName: NODE,
      cri: runtime.cri,
      cgroupRoot: runtime.cgroupRoot,
      dir: join(dir, 'kubelet'),
      imageDir: dir,
      podCIDRs: ['10.211.41.0/24'],
      clusterDNS: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      addresses: ['127.0.0.1'],
      port: 0,
      kubeletVersion: 'v1.36.0',
      podPidsLimit: POD_PIDS,
      staticPodPath: join(dir, 'manifests'),
      decodePod: decodeStaticPod,
      tls: {
        certificatePem: serving.certificatePem,
        keyPem: serving.keyPem,
        clientCaPem: cluster.pki.ca.certificatePem,
        clients: ['kube-apiserver-kubelet-client'],
      },
      ...more,
    });
  }

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-agent-'));
    await mkdir(join(dir, 'manifests'));
    cluster = await startTestApi();
    runtime = createContainerd({ dir: join(dir, 'containerd'), podCIDRs: ['10.211.41.0/24'] });
    await runtime.start();
    await runtime.importImage((await buildBusyboxImage()).tar);
    await cluster.api.create(serviceAccounts, {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default', namespace: 'default' },
    });
    await cluster.api.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'kube-root-ca.crt', namespace: 'default' },
      data: { 'ca.crt': 'authority' },
    });
    agent = await startAgent();
  });

  after(async () => {
    await agent?.stop();
    await Promise.all(clients.map((client) => client.close()));
    await runtime?.stop();
    const problems = await destroyContainerd({ dir: join(dir, 'containerd') });
    await unmountBelow(dir);
    await cluster?.stop();
    await rm(dir, { recursive: true, force: true });
    assert.deepEqual(problems, []);
  });

  async function create(
    name: string,
    spec: Omit<PodSpec, 'containers'> & {
      readonly containers: readonly Partial<PodSpec['containers'][number]>[];
    },
    metadata: Pod['metadata'] = {},
  ): Promise<Pod> {
    const containers = spec.containers.map((container, index) => ({
      name: `c${index}`,
      image: 'busybox',
      imagePullPolicy: 'IfNotPresent',
      ...container,
    }));
    return cluster.api.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'default', ...metadata },
      spec: { nodeName: NODE, terminationGracePeriodSeconds: 1, ...spec, containers },
    });
  }

  async function get(name: string): Promise<Pod | undefined> {
    return cluster.api.get(pods, { name, namespace: 'default' }).catch(() => undefined);
  }

  /** Waits for a state of the pod; fails with the last one seen. */
  async function until(name: string, holds: (status: PodStatus, pod: Pod) => boolean): Promise<PodStatus> {
    const deadline = Date.now() + TIMEOUT_MS;
    let last: Pod | undefined;
    while (Date.now() < deadline) {
      last = await get(name);
      if (last?.status && holds(last.status, last)) return last.status;
      await realClock.sleep(30);
    }
    const said = (await cluster.api.list(events, { namespace: 'default' })).items.map(
      ({ reason, message }) => `${reason}: ${message}`,
    );
    throw new Error(
      `pod ${name} did not get there: ${JSON.stringify(last?.status, undefined, 1)}\n${said.join('\n')}`,
    );
  }

  async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
    const deadline = Date.now() + TIMEOUT_MS;
    while (!(await holds())) {
      assert.ok(Date.now() < deadline, what);
      await realClock.sleep(30);
    }
  }

  async function remove(name: string, gracePeriodSeconds?: number): Promise<void> {
    await cluster.api.delete(
      pods,
      { name, namespace: 'default' },
      gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds },
    );
    const deadline = Date.now() + TIMEOUT_MS;
    while (await get(name)) {
      assert.ok(
        Date.now() < deadline,
        `pod ${name} is deleted: ${JSON.stringify((await get(name))?.status)}`,
      );
      await realClock.sleep(30);
    }
  }

  async function run(name: string, command: string, index = 0): Promise<string> {
    const id =
      (await get(name))?.status?.containerStatuses?.[index]?.containerID?.replace('containerd://', '') ?? '';
    const { stdout, exitCode, stderr } = await runtime.cri.execSync({
      containerId: id,
      cmd: ['sh', '-c', command],
      timeout: 10,
    });
    assert.equal(exitCode, 0, stderr.toString());
    return stdout.toString();
  }

  function kubelet(
    path: string,
    withCertificate = true,
  ): Promise<{ readonly status: number; readonly body: string }> {
    const client = cluster.pki.clients['apiserver-kubelet-client'];
    return new Promise((resolve, reject) => {
      const outgoing = httpsRequest(
        {
          host: '127.0.0.1',
          port: agent.port,
          path,
          ca: cluster.pki.ca.certificatePem,
          ...(withCertificate ? { cert: client.certificatePem, key: client.keyPem } : {}),
        },
        (response) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() }),
          );
          response.on('error', reject);
        },
      );
      outgoing.on('error', reject);
      outgoing.end();
    });
  }

  const first = (status: PodStatus): ContainerStatus => status.containerStatuses?.[0] as ContainerStatus;
  const conditionOf = (status: PodStatus, type: string): string | undefined =>
    status.conditions?.find((condition) => condition.type === type)?.status;

  test('the node registers itself', async () => {
    const node = await cluster.api.get(nodes, { name: NODE });
    assert.equal(node.spec?.podCIDR, '10.211.41.0/24');
    assert.equal(node.status?.conditions?.find(({ type }) => type === 'Ready')?.status, 'True');
    assert.equal(node.status?.daemonEndpoints?.kubeletEndpoint?.Port, agent.port);
    assert.match(node.status?.nodeInfo?.containerRuntimeVersion ?? '', /^containerd:\/\/\d/);
  });

  test('a label and a resource that were put on the node just now count for pods that need them', async () => {
    await cluster.api.patch(
      nodes,
      { name: NODE },
      {
        type: 'merge',
        subresource: 'status',
        patch: {
          status: { capacity: { 'example.com/thing': '2' } },
        },
      },
    );
    const offered = (amount: string | undefined): Promise<void> =>
      eventually(`example.com/thing is allocatable: ${amount}`, async () => {
        const { status } = await cluster.api.get(nodes, { name: NODE });
        return status?.allocatable?.['example.com/thing'] === amount;
      });
    await offered('2');
    const wants = (amount: string): object => ({
      command: ['sh', '-c', RUN_ON],
      resources: { requests: { 'example.com/thing': amount }, limits: { 'example.com/thing': amount } },
    });
    await cluster.api.patch(
      nodes,
      { name: NODE },
      { type: 'merge', patch: { metadata: { labels: { speed: 'high' } } } },
    );
    await create('labelled', { nodeSelector: { speed: 'high' }, containers: [wants('2')] });
    await until('labelled', ({ phase }) => phase === 'Running');
    await create('elsewhere', { nodeSelector: { speed: 'low' }, containers: [{}] });
    assert.equal((await until('elsewhere', ({ phase }) => phase === 'Failed')).reason, 'NodeAffinity');
    await create('greedy', { containers: [wants('1')] });
    assert.equal(
      (await until('greedy', ({ phase }) => phase === 'Failed')).message,
      "Pod was rejected: Node didn't have enough resource: example.com/thing, requested: 1, used: 2, capacity: 2",
    );
    for (const name of ['labelled', 'elsewhere', 'greedy']) await remove(name);
    await cluster.api.patch(
      nodes,
      { name: NODE },
      {
        type: 'merge',
        subresource: 'status',
        patch: { status: { capacity: { 'example.com/thing': null } } },
      },
    );
    await offered(undefined);
  });

  test('a node that was given up while it was silent is Ready again at once', async () => {
    const conditions = [{ type: 'Ready', status: 'Unknown', reason: 'NodeStatusUnknown' }];
    await cluster.api.patch(
      nodes,
      { name: NODE },
      { type: 'strategic', subresource: 'status', patch: { status: { conditions } } },
    );
    await eventually('the node is Ready', async () => {
      const { status } = await cluster.api.get(nodes, { name: NODE });
      return status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
    });
  });

  test('init container, environment, volumes, tokens, and a config map that changes', async () => {
    await cluster.api.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'settings', namespace: 'default' },
      data: { color: 'blue', 'file.txt': 'one' },
    });
    await cluster.api.create(secrets, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'word', namespace: 'default' },
      data: { password: Buffer.from('hush').toString('base64') },
    });
    await create(
      'full',
      {
        volumes: [
          { name: 'shared', emptyDir: {} },
          { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
          { name: 'settings', configMap: { name: 'settings' } },
          { name: 'word', secret: { secretName: 'word', defaultMode: 0o400 } },
          {
            name: 'about',
            downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] },
          },
        ],
        initContainers: [
          {
            name: 'prepare',
            image: 'busybox',
            imagePullPolicy: 'IfNotPresent',
            command: ['sh', '-c', 'echo prepared > /shared/done'],
            volumeMounts: [{ name: 'shared', mountPath: '/shared' }],
          },
        ],
        hostAliases: [{ ip: '10.1.2.3', hostnames: ['far.example'] }],
        securityContext: { fsGroup: 2000 },
        containers: [
          {
            command: ['sh', '-c', RUN_ON],
            env: [
              { name: 'COLOR', valueFrom: { configMapKeyRef: { name: 'settings', key: 'color' } } },
              { name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'word', key: 'password' } } },
              { name: 'IP', valueFrom: { fieldRef: { fieldPath: 'status.podIP' } } },
              { name: 'BOTH', value: '$(COLOR)-$(PASSWORD)-$(NONE)-$$(COLOR)' },
              { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory' } } },
            ],
            resources: { limits: { memory: '64Mi', cpu: '500m' }, requests: { memory: '32Mi' } },
            volumeMounts: [
              { name: 'shared', mountPath: '/shared' },
              { name: 'memory', mountPath: '/memory' },
              { name: 'settings', mountPath: '/settings' },
              { name: 'word', mountPath: '/word', readOnly: true },
              { name: 'about', mountPath: '/about' },
              { name: 'settings', mountPath: '/one-file', subPath: 'file.txt' },
              { name: 'shared', mountPath: '/part', subPath: 'a/b' },
            ],
          },
        ],
      },
      { labels: { app: 'full' } },
    );
    const status = await until(
      'full',
      ({ conditions }) =>
        conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True') ?? false,
    );
    assert.equal(status.phase, 'Running');
    assert.equal(status.qosClass, 'Burstable');
    assert.equal(status.initContainerStatuses?.[0]?.state?.terminated?.reason, 'Completed');
    for (const type of [
      'PodReadyToStartContainers',
      'Initialized',
      'Ready',
      'ContainersReady',
      'PodScheduled',
    ])
      assert.equal(conditionOf(status, type), 'True', type);
    assert.ok(
      status.conditions?.every(({ reason, status: value }) => value !== 'True' || reason === undefined),
      'a true condition gives no reason',
    );
    assert.equal(
      await run(
        'full',
        'cat /shared/done; echo $COLOR $PASSWORD $MEMORY; echo "$BOTH"; echo $IP; echo $KUBERNETES_SERVICE_PORT',
      ),
      `prepared\nblue hush 67108864\nblue-hush-$(NONE)-$(COLOR)\n${status.podIP}\n443\n`,
    );
    assert.equal(
      await run('full', 'cat /settings/file.txt /word/password /about/labels /one-file'),
      'onehushapp="full"one',
    );
    assert.match(
      await run('full', 'stat -c "%a %g" -L /word/password; stat -c "%a %g" /shared'),
      /^440 2000\n2777 2000\n$/,
    );
    assert.match(
      await run('full', 'cat /etc/hosts; hostname; cat /etc/resolv.conf'),
      /10\.1\.2\.3\tfar\.example[\s\S]*full\n[\s\S]*search default\.svc\.cluster\.local svc\.cluster\.local[\s\S]*nameserver 10\.96\.0\.10/,
    );
    assert.match(await run('full', 'df /memory | tail -1'), /^tmpfs\s+1024\s/);
    assert.equal(
      await run('full', 'touch /settings/x /one-file 2>&1 || true'),
      'touch: /settings/x: Read-only file system\ntouch: /one-file: Read-only file system\n',
    );
    assert.equal(
      (await run('full', 'cat /var/run/secrets/kubernetes.io/serviceaccount/token')).split('.').length,
      3,
    );
    assert.equal(
      await run('full', 'ls -d /part; cat /var/run/secrets/kubernetes.io/serviceaccount/namespace'),
      '/part\ndefault',
    );
    assert.ok(
      existsSync(
        join(
          dir,
          'kubelet/pods',
          (await get('full'))?.metadata?.uid ?? '',
          'volumes/kubernetes.io~empty-dir/shared/a/b',
        ),
      ),
    );

    await cluster.api.patch(
      configMaps,
      { name: 'settings', namespace: 'default' },
      { type: 'merge', patch: { data: { 'file.txt': 'two' } } },
    );
    const deadline = Date.now() + TIMEOUT_MS;
    while ((await run('full', 'cat /settings/file.txt')) !== 'two') {
      assert.ok(Date.now() < deadline, 'the change is seen in the volume');
      await realClock.sleep(50);
    }
    assert.equal(first(await until('full', () => true)).restartCount, 0);
    const { uid = '' } = (await get('full'))?.metadata ?? {};
    await remove('full');
    const gone = Date.now() + TIMEOUT_MS;
    while (
      existsSync(join(dir, 'kubelet/pods', uid)) ||
      (await runtime.cri.listPodSandbox({ filter: { labelSelector: { 'io.kubernetes.pod.uid': uid } } }))
        .items.length > 0
    ) {
      assert.ok(Date.now() < gone, 'nothing is left of the pod');
      await realClock.sleep(50);
    }
    assert.ok(!(await readFile('/proc/self/mountinfo', 'utf8')).includes(uid));
    // The object goes first, what is on the disk after it.
    const logsDeadline = Date.now() + TIMEOUT_MS;
    while ((await readdir(join(dir, 'kubelet/log/pods'))).some((name) => name.includes(uid))) {
      assert.ok(Date.now() < logsDeadline, 'the logs of a pod that is gone go too');
      await realClock.sleep(30);
    }
  });

  test('variables from a file that an init container wrote; limits of the pod by the downward API', async () => {
    const fromFile = (path: string, key: string, optional = false): object => ({
      fileKeyRef: { volumeName: 'config', path, key, optional },
    });
    const pod = (path: string): Parameters<typeof create>[1] => ({
      restartPolicy: 'Never',
      volumes: [{ name: 'config', emptyDir: {} }],
      resources: { limits: { memory: '64Mi', cpu: '1' } },
      initContainers: [
        {
          name: 'write',
          image: 'busybox',
          imagePullPolicy: 'IfNotPresent',
          command: [
            'sh',
            '-c',
            `mkdir /config/d; echo "COLOR='dark blue'" > /config/d/env; ln -s /etc/passwd /config/out`,
          ],
          volumeMounts: [{ name: 'config', mountPath: '/config' }],
        },
      ],
      containers: [
        {
          command: ['sh', '-c', RUN_ON],
          env: [
            { name: 'COLOR', valueFrom: fromFile(path, 'COLOR') },
            { name: 'NONE', valueFrom: fromFile('d/env', 'NONE', true) },
            { name: 'MEMORY', valueFrom: { resourceFieldRef: { resource: 'limits.memory' } } },
          ],
        },
      ],
    });
    await create('env-file', pod('d/env'));
    await create('env-file-outside', pod('out'));
    await until('env-file', ({ phase }) => phase === 'Running');
    assert.equal(await run('env-file', 'echo "$COLOR,${NONE-unset},$MEMORY"'), 'dark blue,unset,67108864\n');
    const refused = await until(
      'env-file-outside',
      (status) => first(status)?.state?.waiting?.reason === 'CreateContainerConfigError',
    );
    assert.equal(first(refused).state?.waiting?.message, '"out" leads out of the volume');
    await Promise.all(['env-file', 'env-file-outside'].map((name) => remove(name)));
  });

  test('liveness restarts, readiness follows its command, startup holds both back', async () => {
    await create('probed', {
      volumes: [{ name: 'state', emptyDir: {} }],
      containers: [
        {
          command: ['sh', '-c', `touch /tmp/alive; ${RUN_ON}`],
          volumeMounts: [{ name: 'state', mountPath: '/state' }],
          startupProbe: { exec: { command: ['test', '-e', '/tmp/alive'] }, periodSeconds: 1 },
          livenessProbe: {
            exec: { command: ['test', '-e', '/tmp/alive'] },
            periodSeconds: 1,
            failureThreshold: 1,
          },
          readinessProbe: { exec: { command: ['test', '-e', '/state/ready'] }, periodSeconds: 1 },
        },
      ],
    });
    const started = await until('probed', (status) => first(status)?.started === true);
    assert.equal(first(started).ready, false);
    assert.equal(conditionOf(started, 'Ready'), 'False');
    await run('probed', 'touch /state/ready');
    await until('probed', (status) => first(status).ready && conditionOf(status, 'Ready') === 'True');
    await run('probed', 'rm /tmp/alive');
    const restarted = await until(
      'probed',
      (status) => first(status).restartCount === 1 && first(status).ready,
    );
    assert.equal(first(restarted).lastState?.terminated?.exitCode, 0);
    await remove('probed');
  });

  test('after a silence of the node its pods are Ready again', { timeout: 120_000 }, async () => {
    const ready = ({ conditions = [] }: PodStatus): boolean =>
      conditions.some(({ type, status }) => type === 'Ready' && status === 'True');
    const lost = async (): Promise<boolean> =>
      (await cluster.api.list(events, { namespace: 'default' })).items.some(
        ({ reason, involvedObject }) => reason === 'NodeNotReady' && involvedObject.name === 'steady',
      );
    await create('steady', { containers: [{ command: ['sh', '-c', RUN_ON] }] });
    await until('steady', ready);
    const clock = new FakeClock(Date.now());
    const manager = await startControllerManager({
      api: cluster.clientAs(ADMIN),
      clock,
      log: silentLogger,
      identity: 'test',
      clusterCIDR: '10.211.0.0/16',
      caPem: cluster.pki.ca.certificatePem,
      settings: { leaderElect: false, names: ['node-lifecycle-controller'] },
      apiFor: async () => cluster.clientAs(ADMIN),
    });
    await manager.start();
    // What the controller sees of a paused node, a suspended machine or a partition: its grace period passes without a heartbeat.
    const deadline = Date.now() + TIMEOUT_MS;
    while (!(await lost())) {
      assert.ok(Date.now() < deadline, 'the controller gives the silent node up');
      await clock.advance(60_000);
      await realClock.sleep(50);
    }
    await manager.stop();
    await until('steady', ready);
    await remove('steady');
  });

  test('restart policies: CrashLoopBackOff, OnFailure, Never, and last words', async () => {
    await create('crashing', { containers: [{ command: ['sh', '-c', 'echo bye; exit 3'] }] });
    await create('trying', {
      restartPolicy: 'OnFailure',
      volumes: [{ name: 'v', emptyDir: {} }],
      containers: [
        {
          command: ['sh', '-c', 'test -e /v/again || { touch /v/again; exit 1; }'],
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
        },
      ],
    });
    await create('failing', {
      restartPolicy: 'Never',
      containers: [
        { command: ['sh', '-c', 'echo "last words" > /dev/termination-log; exit 7'] },
        {
          command: ['sh', '-c', 'echo from the log; exit 1'],
          terminationMessagePolicy: 'FallbackToLogsOnError',
        },
      ],
    });
    const crashing = await until(
      'crashing',
      (status) => first(status)?.state?.waiting?.reason === 'CrashLoopBackOff',
    );
    assert.equal(crashing.phase, 'Running');
    assert.match(
      first(crashing).state?.waiting?.message ?? '',
      /^back-off 10s restarting failed container=c0 pod=crashing_default\(/,
    );
    assert.equal(first(crashing).lastState?.terminated?.exitCode, 3);
    assert.equal(first(crashing).restartCount, 1);
    assert.equal((await kubelet('/containerLogs/default/crashing/c0?previous=true')).body, 'bye\n');
    const trying = await until('trying', ({ phase }) => phase === 'Succeeded');
    assert.equal(first(trying).restartCount, 1);
    assert.equal(trying.conditions?.find(({ type }) => type === 'Ready')?.reason, 'PodCompleted');
    const failing = await until('failing', ({ phase }) => phase === 'Failed');
    assert.deepEqual(
      failing.containerStatuses?.map(({ state }) => [
        state?.terminated?.exitCode,
        state?.terminated?.message,
      ]),
      [
        [7, 'last words\n'],
        [1, 'from the log\n'],
      ],
    );
    await Promise.all(['crashing', 'trying', 'failing'].map((name) => remove(name)));
  });

  test('what cannot start says why', async () => {
    await create('no-image', { containers: [{ image: 'localhost:1/none:1' }] });
    await create('never', { containers: [{ image: 'none:1', imagePullPolicy: 'Never' }] });
    await create('no-config', {
      containers: [{ env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'nowhere', key: 'k' } } }] }],
    });
    await create('no-volume', {
      volumes: [{ name: 'v', configMap: { name: 'nowhere' } }],
      containers: [{ command: ['sh'] }],
    });
    await create('no-command', { restartPolicy: 'Never', containers: [{ command: ['/no/such/thing'] }] });
    await create('too-big', { containers: [{ resources: { requests: { cpu: '10000' } } }] });
    await create('root', { securityContext: { runAsNonRoot: true }, containers: [{ command: ['sh'] }] });
    const reasonOf = (status: PodStatus): string | undefined => first(status)?.state?.waiting?.reason;
    await until('no-image', (status) =>
      ['ErrImagePull', 'ImagePullBackOff'].includes(reasonOf(status) ?? ''),
    );
    await until('never', (status) => reasonOf(status) === 'ErrImageNeverPull');
    const noConfig = await until('no-config', (status) => reasonOf(status) === 'CreateContainerConfigError');
    assert.equal(first(noConfig).state?.waiting?.message, 'configmap "nowhere" not found');
    assert.match(
      first(await until('root', (status) => reasonOf(status) === 'CreateContainerConfigError')).state?.waiting
        ?.message ?? '',
      /^container has runAsNonRoot and image will run as root \(pod: "root_default/,
    );
    const noCommand = await until('no-command', ({ phase }) => phase === 'Failed');
    assert.equal(first(noCommand).state?.terminated?.reason, 'StartError');
    const tooBig = await until('too-big', ({ phase }) => phase === 'Failed');
    assert.equal(tooBig.reason, 'OutOfcpu');
    assert.equal(tooBig.containerStatuses, undefined);
    assert.match(
      tooBig.message ?? '',
      /^Pod was rejected: Node didn't have enough resource: cpu, requested: 10000000, used: \d+, capacity: \d+$/,
    );
    const deadline = Date.now() + TIMEOUT_MS;
    while (
      !(await cluster.api.list(events, { namespace: 'default' })).items.some(
        ({ reason, message, involvedObject }) =>
          reason === 'FailedMount' &&
          involvedObject.name === 'no-volume' &&
          message === 'MountVolume.SetUp failed for volume "v" : configmap "nowhere" not found',
      )
    ) {
      assert.ok(Date.now() < deadline, 'an event reports the missing volume');
      await realClock.sleep(50);
    }
    // It starts by itself once what it lacked is there.
    await cluster.api.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'nowhere', namespace: 'default' },
      data: { k: 'v' },
    });
    await until(
      'no-config',
      (status) => first(status)?.state?.waiting?.reason !== 'CreateContainerConfigError',
    );
    await Promise.all(
      ['no-image', 'never', 'no-config', 'no-volume', 'no-command', 'too-big', 'root'].map((name) =>
        remove(name),
      ),
    );
  });

  test('what the runtime refuses to create is tried again every few seconds, however often its pod changes', async () => {
    const beganMs = Date.now();
    await create('refused', {
      containers: [
        {
          command: ['sh'],
          securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'no/such.json' } },
        },
      ],
    });
    await until('refused', (status) => first(status)?.state?.waiting?.reason === 'CreateContainerError');
    const wake = (round: number): Promise<Pod> =>
      cluster.api.patch(
        pods,
        { name: 'refused', namespace: 'default' },
        { type: 'merge', patch: { metadata: { labels: { round: String(round) } } } },
      );
    for (let round = 0; round < 20; round += 1) {
      await wake(round);
      await realClock.sleep(20);
    }
    const failed = (await cluster.api.list(events, { namespace: 'default' })).items.filter(
      ({ reason, involvedObject }) => reason === 'Failed' && involvedObject.name === 'refused',
    );
    const attempts = failed.reduce((sum, { count }) => sum + (count ?? 1), 0);
    assert.ok(attempts >= 1 && attempts <= 1 + (Date.now() - beganMs) / 5_000, `${attempts} attempts`);
    await remove('refused');
  });

  test("a pod's group without a user, and a privileged ephemeral container in a pod that is not", async () => {
    await create('grouped', {
      securityContext: { runAsGroup: 5 },
      containers: [{ command: ['sh', '-c', RUN_ON] }],
    });
    await until('grouped', (status) => conditionOf(status, 'Ready') === 'True');
    assert.equal(await run('grouped', 'id -u; id -g'), '0\n5\n');
    const debugging = {
      name: 'debugger',
      image: 'busybox',
      imagePullPolicy: 'IfNotPresent',
      command: ['sh', '-c', RUN_ON],
      securityContext: { privileged: true },
    };
    await cluster.api.patch(
      pods,
      { name: 'grouped', namespace: 'default' },
      {
        type: 'strategic',
        patch: { spec: { ephemeralContainers: [debugging] } },
        subresource: 'ephemeralcontainers',
      },
    );
    await until('grouped', (status) => status.ephemeralContainerStatuses?.[0]?.state?.running !== undefined);
    await remove('grouped');
  });

  test('hooks, grace periods and sidecars', async () => {
    const out = join(dir, 'words');
    await writeFile(out, '');
    await create('hooked', {
      terminationGracePeriodSeconds: 10,
      volumes: [{ name: 'out', hostPath: { path: out, type: 'File' } }],
      initContainers: [
        {
          name: 'side',
          image: 'busybox',
          imagePullPolicy: 'IfNotPresent',
          restartPolicy: 'Always',
          command: [
            'sh',
            '-c',
            'trap "echo side-ended >> /out; exit 0" TERM; while true; do sleep 0.1; done',
          ],
          volumeMounts: [{ name: 'out', mountPath: '/out' }],
        },
      ],
      containers: [
        {
          command: [
            'sh',
            '-c',
            'trap "echo main-ended >> /out; exit 0" TERM; while true; do sleep 0.1; done',
          ],
          volumeMounts: [{ name: 'out', mountPath: '/out' }],
          lifecycle: {
            postStart: { exec: { command: ['sh', '-c', 'echo post-start >> /out'] } },
            preStop: { exec: { command: ['sh', '-c', 'echo pre-stop >> /out'] } },
          },
        },
      ],
    });
    const status = await until('hooked', (now) => conditionOf(now, 'Ready') === 'True');
    assert.equal(status.initContainerStatuses?.[0]?.ready, true);
    await remove('hooked');
    assert.equal(await readFile(out, 'utf8'), 'post-start\npre-stop\nmain-ended\nside-ended\n');
  });

  test('the readiness of a pod that is being deleted follows its probe', async () => {
    const isReady = (status: PodStatus): boolean => conditionOf(status, 'Ready') === 'True';
    await create('leaving', {
      terminationGracePeriodSeconds: 60,
      containers: [
        {
          command: [
            'sh',
            '-c',
            'trap "rm /tmp/ready" TERM; touch /tmp/ready; while true; do sleep 0.1; done',
          ],
          readinessProbe: {
            exec: { command: ['test', '-f', '/tmp/ready'] },
            periodSeconds: 1,
            failureThreshold: 1,
          },
        },
      ],
    });
    await until('leaving', isReady);
    await cluster.api.delete(pods, { name: 'leaving', namespace: 'default' }, {});
    const status = await until('leaving', (current) => !isReady(current));
    assert.equal(status.phase, 'Running');
    assert.equal(conditionOf(status, 'ContainersReady'), 'False');
    await remove('leaving', 0);
  });

  test('a limit of the pod is resized in place, up and down', async () => {
    await create('pod-level', {
      resources: { limits: { cpu: '200m', memory: '64Mi' } },
      containers: [{ command: ['sh', '-c', RUN_ON] }],
    });
    await until('pod-level', ({ phase }) => phase === 'Running');
    const quota = async (): Promise<string> =>
      (
        await run(
          'pod-level',
          'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null || true',
        )
      ).split(/\s/)[0] ?? '';
    for (const [cpu, expected] of [
      ['400m', '40000'],
      ['100m', '10000'],
    ] as const) {
      await cluster.api.patch(
        pods,
        { name: 'pod-level', namespace: 'default' },
        {
          type: 'strategic',
          subresource: 'resize',
          patch: { spec: { resources: { limits: { cpu }, requests: { cpu } } } },
        },
      );
      await eventually(`the container has a quota of ${expected}`, async () => (await quota()) === expected);
      await until(
        'pod-level',
        ({ conditions = [] }) => !conditions.some(({ type }) => type === 'PodResizeInProgress'),
      );
    }
    await remove('pod-level');
  });

  test('processes of a pod are bounded, and all pods together by the node; nothing is left of a deleted pod', async () => {
    const place = (controller: string): string =>
      runtimeVersion === 2 ? '/sys/fs/cgroup' : `/sys/fs/cgroup/${controller}`;
    const read = async (controller: string, path: string): Promise<string> =>
      (await readFile(join(place(controller), runtime.cgroupRoot, 'kubepods', path), 'utf8')).trim();
    const pod = await create('bounded', { containers: [{ command: ['sh', '-c', RUN_ON] }] });
    await until('bounded', ({ phase }) => phase === 'Running');
    const uid = pod.metadata?.uid ?? '';
    assert.equal(await read('pids', `besteffort/pod${uid}/pids.max`), String(POD_PIDS));
    await create('forking', {
      restartPolicy: 'Never',
      containers: [
        { command: ['sh', '-c', `for i in $(seq ${2 * POD_PIDS}); do sleep 1000 & done; exit 0`] },
      ],
    });
    const forking = await until('forking', ({ phase }) => phase === 'Failed' || phase === 'Succeeded');
    assert.equal(forking.phase, 'Failed', 'its shell cannot fork any more');
    await remove('forking', 0);
    const most = Number(await readFile('/proc/sys/kernel/pid_max', 'utf8'));
    const [processes, memory] = await Promise.all([
      read('pids', 'pids.max'),
      read('memory', runtimeVersion === 2 ? 'memory.max' : 'memory.limit_in_bytes'),
    ]);
    assert.ok(Number(processes) < most, processes);
    assert.ok(Math.abs(Number(memory) - totalmem()) < 4096, memory);
    await eventually('the limits are an event of the node', async () =>
      (await cluster.api.list(events, {})).items.some(({ reason }) => reason === 'NodeAllocatableEnforced'),
    );
    await remove('bounded', 0);
    await eventually('no cgroup of the pod is left', async () => (await cgroupsOf(uid)).length === 0);
  });

  /** As a crash leaves it: a container's cgroup with a process, of a pod that neither the API nor the runtime has. */
  async function orphanedCgroup(): Promise<{ readonly uid: string; readonly process: ChildProcess }> {
    const uid = randomUUID();
    const hierarchies =
      runtimeVersion === 2
        ? ['']
        : ['pids', 'memory', 'unified'].filter((name) => existsSync(`/sys/fs/cgroup/${name}`));
    const process = spawn('sleep', ['1000'], { stdio: 'ignore' });
    for (const hierarchy of hierarchies) {
      const dir = join(
        '/sys/fs/cgroup',
        hierarchy,
        runtime.cgroupRoot,
        'kubepods/burstable',
        `pod${uid}`,
        'container',
      );
      await mkdir(dir, { recursive: true });
      await writeFile(join(dir, 'cgroup.procs'), String(process.pid));
    }
    return { uid, process };
  }

  /** On all hierarchies, also the empty second version beside the first. */
  async function cgroupsOf(uid: string): Promise<string[]> {
    const hierarchies = [
      '/sys/fs/cgroup',
      ...(await readdir('/sys/fs/cgroup')).map((name) => `/sys/fs/cgroup/${name}`),
    ];
    return hierarchies
      .flatMap((hierarchy) =>
        ['', 'burstable', 'besteffort'].map((qos) =>
          join(hierarchy, runtime.cgroupRoot, 'kubepods', qos, `pod${uid}`),
        ),
      )
      .filter((path) => existsSync(path));
  }

  test('a pod gets the place of one that was deleted by force, though that one still ends', async () => {
    const cpu = (await cluster.api.get(nodes, { name: NODE })).status?.allocatable?.['cpu'] ?? '1';
    const whole = {
      resources: { requests: { cpu } },
      command: ['sh', '-c', 'trap "" TERM; while true; do sleep 0.1; done'],
    };
    await create('victim', { containers: [whole] });
    await until('victim', ({ phase }) => phase === 'Running');
    await remove('victim', 0);
    await create('preemptor', { containers: [whole] });
    const status = await until('preemptor', ({ phase }) => phase !== 'Pending');
    assert.equal(status.phase, 'Running', status.message);
    await remove('preemptor', 0);
  });

  test('a rule begins all containers of a pod anew, init containers too; what they write too much evicts it', async () => {
    const rules = [{ action: 'RestartAllContainers', exitCodes: { operator: 'In', values: [42] } }];
    await create('anew', {
      restartPolicy: 'Never',
      volumes: [{ name: 'out', emptyDir: { sizeLimit: '1Mi' } }],
      initContainers: [
        { name: 'first', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: ['true'] },
      ],
      containers: [
        {
          command: ['sh', '-c', `if [ -f /out/begun ]; then ${RUN_ON}; fi; touch /out/begun; exit 42`],
          volumeMounts: [{ name: 'out', mountPath: '/out' }],
          restartPolicy: 'Never',
          restartPolicyRules: rules,
        },
        { command: ['sh', '-c', RUN_ON] },
      ],
    });
    const all = ({ initContainerStatuses = [], containerStatuses = [] }: PodStatus): ContainerStatus[] => [
      ...initContainerStatuses,
      ...containerStatuses,
    ];
    const status = await until(
      'anew',
      (now) =>
        all(now).every(({ restartCount }) => restartCount === 1) && conditionOf(now, 'Ready') === 'True',
    );
    assert.deepEqual(
      all(status).map(({ lastState }) => lastState?.terminated?.exitCode),
      [0, 42, 137],
    );
    assert.equal(conditionOf(status, 'AllContainersRestarting'), 'False');
    const { metadata } = (await get('anew'))!;
    await writeFile(
      join(dir, 'kubelet', 'pods', metadata!.uid!, 'volumes', 'kubernetes.io~empty-dir', 'out', 'much'),
      Buffer.alloc(2 * 1024 * 1024, 1),
    );
    const evicted = await until('anew', ({ phase }) => phase === 'Failed');
    assert.deepEqual(
      [evicted.reason, evicted.message],
      ['Evicted', 'Usage of EmptyDir volume "out" exceeds the limit "1Mi". '],
    );
    await remove('anew', 0);
  });

  test('the kubelet API: logs, pods, stats, and who may ask', async () => {
    await create('talking', {
      containers: [
        {
          command: [
            'sh',
            '-c',
            `for i in 1 2 3 4 5; do echo line $i; done; sleep 0.3; echo err >&2; ${RUN_ON}`,
          ],
        },
      ],
    });
    await until('talking', (status) => conditionOf(status, 'Ready') === 'True');
    const deadline = Date.now() + TIMEOUT_MS;
    while (!(await kubelet('/containerLogs/default/talking/c0')).body.includes('err')) {
      assert.ok(Date.now() < deadline, 'output is in the log');
      await realClock.sleep(20);
    }
    assert.equal((await kubelet('/containerLogs/default/talking/c0?tailLines=2&stream=stdout')).status, 200);
    assert.match((await kubelet('/containerLogs/default/talking/c0?tailLines=3')).body, /line 5\n/);
    assert.equal((await kubelet('/containerLogs/default/talking/c0?limitBytes=6')).body, 'line 1');
    assert.match(
      (await kubelet('/containerLogs/default/talking/c0?timestamps=true')).body,
      /^\d{4}-\d\d-\d\dT[\d:.]+\S* line 1\n/,
    );
    assert.match((await kubelet('/pods')).body, /"name":"talking"/);
    assert.match(
      (await kubelet('/metrics')).body,
      /kubelet_terminated_containers_total\{container_type="container",exit_code="42",reason="Error"\} [1-9]/,
    );
    assert.match((await kubelet('/stats/summary')).body, /"nodeName":"real-node"[\s\S]*"name":"talking"/);
    assert.match(
      (await kubelet('/metrics/resource')).body,
      /^container_cpu_usage_seconds_total\{container="c0",namespace="default",pod="talking"\} [\d.e-]+ \d+$[\s\S]*^container_start_time_seconds\{container="c0",namespace="default",pod="talking"\} \d[\s\S]*^resource_scrape_error 0$/m,
    );
    assert.match(
      (await kubelet('/metrics/cadvisor')).body,
      /^container_memory_working_set_bytes\{container="c0",id="\/[0-9a-f]{64}",image="[^"]+",name="[0-9a-f]{64}",namespace="default",pod="talking"\} [1-9]/m,
    );
    assert.match(
      (await kubelet('/metrics')).body,
      /^kubelet_running_containers\{container_state="running"\} [1-9]/m,
    );
    await create('done', { restartPolicy: 'Never', containers: [{ command: ['true'] }] });
    await until('done', ({ phase }) => phase === 'Succeeded');
    for (const path of ['/metrics/resource', '/metrics/cadvisor', '/stats/summary'])
      assert.doesNotMatch((await kubelet(path)).body, /"done"/, path);
    const { pods: measured } = JSON.parse((await kubelet('/stats/summary')).body) as {
      pods: { podRef: { name: string }; cpu: Cpu; containers: { cpu: Cpu }[] }[];
    };
    const talking = measured.find(({ podRef }) => podRef.name === 'talking');
    // With the sandbox. Processor time only grows, so that the order of measurements does not matter much.
    const ofContainers = talking?.containers.reduce((sum, { cpu }) => sum + cpu.usageCoreNanoSeconds, 0);
    assert.ok(talking && talking.cpu.usageCoreNanoSeconds >= (ofContainers ?? 0), JSON.stringify(talking));
    await remove('done');
    assert.equal((await kubelet('/metrics/none')).status, 404);
    assert.equal((await kubelet('/containerLogs/default/talking/none')).status, 404);
    assert.equal((await kubelet('/run/default/talking/c0')).status, 405);
    assert.equal((await kubelet('/pods', false)).status, 401);
    await remove('talking', 0);
  });

  test('a static pod runs from its file; its mirror shows it, comes back, follows a change and goes with the file', async () => {
    const file = join(dir, 'manifests', 'web.json');
    const name = `static-${NODE}`;
    const put = (container: object): Promise<void> =>
      writeFile(
        file,
        JSON.stringify({
          apiVersion: 'v1',
          kind: 'Pod',
          metadata: { name: 'static' },
          spec: {
            terminationGracePeriodSeconds: 1,
            containers: [
              {
                name: 'c',
                image: 'busybox',
                imagePullPolicy: 'IfNotPresent',
                command: ['sh', '-c', RUN_ON],
                ...container,
              },
            ],
          },
        }),
      );
    const ready = (status: PodStatus): boolean => conditionOf(status, 'Ready') === 'True';
    await put({});
    const before = await until(name, ready);
    assert.equal(before.phase, 'Running');

    const uid = (await get(name))?.metadata?.uid;
    await cluster.api.delete(pods, { name, namespace: 'default' }, { gracePeriodSeconds: 0 });
    const after = await until(name, (status, { metadata }) => metadata?.uid !== uid && ready(status));
    assert.equal(first(after).containerID, first(before).containerID, 'the container runs on');

    await agent.stop();
    agent = await startAgent();
    await realClock.sleep(500);
    assert.equal(
      first(await until(name, ready)).containerID,
      first(before).containerID,
      'adopted by a new agent',
    );

    await put({ env: [{ name: 'CHANGED', value: 'yes' }] });
    const changed = await until(
      name,
      (status) => ready(status) && first(status).containerID !== first(before).containerID,
    );
    assert.match(await run(name, 'echo $CHANGED'), /yes/);
    assert.equal(first(changed).restartCount, 0);

    await rm(file);
    await eventually('the mirror goes', async () => (await get(name)) === undefined);
    await eventually('the sandbox goes', async () => {
      const { items } = await runtime.cri.listPodSandbox({
        filter: { labelSelector: { 'io.kubernetes.pod.name': name } },
      });
      return items.length === 0;
    });
  });

  test('without an API server static pods run, and others are left alone until it answers', async () => {
    await create('known', { containers: [{ command: ['sh', '-c', RUN_ON] }] });
    const known = await until('known', (status) => conditionOf(status, 'Ready') === 'True');
    await agent.stop();
    let answers = false;
    const direct = createDirectTransport(cluster.server.handler, { user: AS_NODE });
    const api = createClient(
      {
        request: (request) =>
          answers
            ? direct.request(request)
            : Promise.reject(new TransportError('refused', 'connect ECONNREFUSED')),
        close: () => direct.close(),
      },
      { userAgent: 'test', clock: realClock },
    );
    clients.push(api);
    agent = newAgent(api);
    const started = agent.start();
    const file = join(dir, 'manifests', 'alone.json');
    const container = { name: 'c', image: 'busybox', imagePullPolicy: 'IfNotPresent' };
    await writeFile(
      file,
      JSON.stringify({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'alone' },
        spec: {
          terminationGracePeriodSeconds: 1,
          containers: [{ ...container, command: ['sh', '-c', RUN_ON] }],
        },
      }),
    );
    const name = `alone-${NODE}`;
    const containers = async (pod: string): Promise<readonly string[]> =>
      (
        await runtime.cri.listContainers({
          filter: {
            state: { state: 'CONTAINER_RUNNING' },
            labelSelector: { 'io.kubernetes.pod.name': pod },
          },
        })
      ).containers.map(({ id }) => `containerd://${id}`);
    await eventually('the static pod runs', async () => (await containers(name)).length === 1);
    assert.equal(await get(name), undefined, 'nobody could tell the API');
    assert.deepEqual(await containers('known'), [first(known).containerID]);

    answers = true;
    await started;
    const shown = await until(name, (status) => conditionOf(status, 'Ready') === 'True');
    assert.deepEqual(await containers(name), [first(shown).containerID]);
    assert.equal(
      first(await until('known', (status) => conditionOf(status, 'Ready') === 'True')).containerID,
      first(known).containerID,
    );
    await rm(file);
    await eventually('the mirror goes', async () => (await get(name)) === undefined);
    await remove('known');
  });

  test('while the network of pods is not ready only those of the host network start, and the Node says why', async () => {
    await agent.stop();
    const network = new NetworkReadiness();
    network.report('pod-range', networkNotReady('NetworkPluginNotReady', 'no range yet'));
    agent = await startAgent({ network });
    const ready = (status: PodStatus): boolean => conditionOf(status, 'Ready') === 'True';
    const nodeReady = async (): Promise<string> => {
      const { status } = await cluster.api.get(nodes, { name: NODE });
      const condition = status?.conditions?.find(({ type }) => type === 'Ready');
      return `${condition?.status} ${condition?.reason} ${condition?.message}`;
    };
    const containers = [{ command: ['sh', '-c', RUN_ON] }];
    await create('of-its-own', { containers });
    await create('of-the-host', { hostNetwork: true, containers });
    await until('of-the-host', ready);
    const problem =
      'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:no range yet';
    assert.equal(await nodeReady(), `False KubeletNotReady ${problem}`);
    await eventually('the event', async () => {
      const { items } = await cluster.api.list(events, { namespace: 'default' });
      return items.some(
        ({ reason, type, message, involvedObject }) =>
          involvedObject.name === 'of-its-own' &&
          `${type} ${reason} ${message}` === `Warning NetworkNotReady network is not ready: ${problem}`,
      );
    });
    const waiting = await until('of-its-own', ({ containerStatuses }) => containerStatuses !== undefined);
    assert.equal(first(waiting).state?.waiting?.reason, 'ContainerCreating');

    network.report('pod-range', undefined);
    await until('of-its-own', ready);
    await eventually('the Node', async () => (await nodeReady()).startsWith('True KubeletReady'));
    for (const name of ['of-its-own', 'of-the-host']) await remove(name);
    await agent.stop();
    agent = await startAgent();
  });

  test('a device plugin: its devices reach the Node and containers; a new agent knows who has them', async () => {
    const plugin = new GpuPlugin({
      dir: join(dir, 'kubelet', 'device-plugins'),
      resource: 'example.com/gpu',
      devices: gpus('a', 'b'),
    });
    await plugin.start();
    const shown = async (): Promise<string | undefined> =>
      (await cluster.api.get(nodes, { name: NODE })).status?.allocatable?.['example.com/gpu'];
    try {
      await eventually('the devices are allocatable', async () => (await shown()) === '2');
      const resources = { limits: { 'example.com/gpu': '2' }, requests: { 'example.com/gpu': '2' } };
      await create('gpu', { containers: [{ command: ['sh', '-c', RUN_ON], resources }] });
      await until('gpu', (status) => conditionOf(status, 'Ready') === 'True');
      assert.equal(
        await run('gpu', 'echo $GPUS; test -c /dev/gpu-a && test -c /dev/gpu-b && echo both'),
        'a,b\nboth\n',
      );
      await agent.stop();
      agent = await startAgent();
      plugin.stop();
      await plugin.start();
      await eventually('the devices are allocatable again', async () => (await shown()) === '2');
      await create('none-left', { containers: [{ command: ['true'], resources }] });
      const { reason } = await until('none-left', ({ phase }) => phase === 'Failed');
      assert.equal(reason, 'OutOfexample.com/gpu');
      await remove('gpu');
      plugin.failure = 'out of order';
      await create('refused', { containers: [{ command: ['true'], resources }] });
      const refused = await until('refused', ({ phase }) => phase === 'Failed');
      assert.deepEqual(
        [refused.reason, refused.message],
        [
          'UnexpectedAdmissionError',
          'Pod was rejected: Allocate failed due to rpc error: code = Unknown desc = out of order, which is unexpected',
        ],
      );
      await remove('none-left');
      await remove('refused');
    } finally {
      plugin.stop();
    }
  });

  test('containers wait for network policies to be in force, and an event says why', async () => {
    const why = 'policy default/web is not enforced: no br_netfilter';
    const observed: string[] = [];
    let isRefused = true;
    await agent.stop();
    agent = await startAgent({
      networkPolicies: {
        observe: (pod, addresses) => observed.push(`${pod.metadata?.name} ${addresses.length}`),
        inForce: async (pod) => {
          if (isRefused && pod.metadata?.name === 'guarded') throw new NetworkPolicyError(why);
        },
        release: () => {},
      },
    });
    await create('guarded', { containers: [{ command: ['sh', '-c', RUN_ON] }] });
    const said = async (): Promise<(string | undefined)[]> =>
      (
        await cluster.api.list(events, { namespace: 'default', fieldSelector: 'involvedObject.name=guarded' })
      ).items.map(({ type, reason, message }) => `${type} ${reason}: ${message}`);
    await eventually('the event', async () =>
      (await said()).includes(`Warning NetworkPolicyNotEnforced: ${why}`),
    );
    assert.ok(observed.includes('guarded 1'), 'the address is reported first');
    assert.equal((await get('guarded'))?.status?.containerStatuses?.[0]?.containerID, undefined);
    isRefused = false;
    await until('guarded', (status) => conditionOf(status, 'Ready') === 'True');
    await remove('guarded');
    await agent.stop();
    agent = await startAgent();
  });

  test(
    'an image is pulled with the credentials of a provider that is given the service account',
    { skip: existsSync('/usr/bin/docker-registry') ? false : 'needs the Debian package docker-registry' },
    async () => {
      const registry = await startRegistry({ basicAuth: true });
      try {
        const image = await pushImage(registry, { from: '/bin/busybox', as: 'team/box:1' });
        const asked = join(dir, 'asked');
        await agent.stop();
        agent = await startAgent({
          registryDir: runtime.layout.registryDir,
          credentialProviders: await configureProvider({ host: registry.host, asked }),
        });
        const private_ = { image, imagePullPolicy: 'Always', command: ['sh', '-c', RUN_ON] };
        await create('refused-token', { serviceAccountName: 'default', containers: [private_] });
        await until('refused-token', (status) =>
          /^(ErrImagePull|ImagePullBackOff)$/.test(
            status.containerStatuses?.[0]?.state?.waiting?.reason ?? '',
          ),
        );
        assert.equal(existsSync(asked), false, 'nodes may not request tokens for this audience yet');
        await remove('refused-token');
        await grantAudience('registry.example.com');
        await create('private', { serviceAccountName: 'default', containers: [private_] });
        await until('private', (status) => conditionOf(status, 'Ready') === 'True');
        const request = JSON.parse(await readFile(asked, 'utf8')) as Record<string, string>;
        const [, claims = ''] = request['serviceAccountToken']?.split('.') ?? [];
        const { aud, sub } = JSON.parse(Buffer.from(claims, 'base64url').toString()) as Record<
          string,
          unknown
        >;
        assert.deepEqual(
          [request['image'], aud, sub],
          [`${registry.host}/team/box`, ['registry.example.com'], 'system:serviceaccount:default:default'],
        );
        await remove('private');
      } finally {
        await registry.stop();
      }
    },
  );

  /** A program that notes what it is asked and knows the registry's user. */
  async function configureProvider({
    host,
    asked,
  }: {
    readonly host: string;
    readonly asked: string;
  }): Promise<CredentialProviderSettings> {
    const binDir = join(dir, 'providers');
    await mkdir(binDir);
    const apiVersion = 'credentialprovider.kubelet.k8s.io/v1';
    const response = {
      apiVersion,
      kind: 'CredentialProviderResponse',
      cacheKeyType: 'Registry',
      auth: { [host]: REGISTRY_USER },
    };
    await writeFile(
      join(binDir, 'known-user'),
      `#!/bin/sh\ncat > ${asked}\nprintf %s '${JSON.stringify(response)}'\n`,
      { mode: 0o755 },
    );
    const path = join(dir, 'providers.yaml');
    const tokenAttributes = {
      serviceAccountTokenAudience: 'registry.example.com',
      cacheType: 'ServiceAccount',
      requireServiceAccount: true,
    };
    const provider = {
      name: 'known-user',
      apiVersion,
      matchImages: [host],
      defaultCacheDuration: '0s',
      tokenAttributes,
    };
    await writeFile(
      path,
      JSON.stringify({
        apiVersion: 'kubelet.config.k8s.io/v1',
        kind: 'CredentialProviderConfig',
        providers: [provider],
      }),
    );
    return readCredentialProviders({ path, binDir });
  }

  /** As upstream's documentation has it. */
  async function grantAudience(audience: string): Promise<void> {
    const name = 'registry-audience';
    const apiGroup = 'rbac.authorization.k8s.io';
    await cluster.api.create(clusterRoles, {
      apiVersion: `${apiGroup}/v1`,
      kind: 'ClusterRole',
      metadata: { name },
      rules: [{ apiGroups: [''], resources: [audience], verbs: ['request-serviceaccounts-token-audience'] }],
    });
    await cluster.api.create(clusterRoleBindings, {
      apiVersion: `${apiGroup}/v1`,
      kind: 'ClusterRoleBinding',
      metadata: { name },
      roleRef: { apiGroup, kind: 'ClusterRole', name },
      subjects: [{ apiGroup, kind: 'Group', name: 'system:nodes' }],
    });
  }

  test('a new agent adopts what runs; pods deleted meanwhile are removed; lost sandboxes are made again', async () => {
    await create('adopted', {
      containers: [
        { command: ['sh', '-c', RUN_ON], readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 } },
      ],
    });
    await create('deleted-meanwhile', { containers: [{ command: ['sh', '-c', RUN_ON] }] });
    const before = await until('adopted', (status) => conditionOf(status, 'Ready') === 'True');
    await until('deleted-meanwhile', (status) => conditionOf(status, 'Ready') === 'True');
    await agent.stop();
    await cluster.api.delete(
      pods,
      { name: 'deleted-meanwhile', namespace: 'default' },
      { gracePeriodSeconds: 0 },
    );
    const { uid: lost, process: left } = await orphanedCgroup();
    agent = await startAgent();
    await eventually('what a crash left in a cgroup is ended, and the cgroup removed', async () => {
      return left.exitCode === null && left.signalCode === 'SIGKILL' && (await cgroupsOf(lost)).length === 0;
    });
    const deadline = Date.now() + TIMEOUT_MS;
    const sandboxes = async (name: string): Promise<readonly string[]> =>
      (
        await runtime.cri.listPodSandbox({ filter: { labelSelector: { 'io.kubernetes.pod.name': name } } })
      ).items.map(({ id }) => id);
    while ((await sandboxes('deleted-meanwhile')).length > 0) {
      assert.ok(Date.now() < deadline, 'the deleted pod is removed');
      await realClock.sleep(50);
    }
    const after = await until('adopted', (status) => conditionOf(status, 'Ready') === 'True');
    assert.equal(first(after).containerID, first(before).containerID);
    assert.equal(first(after).restartCount, 0);
    assert.equal(
      after.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime,
      before.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime,
    );
    const [sandbox = ''] = await sandboxes('adopted');
    await runtime.cri.stopPodSandbox({ podSandboxId: sandbox });
    // One that was tried in the sandbox that was going counts too.
    const again = await until(
      'adopted',
      (status) => (first(status).restartCount ?? 0) >= 1 && conditionOf(status, 'Ready') === 'True',
    );
    assert.notEqual(first(again).containerID, first(before).containerID);
    await remove('adopted');
  });

  test('a pod that fills the disk of the node is evicted, others stay; then the pressure is over', async () => {
    await agent.stop();
    const small = join(dir, 'small');
    await mkdir(small);
    await mount(['-t', 'tmpfs', '-o', 'size=48m', 'tmpfs', small]);
    agent = await startAgent({
      dir: small,
      eviction: { hard: { 'nodefs.available': '16Mi' }, transitionMs: 1_000 },
    });
    const volumes = { volumes: [{ name: 'v', emptyDir: {} }] };
    const container = (command: string) => ({
      command: ['sh', '-c', `${command}; ${RUN_ON}`],
      volumeMounts: [{ name: 'v', mountPath: '/v' }],
    });
    await create('modest', { ...volumes, containers: [container('dd if=/dev/zero of=/v/f bs=1M count=2')] });
    await create('greedy', { ...volumes, containers: [container('dd if=/dev/zero of=/v/f bs=1M count=40')] });
    const status = await until('greedy', ({ phase }) => phase === 'Failed');
    assert.equal(status.reason, 'Evicted');
    assert.match(
      status.message ?? '',
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: 16Mi, available: \S+\. /,
    );
    const disruption = status.conditions?.find(({ type }) => type === 'DisruptionTarget');
    assert.deepEqual(
      [disruption?.status, disruption?.reason, disruption?.message],
      ['True', 'TerminationByKubelet', status.message],
    );
    assert.notEqual(first(status).state?.terminated, undefined);
    assert.equal((await get('modest'))?.status?.phase, 'Running');
    const pressure = async (): Promise<string | undefined> =>
      (await cluster.api.get(nodes, { name: NODE })).status?.conditions?.find(
        ({ type }) => type === 'DiskPressure',
      )?.status;
    await eventually('the pressure ends', async () => (await pressure()) === 'False');
    const said = (await cluster.api.list(events, { namespace: 'default' })).items.map(({ reason }) => reason);
    for (const reason of ['EvictionThresholdMet', 'NodeHasDiskPressure', 'NodeHasNoDiskPressure'])
      assert.ok(said.includes(reason), reason);
    await remove('greedy');
    await remove('modest');
  });
});
