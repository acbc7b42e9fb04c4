/**
 * How long machines take to become a cluster: `capstan init`, a join of a control plane and of a worker, each from the command to a Node that is Ready.
 * Machines are network namespaces with real etcd, all on this machine. Prints the best and the median of the rounds. Needs root, etcd; --runtime=cri (real
 * nodes) containerd besides.
 *
 *   node bench/join-times.ts [--rounds N] [--runtime simulated|cri] [--gaps]        gaps: also what the commands waited for, by the lines that they print
 */
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { MAIN, Machines, etcdBinary, joinWords, median, run, type Machine } from './machines.ts';

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

/** Tells the waits between the lines that a command prints. */
function tellGaps(): (text: string) => void {
  let lastMs = performance.now();
  return (text) => {
    const nowMs = performance.now();
    if (nowMs - lastMs > GAP_MS)
      console.log(`  ${((nowMs - lastMs) / 1000).toFixed(2)} s until ${text.split('\n')[0]}`);
    lastMs = nowMs;
  };
}

async function timed(
  machine: Machine,
  words: readonly string[],
): Promise<{ seconds: number; printed: string }> {
  const beginMs = performance.now();
  const command = [MAIN, ...words, `--node-name=${machine.name}`, `--rootfs=${machine.rootfs}`];
  const printed = await run(machine, command, values.gaps ? tellGaps() : undefined);
  const kubeconfig = join(machine.rootfs, 'etc/kubernetes/kubelet.conf');
  await run(machine, [READY, kubeconfig, machine.name]);
  return { seconds: (performance.now() - beginMs) / 1000, printed };
}

interface Round {
  readonly init: number;
  readonly controlPlane: number;
  readonly worker: number;
}

async function round(machines: Machines): Promise<Round> {
  const [first, second, worker] = [machines.add('m1'), machines.add('m2'), machines.add('w1')];
  const init = await timed(first, ['init', ...COMMON, '--upload-certs', etcdBinary()]);
  const words = joinWords(init.printed, `${first.address}:6443`);
  if (values.gaps) console.log('join of a control plane');
  const controlPlane = await timed(second, [...words.controlPlane, ...COMMON]);
  if (values.gaps) console.log('join of a worker');
  const ofWorker = await timed(worker, [...words.worker, ...COMMON]);
  for (const one of [worker, second, first])
    await run(one, [MAIN, 'reset', '--force', `--rootfs=${one.rootfs}`]);
  return { init: init.seconds, controlPlane: controlPlane.seconds, worker: ofWorker.seconds };
}

const rounds: Round[] = [];
for (let n = 1; n <= Number(values.rounds); n++) {
  const machines = new Machines('10.221.0');
  try {
    const one = await round(machines);
    rounds.push(one);
    console.log(
      `round ${n}: init ${one.init.toFixed(1)} s, control plane ${one.controlPlane.toFixed(1)} s, worker ${one.worker.toFixed(1)} s`,
    );
  } finally {
    await machines.close();
  }
}
for (const what of ['init', 'controlPlane', 'worker'] as const) {
  const seconds = rounds.map((one) => one[what]);
  console.log(`${what}: best ${Math.min(...seconds).toFixed(1)} s, median ${median(seconds).toFixed(1)} s`);
}
