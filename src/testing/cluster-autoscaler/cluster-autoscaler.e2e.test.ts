/** The commands as a user has them: a simulated cluster, a provider of nodes served by gRPC, and the autoscaler that asks it. Pods bring machines, and machines go. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, it } from 'node:test';
import type { Client } from '#client/client.ts';
import { configMaps, deployments, nodes, pods } from '#client/refs.ts';
import { freePort, testCluster, until, type TestCluster } from '../cluster.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../../capstan');
const GROUPS = `
apiVersion: capacity.capstan.dev/v1alpha1
kind: NodeGroups
groups:
- {name: small, maxSize: 5, template: {labels: {size: small}, allocatable: {cpu: "4", memory: 16Gi, pods: "110"}}}
`;

let cluster: TestCluster;
let api: Client;
let dir: string;
const programs: ChildProcess[] = [];

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-autoscaler-'));
  cluster = await testCluster({ runtime: 'simulated', nodes: 1 });
  await cluster.up();
  api = await cluster.client();
});

after(async () => {
  for (const program of programs) {
    if (program.exitCode !== null) continue;
    program.kill('SIGTERM');
    await once(program, 'exit');
  }
  await api?.close();
  await cluster?.delete();
  if (dir) rmSync(dir, { recursive: true, force: true });
});

function run(command: string, flags: readonly string[]): void {
  const words = [command, '--kubeconfig', cluster.kubeconfig, ...flags];
  programs.push(spawn(CAPSTAN, words, { stdio: ['ignore', 'ignore', 'inherit'] }));
}

it('machines come for pods that fit nowhere, and go', { timeout: 180_000 }, async () => {
  const port = await freePort();
  writeFileSync(join(dir, 'groups.yaml'), GROUPS);
  writeFileSync(join(dir, 'grpc.yaml'), `address: 127.0.0.1:${port}\ngrpc_timeout: 30s\n`);
  run('node-provider', [
    '--cloud-provider=simulated',
    `--cloud-config=${join(dir, 'groups.yaml')}`,
    `--listen=127.0.0.1:${port}`,
  ]);
  run('cluster-autoscaler', [
    '--cloud-provider=externalgrpc',
    `--cloud-config=${join(dir, 'grpc.yaml')}`,
    '--address=',
    '--leader-elect=false',
    '--scan-interval=1s',
    '--scale-down-unneeded-time=2s',
    '--scale-down-delay-after-add=1s',
    '--node-delete-delay-after-taint=100ms',
  ]);
  const labels = { app: 'web' };
  await api.create(deployments, {
    metadata: { name: 'web', namespace: 'default' },
    spec: {
      replicas: 4,
      selector: { matchLabels: labels },
      template: {
        metadata: { labels },
        spec: {
          nodeSelector: { size: 'small' },
          containers: [{ name: 'c', image: 'i', resources: { requests: { cpu: '3' } } }],
        },
      },
    },
  });
  await until('the pods run on machines of the group', async () => {
    const { items } = await api.list(pods, { namespace: 'default' });
    return items.length === 4 && items.every(({ status }) => status?.phase === 'Running');
  });
  assert.equal((await api.list(nodes)).items.length, 5);
  await api.delete(deployments, { name: 'web', namespace: 'default' });
  await until('the machines are gone', async () => (await api.list(nodes)).items.length === 1);
  const { data } = await api.get(configMaps, {
    name: 'cluster-autoscaler-status',
    namespace: 'kube-system',
  });
  assert.match(data?.['status'] ?? '', /^time: .*\nautoscalerStatus: Running\n/);
});
