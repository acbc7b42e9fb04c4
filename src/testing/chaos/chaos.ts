/** Runs faults against the cluster while a program of load.ts writes, reads and watches on each worker, and judges everything after each fault. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Truth } from '#storage/testing/watch-oracle.ts';
import type { Random } from '#stdx/random.ts';
import { until } from '../cluster.ts';
import { Acts, judgeActs } from './acts.ts';
import { inside, type ChaosCluster, type Machine } from './cluster.ts';
import { judgeUnavailability, tableOf, unavailabilityOf, type Row } from './costs.ts';
import type { Fault } from './faults.ts';
import { History, judgeLeases, judgeList, PREFIX, type Line, type List } from './history.ts';
import { judgePods } from './pods.ts';
import { judgeReads } from './reads.ts';
import { TruthReader } from './truth.ts';

/** Acknowledged writes of each program that must come while a fault lasts, and after it. */
const PROGRESS = 20;
const PROGRESS_MS = 120_000;
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';

interface Judged {
  readonly upTo: number;
  /** Milliseconds since the epoch. */
  readonly marked: number;
  readonly lists: readonly List[];
}

/** A program that runs for the whole test, and where. */
interface Program {
  readonly history: History;
  readonly child: ChildProcess;
  /** Undefined: outside. */
  readonly machine?: Machine;
}

export class Chaos {
  readonly #cluster: ChaosCluster;
  readonly #random: Random;
  /** One on each worker. */
  readonly #loads: Required<Program>[] = [];
  readonly #acts = new Acts();
  #prober: Program | undefined;
  #podProcesses: readonly string[] = [];
  readonly #rows: Row[] = [];
  #truth: TruthReader | undefined;
  readonly #breaches: string[] = [];
  readonly #seen = new Set<string>();
  #markers = 0;
  #judgedReads = 0;

  constructor(cluster: ChaosCluster, random: Random) {
    this.#cluster = cluster;
    this.#random = random;
  }

  async start(): Promise<void> {
    // From before the first write, which may come before the first watch.
    this.#truth = new TruthReader((await this.#mark()) - 1);
    for (const machine of this.#cluster.workers) {
      const seed = Math.floor(this.#random() * 2 ** 31);
      this.#loads.push({ ...started(machine.name, this.#cluster.startLoad(machine, seed)), machine });
    }
    this.#prober = started('any server', this.#cluster.startProber());
    this.#podProcesses = this.#cluster.podProcesses();
    await until('each program to watch', () =>
      this.#loads.every(({ history: { watchingAfter } }) => watchingAfter !== undefined),
    );
    await this.round({ name: 'none', strike: () => {} });
  }

  /** The fault, its end, and that the cluster is whole again. Promises that were broken are kept for finish(), and the run goes on. */
  async round(fault: Fault): Promise<void> {
    const { planes } = this.#cluster;
    const victim =
      (await fault.victim?.(this.#cluster)) ?? planes[Math.floor(this.#random() * planes.length)]!;
    const lost = fault.losesControlPlane ? await this.#lossOf(victim) : undefined;
    const since = Date.now();
    await this.#strike(fault, victim);
    await this.#cluster.healthy();
    await this.#progress();
    const lists = await this.#lists();
    const marked = Date.now();
    const upTo = await this.#mark();
    this.#report({ fault, victim, since, lost });
    const found = await this.#judge({ upTo, marked, lists });
    this.#conclude(`${fault.name} (${victim.name}), ${Date.now() - since} ms`, found);
  }

  /** Judges see all that was since the start: what they found before is not told again. */
  #conclude(round: string, found: readonly string[]): void {
    const known = this.#breaches.length;
    for (const breach of found)
      if (!this.#seen.has(breach)) {
        this.#seen.add(breach);
        this.#breaches.push(`${round}: ${breach}`);
        console.log(`broken: ${breach}`);
      }
    const fresh = this.#breaches.length - known;
    console.log(`${fresh === 0 ? 'every promise kept' : `${fresh} promises broken`}: ${round}`);
  }

  async #lossOf(victim: Machine): Promise<Row['lost']> {
    const leader = await this.#cluster.etcdLeader();
    return leader === victim ? 'with the leader of etcd' : 'without the leader of etcd';
  }

  async #strike(fault: Fault, victim: Machine): Promise<void> {
    try {
      await fault.strike(this.#cluster, victim);
      const held = sleep(fault.holdMs ?? 0);
      if (fault.keepsQuorum !== false) await this.#progress(fault.cutOff?.(this.#cluster, victim));
      await held;
    } finally {
      await fault.heal?.(this.#cluster, victim);
    }
  }

  /** Of each program; those of machines that are cut off cannot make any. */
  async #progress(cutOff: readonly Machine[] = []): Promise<void> {
    const loads = this.#loads.filter(({ machine }) => !cutOff.includes(machine));
    const before = loads.map(({ history }) => history.acknowledged);
    await until(
      'writes to be acknowledged',
      () => {
        for (const { child } of this.#programs)
          assert.equal(child.exitCode, null, 'a program of the load ended');
        return loads.every(({ history }, i) => history.acknowledged >= before[i]! + PROGRESS);
      },
      PROGRESS_MS,
    );
  }

  get #programs(): readonly Program[] {
    return this.#prober ? [...this.#loads, this.#prober] : this.#loads;
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

  /** marked: before the marker of this revision was written, so that reads which ended by then cannot show more. */
  async #judge({ upTo, marked, lists }: Judged): Promise<string[]> {
    await until(
      'every watch to tell of the marker',
      () => this.#loads.every(({ history }) => history.reached >= upTo),
      PROGRESS_MS,
    );
    const truth = await this.#readTruth(upTo);
    const ofHistories = this.#loads.flatMap(({ history }) => [
      ...history.judgeWatch(upTo, truth),
      ...history.judgeWrites(upTo, truth),
      ...judgeLeases(history.leases),
      ...judgePods(history.pods),
      ...history.breaches,
    ]);
    return [
      ...ofHistories,
      ...this.#judgeReads(marked, truth),
      ...this.#judgeProcesses(),
      ...this.#judgeActs(),
      ...lists.flatMap((list) => judgeList(list, truth)),
    ];
  }

  #judgeReads(before: number, truth: Truth): string[] {
    const histories = this.#programs.map(({ history }) => history);
    const gets = histories.flatMap((history) => history.takeReads(before));
    this.#judgedReads += gets.length;
    return judgeReads({ puts: histories.flatMap(({ puts }) => puts), gets }, truth);
  }

  #judgeActs(): string[] {
    for (const plane of this.#cluster.planes)
      this.#acts.read(this.#cluster.auditLog(plane), { address: plane.address, now: Date.now() });
    return judgeActs(this.#acts);
  }

  /** Of the pods: the very same as at the beginning. */
  #judgeProcesses(): string[] {
    const now = this.#cluster.podProcesses();
    return this.#podProcesses
      .filter((one) => !now.includes(one))
      .map((one) => `a pod's process ${one} ended`);
  }

  #readTruth(upTo: number): Promise<Truth> {
    const { outside, planes } = this.#cluster;
    return this.#truth!.read(inside(outside, this.#cluster.etcdctlWords(planes[0]!.address)), upTo);
  }

  /** Nothing writes any more: the last writes, and what every API server answers. Throws for every promise that was broken since the start. */
  async finish(): Promise<void> {
    await this.close();
    const lists = await this.#lists();
    const upTo = await this.#mark();
    const truth = await this.#readTruth(upTo);
    this.#conclude('at the end', [
      ...this.#loads.flatMap(({ history }) => history.judgeWrites(upTo, truth)),
      ...lists.flatMap((list) => judgeList(list, truth)),
    ]);
    assert.deepEqual(this.#breaches, []);
    assert.deepEqual(judgeUnavailability(this.#rows), []);
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
    for (const { child } of this.#programs) child.kill('SIGKILL');
    await until('the load to end', () =>
      this.#programs.every(({ child: { exitCode, signalCode } }) => exitCode !== null || signalCode !== null),
    );
  }

  /** In tableOf(), what it cost each program that was not cut off. */
  #report({
    fault,
    victim,
    since,
    lost,
  }: Pick<Row, 'lost'> & {
    readonly fault: Fault;
    readonly victim: Machine;
    readonly since: number;
  }): void {
    const took = ((Date.now() - since) / 1000).toFixed(0);
    const name = fault.name === 'none' ? 'none' : `${fault.name} (${victim.name}, whole again in ${took} s)`;
    const cutOff = fault.cutOff?.(this.#cluster, victim) ?? [];
    for (const { history, machine } of this.#programs)
      if (!machine || !cutOff.includes(machine))
        this.#rows.push({
          fault: name,
          program: history.name,
          isOutside: !machine,
          lost,
          ...history.cost(since),
        });
  }

  /** Costs, and how much was judged. */
  table(): string {
    const ends = this.#loads.flatMap(({ history: { name, watchEnds } }) =>
      watchEnds.map((end) => `${name}: a watch ended: ${end}`),
    );
    const { acts, samples } = this.#acts;
    const writes = this.#loads.reduce((sum, { history }) => sum + history.acknowledged, 0);
    const events = this.#loads.reduce((sum, { history }) => sum + history.events, 0);
    const judged =
      `judged ${writes} acknowledged writes, ${this.#judgedReads} reads, ${events} watch events, ` +
      `${acts.length} writes of controllers and schedulers against ${samples.length} renewals of leases`;
    return [tableOf(this.#rows), ...ends, ...unavailabilityOf(this.#rows), judged].join('\n');
  }
}

function started(name: string, child: ChildProcess): Program {
  const history = new History(name);
  child.stderr?.pipe(process.stderr);
  createInterface({ input: child.stdout! }).on('line', (line) => history.add(JSON.parse(line) as Line));
  return { history, child };
}
