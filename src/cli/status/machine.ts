/** `capstan status` of a machine that was set up by init or join: its services, and why one of them does not run. Exit code 0 only when all do. */
import { machineStatus } from '#cmd/machine/supervise.ts';
import type { MachinePaths } from '#deploy/machine/paths.ts';
import { machineFile } from '#deploy/machine/record.ts';
import { print } from '../context.ts';

export async function printMachine(
  paths: MachinePaths,
  { json }: { readonly json?: boolean },
): Promise<void> {
  const { role, nodeName, controlPlaneEndpoint, clusterID, phases, separateUnits } =
    machineFile(paths).read();
  const services = await machineStatus(paths);
  const isWell =
    services?.every(({ state, unhealthy }) => state === 'running' && unhealthy === undefined) === true;
  process.exitCode = isWell ? 0 : 1;
  const machine = { role, nodeName, controlPlaneEndpoint, clusterID, phases };
  if (json)
    return print(JSON.stringify({ ...machine, supervised: services !== undefined, services }, undefined, 2));
  print(`machine     ${nodeName ?? 'unknown'}, ${role ?? 'not set up'}`);
  print(`cluster     ${controlPlaneEndpoint ?? 'unknown'}`);
  if (!services) {
    print('services    not running');
    const byHand = separateUnits ? '' : ', or by hand: capstan supervise';
    return print(`start them  systemctl start capstan${separateUnits ? '.target' : ''}${byHand}`);
  }
  for (const { services: names, state, pid, restarts, lastEnd, unhealthy, log } of services) {
    print(`  ${names.join('+').padEnd(34)} ${state}${pid === undefined ? '' : `, process ${pid}`}`);
    if (unhealthy !== undefined) print(`${' '.repeat(37)}not healthy: ${unhealthy}`);
    if (restarts > 0)
      print(
        `${' '.repeat(37)}started again ${restarts} times, last end: ${lastEnd ?? 'unknown'} (see ${log})`,
      );
  }
}
