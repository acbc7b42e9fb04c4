/** Runs faults against the cluster while two programs of load.ts write, read and watch on its worker, and judges everything after each fault. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Truth } from '#storage/testing/watch-oracle.ts';
import type { Random } from '#stdx/random.ts';
import { until } from '../cluster.ts';
import { inside, type ChaosCluster, type Machine } from './cluster.ts';
import type { Fault } from './faults.ts';
import { History, judgeLeases, judgeList, PREFIX, type Cost, type Line, type List } from './history.ts';
import { TruthReader } from './truth.ts';

/** Acknowledged writes of each program that must come while a fault lasts, and after it. */
const PROGRESS = 20;
const PROGRESS_MS = 120_000;
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';

interface Row extends Cost {
  readonly fault: string;
}

export class Chaos {
  readonly #cluster: ChaosCluster;
  readonly #random: Random;
  readonly #histories: History[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #rows: Row[] = [];
  #truth: TruthReader | undefined;
  #markers = 0;

  constructor(cluster: ChaosCluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
  }

  async start(): Promise<void> {
    // From before the first write, which may come before the first watch.
    this.#truth = new TruthReader((await this.#mark()) - 1);
    for (const name of ['a', 'b']) {
      const history = new History(name);
      const child = this.#cluster.startLoad(name, Math.floor(this.#random() * 2 ** 31));
      child.stderr?.pipe(process.stderr);
      createInterface({ input: child.stdout! }).on('line', (line) => history.add(JSON.parse(line) as Line));
      this.#children.push(child);
      this.#histories.push(history);
    }
    await until('both programs to watch', () =>
      this.#histories.every(({ watchingAfter }) => watchingAfter !== undefined),
    );
    await this.round({ name: 'none', strike: () => {} });
  }

  /** The fault, its end, and that the cluster is whole again; throws for every breach. */
  async round(fault: Fault): Promise<void> {
    const { planes } = this.#cluster;
    const victim =
      (await fault.victim?.(this.#cluster)) ?? planes[Math.floor(this.#random() * planes.length)]!;
    const since = Date.now();
    await this.#strike(fault, victim);
    await this.#cluster.healthy();
    await this.#progress();
    const lists = await this.#lists();
    const upTo = await this.#mark();
    this.#report({ fault, victim, since });
    assert.deepEqual(await this.#judge(upTo, lists), [], `${fault.name} (${victim.name})`);
  }

  async #strike(fault: Fault, victim: Machine): Promise<void> {
    try {
      await fault.strike(this.#cluster, victim);
      const held = sleep(fault.holdMs ?? 0);
      if (fault.keepsQuorum !== false) await this.#progress();
      await held;
    } finally {
      await fault.heal?.(this.#cluster, victim);
    }
  }

  /** Of each program. */
  async #progress(): Promise<void> {
    const before = this.#histories.map(({ acknowledged }) => acknowledged);
    await until(
      'writes to be acknowledged',
      () => {
        for (const child of this.#children) assert.equal(child.exitCode, null, 'a program of the load ended');
        return this.#histories.every(({ acknowledged }, i) => acknowledged >= before[i]! + PROGRESS);
      },
      PROGRESS_MS,
    );
  }

  /** An object that every watch has to tell of: its revision. */
  async #mark(): Promise<number> {
    const name = `${PREFIX}marker-${(this.#markers += 1)}`;
    const object = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name } };
    const answer = await until('a marker', async () => {
      const created = await this.#cluster.request('POST', CONFIG_MAPS, JSON.stringify(object));
      assert.match(created, /^(201|409) /);
      const found = await this.#cluster.request('GET', `${CONFIG_MAPS}/${name}`);
      return found.startsWith('200 ') && found.slice(4);
    });
    const { metadata } = JSON.parse(answer) as { metadata: { resourceVersion: string } };
    return Number(metadata.resourceVersion);
  }

  async #judge(upTo: number, lists: readonly List[]): Promise<string[]> {
    await until('every watch to tell of the marker', () =>
      this.#histories.every(({ reached }) => reached >= upTo),
    );
    const truth = await this.#readTruth(upTo);
    const ofHistories = this.#histories.flatMap((history) => [
      ...history.judgeWatch(upTo, truth),
      ...history.judgeWrites(upTo, truth),
      ...judgeLeases(history.leases),
      ...history.breaches,
    ]);
    return [...ofHistories, ...lists.flatMap((list) => judgeList(list, truth))];
  }

  #readTruth(upTo: number): Promise<Truth> {
    const { worker, planes } = this.#cluster;
    return this.#truth!.read(inside(worker, this.#cluster.etcdctlWords(planes[0]!.address)), upTo);
  }

  /** Nothing writes any more: the last writes, and what every API server answers. */
  async finish(): Promise<void> {
    await this.close();
    const lists = await this.#lists();
    const upTo = await this.#mark();
    const truth = await this.#readTruth(upTo);
    const breaches = [
      ...this.#histories.flatMap((history) => history.judgeWrites(upTo, truth)),
      ...lists.flatMap((list) => judgeList(list, truth)),
    ];
    assert.deepEqual(breaches, []);
  }

  /** Of every API server. */
  #lists(): Promise<List[]> {
    return Promise.all(
      this.#cluster.planes.map(async ({ name, address }) => {
        const answer = await until(`a list of ${name}`, async () => {
          const { requestAt } = this.#cluster;
          const text = await requestAt.call(this.#cluster, `https://${address}:6443`, 'GET', CONFIG_MAPS);
          return text.startsWith('200 ') && text.slice(4);
        });
        return { server: name, ...(JSON.parse(answer) as Omit<List, 'server'>) };
      }),
    );
  }

  async close(): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    await until('the load to end', () =>
      this.#children.every(({ exitCode, signalCode }) => exitCode !== null || signalCode !== null),
    );
  }

  #report({
    fault,
    victim,
    since,
  }: {
    readonly fault: Fault;
    readonly victim: Machine;
    readonly since: number;
  }): void {
    const took = ((Date.now() - since) / 1000).toFixed(0);
    const name = fault.name === 'none' ? 'none' : `${fault.name} (${victim.name}, whole again in ${took} s)`;
    for (const history of this.#histories)
      this.#rows.push({ fault: `${history.name}: ${name}`, ...history.cost(since) });
  }

  /** One line a fault and program. */
  table(): string {
    const head =
      'no read ms | no write ms | slowest ms | acknowledged | refused | unknown | failed reads | fault';
    const lines = this.#rows.map((row) => {
      const times = [row.withoutReadMs, row.withoutWriteMs, row.slowestMs];
      const counts = [row.acknowledged, row.refused, row.unknown, row.failedReads];
      return [
        [...times, ...counts, row.fault].join(' | '),
        ...row.errors.map((error) => `    ${error}`),
      ].join('\n');
    });
    const ends = this.#histories.flatMap(({ name, watchEnds }) =>
      watchEnds.map((end) => `${name}: a watch ended: ${end}`),
    );
    return [head, ...lines, ...ends].join('\n');
  }
}
