/** The cluster of the upgrade tests: control planes and workers as network namespaces, with real etcd and simulated nodes, made by init and join of this checkout. */
import assert from 'node:assert/strict';
import { execFileSync, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { runCommand, until, type CommandResult } from '../cluster.ts';
import { etcdProgram } from '../etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '../lan.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const MAIN = join(ROOT, 'src/cli/main.ts');
const LOAD = resolve(import.meta.dirname, 'load.ts');
const REQUEST = resolve(import.meta.dirname, '../api-request.ts');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];
const BALANCER = 'https://127.0.0.1:7445';
/** Of a machine that many share. */
const TIMEOUT_MS = 240_000;
const APPLY_TIMEOUT_MS = 15 * 60_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=all'];

export const upgradeObstacle: string | false = !etcdProgram
  ? 'no etcd 3.5'
  : !canHaveNamespaces() && 'needs root and ip netns';

interface UpgradeMachine {
  readonly name: string;
  readonly address: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

/** For apply-main.ts of the new program. */
export interface ApplyWords {
  readonly command: 'apply' | 'rollback' | 'config';
  readonly rootfs: string;
  readonly machines: Readonly<Record<string, { readonly namespace: string; readonly rootfs: string }>>;
  readonly drain?: boolean;
  readonly soak?: string;
  readonly drainTimeout?: string;
  readonly backup?: boolean;
  readonly yes?: boolean;
  /** Other machines over ssh, by these files of overSsh(). Default: through their namespaces. */
  readonly inventory?: string;
  readonly sshConfig?: string;
  /** Of the command config: a file. */
  readonly config?: string;
  /** The process kills itself there. */
  readonly killAt?: string | undefined;
  /** A gate stays shut while this machine runs the new version. */
  readonly shutAt?: string | undefined;
}

export class UpgradeCluster {
  readonly planes: readonly UpgradeMachine[];
  readonly workers: readonly UpgradeMachine[];
  readonly #base = mkdtempSync(join(tmpdir(), 'capstan-upgrade-'));
  readonly #lan: Lan;
  readonly #subnet: string;

  constructor({ planes, workers, subnet }: { planes: number; workers: number; subnet: string }) {
    this.#subnet = subnet;
    this.#lan = createLan(`cu${process.pid}`, subnet);
    this.planes = Array.from({ length: planes }, (_, index) => this.#machine(`m${index + 1}`, index + 1));
    this.workers = Array.from({ length: workers }, (_, index) => this.#machine(`w${index + 1}`, index + 11));
  }

  get machines(): readonly UpgradeMachine[] {
    return [...this.planes, ...this.workers];
  }

  async start(): Promise<void> {
    const [first, ...others] = this.planes as [UpgradeMachine, ...UpgradeMachine[]];
    const etcd = `--etcd-binary=${etcdProgram}`;
    const endpoint = `--control-plane-endpoint=${first.address}:6443`;
    const words = ['init', ...COMMON, `--node-name=${first.name}`, '--upload-certs', endpoint, etcd];
    const printed = await this.#must(first, words);
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? '';
    const join = [
      'join',
      `${first.address}:6443`,
      `--token=${word(/--token (\S+)/)}`,
      `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
      ...COMMON,
    ];
    const key = `--certificate-key=${word(/--certificate-key (\S+)/)}`;
    for (const plane of others)
      await this.#must(plane, [...join, `--node-name=${plane.name}`, '--control-plane', key, etcd]);
    for (const worker of this.workers) await this.#must(worker, [...join, `--node-name=${worker.name}`]);
  }

  /** `capstan WORDS` on the machine, by the program of a checkout; default: this one. options: of Node.js. */
  capstan(
    machine: UpgradeMachine,
    words: readonly string[],
    { main = MAIN, options = [] }: { readonly main?: string; readonly options?: readonly string[] } = {},
  ): Promise<CommandResult> {
    const command = [...NODE, ...options, main, ...words, `--rootfs=${machine.rootfs}`];
    return runCommand(this.#inside(machine, command), { timeoutMs: TIMEOUT_MS });
  }

  /** Of the host, for what a machine's command is to read. */
  file(name: string, content: string): string {
    const path = join(this.#base, name);
    writeFileSync(path, content);
    return path;
  }

  /** `upgrade apply`, `rollback` or `config apply` by the program of a checkout, on the first control plane, which drives the others. */
  apply(checkout: string | undefined, words: Partial<ApplyWords> = {}): Promise<CommandResult> {
    const [first] = this.planes as [UpgradeMachine];
    const all: ApplyWords = {
      command: 'apply',
      rootfs: first.rootfs,
      machines: Object.fromEntries(
        this.machines.map(({ name, lan, rootfs }) => [name, { namespace: lan.name, rootfs }]),
      ),
      drain: false,
      soak: '3s',
      yes: true,
      ...words,
    };
    const program = join(checkout ?? ROOT, 'src/testing/upgrade/apply-main.ts');
    return runCommand(this.#inside(first, [...NODE, program, JSON.stringify(all)]), {
      timeoutMs: APPLY_TIMEOUT_MS,
    });
  }

  /** Status and body. */
  async request(...words: readonly string[]): Promise<string> {
    return this.requestAt(BALANCER, ...words);
  }

  async requestAt(server: string, ...words: readonly string[]): Promise<string> {
    const [machine] = this.machines.toReversed() as [UpgradeMachine];
    const { code, stdout, stderr } = await runCommand(
      this.#inside(machine, [...NODE, REQUEST, this.#admin, server, ...words]),
      { timeoutMs: 30_000 },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  }

  async create(path: string, object: object): Promise<void> {
    assert.match(await this.request('POST', path, JSON.stringify(object)), /^201/);
  }

  async json<T>(path: string): Promise<T> {
    const text = await this.request('GET', path);
    return JSON.parse(text.slice(text.indexOf(' ') + 1)) as T;
  }

  /** An sshd in every machine, and the files by which `apply` drives them with the program of a checkout. */
  overSsh(checkout: string): Required<Pick<ApplyWords, 'inventory' | 'sshConfig'>> {
    for (const name of ['host', 'user'])
      execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(this.#base, name)]);
    mkdirSync('/run/sshd', { recursive: true });
    const sshd = this.file(
      'sshd_config',
      `HostKey ${join(this.#base, 'host')}\nAuthorizedKeysFile ${join(this.#base, 'user.pub')}\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nPidFile none\n`,
    );
    for (const { lan } of this.machines) lan.start(['/usr/sbin/sshd', '-D', '-f', sshd]);
    const hostKey = readFileSync(join(this.#base, 'host.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
    const known = this.file(
      'known_hosts',
      this.machines.map(({ address }) => `${address} ${hostKey}\n`).join(''),
    );
    const sshConfig = this.file(
      'ssh_config',
      `Host *\n  User root\n  IdentityFile ${join(this.#base, 'user')}\n  UserKnownHostsFile ${known}\n  GlobalKnownHostsFile /dev/null\n`,
    );
    // One path on all machines, as in a fleet: whose directory it is about, the namespace says.
    const launcher = this.file(
      'launcher',
      `#!/bin/sh\nname=$(ip netns identify $$)\nexec ${NODE.join(' ')} ${join(checkout, 'src/cli/main.ts')} "$@" --rootfs=${this.#base}/\${name##*-}\n`,
    );
    chmodSync(launcher, 0o755);
    const inventory = this.file(
      'fleet.yaml',
      JSON.stringify({
        apiVersion: 'fleet.capstan.dev/v1alpha1',
        kind: 'Fleet',
        capstan: { path: launcher },
        machines: this.machines.map(({ name, address }) => ({
          name,
          address,
          role: name.startsWith('m') ? 'control-plane' : 'worker',
        })),
      }),
    );
    return { inventory, sshConfig };
  }

  /** What etcd has below a prefix, by key, as bytes in Latin-1: by etcdctl, which knows nothing of Capstan. */
  stored(prefix: string): ReadonlyMap<string, string> {
    const [{ rootfs, lan }] = this.planes as [UpgradeMachine];
    const pki = (name: string): string => join(rootfs, 'etc/kubernetes/pki/etcd', name);
    const tls = [`--cacert=${pki('ca.crt')}`, `--cert=${pki('server.crt')}`, `--key=${pki('server.key')}`];
    const words = ['--endpoints=https://127.0.0.1:2379', ...tls, 'get', prefix, '--prefix', '-w=json'];
    const { kvs = [] } = JSON.parse(lan.run('env', 'ETCDCTL_API=3', 'etcdctl', ...words)) as {
      readonly kvs?: readonly { readonly key: string; readonly value: string }[];
    };
    const decode = (text: string): string => Buffer.from(text, 'base64').toString('latin1');
    return new Map(kvs.map(({ key, value }) => [decode(key), decode(value)]));
  }

  /** load.ts on a machine; it writes what it found to standard output when it is asked to end. */
  startLoad(machine: UpgradeMachine, name: string): ChildProcess {
    return machine.lan.start([...NODE, LOAD, this.#admin, BALANCER, name]);
  }

  /** Of etcd and of the supervisor: neither ends during an upgrade. */
  pids({ lan }: UpgradeMachine, ...words: readonly string[]): number[] {
    return lan.pids().filter((pid) => {
      const line = commandLine(pid);
      return words.every((word) => line.includes(word));
    });
  }

  async ready(): Promise<void> {
    for (const { address, name } of this.planes)
      await until(
        `the API server of ${name} to be ready`,
        async () => (await this.requestAt(`https://${address}:6443`, 'GET', '/readyz')).startsWith('200'),
        TIMEOUT_MS,
      );
  }

  logs(): string {
    return this.machines
      .flatMap(({ name, rootfs }) =>
        ['supervisor', 'apiserver', 'control', 'node'].map(
          (service) => `\n${name} ${service}.log:\n${tail(join(rootfs, `var/log/capstan/${service}.log`))}`,
        ),
      )
      .join('');
  }

  async close(): Promise<void> {
    for (const { lan } of this.machines) for (const pid of lan.pids()) kill(pid);
    await this.#lan.close();
    rmSync(this.#base, { recursive: true, force: true });
  }

  get #admin(): string {
    return join(this.planes[0]!.rootfs, 'etc/kubernetes/admin.conf');
  }

  #inside({ lan }: UpgradeMachine, words: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', lan.name, ...words];
  }

  #machine(name: string, index: number): UpgradeMachine {
    const lan = this.#lan.machine(name, `${this.#subnet}.${index}`);
    lan.run('ip', 'route', 'add', 'default', 'via', `${this.#subnet}.254`);
    return { name, address: lan.address, rootfs: join(this.#base, name), lan };
  }

  async #must(machine: UpgradeMachine, words: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.capstan(machine, words);
    assert.equal(code, 0, `${machine.name}: capstan ${words.join(' ')}\n${stdout}${stderr}${this.logs()}`);
    return stdout;
  }
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // ended in the meantime
  }
}

function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function tail(file: string): string {
  try {
    return readFileSync(file, 'utf8').split('\n').slice(-12).join('\n');
  } catch {
    return '';
  }
}
