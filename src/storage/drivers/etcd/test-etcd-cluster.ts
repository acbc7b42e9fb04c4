/**
 * Three members of etcd for tests, each in a network namespace of its own behind one bridge, so that each can be killed, stopped, cut off from all or
 * from its peers only, and started again. Needs root; undo with close().
 *
 *   this process ── bridge 10.254.N.1 ──┬── m1 10.254.N.11
 *                                       ├── m2 10.254.N.12
 *                                       └── m3 10.254.N.13
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EtcdStoreOptions } from './etcd-store.ts';
import { asFlags, etcdctl, makeCertificates, memberFlags, type MemberAddress } from './test-etcd.ts';

const CLIENT_PORT = 2379;
const PEER_PORT = 2380;
const MEMBERS = 3;

interface TestMember {
  readonly name: string;
  readonly endpoint: string;
  /** Starts it, or starts it again on its data. */
  start(): void;
  /** SIGKILL. */
  kill(): Promise<void>;
  /** Resolves once it is stopped (SIGSTOP). */
  pause(): Promise<void>;
  goOn(): void;
  /** Nobody reaches it, nor it anybody: packets vanish. */
  cutOff(): void;
  /** Only its peers are out of reach. */
  cutOffPeers(): void;
  heal(): void;
  ctl(...words: string[]): string;
}

export interface TestCluster {
  readonly members: readonly TestMember[];
  readonly options: EtcdStoreOptions;
  /** Asks until there is one that all who answer agree on. */
  leader(): Promise<TestMember>;
  /** Until a member answers a linearizable read. */
  healthy(member?: TestMember): Promise<void>;
  moveLeader(to: TestMember): Promise<void>;
  close(): Promise<void>;
}

/** Why it cannot be had here; undefined: it can. */
export function clusterProblem(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  return ['/sbin/ip', '/usr/sbin/nft', '/usr/bin/etcdctl'].every((path) => existsSync(path))
    ? undefined
    : 'iproute2, nftables and etcd-client are needed';
}

export function startEtcdCluster(program: string, flags: readonly string[] = []): TestCluster {
  const number = process.pid % 250;
  const bridge = `cet${process.pid % 100_000}`;
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'capstan-etcd-'));
  const addresses = Array.from({ length: MEMBERS }, (_, i) => addressOf(number, i));
  makeCertificates(
    dir,
    addresses.map(({ ip }) => ip),
  );
  // An address of its own: else members that join could change it, and the others would lose it for a minute.
  ip('link', 'add', bridge, 'address', '02:00:00:00:00:01', 'type', 'bridge');
  ip('addr', 'add', `10.254.${number}.1/24`, 'dev', bridge);
  ip('link', 'set', bridge, 'up');
  const members = addresses.map(
    (address) => new Member(address, { program, flags, dir, bridge, members: addresses }),
  );
  for (const member of members) member.start();
  return new Cluster(members, { dir, bridge });
}

interface Address extends MemberAddress {
  readonly ip: string;
}

function addressOf(number: number, index: number): Address {
  const address = `10.254.${number}.${11 + index}`;
  return {
    name: `m${index + 1}`,
    ip: address,
    endpoint: `https://${address}:${CLIENT_PORT}`,
    peerUrl: `http://${address}:${PEER_PORT}`,
  };
}

function ip(...words: string[]): void {
  execFileSync('ip', words, { stdio: ['ignore', 'ignore', 'pipe'] });
}

interface MemberOptions {
  readonly program: string;
  readonly flags: readonly string[];
  readonly dir: string;
  readonly bridge: string;
  readonly members: readonly Address[];
}

class Member implements TestMember {
  readonly name: string;
  readonly endpoint: string;
  readonly #address: Address;
  readonly #options: MemberOptions;
  readonly #namespace: string;
  /** The end of its cable at the bridge. */
  readonly #port: string;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();

  constructor(address: Address, options: MemberOptions) {
    this.#address = address;
    this.#options = options;
    this.name = address.name;
    this.endpoint = address.endpoint;
    this.#namespace = `${options.bridge}-${address.name}`;
    this.#port = `${options.bridge}${address.name}`;
    const namespace = this.#namespace;
    ip('netns', 'add', namespace);
    ip('link', 'add', this.#port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    ip('link', 'set', this.#port, 'master', options.bridge, 'up');
    ip('-n', namespace, 'addr', 'add', `${address.ip}/24`, 'dev', 'eth0');
    ip('-n', namespace, 'link', 'set', 'eth0', 'up');
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
  }

  start(): void {
    const { program, dir, members, flags } = this.#options;
    const words = [...memberFlags(this.#address, { dir, members }), ...asFlags(flags)];
    const child = spawn('ip', ['netns', 'exec', this.#namespace, program, ...words], { stdio: 'ignore' });
    this.#child = child;
    this.#ended = new Promise((resolve) => child.once('exit', () => resolve()));
  }

  async kill(): Promise<void> {
    this.#child?.kill('SIGKILL');
    await this.#ended;
  }

  async pause(): Promise<void> {
    this.#child?.kill('SIGSTOP');
    while (!/\) T /.test(readFileSync(`/proc/${this.#child?.pid}/stat`, 'utf8'))) await sleep(5);
  }

  goOn(): void {
    this.#child?.kill('SIGCONT');
  }

  cutOff(): void {
    ip('link', 'set', this.#port, 'down');
  }

  cutOffPeers(): void {
    const chains = ['input', 'output'].map((hook) =>
      [
        `chain ${hook} {`,
        `type filter hook ${hook} priority 0`,
        `tcp dport ${PEER_PORT} drop`,
        `tcp sport ${PEER_PORT} drop`,
        '}',
      ].join('\n'),
    );
    this.#nft(['table inet cut {', ...chains, '}'].join('\n'));
  }

  heal(): void {
    ip('link', 'set', this.#port, 'up');
    this.#nft('table inet cut {}\ndelete table inet cut');
  }

  #nft(text: string): void {
    execFileSync('ip', ['netns', 'exec', this.#namespace, 'nft', '-f', '-'], { input: text });
  }

  ctl(...words: string[]): string {
    return etcdctl(this.#options.dir, { endpoint: this.endpoint, words });
  }

  remove(): void {
    ip('netns', 'del', this.#namespace);
  }
}

class Cluster implements TestCluster {
  readonly members: readonly Member[];
  readonly options: EtcdStoreOptions;
  readonly #dir: string;
  readonly #bridge: string;

  constructor(
    members: readonly Member[],
    { dir, bridge }: { readonly dir: string; readonly bridge: string },
  ) {
    this.members = members;
    this.#dir = dir;
    this.#bridge = bridge;
    this.options = {
      endpoints: members.map(({ endpoint }) => endpoint),
      caFile: join(dir, 'ca.crt'),
      certFile: join(dir, 'leaf.crt'),
      keyFile: join(dir, 'leaf.key'),
    };
  }

  async leader(): Promise<TestMember> {
    for (;;) {
      const told = this.members.map(leaderOf);
      const answers = told.filter((one) => one !== undefined);
      const [first] = answers;
      const agreed = answers.length > 1 && answers.every(({ leader }) => leader === first!.leader);
      const index = agreed ? told.findIndex((one) => one?.id === first!.leader) : -1;
      if (index >= 0) return this.members[index]!;
      await sleep(100);
    }
  }

  async healthy(member?: TestMember): Promise<void> {
    for (const one of member ? [member] : this.members) {
      for (;;) {
        try {
          one.ctl('get', 'x', '--command-timeout=2s', '--dial-timeout=1s');
          break;
        } catch {
          await sleep(100);
        }
      }
    }
  }

  async moveLeader(to: TestMember): Promise<void> {
    const from = await this.leader();
    const id = BigInt(leaderOf(to)!.id).toString(16);
    if (from !== to) from.ctl('move-leader', id);
    while ((await this.leader()) !== to) await sleep(50);
  }

  async close(): Promise<void> {
    for (const member of this.members) await member.kill();
    for (const member of this.members) member.remove();
    ip('link', 'del', this.#bridge);
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** As one member has it, in decimal; undefined where it does not answer. Ids are too large for JSON.parse. */
function leaderOf(member: TestMember): { readonly id: string; readonly leader: string } | undefined {
  try {
    const text = member.ctl('endpoint', 'status', '-w=json', '--command-timeout=1s', '--dial-timeout=1s');
    const id = /"member_id":(\d+)/.exec(text)?.[1];
    const leader = /"leader":(\d+)/.exec(text)?.[1];
    return id !== undefined && leader !== undefined ? { id, leader } : undefined;
  } catch {
    return undefined;
  }
}
