/** Machines of benches: network namespaces on one segment, which `capstan init` and `join` make a cluster of. Needs root and etcd; all of it goes with close(). */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { installedEtcd, unpackedEtcd35 } from '#storage/drivers/etcd/test-etcd.ts';
import { createLan, type Lan, type LanMachine } from '#testing/lan.ts';

export const MAIN = resolve(import.meta.dirname, '../src/cli/main.ts');

export interface Machine {
  readonly name: string;
  readonly address: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

export class Machines {
  readonly lan: Lan;
  readonly #subnet: string;
  readonly base = mkdtempSync(join(tmpdir(), 'capstan-bench-'));
  #count = 0;

  /** subnet: its first three numbers, '10.221.0'. */
  constructor(subnet: string) {
    this.#subnet = subnet;
    this.lan = createLan(`b${process.pid}`, subnet);
  }

  add(name: string): Machine {
    const lan = this.lan.machine(name, `${this.#subnet}.${(this.#count += 1)}`);
    lan.run('ip', 'route', 'add', 'default', 'via', `${this.#subnet}.254`);
    return { name, address: lan.address, rootfs: join(this.base, name), lan };
  }

  async close(): Promise<void> {
    await this.lan.close();
    rmSync(this.base, { recursive: true, force: true });
  }
}

export function etcdBinary(): string {
  const etcd = unpackedEtcd35() ?? installedEtcd();
  if (etcd === undefined) throw new Error('there is no etcd');
  return `--etcd-binary=${etcd}`;
}

/** A program of Node.js in the machine's network, to its end. Returns what it printed; throws when it fails. printed: each part as it comes. */
export function run(
  { lan }: Machine,
  words: readonly string[],
  printed: (text: string) => void = () => {},
): Promise<string> {
  // /sys stays the host's, with the cgroups that containers need.
  const inside = [`--net=/run/netns/${lan.name}`, process.execPath, '--disable-warning=DEP0123'];
  const child = spawn('nsenter', [...inside, ...words], { stdio: ['ignore', 'pipe', 'inherit'] });
  let all = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    all += text;
    printed(text);
  });
  return new Promise((done, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? done(all) : reject(new Error(`${words.join(' ')} ended with ${code}`)),
    );
  });
}

/** The words of a join, from what init printed. controlPlane: what a control plane needs besides. */
export function joinWords(
  printed: string,
  server: string,
): { readonly worker: readonly string[]; readonly controlPlane: readonly string[] } {
  const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? '';
  const worker = [
    'join',
    server,
    `--token=${word(/--token (\S+)/)}`,
    `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
  ];
  const key = `--certificate-key=${word(/--certificate-key (\S+)/)}`;
  return { worker, controlPlane: [...worker, '--control-plane', key, etcdBinary()] };
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)] ?? NaN;
}
