/**
 * Fifty crashes: the whole program is killed by SIGKILL at random moments while writers write, every fifth time the machine's processes too
 * (containerd, shims and containers, as a power cut would). After each start every acknowledged write must be there, running containers must be
 * the same ones after a crash of the program, and pods must come back after a crash of the machine.
 * CAPSTAN_CRASHES sets another number of rounds, CAPSTAN_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { existsSync } from 'node:fs';
import { configMaps, pods, serviceAccounts } from '#client/refs.ts';
import type { Client } from '#client/client.ts';
import { isStatusError } from '#machinery/errors.ts';
import { seededRandom } from '#stdx/random.ts';
import { buildBusyboxImage, BUSYBOX } from './busybox.ts';
import { capstan, testCluster, until, type TestCluster } from './cluster.ts';
import { killMachineProcesses } from './machine.ts';

const ROUNDS = Number(process.env['CAPSTAN_CRASHES'] ?? 50);
const SEED = Number(process.env['CAPSTAN_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const WRITERS = 4;
const MAX_WRITING_MS = 900;
const MACHINE_EVERY = 5;

/** What the server has acknowledged: name → the newest acknowledged counter and revision; 'maybe' holds what was under way when it was killed. */
interface Written {
  counter: number;
  revision: number;
  maybe: number | undefined;
}

const real =
  process.platform === 'linux' &&
  process.getuid?.() === 0 &&
  existsSync('/usr/bin/containerd') &&
  existsSync('/bin/busybox');

describe(`crashes (seed ${SEED}, ${real ? 'real containers' : 'simulated node'})`, () => {
  const random = seededRandom(SEED);
  const written = new Map<string, Written>();
  let cluster: TestCluster;
  let container: string | undefined;

  before(async () => {
    cluster = await testCluster({ runtime: real ? 'cri' : 'simulated' });
    await cluster.up();
    const api = await cluster.client();
    try {
      if (real) {
        const image = await buildBusyboxImage();
        const loaded = await capstan(['image', 'load', image.path, '--data-dir', cluster.dir]);
        assert.equal(loaded.code, 0, loaded.stderr);
      }
      await until('the default service account', () =>
        api.get(serviceAccounts, { name: 'default', namespace: 'default' }),
      );
      await api.create(pods, {
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { name: 'witness', namespace: 'default' },
        spec: {
          restartPolicy: 'Always',
          terminationGracePeriodSeconds: 0,
          containers: [
            { name: 'main', image: BUSYBOX, imagePullPolicy: 'Never', command: ['sleep', '1000000'] },
          ],
        },
      });
      container = await running(api);
    } finally {
      await api.close();
    }
  });

  after(async () => {
    await cluster?.delete();
  });

  for (let round = 1; round <= ROUNDS; round += 1) {
    const machine = round % MACHINE_EVERY === 0;
    it(
      `round ${round}: kill -9 of the ${machine ? 'machine’s processes' : 'program'} loses nothing`,
      { timeout: 120_000 },
      async () => {
        const api = await cluster.client();
        const stop = new AbortController();
        const writers = Array.from({ length: WRITERS }, (_, index) =>
          write(api, { writer: index, round, signal: stop.signal }),
        );
        await new Promise((done) => setTimeout(done, random() * MAX_WRITING_MS));
        await cluster.kill();
        if (machine && real) await killMachineProcesses(cluster.dir);
        stop.abort();
        await Promise.all(writers);
        await api.close();
        await cluster.up();
        const again = await cluster.client();
        try {
          await check(again);
          // After a crash of the machine the API first shows the old container, until the node agent has looked.
          const now = await running(again, machine && real ? container : undefined);
          if (!machine) assert.equal(now, container, 'the running container is adopted, not restarted');
          container = now;
        } finally {
          await again.close();
        }
      },
    );
  }

  async function write(
    api: Client,
    {
      writer,
      round,
      signal,
    }: { readonly writer: number; readonly round: number; readonly signal: AbortSignal },
  ): Promise<void> {
    for (let number = 0; !signal.aborted; number += 1) {
      const name = number % 3 === 0 ? `crash-${writer}` : `crash-${writer}-${round}-${number}`;
      const entry = written.get(name) ?? { counter: 0, revision: 0, maybe: undefined };
      written.set(name, entry);
      const counter = entry.counter + 1;
      entry.maybe = counter;
      const object = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name, namespace: 'default' },
        data: { counter: String(counter) },
      };
      try {
        const stored =
          entry.revision === 0 ? await api.create(configMaps, object) : await api.update(configMaps, object);
        entry.counter = counter;
        entry.revision = Number(stored.metadata?.resourceVersion);
        entry.maybe = undefined;
      } catch (error) {
        // A create that was under way in an earlier crash may have happened.
        if (isStatusError(error, 'AlreadyExists')) entry.revision = 1;
        else if (signal.aborted || !isStatusError(error)) return;
        else throw error;
      }
    }
  }

  async function check(api: Client): Promise<void> {
    const list = await api.list(configMaps, { namespace: 'default' });
    const stored = new Map(list.items.map((item) => [item.metadata?.name ?? '', item]));
    for (const [name, { counter, revision, maybe }] of written) {
      const found = stored.get(name);
      if (counter === 0 && found === undefined) continue;
      assert.ok(found, `${name} was acknowledged at revision ${revision} and is gone`);
      const value = Number(found.data?.['counter']);
      assert.ok(
        value === counter || value === maybe,
        `${name} holds ${value}; acknowledged was ${counter}, under way ${maybe ?? 'nothing'}`,
      );
      assert.ok(
        Number(found.metadata?.resourceVersion) >= revision,
        `${name} went back from revision ${revision} to ${found.metadata?.resourceVersion}`,
      );
      Object.assign(written.get(name) as Written, {
        counter: value,
        revision: Number(found.metadata?.resourceVersion),
        maybe: undefined,
      });
    }
  }

  /** The witness's container id once it runs and is ready; `other` than this one, where given. */
  async function running(api: Client, other?: string): Promise<string> {
    return until(`the witness pod to run${other ? ` as another container than ${other}` : ''}`, async () => {
      const pod = await api.get(pods, { name: 'witness', namespace: 'default' });
      const status = pod.status?.containerStatuses?.[0];
      return (
        pod.status?.phase === 'Running' &&
        status?.ready &&
        status.state?.running &&
        status.containerID !== other &&
        status.containerID
      );
    });
  }
});
