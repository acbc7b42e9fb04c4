/**
 * An API server and a controller manager as static pods of the node that they make a cluster of: the node agent's very first start has no API to ask for its
 * pod range. Mirror pods, a killed container, a removed manifest, and nothing left after a reset.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { ContainerStatus, Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { nodes, pods } from '#client/refs.ts';
import { containerdDir } from '#cmd/node/containerd-dir.ts';
import { findNode } from '#cmd/node/control.ts';
import { newClusterId } from '#deploy/data-dir.ts';
import { claimNetworks, releaseNetworks } from '#deploy/networks.ts';
import { createContainerd } from '#node/containerd/containerd.ts';
import { buildBusyboxImage } from '#node/images/busybox-image.ts';
import { capstanCommand } from '#supervisor/programs.ts';
import { capstan, freePort, until } from './cluster.ts';
import { withoutPorts } from './quiet-ports.ts';
import { containersMissing } from './real-containers.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');
const NODE = 'first';

describe('a control plane of static pods', { skip: containersMissing }, () => {
  let base: string, node: string, manifests: string;
  let port: number, podCIDR: string, image: string;
  let api: Client;
  let agent: ChildProcess | undefined;
  const claimId = newClusterId();

  before(async () => {
    base = mkdtempSync(join(tmpdir(), 'capstan-static-'));
    node = join(base, 'node');
    manifests = join(base, 'manifests');
    mkdirSync(manifests);
    port = await freePort();
    ({ podCIDR } = await claimNetworks({ id: claimId, dataDir: base }));
    await makeCredentials();
    image = await loadImage();
    api = createClient(createKubeconfigTransport({ path: join(base, 'api/admin.kubeconfig') }), {
      userAgent: 'test',
    });
  });

  after(async () => {
    await api?.close();
    agent?.kill('SIGKILL');
    if (existsSync(node)) await capstan(['reset', '--data-dir', node, '--yes']);
    releaseNetworks(claimId);
    rmSync(base, { recursive: true, force: true });
  });

  function apiServer(): readonly string[] {
    return ['apiserver', '--data-dir', join(base, 'api'), '--secure-port', String(port)];
  }

  /** The API server writes them, and a store, when it starts; it is ended again. */
  async function makeCredentials(): Promise<void> {
    const first = spawn(CAPSTAN, apiServer(), { stdio: 'ignore' });
    const ended = once(first, 'exit');
    try {
      await until('the credentials', () => existsSync(join(base, 'api/kubeconfigs/dns.kubeconfig')));
    } finally {
      first.kill('SIGTERM');
      await ended;
    }
  }

  /** Into the node's containerd, which runs on and is adopted. */
  async function loadImage(): Promise<string> {
    const containerd = createContainerd({ dir: containerdDir({ node }) });
    await containerd.start();
    const { name, tar } = await buildBusyboxImage();
    await containerd.importImage(tar);
    await containerd.stop();
    return name;
  }

  /** The program is the machine's own: it runs in the machine's root directory. */
  function writeManifest(name: string, words: readonly string[]): void {
    const manifest: Pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'kube-system', labels: { component: name, tier: 'control-plane' } },
      spec: {
        hostNetwork: true,
        hostPID: true,
        priorityClassName: 'system-node-critical',
        terminationGracePeriodSeconds: 10,
        containers: [
          {
            name,
            image,
            imagePullPolicy: 'IfNotPresent',
            command: ['chroot', '/host', ...capstanCommand(words)],
            volumeMounts: [{ name: 'host', mountPath: '/host' }],
          },
        ],
        volumes: [{ name: 'host', hostPath: { path: '/', type: 'Directory' } }],
      },
    };
    writeFileSync(join(manifests, `${name}.json`), JSON.stringify(manifest));
  }

  async function mirror(name: string): Promise<ContainerStatus | undefined> {
    const pod = await api.get(pods, { name: `${name}-${NODE}`, namespace: 'kube-system' });
    return pod.status?.containerStatuses?.[0];
  }

  it(
    'comes up at the first start of its node, which then gets a pod range',
    { timeout: 120_000 },
    async () => {
      writeManifest('kube-apiserver', apiServer());
      writeManifest(
        'kube-controller-manager',
        withoutPorts([
          'controller-manager',
          '--kubeconfig',
          join(base, 'api/kubeconfigs/controller-manager.kubeconfig'),
          '--cluster-cidr',
          podCIDR,
        ]),
      );
      agent = spawn(
        CAPSTAN,
        [
          'node',
          '--kubeconfig',
          join(base, 'api/admin.kubeconfig'),
          '--data-dir',
          node,
          '--node-name',
          NODE,
          '--cluster-cidr',
          podCIDR,
          '--pod-manifest-path',
          manifests,
        ],
        { stdio: process.env['TEST_LOG'] ? 'inherit' : 'ignore' },
      );
      const ready = await until('the node', async () => {
        const found = await api.get(nodes, { name: NODE });
        return found.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')
          ? found
          : undefined;
      });
      assert.ok(ready.spec?.podCIDR, 'the controller manager assigned a range');
      for (const name of ['kube-apiserver', 'kube-controller-manager']) {
        const status = await until(`the mirror of ${name}`, async () => {
          const found = await mirror(name);
          return found?.ready ? found : undefined;
        });
        assert.equal(status.restartCount, 0, 'the agent that knows the pod range adopted it');
      }
    },
  );

  it('a container that is killed is started again', { timeout: 120_000 }, async () => {
    const containerd = createContainerd({ dir: containerdDir({ node }) });
    try {
      const before = await mirror('kube-apiserver');
      const containerId = before?.containerID?.replace('containerd://', '') ?? '';
      await containerd.cri.stopContainer({ containerId, timeout: 0 });
      const after = await until('another container', async () => {
        const found = await mirror('kube-apiserver');
        return found?.ready && found.restartCount === 1 ? found : undefined;
      });
      assert.notEqual(after.containerID, before?.containerID);
    } finally {
      containerd.cri.close();
    }
  });

  it('a removed manifest ends its component', { timeout: 120_000 }, async () => {
    rmSync(join(manifests, 'kube-controller-manager.json'));
    await until('no mirror', () =>
      mirror('kube-controller-manager').then(
        () => false,
        () => true,
      ),
    );
    assert.equal((await mirror('kube-apiserver'))?.ready, true);
  });

  it('a reset leaves nothing of it on the machine', { timeout: 120_000 }, async () => {
    const { code, stdout, stderr } = await capstan(['reset', '--data-dir', node, '--yes']);
    assert.equal(code, 0, stdout + stderr);
    assert.deepEqual(await findNode({ node, proxyId: undefined }), []);
    await assert.rejects(api.list(nodes), /ECONNREFUSED/);
  });
});
