/**
 * `capstan fleet` over real sshd: machines are network namespaces with directories of their own, made a cluster of real etcd and simulated nodes by one
 * `fleet apply`, which is cut off, repeated, and meets a machine that does not answer.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { stringifyYaml } from '#machinery/yaml.ts';
import { runCommand, until, type CommandResult } from './cluster.ts';
import { etcdProgram } from './etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from './lan.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const SSHD = '/usr/sbin/sshd';
const TIMEOUT_MS = 240_000;
/** What a simulated node tells as its own: worker-2 is reached by it when the file has no address of it any more. */
const SIMULATED_ADDRESS = '172.31.0.0';
/** What a machine must not share with the host: kubeadm's and Capstan's directories, and systemd's. */
const OWN_DIRECTORIES =
  'mount -t tmpfs own /run; mount -t tmpfs own /var/lib; mount -t tmpfs own /var/log; mkdir -p /run/sshd /var/lib/etc/upper /var/lib/etc/work; mount -t overlay own -o lowerdir=/etc,upperdir=/var/lib/etc/upper,workdir=/var/lib/etc/work /etc';

const skip = !etcdProgram
  ? 'no etcd 3.5'
  : !existsSync(SSHD)
    ? 'no sshd'
    : !canHaveNamespaces() && 'needs root and ip netns';

interface Listed {
  name: string;
  address: string;
  role: string;
  labels?: Record<string, string>;
  zone?: string;
}

describe('a fleet from one file', { skip }, () => {
  let lan: Lan;
  let base: string;
  const machines = new Map<string, LanMachine>();
  let listed: Listed[];
  let addons: readonly object[] | undefined;

  before(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-fleet-e2e-'));
    lan = createLan(`cf${process.pid}`, '10.219.0');
    for (const name of ['host', 'user'])
      spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(base, name)]);
    writeFileSync(
      join(base, 'ssh_config'),
      `Host ${SIMULATED_ADDRESS}\n  HostName 10.219.0.5\nHost *\n  User root\n  IdentityFile ${join(base, 'user')}\n  UserKnownHostsFile ${join(base, 'known_hosts')}\n  GlobalKnownHostsFile /dev/null\n`,
    );
    writeFileSync(
      join(base, 'capstan'),
      `#!/bin/sh\nexec ${process.execPath} --disable-warning=DEP0123 ${join(ROOT, 'src/cli/main.ts')} "$@"\n`,
      { mode: 0o755 },
    );
    const hostKey = readFileSync(join(base, 'host.pub'), 'utf8').split(' ').slice(0, 2).join(' ');
    const roles = {
      'cp-1': 'control-plane',
      'cp-2': 'control-plane',
      'witness-1': 'witness',
      'worker-1': 'worker',
      'worker-2': 'worker',
    };
    listed = Object.entries(roles).map(([name, role], index) => {
      const machine = lan.machine(name, `10.219.0.${index + 1}`);
      machine.run('ip', 'route', 'add', 'default', 'via', '10.219.0.254');
      machines.set(name, machine);
      return { name, address: machine.address, role };
    });
    writeFileSync(join(base, 'known_hosts'), listed.map(({ address }) => `${address} ${hostKey}\n`).join(''));
    for (const { name } of listed) if (name !== 'worker-2') startSshd(name);
  });
  after(async () => {
    await lan.close();
    rmSync(base, { recursive: true, force: true });
  });

  function startSshd(name: string): void {
    const config = join(base, `sshd_${name}`);
    writeFileSync(
      config,
      `HostKey ${join(base, 'host')}\nAuthorizedKeysFile ${join(base, 'user.pub')}\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nPidFile none\n`,
    );
    machines
      .get(name)!
      .start(['sh', '-ec', `${OWN_DIRECTORIES}; exec ${SSHD} -D -f ${config}`])
      .on('error', () => {});
  }

  /** Inside the machine's own mounts, which its sshd has. */
  const inside = async (name: string, ...words: string[]): Promise<string> => {
    const words2 = [
      'ssh',
      '-F',
      join(base, 'ssh_config'),
      '-o',
      'BatchMode=yes',
      machines.get(name)!.address,
    ];
    const { code, stdout, stderr } = await runCommand(
      ['ip', 'netns', 'exec', lan.outside.name, ...words2, ...words],
      { timeoutMs: 30_000 },
    );
    assert.equal(code, 0, stderr);
    return stdout;
  };

  const words = (command: string, ...more: string[]): string[] => {
    const file = join(base, 'fleet.yaml');
    writeFileSync(file, inventory({ machines: listed, addons, launcher: join(base, 'capstan') }));
    return [
      'ip',
      'netns',
      'exec',
      lan.outside.name,
      process.execPath,
      join(ROOT, 'src/cli/main.ts'),
      'fleet',
      command,
      file,
      '--ssh-config',
      join(base, 'ssh_config'),
      ...more,
    ];
  };
  const fleet = (command: string, ...more: string[]): Promise<CommandResult> =>
    runCommand(words(command, ...more), { timeoutMs: TIMEOUT_MS });
  const ok = async (command: string, ...more: string[]): Promise<string> => {
    const { code, stdout, stderr } = await fleet(command, ...more);
    assert.equal(code, 0, `fleet ${command}\n${stdout}${stderr}`);
    return stdout;
  };

  it('says what it would do, and does nothing', { timeout: TIMEOUT_MS }, async () => {
    await until('sshd on all but one', async () => {
      const { stdout } = await fleet('status', '--limit=control-plane,witness-1,worker-1');
      return !stdout.includes('not reached');
    });
    const { code, stdout } = await fleet('apply', '--check', '--limit=control-plane,witness-1,worker-1');
    assert.equal(code, 2, stdout);
    assert.match(stdout, /^cp-1 +init +would/m);
    assert.match(stdout, /^worker-1 +join +would +worker$/m);
    assert.equal((await inside('cp-1', 'ls', '/var/lib')).trim(), 'etc');
  });

  it(
    'goes on after it was killed, without the machine that does not answer',
    { timeout: TIMEOUT_MS },
    async () => {
      assert.ok(await killedAt(words('apply', '-v'), '[cp-1] [kubelet-start]'));
      const { code, stdout, stderr } = await fleet('apply', '-v');
      assert.equal(code, 1, stdout + stderr);
      assert.match(
        stdout,
        /^worker-2 +reach +failed .*10\.219\.0\.5 port 22: (Connection refused|No route to host)/m,
      );
      for (const name of ['cp-2', 'witness-1', 'worker-1'])
        assert.match(stdout, new RegExp(`^${name} +join +done`, 'm'), stdout + stderr);
      assert.match(
        stdout,
        /^4 of 5 machines are as the file says; 1 failed: worker-2\. Run it again to go on\.$/m,
      );
      assert.doesNotMatch(await inside('cp-1', 'ls', '/run'), /capstan-fleet/, 'no secret stays');
      startSshd('worker-2');
      await until(
        'sshd',
        async () => !(await fleet('status', '--limit=worker-2')).stdout.includes('not reached'),
      );
      assert.match(await ok('apply'), /^worker-2 +join +done/m);
    },
  );

  it(
    'changes nothing when run again, and reconciles labels and addons',
    { timeout: TIMEOUT_MS },
    async () => {
      type State = { machines: { asListed: boolean }[]; addons: { name: string; ready: boolean }[] };
      const states = async (): Promise<State> =>
        JSON.parse((await fleet('status', '--json')).stdout) as State;
      assert.match(await ok('apply'), /^5 of 5 machines are as the file says; nothing was changed\.$/m);
      Object.assign(listed[3]!, { labels: { disk: 'ssd' }, zone: 'a' });
      const note = {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'note', namespace: 'kube-system' },
      };
      addons = [{ name: 'notes', manifests: [note] }];
      const changed = await ok('apply');
      assert.match(changed, /^worker-1 +labels +done .*label disk=ssd$/m);
      assert.match(changed, /^addon notes +addons +done .*added: 1 objects$/m);
      await until('the addon to be ready', async () => (await states()).addons[0]?.ready);
      assert.deepEqual(
        (await states()).machines.map(({ asListed }) => asListed),
        [true, true, true, true, true],
      );
      Object.assign(listed[3]!, { labels: {} });
      addons = [];
      assert.equal((await fleet('apply', '--check')).code, 2);
      const removed = await ok('apply');
      assert.match(removed, /^worker-1 +labels +done .*label disk removed$/m);
      assert.match(removed, /^addon notes +addons +done .*removed$/m);
      await until('the addon to be gone', async () => (await states()).addons.length === 0);
    },
  );

  it('takes out what left the file only when asked to', { timeout: TIMEOUT_MS }, async () => {
    const gone = listed.splice(4, 1);
    assert.match(await ok('apply'), /^worker-2 +prune +extra .*--prune removes it$/m);
    assert.match(await ok('apply', '--prune'), /^worker-2 +prune +done/m);
    listed.push(...gone);
    assert.equal((await fleet('status')).code, 2, 'it is in no cluster');
    assert.match(await ok('reset', '--yes', '--limit=cp-2'), /^cp-2 +reset +done/m);
    assert.match(await ok('reset', '--yes'), /^5 of 5 machines are clean\.$/m);
  });
});

interface Inventory {
  readonly machines: readonly Listed[];
  /** Undefined: no such section. */
  readonly addons: readonly object[] | undefined;
  readonly launcher: string;
}

function inventory({ machines, addons, launcher }: Inventory): string {
  const nodeRegistration = { ignorePreflightErrors: ['all'] };
  return stringifyYaml({
    apiVersion: 'fleet.capstan.dev/v1alpha1',
    kind: 'Fleet',
    capstan: { path: launcher },
    etcd: { binary: etcdProgram },
    runtime: 'simulated',
    machines,
    init: { apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'InitConfiguration', nodeRegistration },
    join: { apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'JoinConfiguration', nodeRegistration },
    ...(addons ? { addons } : {}),
  });
}

/** SIGKILL as soon as it prints the text. False: it ended before. */
function killedAt([file = '', ...words]: readonly string[], text: string): Promise<boolean> {
  const child = spawn(file, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  let printed = '';
  child.stderr.setEncoding('utf8').on('data', (part: string) => {
    printed += part;
    if (printed.includes(text)) child.kill('SIGKILL');
  });
  return new Promise((done) => child.once('exit', (_, signal) => done(signal === 'SIGKILL')));
}
