/**
 * How long machines take to become a cluster: `capstan init`, a join of a control plane and of a worker, each from the command to a Node that is Ready.
 * Machines are network namespaces with real etcd, all on this machine. Prints the best and the median of the rounds. Needs root, etcd; --runtime=cri (real
 * nodes) containerd besides.
 *
 *   node bench/join-times.ts [--rounds N] [--runtime simulated|cri] [--gaps]        gaps: also what the commands waited for, by the lines that they print
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { installedEtcd, unpackedEtcd35 } from '#storage/drivers/etcd/test-etcd.ts';
import { createLan, type Lan, type LanMachine } from '#testing/lan.ts';

const MAIN = resolve(import.meta.dirname, '../src/cli/main.ts');
const READY = resolve(import.meta.dirname, 'node-ready.ts');
const GAP_MS = 250;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    runtime: { type: 'string', default: 'simulated' },
    gaps: { type: 'boolean', default: false },
  },
});
const COMMON = [`--runtime=${values.runtime}`, '--ignore-preflight-errors=all'];
const etcd = unpackedEtcd35() ?? installedEtcd();
if (etcd === undefined) throw new Error('there is no etcd');

interface Machine {
  readonly name: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

/** In the machine's network, to its end. Returns what it printed; throws when it fails. */
function run(machine: Machine, words: readonly string[]): Promise<string> {
  // /sys stays the host's, with the cgroups that containers need.
  const inside = [`--net=/run/netns/${machine.lan.name}`, process.execPath, '--disable-warning=DEP0123'];
  const child = spawn('nsenter', [...inside, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  let lastMs = performance.now();
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
    const nowMs = performance.now();
    if (values.gaps && nowMs - lastMs > GAP_MS)
      console.log(`  ${((nowMs - lastMs) / 1000).toFixed(2)} s until ${text.split('\n')[0]}`);
    lastMs = nowMs;
  });
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? done(printed) : reject(new Error(`${words.join(' ')} ended with ${code}`)),
    );
  });
}

async function timed(
  machine: Machine,
  words: readonly string[],
): Promise<{ seconds: number; printed: string }> {
  const beginMs = performance.now();
  const printed = await run(machine, [
    MAIN,
    ...words,
    `--node-name=${machine.name}`,
    `--rootfs=${machine.rootfs}`,
  ]);
  const kubeconfig = join(machine.rootfs, 'etc/kubernetes/kubelet.conf');
  await run(machine, [READY, kubeconfig, machine.name]);
  return { seconds: (performance.now() - beginMs) / 1000, printed };
}

interface Round {
  readonly init: number;
  readonly controlPlane: number;
  readonly worker: number;
}

async function round(lan: Lan, base: string): Promise<Round> {
  const machine = (name: string, index: number): Machine => {
    const made = lan.machine(name, `10.221.0.${index}`);
    made.run('ip', 'route', 'add', 'default', 'via', '10.221.0.254');
    return { name, rootfs: join(base, name), lan: made };
  };
  const [first, second, worker] = [machine('m1', 1), machine('m2', 2), machine('w1', 3)];
  const init = await timed(first, ['init', ...COMMON, '--upload-certs', `--etcd-binary=${etcd}`]);
  const word = (pattern: RegExp): string => pattern.exec(init.printed)?.[1] ?? '';
  const joinWords = [
    'join',
    '10.221.0.1:6443',
    `--token=${word(/--token (\S+)/)}`,
    `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
    ...COMMON,
  ];
  const asControlPlane = [`--certificate-key=${word(/--certificate-key (\S+)/)}`, `--etcd-binary=${etcd}`];
  if (values.gaps) console.log('join of a control plane');
  const controlPlane = await timed(second, [...joinWords, '--control-plane', ...asControlPlane]);
  if (values.gaps) console.log('join of a worker');
  const ofWorker = await timed(worker, joinWords);
  for (const one of [worker, second, first])
    await run(one, [MAIN, 'reset', '--force', `--rootfs=${one.rootfs}`]);
  return { init: init.seconds, controlPlane: controlPlane.seconds, worker: ofWorker.seconds };
}

const rounds: Round[] = [];
for (let n = 1; n <= Number(values.rounds); n++) {
  const base = mkdtempSync(join(tmpdir(), 'capstan-join-times-'));
  const lan = createLan(`jt${process.pid}`, '10.221.0');
  try {
    const one = await round(lan, base);
    rounds.push(one);
    console.log(
      `round ${n}: init ${one.init.toFixed(1)} s, control plane ${one.controlPlane.toFixed(1)} s, worker ${one.worker.toFixed(1)} s`,
    );
  } finally {
    await lan.close();
    rmSync(base, { recursive: true, force: true });
  }
}
for (const what of ['init', 'controlPlane', 'worker'] as const) {
  const sorted = rounds.map((one) => one[what]).toSorted((one, other) => one - other);
  const [best = NaN] = sorted;
  const median = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  console.log(`${what}: best ${best.toFixed(1)} s, median ${median.toFixed(1)} s`);
}
