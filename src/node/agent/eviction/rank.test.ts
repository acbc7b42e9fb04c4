/** Which pod goes first, and what its status says. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Pod } from '#api/types.ts';
import { evictionText } from './message.ts';
import { rankForEviction, type Candidate, type PodUse } from './rank.ts';
import { evictionThresholds } from './thresholds.ts';

const MIB = 1024 * 1024;

interface Given {
  readonly priority?: number;
  readonly requests?: Record<string, string>;
  readonly memory?: number;
  readonly processes?: number;
  readonly layer?: number;
  readonly logs?: number;
  readonly volumes?: number;
}

function candidate(name: string, given: Given | undefined): Candidate {
  const {
    priority,
    requests = {},
    memory = 0,
    processes = 0,
    layer = 0,
    logs = 0,
    volumes = 0,
  } = given ?? {};
  const pod: Pod = {
    metadata: { name, namespace: 'd' },
    spec: {
      ...(priority === undefined ? {} : { priority }),
      containers: [{ name: 'c', resources: { requests } }],
    },
  };
  const disk = (bytes: number) => ({ bytes, inodes: bytes / MIB });
  const use: PodUse = {
    memoryBytes: memory,
    processes,
    containers: [{ name: 'c', memoryBytes: memory, rootfs: disk(layer), logs: disk(logs) }],
    volumes: disk(volumes),
  };
  return { pod, use: given && use };
}

function order(pods: Record<string, Given | undefined>, by: Parameters<typeof rankForEviction>[1]): string[] {
  const candidates = Object.entries(pods).map(([name, given]) => candidate(name, given));
  return rankForEviction(candidates, by).map(({ pod }) => pod.metadata?.name ?? '');
}

describe('the order', () => {
  it('of memory: unknown, then above the request, then by priority, then by the excess', () => {
    assert.deepEqual(
      order(
        {
          within: { memory: 90 * MIB, requests: { memory: '100Mi' }, priority: -10 },
          important: { memory: 900 * MIB, priority: 5 },
          small: { memory: 110 * MIB, requests: { memory: '100Mi' } },
          large: { memory: 50 * MIB },
          unknown: undefined,
        },
        { resource: 'memory', parts: [] },
      ),
      ['unknown', 'large', 'small', 'important', 'within'],
    );
  });

  it('of disk: by the parts that are on the file system', () => {
    const pods = {
      writer: { layer: 100 * MIB },
      logger: { logs: 60 * MIB },
      keeper: { volumes: 80 * MIB, requests: { 'ephemeral-storage': '200Mi' } },
    };
    assert.deepEqual(order(pods, { resource: 'ephemeral-storage', parts: ['rootfs', 'logs', 'volumes'] }), [
      'writer',
      'logger',
      'keeper',
    ]);
    assert.deepEqual(order(pods, { resource: 'ephemeral-storage', parts: ['logs', 'volumes'] }), [
      'logger',
      'writer',
      'keeper',
    ]);
    assert.deepEqual(order(pods, { resource: 'inodes', parts: ['volumes'] })[0], 'keeper');
  });

  it('of processes: by priority, then by how many', () => {
    assert.deepEqual(
      order(
        { many: { processes: 9, priority: 1 }, few: { processes: 2 }, some: { processes: 5 } },
        { resource: 'pids', parts: [] },
      ),
      ['some', 'few', 'many'],
    );
  });
});

describe('the message', () => {
  const due = evictionThresholds({ hard: { 'memory.available': '10%', 'nodefs.available': '1Gi' } });

  it('names the threshold, what was available, and who used more than requested', () => {
    const observations = new Map([
      ['memory.available', { available: 50 * MIB, capacity: 1000 * MIB }],
    ] as const);
    const one = candidate('p', { memory: 30 * MIB, requests: { memory: '20Mi' } });
    assert.deepEqual(evictionText(one, { resource: 'memory', due, observations }), {
      message:
        'The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 30Mi, request is 20Mi, has larger consumption of memory. ',
      annotations: {
        offending_containers: 'c',
        offending_containers_usage: '30Mi',
        starved_resource: 'memory',
      },
    });
  });

  it('counts layers and logs together', () => {
    const observations = new Map([['nodefs.available', { available: 5, capacity: MIB }]] as const);
    const one = candidate('p', { layer: 2 * MIB, logs: MIB });
    assert.equal(
      evictionText(one, { resource: 'ephemeral-storage', due, observations }).message,
      'The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 5. Container c was using 3Mi, request is 0, has larger consumption of ephemeral-storage. ',
    );
  });

  it('of a pod with a request of its own names the pod too', () => {
    const one = candidate('p', { memory: 30 * MIB });
    one.pod.spec!.resources = { requests: { memory: '10Mi' } };
    const { message, annotations } = evictionText(one, { resource: 'memory', due, observations: new Map() });
    assert.match(
      message,
      /^The node was low on resource: memory\. Pod p was using 30Mi, request is 10Mi, has larger consumption of memory\. Container c/,
    );
    assert.equal(annotations['offending_pod_usage'], '30Mi');
  });
});
