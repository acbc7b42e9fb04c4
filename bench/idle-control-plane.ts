/**
 * Memory of an idle control plane with etcd: a machine made by `capstan init` in a network namespace, with a simulated node. Prints PSS (what the kernel
 * shares is counted once) of each process, and how long init took. Needs root, etcd. Fails when the total is above the bound that is given.
 *
 *   node bench/idle-control-plane.ts [--settle SECONDS] [--bound-mb N]
 */
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { installedEtcd, unpackedEtcd35 } from '#storage/drivers/etcd/test-etcd.ts';
import { createMachine } from '#testing/init-machine.ts';

const { values } = parseArgs({
  options: {
    settle: { type: 'string', default: '60' },
    'bound-mb': { type: 'string' },
  },
});

/** Of smaps_rollup, in MB. */
function memoryOf(pid: number): { readonly pss: number; readonly anonymous: number } {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const read = (field: string): number =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1000;
  return { pss: read('Pss'), anonymous: read('Anonymous') };
}

function nameOf(pid: number): string {
  const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
    .split('\0')
    .filter((word) => word !== '');
  const main = words.findIndex((word) => word.endsWith('main.ts'));
  const [first = '', second = ''] = words.slice(main + 1);
  return `${basename(first)} ${second}`;
}

const etcd = unpackedEtcd35() ?? installedEtcd();
if (etcd === undefined) throw new Error('there is no etcd');
const machine = createMachine('idle', { address: '10.77.19.1' });
try {
  const startedMs = performance.now();
  const { code, stderr } = await machine.capstan([
    'init',
    '--node-name=machine1',
    '--runtime=simulated',
    `--etcd-binary=${etcd}`,
  ]);
  if (code !== 0) throw new Error(stderr);
  console.log(`init: ${((performance.now() - startedMs) / 1000).toFixed(1)} s`);
  await sleep(Number(values.settle) * 1000);
  let total = 0;
  for (const pid of machine.pids()) {
    const { pss, anonymous } = memoryOf(pid);
    total += pss;
    console.log(
      `${pss.toFixed(1).padStart(8)} MB PSS ${anonymous.toFixed(1).padStart(8)} MB anonymous  ${nameOf(pid)}`,
    );
  }
  console.log(`${total.toFixed(1).padStart(8)} MB PSS in total`);
  const bound = values['bound-mb'];
  if (bound !== undefined && total > Number(bound)) {
    console.error(`more than ${bound} MB`);
    process.exitCode = 1;
  }
} finally {
  await machine.close();
}
