/**
 * `node tools/fuzz.ts --requests=1000000 [--seed=N] [--verify-every=N] [--trace=FILE] [--verbose]`: random requests against a whole API server in this process. Prints what did not hold, with an example of
 * each; the same seed sends the same requests. Ends with 1 where something did not hold.
 */
import { fuzz, type FuzzReport } from '../src/testing/fuzz/fuzzer.ts';

function option(name: string, fallback: number): number {
  const given = process.argv.find((argument) => argument.startsWith(`--${name}=`));
  const value = given === undefined ? fallback : Number(given.slice(name.length + 3));
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} should be a whole number`);
  return value;
}

function print({
  requests,
  seconds,
  statuses,
  overSockets,
  objects,
  heapMiB,
  longestMs,
  faults,
}: FuzzReport): void {
  console.log(
    `${requests} requests (${overSockets} over sockets) in ${seconds.toFixed(0)} s, ${(requests / seconds).toFixed(0)}/s; ${objects} objects stored; heap ${heapMiB.at(-1)} MiB; longest ${longestMs.toFixed(0)} ms; ${faults.length} faults`,
  );
  if (process.argv.includes('--verbose')) console.log(JSON.stringify(statuses));
}

let shown = 0;

function printFaults({ faults }: FuzzReport): void {
  for (const { what, example } of faults.slice(shown)) console.log(`FAULT: ${what}\n  ${example}\n`);
  shown = faults.length;
}

const requests = option('requests', 100_000),
  seed = option('seed', Math.floor(Math.random() * 2 ** 31));
console.log(`seed ${seed}`);
const report = await fuzz({
  requests,
  seed,
  verifyEvery: option('verify-every', 50_000),
  trace: process.argv.find((argument) => argument.startsWith('--trace='))?.slice('--trace='.length),
  onProgress: (report) => {
    print(report);
    printFaults(report);
  },
});
console.log(
  `answers by status: ${Object.entries(report.statuses)
    .map(([status, count]) => `${status} ${count}`)
    .join(', ')}`,
);
console.log(`heap after each look, MiB: ${report.heapMiB.join(' ')}`);
printFaults(report);
for (const { what, times } of report.faults) console.log(`${times} times: ${what.slice(0, 200)}`);
process.exit(report.faults.length === 0 ? 0 : 1);
