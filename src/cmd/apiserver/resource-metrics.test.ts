/** Usage of nodes whose kubelets answer over TLS: with which certificate they are asked, and what becomes of those that do not answer as they should. */
import assert from 'node:assert/strict';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { after, before, describe, it } from 'node:test';
import { nodes } from '#client/refs.ts';
import type { ResourceRef } from '#client/client.ts';
import type { KubeObject } from '#machinery/object.ts';
import { issueCertificate } from '#pki/certificate.ts';
import { until } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';

interface NodeMetrics extends KubeObject {
  readonly usage: { readonly cpu: string; readonly memory: string };
}

const NODE_METRICS: ResourceRef<NodeMetrics> = {
  group: 'metrics.k8s.io',
  version: 'v1beta1',
  plural: 'nodes',
  kind: 'NodeMetrics',
  namespaced: false,
};
const HOUR_MS = 3_600_000;

describe('usage of real nodes', () => {
  let test: TestApi;
  let kubelet: Server;
  const asked: { path: string; by: string }[] = [];
  const began = Date.now();

  /** A node that uses half a core. */
  function page(): string {
    const now = Date.now();
    return [
      `node_cpu_usage_seconds_total ${100 + ((now - began) / 1000) * 0.5} ${now}`,
      `node_memory_working_set_bytes 2097152 ${now}`,
      '',
    ].join('\n');
  }

  before(async () => {
    test = await startTestApi({ settings: { resourceMetrics: { resolutionMs: 2_000, warmUpMs: 100 } } });
    const { certificatePem: cert, keyPem: key } = issueCertificate(test.pki.ca, {
      subject: { commonName: 'system:node:n1', organizations: ['system:nodes'] },
      usages: ['serverAuth'],
      altNames: { dnsNames: ['n1'], ipAddresses: [] },
      nowMs: Date.now(),
      lifetimeMs: HOUR_MS,
    });
    const ca = test.pki.ca.certificatePem;
    kubelet = createServer(
      { cert, key, ca, requestCert: true, rejectUnauthorized: true },
      (request, response) => {
        const by = (request.socket as TLSSocket).getPeerCertificate().subject.CN as string;
        asked.push({ path: request.url ?? '', by });
        response.end(page());
      },
    );
    await new Promise<void>((resolve) => kubelet.listen(0, '127.0.0.1', resolve));
    const { port } = kubelet.address() as AddressInfo;
    await join('n1', port);
    // Nothing listens there.
    await join('dead', 1);
  });
  after(async () => {
    await test.stop();
    kubelet.closeAllConnections();
    await new Promise((resolve) => kubelet.close(resolve));
  });

  async function join(name: string, port: number): Promise<void> {
    const node = await test.api.create(nodes, { metadata: { name } });
    await test.api.updateStatus(nodes, {
      ...node,
      status: {
        addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
        daemonEndpoints: { kubeletEndpoint: { Port: port } },
      },
    });
  }

  const measured = async (): Promise<NodeMetrics[]> => (await test.api.list(NODE_METRICS)).items;

  it('their kubelets are asked for /metrics/resource with the certificate of this server', async () => {
    const [n1] = await until('metrics', async () => {
      const items = await measured();
      return items.length > 0 && items;
    });
    assert.equal(n1!.metadata?.name, 'n1');
    assert.equal(n1!.usage.memory, '2Mi');
    const milli = Number(/^(\d+)([nm])$/.exec(n1!.usage.cpu)![1]) / (n1!.usage.cpu.endsWith('n') ? 1e6 : 1);
    assert.ok(Math.abs(milli - 500) < 25, n1!.usage.cpu);
    assert.deepEqual(asked[0], { path: '/metrics/resource', by: 'kube-apiserver-kubelet-client' });
  });

  it('a node that does not answer has none, and does not keep others from theirs', async () => {
    const names = async (): Promise<string> =>
      (await measured()).map(({ metadata }) => metadata?.name).join();
    await until('only the node that answers has metrics', async () => (await names()) === 'n1');
    await assert.rejects(
      test.api.get(NODE_METRICS, { name: 'dead' }),
      /nodemetrics.metrics.k8s.io "dead" not found/,
    );
    await assert.rejects(test.api.get(NODE_METRICS, { name: 'none' }), /nodes "none" not found/);
  });

  it('a node that stops answering has none after the next round', async () => {
    kubelet.closeAllConnections();
    await new Promise((resolve) => kubelet.close(resolve));
    await until('no metrics', async () => (await measured()).length === 0);
  });
});
