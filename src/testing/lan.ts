/** For tests only: machines as network namespaces on one Ethernet segment. Needs root and `ip netns`; everything goes with close(). */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';

export interface LanMachine {
  readonly name: string;
  readonly address: string;
  /** Runs to the end; throws when it fails. */
  run(...words: readonly string[]): string;
  /** Its exit code; its output is dropped. */
  try(...words: readonly string[]): number | null;
  /** Of the processes in it. */
  pids(): number[];
  /** Ends with the segment at the latest. keepsSys: /sys stays the host's, with its cgroups, as containers need it. */
  start(
    words: readonly string[],
    options?: { readonly env?: NodeJS.ProcessEnv; readonly keepsSys?: boolean },
  ): ChildProcess;
}

export interface Lan {
  /** Where clients are. */
  readonly outside: LanMachine;
  machine(name: string, address: string): LanMachine;
  /** Without any wire: for a pod, say. */
  namespace(name: string): LanMachine;
  /** Made before. */
  namespaceOf(name: string): LanMachine;
  /** A namespace that somebody else made. */
  enter(namespace: string): Pick<LanMachine, 'run'>;
  close(): Promise<void>;
}

/** Without one of its own a bridge takes the lowest of its ports': a machine that joins could change it, and the others would lose it for a minute. */
export const BRIDGE_ADDRESS = '02:00:00:00:00:01';

export function canHaveNamespaces(): boolean {
  if (process.getuid?.() !== 0) return false;
  const name = `lan-probe-${process.pid}`;
  if (spawnSync('ip', ['netns', 'add', name]).status !== 0) return false;
  spawnSync('ip', ['netns', 'delete', name]);
  return true;
}

/** subnet: '10.214.0.0/24' as its first three numbers, '10.214.0'; outside has .254. */
export function createLan(id: string, subnet: string): Lan {
  const machines = new Map<string, LanMachine>();
  const children: ChildProcess[] = [];
  const machineOf = (name: string, address: string): LanMachine => {
    const namespace = `${id}-${name}`;
    ip('netns', 'add', namespace);
    const inside = (words: readonly string[]): string[] => ['netns', 'exec', namespace, ...words];
    const machine: LanMachine = {
      name: namespace,
      address,
      run: (...words) => ip(...inside(words)),
      try: (...words) => spawnSync('ip', inside(words)).status,
      pids: () => ip('netns', 'pids', namespace).split('\n').filter(Boolean).map(Number),
      start(words, { env = process.env, keepsSys = false } = {}) {
        const child = keepsSys
          ? spawn('nsenter', [`--net=/run/netns/${namespace}`, ...words], { env, stdio: 'pipe' })
          : spawn('ip', inside(words), { env, stdio: 'pipe' });
        children.push(child);
        return child;
      },
    };
    machines.set(name, machine);
    return machine;
  };
  const outside = machineOf('outside', `${subnet}.254`);
  outside.run('ip', 'link', 'set', 'lo', 'up');
  outside.run('ip', 'link', 'add', 'segment', 'address', BRIDGE_ADDRESS, 'type', 'bridge');
  outside.run('ip', 'address', 'add', `${subnet}.254/24`, 'dev', 'segment');
  outside.run('ip', 'link', 'set', 'segment', 'up');
  return {
    outside,
    machine(name, address) {
      const machine = machineOf(name, address);
      machine.run('ip', 'link', 'set', 'lo', 'up');
      machine.run('ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', name, 'netns', outside.name);
      machine.run('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
      machine.run('ip', 'link', 'set', 'eth0', 'up');
      outside.run('ip', 'link', 'set', 'dev', name, 'master', 'segment', 'up');
      return machine;
    },
    namespace(name) {
      const machine = machineOf(name, '');
      machine.run('ip', 'link', 'set', 'lo', 'up');
      return machine;
    },
    namespaceOf: (name) => machines.get(name)!,
    enter: (namespace) => ({ run: (...words) => ip('netns', 'exec', namespace, ...words) }),
    async close() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
      for (const { name } of machines.values()) {
        // Grandchildren of what was killed, too.
        for (const pid of spawnSync('ip', ['netns', 'pids', name], { encoding: 'utf8' }).stdout.split('\n'))
          if (pid !== '') spawnSync('kill', ['-9', pid]);
        spawnSync('ip', ['netns', 'delete', name]);
      }
    },
  };
}

function ip(...words: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('ip', words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`ip ${words.join(' ')} failed: ${stderr || stdout}`);
  return stdout;
}
