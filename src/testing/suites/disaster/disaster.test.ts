/**
 * Every machine is lost, and the cluster lives on others: one cluster moves from the embedded store of `up` to three control planes and a worker with etcd, loses all of them, is
 * restored on one new machine that others join, and moves back into a data directory. Machines are network namespaces, with real etcd and simulated nodes.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { EtcdMember } from '#machinery/etcd-membership.ts';
import { capstan, freePort, runCommand, until } from '#testing/cluster.ts';
import { etcdProgram } from '#testing/etcd-members.ts';
import { canHaveNamespaces, createLan, type Lan, type LanMachine } from '#testing/lan.ts';

const MAIN = resolve(import.meta.dirname, '../../../cli/main.ts');
const REQUEST = resolve(import.meta.dirname, '../../api-request.ts');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];
const SUBNET = '10.221.0';
/** Of a machine that many share. */
const TIMEOUT_MS = 240_000;
const COMMON = ['--runtime=simulated', '--ignore-preflight-errors=all'];
const etcdWord = `--etcd-binary=${etcdProgram}`;
/** Above what is written after the backup here. */
const MARGIN = '--restore-revision-margin=3000';
const APPS = '/apis/apps/v1/namespaces/default';
const CORE = '/api/v1/namespaces/default';

/** What init prints before it does what another run has to go on with. */
const KILLED_AT = [
  '[restore-certs] Writing',
  '[etcd] Local etcd',
  '[restore-objects] Writing',
  '[restore-objects] verified',
  '[control-plane] Setting up the service "apiserver"',
  '[wait-control-plane] Waiting',
];

const skip = !etcdProgram ? 'no etcd 3.5' : !canHaveNamespaces() && 'needs root and ip netns';

interface Machine {
  readonly name: string;
  readonly address: string;
  readonly rootfs: string;
  readonly lan: LanMachine;
}

interface Listed {
  readonly items: readonly {
    readonly metadata: { readonly name: string; readonly uid: string };
    readonly spec?: { readonly nodeName?: string };
    readonly status?: { readonly phase?: string };
  }[];
}

describe('every machine is lost', { skip }, () => {
  let lan: Lan;
  let base: string;
  let dataDir: string;
  let backups: string;
  let key: string;
  /** The administrator's file of the first cluster: every one after it has the same authority. */
  let admin: string;
  const machines = new Map<string, Machine>();

  before(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-disaster-'));
    lan = createLan(`cd${process.pid}`, SUBNET);
    [dataDir, backups, key, admin] = ['data', 'backups', 'identity.txt', 'admin.conf'].map((name) =>
      join(base, name),
    ) as [string, string, string, string];
  });
  after(async () => {
    for (const dir of [dataDir, `${dataDir}-again`]) await capstan(['down', '--data-dir', dir]);
    for (const one of machines.values()) killAll(one);
    await lan.close();
    rmSync(base, { recursive: true, force: true });
  });

  const machine = (name: string): Machine => {
    const made = lan.machine(name, `${SUBNET}.${machines.size + 1}`);
    made.run('ip', 'route', 'add', 'default', 'via', `${SUBNET}.254`);
    const one = { name, address: made.address, rootfs: join(base, name), lan: made };
    machines.set(name, one);
    return one;
  };
  const inside = ({ lan: { name }, rootfs }: Machine, words: readonly string[]): string[] => [
    'ip',
    'netns',
    'exec',
    name,
    ...NODE,
    MAIN,
    ...words,
    `--rootfs=${rootfs}`,
  ];
  const on = async (one: Machine, ...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await runCommand(inside(one, words), { timeoutMs: TIMEOUT_MS });
    assert.equal(code, 0, `${one.name}: capstan ${words.join(' ')}\n${stdout}${stderr}${logsOf(one)}`);
    return stdout;
  };
  const here = async (...words: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await capstan(words);
    assert.equal(code, 0, `capstan ${words.join(' ')}\n${stdout}${stderr}`);
    return stdout;
  };
  /** One that the cluster is making by its schedule is waited for. */
  const backUp = (one: Machine): Promise<unknown> =>
    until(
      'a backup is made',
      async () => {
        const words = inside(one, ['backup', 'create', `--location=${backups}`]);
        const { code, stderr } = await runCommand(words, { timeoutMs: TIMEOUT_MS });
        if (code !== 0) assert.match(stderr, /Another backup is being made/);
        return code === 0;
      },
      TIMEOUT_MS,
    );
  /** As the first cluster's administrator. */
  const asAdmin =
    (server: string, inside: readonly string[] = []) =>
    async (...words: readonly string[]): Promise<string> => {
      const command = [...inside, ...NODE, REQUEST, admin, server, ...words];
      const { code, stdout, stderr } = await runCommand(command, { timeoutMs: 20_000 });
      assert.equal(code, 0, stderr);
      return stdout;
    };
  type Api = ReturnType<typeof asAdmin>;
  const apiOf = ({ address, lan: { name } }: Machine): Api =>
    asAdmin(`https://${address}:6443`, ['ip', 'netns', 'exec', name]);
  const list = async (api: Api, path: string): Promise<Listed['items']> => {
    const answer = await api('GET', path);
    assert.match(answer, /^200 /);
    return (JSON.parse(answer.slice(4)) as Listed).items;
  };
  /** init's last lines as the words of join. */
  const joinWords = (printed: string): { worker: string[]; plane: string[] } => {
    const word = (pattern: RegExp): string => pattern.exec(printed)?.[1] ?? '';
    const worker = [
      'join',
      word(/capstan join (\S+)/),
      `--token=${word(/--token (\S+)/)}`,
      `--discovery-token-ca-cert-hash=${word(/(sha256:\S+)/)}`,
      ...COMMON,
    ];
    const plane = ['--control-plane', `--certificate-key=${word(/--certificate-key (\S+)/)}`, etcdWord];
    return { worker, plane: [...worker, ...plane] };
  };
  const restoreWords = (one: Machine): readonly string[] => [
    'init',
    ...COMMON,
    `--node-name=${one.name}`,
    '--upload-certs',
    `--control-plane-endpoint=${one.address}:6443`,
    etcdWord,
    '--restore=latest',
    `--restore-location=${backups}`,
    `--restore-identity-file=${key}`,
    '--lost-nodes=all',
    MARGIN,
  ];
  const restoreOn = (one: Machine): Promise<string> => on(one, ...restoreWords(one));
  /** As soon as it prints the line. */
  const killedAt = (one: Machine, line: string): Promise<boolean> => {
    const [file = '', ...words] = inside(one, restoreWords(one));
    const child = spawn(file, words, { stdio: ['ignore', 'pipe', 'ignore'] });
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
      if (printed.includes(line)) child.kill('SIGKILL');
    });
    return new Promise((done) => child.once('close', (_, signal) => done(signal === 'SIGKILL')));
  };
  /** Two control planes and a worker beside the first machine. */
  const growFrom = async (printed: string, names: readonly string[]): Promise<void> => {
    const { plane, worker } = joinWords(printed);
    for (const name of names) {
      const role = name.startsWith('w') ? worker : plane;
      await on(machine(name), ...role, `--node-name=${name}`);
    }
  };
  const members = async (one: Machine): Promise<string[]> => {
    const found = JSON.parse(await on(one, 'etcd', 'members', '-o', 'json')) as { members: EtcdMember[] };
    return found.members.map(({ name }) => name).toSorted();
  };
  /** Two of the Deployment and one of the StatefulSet, all on one of these nodes. */
  const workloadsRun = (api: Api, nodes: readonly string[]): Promise<unknown> =>
    until(
      `the workloads to run on ${nodes.join(', ')}`,
      async () => {
        const pods = await list(api, `${CORE}/pods`);
        const running = pods.filter(
          ({ spec, status }) => status?.phase === 'Running' && nodes.includes(spec?.nodeName ?? ''),
        );
        const names = running.map(({ metadata }) => metadata.name.replace(/^web-.*/, 'web')).toSorted();
        return names.join() === 'store-0,web,web';
      },
      TIMEOUT_MS,
    );
  const uids = async (api: Api): Promise<Record<string, string>> => {
    const paths = [`${CORE}/configmaps`, `${CORE}/secrets`, `${APPS}/deployments`, `${APPS}/statefulsets`];
    const found = await Promise.all(paths.map((path) => list(api, path)));
    return Object.fromEntries(found.flat().map(({ metadata }) => [metadata.name, metadata.uid]));
  };
  let kept: Record<string, string> = {};

  test('a cluster of `up`, and its backup', { timeout: TIMEOUT_MS }, async () => {
    const port = await freePort();
    await here(
      'up',
      '--detach',
      '--runtime=simulated',
      '--nodes=2',
      `--https-port=${port}`,
      '--apiserver-arg=backup=false',
      `--data-dir=${dataDir}`,
    );
    copyFileSync(join(dataDir, 'admin.kubeconfig'), admin);
    const api = asAdmin(`https://127.0.0.1:${port}`);
    const post = async (path: string, object: object): Promise<void> =>
      assert.match(await api('POST', path, JSON.stringify(object)), /^201 /);
    for (let at = 0; at < 20; at++)
      await post(`${CORE}/configmaps`, {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: `map${at}` },
        data: { at: String(at) },
      });
    const stringData = { password: 'kept' };
    await post(`${CORE}/secrets`, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'secret' },
      stringData,
    });
    const template = (app: string): object => ({
      selector: { matchLabels: { app } },
      template: {
        metadata: { labels: { app } },
        spec: { containers: [{ name: 'c', image: 'example.org/c:1' }] },
      },
    });
    const meta = (name: string): object => ({ apiVersion: 'apps/v1', metadata: { name } });
    await post(`${APPS}/deployments`, {
      ...meta('web'),
      kind: 'Deployment',
      spec: { replicas: 2, ...template('web') },
    });
    await post(`${APPS}/statefulsets`, {
      ...meta('store'),
      kind: 'StatefulSet',
      spec: { replicas: 1, serviceName: 'store', ...template('store') },
    });
    const nodes = (await list(api, '/api/v1/nodes')).map(({ metadata }) => metadata.name);
    await workloadsRun(api, nodes);
    kept = await uids(api);
    await here('backup', 'create', `--data-dir=${dataDir}`, `--location=${backups}`);
    copyFileSync(join(dataDir, 'pki/backup-identity.txt'), key);
    await here('down', `--data-dir=${dataDir}`);
    rmSync(dataDir, { recursive: true });
  });

  test(
    'restored with etcd on a new machine, which grows to three control planes',
    { timeout: 3 * TIMEOUT_MS },
    async () => {
      const m1 = machine('m1');
      for (const line of KILLED_AT) assert.ok(await killedAt(m1, line), line);
      const printed = await restoreOn(m1);
      await growFrom(printed, ['m2', 'm3', 'w1']);
      const api = apiOf(m1);
      assert.deepEqual(await members(m1), ['m1', 'm2', 'm3']);
      // While they join, control planes have no taint yet.
      await workloadsRun(api, ['m1', 'm2', 'm3', 'w1']);
      assert.deepEqual(await uids(api), kept);
      const names = (await list(api, '/api/v1/nodes')).map(({ metadata }) => metadata.name);
      assert.deepEqual(names.toSorted(), ['m1', 'm2', 'm3', 'w1']);
      assert.deepEqual(
        readFileSync(join(m1.rootfs, 'etc/kubernetes/pki/backup-identity.txt')),
        readFileSync(key),
        'the next backups open with the same key',
      );
    },
  );

  test('init again, as it was, completes nothing anew', { timeout: TIMEOUT_MS }, async () => {
    const m1 = machines.get('m1')!;
    assert.match(await restoreOn(m1), /\[restore-objects\] The objects of a backup are in etcd already/);
  });

  test('all four are lost, and three others live on', { timeout: 3 * TIMEOUT_MS }, async () => {
    const m1 = machines.get('m1')!;
    await backUp(m1);
    // After the backup: what a client has seen of this may not come back as something else.
    const late = JSON.stringify({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'late' } });
    const answer = await apiOf(m1)('POST', `${CORE}/configmaps`, late);
    const version = /"resourceVersion":"(\d+)"/.exec(answer)?.[1] ?? '';
    for (const one of machines.values()) {
      killAll(one);
      rmSync(one.rootfs, { recursive: true });
    }
    const n1 = machine('n1');
    await growFrom(await restoreOn(n1), ['n2', 'n3', 'w2']);
    const api = apiOf(n1);
    assert.deepEqual(await members(n1), ['n1', 'n2', 'n3']);
    await workloadsRun(api, ['n1', 'n2', 'n3', 'w2']);
    assert.deepEqual(await uids(api), kept);
    assert.match(
      await api('GET', `${CORE}/configmaps?watch=1&timeoutSeconds=5&resourceVersion=${version}`),
      /^(410|200 .*"code":410)/s,
      'clients list again',
    );
    assert.match(await api('GET', `${CORE}/configmaps/late`), /^404/);
    const made = await api('POST', `${CORE}/configmaps`, late);
    assert.ok(Number(/"resourceVersion":"(\d+)"/.exec(made)?.[1]) > Number(version));
    assert.match(await on(n1, 'certs', 'check-expiration'), /apiserver/);
  });

  test('from etcd back into a data directory', { timeout: TIMEOUT_MS }, async () => {
    const n1 = machines.get('n1')!;
    await backUp(n1);
    for (const one of machines.values()) killAll(one);
    const again = `${dataDir}-again`;
    const port = await freePort();
    const said = await here(
      'backup',
      'restore',
      'latest',
      `--data-dir=${again}`,
      `--location=${backups}`,
      `--identity-file=${key}`,
      '--lost-nodes=all',
    );
    assert.match(said, /left out, with their machines: nodes n1, n2, n3, w2/);
    await here('up', '--detach', `--https-port=${port}`, `--data-dir=${again}`);
    const api = asAdmin(`https://127.0.0.1:${port}`);
    const nodes = (await list(api, '/api/v1/nodes')).map(({ metadata }) => metadata.name);
    await workloadsRun(api, nodes);
    assert.deepEqual(Object.keys(await uids(api)).toSorted(), [...Object.keys(kept), 'late'].toSorted());
    assert.ok(!existsSync(join(again, 'machine.json')));
  });
});

/** A power cut: everything that runs on the machine is gone in an instant. */
function killAll({ lan }: Machine): void {
  for (let pids = lan.pids(); pids.length > 0; pids = lan.pids())
    for (const pid of pids)
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
}

function logsOf({ rootfs }: Machine): string {
  return ['supervisor', 'etcd', 'apiserver', 'control', 'node']
    .map((name) => {
      const file = join(rootfs, `var/log/capstan/${name}.log`);
      if (!existsSync(file)) return '';
      return `\n${name}.log:\n${readFileSync(file, 'utf8').split('\n').slice(-8).join('\n')}`;
    })
    .join('');
}
