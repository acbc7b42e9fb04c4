/** `capstan reset`: nothing is left of a node and a service proxy that ran as single commands, however they ended; what is not theirs stays. */
import assert from 'node:assert/strict';
import { containersMissing } from './real-containers.ts';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createClient } from '#client/create.ts';
import type { Client } from '#client/client.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { nodes, pods } from '#client/refs.ts';
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { findNode } from '#cmd/node/control.ts';
import { computeProxyId } from '#cmd/proxy/run.ts';
import { claimNetworks, releaseNetworks } from '#deploy/networks.ts';
import { newClusterId } from '#deploy/data-dir.ts';
import { containerdLayout } from '#node/containerd/layout.ts';
import { buildBusyboxImage } from './busybox.ts';
import { capstan, freePort, until, type CommandResult } from './cluster.ts';
import { withoutPorts } from './quiet-ports.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');
describe('reset', { skip: containersMissing }, () => {
  let base: string;
  let node: string;
  let server: string;
  let api: Client;
  let podCIDR: string;
  const claimId = newClusterId();
  const children: ChildProcess[] = [];
  const start = (...words: readonly string[]): ChildProcess => {
    const child = spawn(CAPSTAN, withoutPorts(words), { stdio: 'ignore' });
    children.push(child);
    return child;
  };
  const kubeconfig = (name: string): string => join(base, 'api/kubeconfigs', `${name}.kubeconfig`);
  const reset = (...words: readonly string[]): Promise<CommandResult> =>
    capstan(['reset', '--data-dir', node, ...words]);
  const left = (): Promise<readonly string[]> => findNode({ node, proxyId: computeProxyId(server) });

  before(async () => {
    base = mkdtempSync(join(tmpdir(), 'capstan-reset-'));
    node = join(base, 'node');
    ({ podCIDR } = await claimNetworks({ id: claimId, dataDir: base }));
    const port = await freePort();
    server = `https://127.0.0.1:${port}`;
    start('apiserver', '--data-dir', join(base, 'api'), '--secure-port', String(port));
    await until('the API server', () => existsSync(kubeconfig('dns')));
    api = createClient(createKubeconfigTransport({ path: join(base, 'api/admin.kubeconfig') }), {
      userAgent: 'test',
    });
    start('controller-manager', '--kubeconfig', kubeconfig('controller-manager'), '--cluster-cidr', podCIDR);
    start('scheduler', '--kubeconfig', kubeconfig('scheduler'));
  });

  after(async () => {
    await api?.close();
    for (const child of children) child.kill('SIGKILL');
    if (existsSync(node)) await reset('--yes');
    releaseNetworks(claimId);
    rmSync(base, { recursive: true, force: true });
  });

  /** A node with one pod that runs, and the service proxy. */
  async function startNode(
    pod: string,
  ): Promise<{ readonly node: ChildProcess; readonly proxy: ChildProcess }> {
    const name = `node-${pod}`;
    const admin = join(base, 'api/admin.kubeconfig');
    const started = {
      node: start(
        'node',
        '--kubeconfig',
        admin,
        '--data-dir',
        node,
        '--node-name',
        name,
        '--pod-cidr',
        podCIDR.replace('/16', '/24'),
      ),
      proxy: start('proxy', '--kubeconfig', kubeconfig('kube-proxy'), '--cluster-cidr', podCIDR),
    };
    await until('the node', async () =>
      (await api.get(nodes, { name })).status?.conditions?.some(
        ({ type, status }) => type === 'Ready' && status === 'True',
      ),
    );
    const image = await buildBusyboxImage();
    assert.equal((await capstan(['image', 'load', image.path, '--data-dir', node])).code, 0);
    rmSync(dirname(image.path), { recursive: true });
    await api.create(pods, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: pod, namespace: 'default' },
      spec: {
        nodeName: name,
        terminationGracePeriodSeconds: 0,
        containers: [
          { name: 'main', image: image.name, imagePullPolicy: 'Never', command: ['sleep', '1000'] },
        ],
      },
    });
    await until(
      'the pod',
      async () => (await api.get(pods, { name: pod, namespace: 'default' })).status?.phase === 'Running',
    );
    await until('the service rules', async () =>
      (await left()).some((thing) => thing.includes('service rules')),
    );
    return started;
  }

  it('asks, stops what runs, removes all of it, and says what', { timeout: 120_000 }, async () => {
    const { node: program } = await startNode('first');
    const unasked = await reset();
    assert.equal(unasked.code, 1);
    assert.match(
      unasked.stderr,
      /This removes the node in .* and the service rules capstan-services-[0-9a-f]{8}, all of the above: give --yes to confirm/,
    );
    assert.equal(program.exitCode, null);
    const { code, stdout, stderr } = await reset('--yes');
    assert.equal(code, 0, stderr);
    const { bridge, nftTable, cgroupRoot } = containerdLayout({ dir: containerdDir({ node }) });
    for (const thing of [
      'the program capstan node (process ',
      'the program capstan proxy (process ',
      'containerd (process ',
      '1 pod with containers',
      `the bridge ${bridge}`,
      `the nftables table ${nftTable}`,
      `the cgroup ${cgroupRoot}`,
      'the service rules ',
      `the node's files in ${node}`,
    ]) {
      assert.ok(stdout.includes(`gone: ${thing}`), `${thing}\n${stdout}`);
    }
    assert.deepEqual(await left(), []);
    assert.equal(existsSync(node), false);
  });

  it(
    "finds it all after kill -9 too, leaves files that are not the node's, and a second time finds nothing",
    { timeout: 120_000 },
    async () => {
      const programs = await startNode('second');
      for (const child of Object.values(programs)) child.kill('SIGKILL');
      writeFileSync(join(node, 'notes'), 'mine');
      const { code, stdout, stderr } = await reset('--yes');
      assert.equal(code, 0, stderr);
      assert.match(stdout, /stays, since there is more in it: notes/);
      assert.deepEqual(await left(), []);
      const again = await reset('--yes');
      assert.equal(again.code, 0);
      assert.match(again.stdout, /^There is nothing of the node in /);
      assert.equal(existsSync(join(node, 'notes')), true);
    },
  );

  it("leaves clusters to 'delete', and what it did not make alone", async () => {
    const cluster = await capstan(['reset', '--yes', '--data-dir', join(base, 'api')]);
    assert.equal(cluster.code, 1);
    assert.match(cluster.stderr, /is a cluster's directory; remove it with: capstan delete --data-dir/);
    const foreign = join(base, 'foreign');
    mkdirSync(join(foreign, 'containerd'), { recursive: true });
    mkdirSync(join(foreign, 'kubelet'));
    writeFileSync(join(foreign, 'containerd/config.toml'), 'version = 2\n');
    const refused = await capstan(['reset', '--yes', '--data-dir', foreign]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /holds a containerd that Capstan did not make: nothing was removed/);
    assert.equal(existsSync(join(foreign, 'kubelet')), true);
  });
});
