/**
 * How long clients get no answer after the loss of a control plane, of three on real etcd: its machine is killed, stopped (SIGSTOP of every process), cut off from
 * the network or shut down in order, or its etcd alone is stopped (etcd), the one with etcd's leader and one without. Readers and writers go through the local balancer of a worker, others ask every server in turn, with
 * requests of one second. An outage is the longest time between two answers of one of three readers, or writers. Machines are network namespaces on this computer.
 * Needs root and etcd. bound: the exit code is 1 where an outage through the balancer was longer.
 *
 *   node bench/failover.ts [--rounds N] [--cases kill,stop,cut,shutdown,etcd] [--victims leader,follower] [--heartbeat MS --election MS] [--bound MS] [--logs DIR]
 */
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { LanMachine } from '#testing/lan.ts';
import { until } from '#testing/cluster.ts';
import { MAIN, Machines, etcdBinary, joinWords, median, run, type Machine } from './machines.ts';

const CLIENT = resolve(import.meta.dirname, 'failover-client.ts');
const HOLD_MS = 6_000;
const SETTLE_MS = 2_000;
const RETRY_TIMEOUT_MS = 1_000;
/** A client that waits: what the balancer does not end hangs. */
const PATIENT_TIMEOUT_MS = 10_000;
const READY_TIMEOUT_MS = 60_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=all'];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    cases: { type: 'string', default: 'kill,stop,cut,shutdown,etcd' },
    victims: { type: 'string', default: 'leader,follower' },
    heartbeat: { type: 'string' },
    election: { type: 'string' },
    bound: { type: 'string' },
    logs: { type: 'string' },
  },
});

type Case = 'kill' | 'stop' | 'cut' | 'shutdown' | 'etcd';
const WAYS = ['balancer', 'every server'] as const;
const KINDS = ['read', 'write'] as const;

/** Times of answers, by way, kind and loop. */
class Answers {
  readonly #times = new Map<string, number[]>();

  add(id: string, ms: number): void {
    const times = this.#times.get(id) ?? [];
    this.#times.set(id, times);
    times.push(ms);
  }

  /** Of any loop whose id begins so, from the last answer before `fromMs` on. */
  longestGap(prefix: string, { fromMs, toMs }: { readonly fromMs: number; readonly toMs: number }): number {
    let longest = 0;
    for (const [id, times] of this.#times) {
      if (!id.startsWith(prefix)) continue;
      let last = fromMs;
      for (const ms of [...times.filter((one) => one > fromMs && one < toMs), toMs]) {
        longest = Math.max(longest, ms - last);
        last = ms;
      }
    }
    return longest;
  }
}

class Cluster {
  readonly #machines = new Machines('10.222.0');
  readonly planes = ['m1', 'm2', 'm3'].map((name) => this.#machines.add(name));
  readonly #worker = this.#machines.add('w1');
  readonly answers = new Answers();

  async start(): Promise<void> {
    const [first, ...others] = this.planes as [Machine, ...Machine[]];
    const config = join(this.#machines.base, 'init.json');
    const extraArgs = [
      ...(values.heartbeat ? [{ name: 'heartbeat-interval', value: values.heartbeat }] : []),
      ...(values.election ? [{ name: 'election-timeout', value: values.election }] : []),
    ];
    writeFileSync(
      config,
      JSON.stringify({
        apiVersion: 'kubeadm.k8s.io/v1beta4',
        kind: 'ClusterConfiguration',
        controlPlaneEndpoint: `${first.address}:6443`,
        etcd: { local: { extraArgs } },
      }),
    );
    const command = (machine: Machine, words: readonly string[]): Promise<string> =>
      run(machine, [MAIN, ...words, `--node-name=${machine.name}`, `--rootfs=${machine.rootfs}`, ...COMMON]);
    const printed = await command(first, ['init', '--upload-certs', `--config=${config}`, etcdBinary()]);
    const words = joinWords(printed, `${first.address}:6443`);
    for (const one of others) await command(one, words.controlPlane);
    await command(this.#worker, words.worker);
    await this.healthy();
    const servers = this.planes.map(({ address }) => `https://${address}:6443`);
    this.#client('balancer', {
      lan: this.#worker.lan,
      words: [PATIENT_TIMEOUT_MS, 'https://127.0.0.1:7445'],
    });
    this.#client('every server', { lan: this.#machines.lan.outside, words: [RETRY_TIMEOUT_MS, ...servers] });
    await until('clients to have answers', () => Promise.resolve(this.isSteady()));
  }

  #client(
    way: (typeof WAYS)[number],
    { lan, words }: { readonly lan: LanMachine; readonly words: readonly (string | number)[] },
  ): void {
    const admin = join(this.planes[0]!.rootfs, 'etc/kubernetes/admin.conf');
    const name = way.replace(' ', '-');
    const child = lan.start([
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      CLIENT,
      admin,
      name,
      ...words.map(String),
    ]);
    child.stderr?.pipe(process.stderr);
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const [kind, loop, ms] = line.split(' ');
      this.answers.add(`${way} ${kind} ${loop}`, Number(ms));
    });
  }

  /** All loops were answered in the last second. */
  isSteady(): boolean {
    const toMs = Date.now();
    const fromMs = toMs - 1_000;
    return WAYS.every((way) =>
      KINDS.every((kind) => this.answers.longestGap(`${way} ${kind}`, { fromMs, toMs }) < 700),
    );
  }

  async healthy(): Promise<void> {
    for (const { address } of this.planes) {
      const url = `https://${address}:6443/readyz`;
      const words = [
        'curl',
        '--silent',
        '--insecure',
        '--fail',
        '--max-time',
        '2',
        '--output',
        '/dev/null',
        url,
      ];
      await until(
        `the API server ${address} to be ready`,
        () => Promise.resolve(this.#machines.lan.outside.try(...words) === 0),
        READY_TIMEOUT_MS,
      );
      await until(
        `etcd ${address} to be healthy`,
        () =>
          Promise.resolve(
            this.#machines.lan.outside.try(...this.#etcdctl(address), 'endpoint', 'health') === 0,
          ),
        READY_TIMEOUT_MS,
      );
    }
  }

  #etcdctl(address: string): string[] {
    const pki = join(this.planes[0]!.rootfs, 'etc/kubernetes/pki');
    return [
      'etcdctl',
      `--endpoints=https://${address}:2379`,
      `--cacert=${pki}/etcd/ca.crt`,
      `--cert=${pki}/apiserver-etcd-client.crt`,
      `--key=${pki}/apiserver-etcd-client.key`,
    ];
  }

  leader(): Machine {
    for (const plane of this.planes) {
      const words = [...this.#etcdctl(plane.address), 'endpoint', 'status', '--write-out=json'];
      const [status] = JSON.parse(this.#machines.lan.outside.run(...words)) as {
        Status: { leader: number; header: { member_id: number } };
      }[];
      if (status?.Status.leader === status?.Status.header.member_id) return plane;
    }
    throw new Error('etcd has no leader');
  }

  strike(victim: Machine, how: Case): void {
    if (how === 'cut') return void this.#machines.lan.outside.run('ip', 'link', 'set', victim.name, 'down');
    if (how === 'stop') return signal(victim, 'SIGSTOP');
    if (how === 'etcd') return signal(victim, 'SIGSTOP', '--initial-cluster=');
    if (how === 'shutdown') return signal(victim, 'SIGTERM', 'supervise');
    while (victim.lan.pids().length > 0) signal(victim, 'SIGKILL');
  }

  async heal(victim: Machine, how: Case): Promise<void> {
    if (how === 'cut') return void this.#machines.lan.outside.run('ip', 'link', 'set', victim.name, 'up');
    if (how === 'stop' || how === 'etcd') return signal(victim, 'SIGCONT');
    await until(
      'the machine to be down',
      () => Promise.resolve(victim.lan.pids().length === 0),
      READY_TIMEOUT_MS,
    );
    const words = [MAIN, 'supervise', `--rootfs=${victim.rootfs}`];
    const child = victim.lan.start([process.execPath, '--disable-warning=ExperimentalWarning', ...words]);
    child.stdout?.resume();
    child.stderr?.resume();
  }

  async close(): Promise<void> {
    if (values.logs)
      for (const { name, rootfs } of [...this.planes, this.#worker])
        if (existsSync(join(rootfs, 'var/log/capstan')))
          cpSync(join(rootfs, 'var/log/capstan'), join(values.logs, name), { recursive: true });
    await this.#machines.close();
  }
}

/** To all of its processes, or to those with a word in their command line. */
function signal(victim: Machine, name: NodeJS.Signals, word = ''): void {
  for (const pid of victim.lan.pids())
    try {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word)) process.kill(pid, name);
    } catch {
      // It has ended by itself.
    }
}

const cluster = new Cluster();
const outages = new Map<string, number[]>();
let worst = 0;
process.once('SIGTERM', () => void cluster.close().finally(() => process.exit(1)));
try {
  await cluster.start();
  for (let round = 1; round <= Number(values.rounds); round++)
    for (const how of values.cases.split(',') as Case[])
      for (const whom of values.victims.split(',')) await oneRound(how, whom === 'leader');
} finally {
  await cluster.close();
}
for (const [what, all] of outages)
  console.log(
    `${what.padEnd(44)} min ${Math.min(...all)} median ${median(all)} max ${Math.max(...all)} ms, ${all.length} rounds`,
  );
if (values.bound && worst > Number(values.bound)) {
  console.log(`an outage through the balancer of ${worst} ms is longer than ${values.bound} ms`);
  process.exitCode = 1;
}

async function oneRound(how: Case, ofLeader: boolean): Promise<void> {
  await cluster.healthy();
  await until('clients to have answers', () => Promise.resolve(cluster.isSteady()), READY_TIMEOUT_MS);
  await sleep(SETTLE_MS);
  const leader = cluster.leader();
  const followers = cluster.planes.filter((one) => one !== leader);
  const victim = ofLeader ? leader : followers[Math.floor(Math.random() * followers.length)]!;
  // Every phase of heartbeats and checks alike.
  await sleep(Math.random() * 1_000);
  const fromMs = Date.now();
  cluster.strike(victim, how);
  await sleep(HOLD_MS);
  await cluster.heal(victim, how);
  const toMs = fromMs + HOLD_MS;
  const found = WAYS.flatMap((way) =>
    KINDS.map((kind) => {
      const ms = cluster.answers.longestGap(`${way} ${kind}`, { fromMs, toMs });
      const what = `${how} ${ofLeader ? 'leader' : 'follower'}: ${kind}s, ${way}`;
      outages.set(what, [...(outages.get(what) ?? []), ms]);
      if (way === 'balancer') worst = Math.max(worst, ms);
      return `${kind}s ${ms}`;
    }),
  );
  console.log(
    `${new Date(fromMs).toISOString()} ${how} ${ofLeader ? 'leader' : 'follower'} ${victim.name}: ${found.join(', ')} ms`,
  );
}
