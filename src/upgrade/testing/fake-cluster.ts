/** For tests: a cluster of which only the API is real. Its machines are a table that a test's driver changes; each answers as an API server does to an upgrade. */
import type { Client } from '#client/client.ts';
import { leases, nodes } from '#client/refs.ts';
import type { Transport, TransportResponse } from '#client/transport.ts';
import { TransportError } from '#client/transport-error.ts';
import { formatMicroTime } from '#machinery/time.ts';
import { skippingClock } from '#stdx/testing/skipping-clock.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { Gates } from '../gates.ts';

export const FROM = 'v1.36.0+capstan.0.1.0';
export const TO = 'v1.37.0+capstan.0.2.0';

export interface FakeMachine {
  readonly name: string;
  readonly role: 'control-plane' | 'worker';
  git: string;
  emulated: string;
  kubelet: string;
  stopped?: boolean;
  /** Of /readyz. */
  ill?: boolean;
  /** Answers of 500 between two looks at its metrics. */
  errors?: number;
  failed?: number;
  /** Further lines of its metrics. */
  metrics?: string;
}

/** A test ended the process there. */
export class Killed extends Error {}

export class FakeCluster {
  readonly machines: FakeMachine[] = [];
  readonly #server: TestApi;
  /** They watch. */
  readonly #gates: Gates[] = [];

  private constructor(server: TestApi) {
    this.#server = server;
  }

  /** Names of control planes begin with m. */
  static async start(names: readonly string[]): Promise<FakeCluster> {
    const cluster = new FakeCluster(await startTestApi());
    for (const name of names) await cluster.#add(name);
    return cluster;
  }

  async stop(): Promise<void> {
    for (const one of this.#gates.splice(0)) await one.close();
    await this.#server.stop();
  }

  get api(): Client {
    return this.#server.api;
  }

  find(name: string): FakeMachine {
    return this.machines.find((machine) => machine.name === name)!;
  }

  gates(clock: ReturnType<typeof skippingClock>, extra?: () => Promise<string | undefined>): Gates {
    const gates = new Gates({ api: this.api, at: (server) => this.at(server), clock, extra });
    this.#gates.push(gates);
    return gates;
  }

  /** The API server of one machine, as far as an upgrade asks it. */
  at(address: string): Client {
    const machine = this.find(address.split(':')[0]!);
    const transport: Transport = {
      async request({ path }) {
        if (machine.stopped) throw new TransportError('refused', 'connect ECONNREFUSED');
        if (path === '/metrics') return answer(200, metricsOf(machine));
        if (path.startsWith('/readyz'))
          return machine.ill ? answer(500, '[-]etcd failed') : answer(200, 'ok');
        const [emulationMajor, emulationMinor] = machine.emulated.split('.');
        return answer(200, JSON.stringify({ gitVersion: machine.git, emulationMajor, emulationMinor }));
      },
      close: () => Promise.resolve(),
    };
    return { transport } as Client;
  }

  /** As its node agent does. */
  async postStatus(name: string): Promise<void> {
    const { kubelet } = this.find(name);
    const empty = [
      'bootID',
      'containerRuntimeVersion',
      'kernelVersion',
      'machineID',
      'osImage',
      'systemUUID',
    ];
    const nodeInfo = {
      ...Object.fromEntries(empty.map((field) => [field, ''])),
      architecture: 'amd64',
      operatingSystem: 'linux',
      kubeProxyVersion: '',
      kubeletVersion: kubelet,
    };
    const status = {
      nodeInfo,
      addresses: [{ type: 'InternalIP', address: name }],
      conditions: [{ type: 'Ready', status: 'True' }],
    };
    await this.api.patch(nodes, { name }, { type: 'merge', subresource: 'status', patch: { status } });
  }

  /** As its node agent does; the first time it makes it. */
  async renewLease(name: string, nowMs: number): Promise<void> {
    const key = { name, namespace: 'kube-node-lease' };
    const patch = {
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: key,
      spec: { holderIdentity: name, renewTime: formatMicroTime(nowMs) },
    };
    await this.api.patch(leases, key, { type: 'apply', fieldManager: 'test', force: true, patch });
  }

  async #add(name: string): Promise<void> {
    const role = name.startsWith('m') ? 'control-plane' : 'worker';
    this.machines.push({ name, role, git: FROM, emulated: '1.36', kubelet: FROM });
    const labels = role === 'worker' ? {} : { 'node-role.kubernetes.io/control-plane': '' };
    await this.api.create(nodes, { metadata: { name, labels } });
    await this.postStatus(name);
  }
}

function metricsOf(machine: FakeMachine): string {
  machine.failed = (machine.failed ?? 0) + (machine.errors ?? 0);
  return `apiserver_request_total{code="200"} 10\napiserver_request_total{code="500"} ${machine.failed}\n${machine.metrics ?? ''}`;
}

function answer(status: number, body: string): TransportResponse {
  return {
    status,
    headers: {},
    bytes: () => Promise.resolve(Buffer.from(body)),
    stream: () => {
      throw new Error('unused');
    },
  };
}
