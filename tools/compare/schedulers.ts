/**
 * `node tools/compare/schedulers.ts --reference=KUBE-SCHEDULER`: upstream's kube-scheduler and ours beside each other on one API server and one cluster. For each
 * of a number of random pods it asks both about every node by itself, and lists where one accepts the node and the other does not, or their reasons
 * differ. Then the pod stays on a node that both accept, so that the next ones find it there. See docs/comparing.md. Ends with 1 where something differs.
 *   --seed=N --nodes=N --pods=N   of the cluster (1, 5, 20)
 *   --devices                     pods ask for devices (dynamic resources) instead; which ones they get is compared too
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type { ResourceClaim } from '#api/generated/types/resource-v1.ts';
import type { Node, Pod } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import {
  deviceClasses,
  namespaces,
  nodes,
  pods,
  resourceClaims,
  resourceSlices,
  serviceAccounts,
} from '#client/refs.ts';
import { identities } from '#cmd/all-in-one/identities.ts';
import { issueCertificate } from '#pki/certificate.ts';
import { defaultPlugins } from '#scheduler/plugins/list.ts';
import { createScheduler } from '#scheduler/scheduler.ts';
import { deviceClaim, slice } from '#scheduler/testing/devices.ts';
import { randomDevice, randomRequest } from '#scheduler/testing/random-devices.ts';
import { node as plainNode, pod as plainPod } from '#scheduler/testing/snapshot.ts';
import { randomNode, randomPod } from '#scheduler/testing/random-cluster.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';

const NAMES = { reference: 'reference', subject: 'subject' } as const;
const HOUR_MS = 3_600_000;
const VERDICT_MS = 30_000;

interface SchedulerDifference {
  readonly pod: string;
  readonly node: string;
  readonly reference: string;
  readonly subject: string;
}

interface ComparisonOptions {
  /** Upstream's binary. */
  readonly binary: string;
  readonly seed: number;
  readonly nodes: number;
  readonly pods: number;
  readonly devices?: boolean;
}

interface SchedulerComparison {
  /** Pods × nodes. */
  readonly asked: number;
  readonly accepted: number;
  /** What both refused for, and how often. */
  readonly reasons: ReadonlyMap<string, number>;
  readonly differences: readonly SchedulerDifference[];
}

export async function compareSchedulers(options: ComparisonOptions): Promise<SchedulerComparison> {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-schedulers-'));
  const port = await freePort();
  const testApi = await startTestApi({ port });
  const subject = createScheduler({
    api: testApi.clientAs(identities.scheduler),
    clock: realClock,
    log: silentLogger,
    identity: 'subject',
    leaderElect: false,
    profiles: [{ schedulerName: NAMES.subject, plugins: defaultPlugins }],
    backoff: { initialMs: 10, maximumMs: 10 },
  });
  let reference: ChildProcess | undefined;
  try {
    reference = await startReference(testApi, { dir, port, binary: options.binary });
    await subject.start();
    return await new Comparison(testApi, options).run();
  } finally {
    reference?.kill();
    if (reference && reference.exitCode === null) await once(reference, 'exit');
    await subject.stop();
    await testApi.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

async function startReference(
  { pki }: TestApi,
  { dir, port, binary }: { readonly dir: string; readonly port: number; readonly binary: string },
): Promise<ChildProcess> {
  const nowMs = realClock.now();
  const { certificatePem, keyPem } = issueCertificate(pki.ca, {
    subject: { commonName: 'system:kube-scheduler', organizations: ['system:masters'] },
    usages: ['clientAuth'],
    nowMs,
    lifetimeMs: HOUR_MS,
  });
  const inBase64 = (text: string): string => Buffer.from(text).toString('base64');
  const kubeconfig = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'c',
    clusters: [
      {
        name: 'c',
        cluster: {
          server: `https://127.0.0.1:${port}`,
          'certificate-authority-data': inBase64(pki.ca.certificatePem),
        },
      },
    ],
    users: [
      {
        name: 'c',
        user: { 'client-certificate-data': inBase64(certificatePem), 'client-key-data': inBase64(keyPem) },
      },
    ],
    contexts: [{ name: 'c', context: { cluster: 'c', user: 'c' } }],
  };
  const config = {
    apiVersion: 'kubescheduler.config.k8s.io/v1',
    kind: 'KubeSchedulerConfiguration',
    clientConnection: { kubeconfig: join(dir, 'kubeconfig'), qps: 1000, burst: 1000 },
    leaderElection: { leaderElect: false },
    podInitialBackoffSeconds: 1,
    podMaxBackoffSeconds: 1,
    profiles: [{ schedulerName: NAMES.reference }],
  };
  await writeFile(join(dir, 'kubeconfig'), JSON.stringify(kubeconfig));
  await writeFile(join(dir, 'config'), JSON.stringify(config));
  return spawn(binary, ['--config', join(dir, 'config'), '--secure-port=0'], { stdio: 'ignore' });
}

class Comparison {
  readonly #api: TestApi['api'];
  readonly #options: ComparisonOptions;
  readonly #random: Random;
  readonly #differences: SchedulerDifference[] = [];
  readonly #reasons = new Map<string, number>();
  #claim: ResourceClaim['spec'] | undefined;
  #accepted = 0;
  #probes = 0;

  constructor({ api }: TestApi, options: ComparisonOptions) {
    this.#api = api;
    this.#options = options;
    this.#random = seededRandom(options.seed);
  }

  async run(): Promise<SchedulerComparison> {
    for (const name of ['default', 'other']) await this.#namespace(name);
    const names: string[] = [];
    for (let index = 0; index < this.#options.nodes; index += 1)
      names.push(
        await this.#node(this.#options.devices ? plainNode(`n${index}`) : randomNode(this.#random, index)),
      );
    if (this.#options.devices) await this.#publishDevices(names);
    for (let index = 0; index < this.#options.pods; index += 1) await this.#ask(this.#pod(index), names);
    return {
      asked: this.#options.pods * names.length,
      accepted: this.#accepted,
      reasons: this.#reasons,
      differences: this.#differences,
    };
  }

  #pod(index: number): Pod {
    if (!this.#options.devices) return randomPod(this.#random, index);
    const requests = ['r0', 'r1']
      .slice(0, 1 + Math.floor(this.#random() * 2))
      .map((name) => randomRequest(this.#random, { name, mayTakeAll: true }));
    // The same claim for each probe of this pod.
    this.#claim = deviceClaim(requests).spec;
    return plainPod(`p${index}`, { spec: { resourceClaims: [{ name: 'devices', resourceClaimName: '' }] } });
  }

  async #publishDevices(names: readonly string[]): Promise<void> {
    await this.#api.create(deviceClasses, { metadata: { name: 'gpus' }, spec: {} });
    const labels = { 'resource.kubernetes.io/admin-access': 'true' };
    await this.#api.patch(
      namespaces,
      { name: 'default' },
      { type: 'merge', patch: { metadata: { labels } } },
    );
    for (const nodeName of names) {
      const devices = Array.from({ length: 2 + Math.floor(this.#random() * 3) }, (_, index) =>
        randomDevice(this.#random, index),
      );
      const sharedCounters = [{ name: 'set', counters: { memory: { value: '4Gi' } } }];
      const pool = { pool: nodeName, nodeName, count: 2 };
      const { devices: _none, ...counted } = slice([], {
        ...pool,
        name: `${nodeName}-counters`,
        sharedCounters,
      }).spec;
      await this.#api.create(resourceSlices, { metadata: { name: `${nodeName}-counters` }, spec: counted });
      await this.#api.create(resourceSlices, slice(devices, { ...pool, name: `${nodeName}-devices` }));
    }
  }

  async #makeClaim(name: string): Promise<void> {
    if (this.#claim)
      await this.#api.create(resourceClaims, { metadata: { name, namespace: 'default' }, spec: this.#claim });
  }

  /** Which devices it got; then they are free again. */
  async #endClaim(name: string): Promise<string> {
    if (!this.#claim) return '';
    const at = { name, namespace: 'default' };
    const { status } = await this.#api.get(resourceClaims, at);
    const given = (status?.allocation?.devices?.results ?? []).map(
      ({ request, device }) => ` ${request}=${device}`,
    );
    await this.#api.delete(resourceClaims, at);
    const current = await this.#api.get(resourceClaims, at).catch(() => undefined);
    if (!current) return given.join('');
    const freed = await this.#api.updateStatus(resourceClaims, { ...current, status: {} });
    await this.#api.update(resourceClaims, { ...freed, metadata: { ...freed.metadata, finalizers: [] } });
    return given.join('');
  }

  async #ask(pod: Pod, names: readonly string[]): Promise<void> {
    const accepting: string[] = [];
    for (const node of names) {
      // One after the other: a probe that is bound would be in the other's way.
      const reference = await this.#verdict(pod, { node, schedulerName: NAMES.reference });
      const subject = await this.#verdict(pod, { node, schedulerName: NAMES.subject });
      if (reference !== subject)
        this.#differences.push({ pod: JSON.stringify(pod.spec), node, reference, subject });
      else if (subject.startsWith('accepted')) accepting.push(node);
      else this.#reasons.set(subject, (this.#reasons.get(subject) ?? 0) + 1);
    }
    this.#accepted += accepting.length;
    const node = accepting[Math.floor(this.#random() * accepting.length)];
    if (node !== undefined && !this.#claim)
      await this.#create(pod, { name: pod.metadata!.name!, nodeName: node });
  }

  /** 'accepted', or why the scheduler refuses this node. */
  async #verdict(
    pod: Pod,
    { node, schedulerName }: { readonly node: string; readonly schedulerName: string },
  ): Promise<string> {
    const name = `probe-${++this.#probes}`;
    await this.#makeClaim(name);
    const made = await this.#create(pod, { name, schedulerName, only: node });
    const at = { name, namespace: made.metadata?.namespace };
    const endMs = realClock.now() + VERDICT_MS;
    let verdict: string | undefined;
    while (verdict === undefined && realClock.now() < endMs) {
      const { spec, status } = await this.#api.get(pods, at);
      const message = status?.conditions?.find(({ type }) => type === 'PodScheduled')?.message;
      if (spec?.nodeName) verdict = 'accepted';
      else if (message) verdict = reasonOf(message);
      else await sleep(10);
    }
    await this.#api.delete(pods, at, { gracePeriodSeconds: 0 });
    const given = await this.#endClaim(name);
    await this.#gone(at);
    return verdict === undefined ? `no verdict in ${VERDICT_MS} ms` : `${verdict}${given}`;
  }

  async #gone(at: { readonly name: string; readonly namespace: string | undefined }): Promise<void> {
    for (;;)
      try {
        await this.#api.get(pods, at);
        await sleep(5);
      } catch (error) {
        if (isStatusError(error, 'NotFound')) break;
        throw error;
      }
    // Until the schedulers' caches have it too.
    await sleep(30);
  }

  #create(
    { metadata, spec }: Pod,
    {
      name,
      schedulerName,
      nodeName,
      only,
    }: {
      readonly name: string;
      readonly schedulerName?: string;
      readonly nodeName?: string;
      readonly only?: string;
    },
  ): Promise<Pod> {
    const { priority: _unset, ...rest } = spec ?? { containers: [] };
    if (this.#claim) rest.resourceClaims = [{ name: 'devices', resourceClaimName: name }];
    const affinity = only === undefined ? rest.affinity : pinned(rest.affinity, only);
    return this.#api.create(pods, {
      metadata: { name, namespace: metadata?.namespace ?? 'default', labels: metadata?.labels ?? {} },
      spec: {
        ...rest,
        ...(affinity ? { affinity } : {}),
        ...(schedulerName === undefined ? {} : { schedulerName }),
        ...(nodeName === undefined ? {} : { nodeName }),
      },
    });
  }

  async #namespace(name: string): Promise<void> {
    try {
      await this.#api.create(namespaces, { metadata: { name } });
    } catch (error) {
      if (!isStatusError(error, 'AlreadyExists')) throw error;
    }
    await this.#api.create(serviceAccounts, { metadata: { name: 'default', namespace: name } });
  }

  async #node(wanted: Node): Promise<string> {
    const made = await this.#api.create(nodes, { metadata: wanted.metadata! });
    const placed = await this.#api.update(nodes, {
      ...made,
      spec: { ...made.spec, taints: [], ...wanted.spec },
    });
    const conditions = [{ type: 'Ready', status: 'True' }];
    await this.#api.updateStatus(nodes, {
      ...placed,
      status: { ...wanted.status, conditions } as NonNullable<Node['status']>,
    });
    return made.metadata.name;
  }
}

/** Every term is also about the node's name. */
function pinned(
  affinity: NonNullable<Pod['spec']>['affinity'],
  node: string,
): NonNullable<NonNullable<Pod['spec']>['affinity']> {
  const matchFields = [{ key: 'metadata.name', operator: 'In', values: [node] }];
  const terms = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [
    {},
  ];
  return {
    ...affinity,
    nodeAffinity: {
      ...affinity?.nodeAffinity,
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: terms.map((term) => ({ ...term, matchFields })),
      },
    },
  };
}

/** Without what preemption says and the nodes that were not asked about. */
function reasonOf(message: string): string {
  const [, reasons = message] = /^0\/\d+ nodes are available: (.*?)\. /.exec(`${message} `) ?? [];
  return reasons
    .split(', ')
    .filter((reason) => !reason.includes("didn't satisfy plugin"))
    .join(', ');
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function option(name: string, fallback: string): string {
  const prefix = `--${name}=`;
  return process.argv.find((argument) => argument.startsWith(prefix))?.slice(prefix.length) ?? fallback;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const binary = option('reference', '');
  if (binary === '') throw new Error('--reference=KUBE-SCHEDULER is missing');
  const { asked, accepted, reasons, differences } = await compareSchedulers({
    binary,
    seed: Number(option('seed', '1')),
    nodes: Number(option('nodes', '5')),
    pods: Number(option('pods', '20')),
    devices: process.argv.includes('--devices'),
  });
  for (const { pod, node, reference, subject } of differences)
    console.log(`${node}: reference: ${reference}; subject: ${subject}\n  ${pod}`);
  for (const [reason, times] of reasons) console.log(`${times} × ${reason}`);
  console.log(`${asked} questions, ${accepted} accepted by both, ${differences.length} differences`);
  process.exitCode = differences.length > 0 ? 1 : 0;
}
