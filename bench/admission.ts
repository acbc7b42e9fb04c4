/**
 * What the default admission plugins cost a create: two API servers over lmdb in processes of their own, one with every plugin that is on by
 * default and one with none, loaded in turn by h2load. Answers the rate and the processor time of a request of each; the latter hardly depends on what
 * else the machine does. Plugins make a pod larger (token volume, tolerations, priority), which costs validating and storing it wherever it comes from:
 * the last case asks for pods that have all of it already.
 *
 *   node bench/admission.ts [--seconds=1] [--rounds=8] [--only=pods]
 */
import { execFile, fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { createAdmission } from '#apiserver/admission/list.ts';
import { createAuthorization } from '#apiserver/authz/authorization.ts';
import { FakeInternal } from '#apiserver/authz/testing/loopback-client.ts';
import { NODE_FLAGS } from '#deploy/daemon.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '8' },
    only: { type: 'string' },
  },
});
const run = promisify(execFile);
const directory = mkdtempSync(join(tmpdir(), 'capstan-bench-'));

const WHOLE_POD = {
  serviceAccountName: 'default',
  priority: 0,
  preemptionPolicy: 'PreemptLowerPriority',
  tolerations: ['not-ready', 'unreachable'].map((name) => ({
    key: `node.kubernetes.io/${name}`,
    operator: 'Exists',
    effect: 'NoExecute',
    tolerationSeconds: 300,
  })),
  volumes: [
    {
      name: 'kube-api-access-bench',
      projected: {
        sources: [
          { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
          { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
          {
            downwardAPI: {
              items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
            },
          },
        ],
      },
    },
  ],
};
const CONTAINER = {
  name: 'main',
  image: 'registry.example.com/image:1',
  ports: [{ containerPort: 8080 }],
  resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '256Mi' } },
};
const MOUNT = {
  volumeMounts: [
    {
      name: 'kube-api-access-bench',
      readOnly: true,
      mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
    },
  ],
};

const BODIES = {
  configmaps: {
    kind: 'ConfigMap',
    apiVersion: 'v1',
    metadata: { generateName: 'bench-', labels: { app: 'bench' } },
    data: { value: 'x'.repeat(800) },
  },
  pods: {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { generateName: 'bench-', labels: { app: 'bench' } },
    spec: { containers: [CONTAINER] },
  },
  'whole pods': {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: { generateName: 'bench-', labels: { app: 'bench' } },
    spec: { ...WHOLE_POD, containers: [{ ...CONTAINER, ...MOUNT }] },
  },
} as const;

interface Measure {
  readonly perSecond: number;
  readonly cpuMicroseconds: number;
}

class Server {
  readonly #process: ChildProcess;
  readonly #ready: Promise<{ readonly port: number }>;

  constructor(name: string, disabledPlugins: readonly string[]) {
    this.#process = fork(new URL('./apiserver-server.ts', import.meta.url), {
      execArgv: [...NODE_FLAGS],
      env: {
        ...process.env,
        BENCH_CONFIG: JSON.stringify({
          kind: 'api',
          dir: join(directory, name),
          cert: '',
          key: '',
          listBytes: 0,
          longBytes: 0,
          disabledPlugins,
        }),
      },
    });
    this.#ready = this.#answer('ready') as Promise<{ port: number }>;
  }

  #answer(type: string): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null): void => reject(new Error(`the server ended with code ${code}`));
      const hear = (message: { readonly type: string }): void => {
        if (message.type !== type) return;
        this.#process.off('message', hear).off('exit', ended);
        resolve(message);
      };
      this.#process.on('message', hear).on('exit', ended);
    });
  }

  /** amount: of h2load. */
  async create(
    path: string,
    {
      body,
      amount,
      connections = 16,
    }: { readonly body: object; readonly amount: readonly string[]; readonly connections?: number },
  ): Promise<Measure> {
    const { port } = await this.#ready;
    const file = join(directory, 'body.json');
    writeFileSync(file, JSON.stringify(body));
    await this.#cpu();
    const { stdout } = await run(
      'h2load',
      [
        ...amount,
        '-c',
        String(connections),
        '-m',
        '1',
        '-t',
        '1',
        '-H',
        'authorization: Bearer root',
        '-d',
        file,
        '-H',
        'content-type: application/json',
        `https://127.0.0.1:${port}${path}`,
      ],
      { maxBuffer: 2 ** 24 },
    );
    const done = Number(/status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx/.exec(stdout)?.[1] ?? NaN);
    if (!(done > 0)) throw new Error(`creates at ${path} failed:\n${stdout}`);
    return {
      perSecond: Number(/finished in [^,]+, ([\d.]+) req\/s/.exec(stdout)?.[1] ?? NaN),
      cpuMicroseconds: (await this.#cpu()) / done,
    };
  }

  async #cpu(): Promise<number> {
    const answer = this.#answer('cpu') as Promise<{ cpuMicroseconds: number }>;
    this.#process.send('cpu');
    return (await answer).cpuMicroseconds;
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const gone = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.send('stop');
    await gone;
  }
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN;
}

/** Names of what is on by default. */
function defaultPlugins(): string[] {
  const authorization = createAuthorization({ internal: new FakeInternal() });
  try {
    return createAdmission({ authorization }).map(({ name }) => name);
  } finally {
    authorization.stop();
  }
}

const all = defaultPlugins();
const servers = { 'no plugins': new Server('without', all), 'all default plugins': new Server('with', []) };
try {
  for (const server of Object.values(servers))
    await server.create('/api/v1/namespaces/default/serviceaccounts', {
      body: { kind: 'ServiceAccount', apiVersion: 'v1', metadata: { name: 'default' } },
      amount: ['-n', '1'],
      connections: 1,
    });
  for (const [name, body] of Object.entries(BODIES)) {
    if (values.only !== undefined && values.only !== name) continue;
    const measured = new Map<string, Measure[]>();
    for (let round = 0; round <= Number(values.rounds); round++) {
      // In turn, so that a slow moment of the machine is nobody's alone; the first round warms up.
      for (const [which, server] of Object.entries(servers)) {
        const measure = await server.create(
          `/api/v1/namespaces/default/${body.kind === 'Pod' ? 'pods' : 'configmaps'}`,
          { body, amount: ['-D', values.seconds] },
        );
        if (round > 0) measured.set(which, [...(measured.get(which) ?? []), measure]);
      }
    }
    const [without, withAll] = Object.keys(servers).map((which) => {
      const measures = measured.get(which) ?? [];
      return {
        perSecond: median(measures.map(({ perSecond }) => perSecond)),
        cpuMicroseconds: median(measures.map(({ cpuMicroseconds }) => cpuMicroseconds)),
      };
    }) as [Measure, Measure];
    const more = (ratio: number): string => `${ratio >= 0 ? '+' : ''}${(100 * ratio).toFixed(1)} %`;
    console.log(
      `${name}: without ${without.perSecond.toFixed(0)}/s, ${without.cpuMicroseconds.toFixed(0)} µs each; with ${withAll.perSecond.toFixed(0)}/s, ${withAll.cpuMicroseconds.toFixed(0)} µs each: ` +
        `${more(withAll.perSecond / without.perSecond - 1)} rate, ${more(withAll.cpuMicroseconds / without.cpuMicroseconds - 1)} processor time`,
    );
  }
} finally {
  for (const server of Object.values(servers)) await server.stop();
  rmSync(directory, { recursive: true, force: true });
}
