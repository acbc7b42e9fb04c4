/** Client and server of upstream's protocol meet over real connections, in clear and with certificates of both sides. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, it } from 'node:test';
import type { Node } from '#api/types.ts';
import { silentLogger } from '#stdx/log.ts';
import { makeAuthority } from '#testing/certificates.ts';
import {
  ProviderError,
  type GroupOptions,
  type NodeProvider,
  type ProviderNode,
} from '../autoscaler/provider.ts';
import { parseExternalGrpcConfig } from './config.ts';
import { createExternalGrpcProvider } from './provider.ts';
import { serveExternalGrpc } from './server.ts';

const DEFAULTS: GroupOptions = {
  scaleDownUtilizationThreshold: 0.5,
  scaleDownUnneededMs: 600_000,
  scaleDownUnreadyMs: 1_200_000,
  maxNodeProvisionMs: 900_500,
  ignoreDaemonSetsUtilization: false,
};
const NODE: ProviderNode = {
  name: 'w-1',
  providerID: 'vm://1',
  labels: { size: 'small' },
  annotations: { note: 'x' },
};
const TEMPLATE: Node = {
  metadata: { name: 'template', labels: { size: 'small' } },
  spec: { taints: [{ key: 'only', value: 'a', effect: 'NoSchedule' }] },
  status: { allocatable: { cpu: '4', memory: '8Gi' }, capacity: { cpu: '4', memory: '8Gi' } },
};

describe('the external gRPC provider', () => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).toReversed()) await close();
  });

  /** Notes what it is asked. */
  function noting(calls: unknown[], more: Partial<NodeProvider> = {}): NodeProvider {
    return {
      name: 'noting',
      refresh: () => Promise.resolve(void calls.push(['refresh'])),
      groups: () => Promise.resolve([{ id: 'small', minSize: 1, maxSize: 5 }]),
      groupOf: (node) => {
        calls.push(['groupOf', node]);
        return Promise.resolve(node.providerID === NODE.providerID ? 'small' : undefined);
      },
      targetSize: () => Promise.resolve(3),
      instances: () =>
        Promise.resolve([
          { id: 'vm://1', state: 'running' },
          { id: 'vm://2', state: 'unknown' },
          {
            id: 'vm://3',
            state: 'creating',
            error: { errorClass: 'out-of-resources', code: 'QUOTA', message: 'no more' },
          },
        ]),
      template: () => Promise.resolve(TEMPLATE),
      increase: (...args) => Promise.resolve(void calls.push(['increase', ...args])),
      deleteNodes: (...args) => Promise.resolve(void calls.push(['deleteNodes', ...args])),
      decreaseTarget: (...args) => Promise.resolve(void calls.push(['decreaseTarget', ...args])),
      price: () => Promise.resolve(1.5),
      options: (_, defaults) => Promise.resolve({ ...defaults, scaleDownUnneededMs: 60_000 }),
      close: () => Promise.resolve(),
      ...more,
    };
  }

  async function connect(provider: NodeProvider, more = 'grpc_timeout: 60s'): Promise<NodeProvider> {
    const server = await serveExternalGrpc({
      address: '127.0.0.1:0',
      tls: undefined,
      provider,
      log: silentLogger,
    });
    closing.push(() => server.close());
    const config = parseExternalGrpcConfig(`address: 127.0.0.1:${server.port}\n${more}`);
    const client = await createExternalGrpcProvider(config);
    // Cleanup may take longer than it is waited for.
    closing.push(() => client.close().catch(() => {}));
    return client;
  }

  it('carries every call', async () => {
    const calls: unknown[] = [];
    const client = await connect(noting(calls));
    await client.refresh();
    assert.deepEqual(await client.groups(), [{ id: 'small', minSize: 1, maxSize: 5 }]);
    assert.equal(await client.groupOf(NODE), 'small');
    assert.equal(await client.groupOf(NODE), 'small');
    assert.equal(await client.groupOf({ ...NODE, providerID: 'vm://9' }), undefined);
    assert.equal(await client.targetSize('small'), 3);
    assert.deepEqual(await client.instances('small'), await noting([]).instances('small'));
    const template = await client.template('small');
    assert.deepEqual(
      [template?.metadata?.labels, template?.spec, template?.status?.allocatable],
      [TEMPLATE.metadata?.labels, TEMPLATE.spec, TEMPLATE.status?.allocatable],
    );
    assert.equal(
      await client.price?.('small', { metadata: { labels: { 'capacity.capstan.dev/node-group': 'small' } } }),
      1.5,
    );
    assert.deepEqual(await client.options?.('small', DEFAULTS), { ...DEFAULTS, scaleDownUnneededMs: 60_000 });
    await client.increase('small', 2);
    await client.deleteNodes('small', [NODE]);
    await client.decreaseTarget('small', -1);
    assert.deepEqual(calls, [
      ['refresh'],
      ['groupOf', NODE],
      ['groupOf', { ...NODE, providerID: 'vm://9' }],
      ['increase', 'small', 2],
      ['deleteNodes', 'small', [NODE]],
      ['decreaseTarget', 'small', -1],
    ]);
  });

  it('does without what a server does not implement', async () => {
    const unsupported = noting([], { template: () => Promise.resolve(undefined) });
    const { price: _p, options: _o, ...bare } = unsupported;
    const client = await connect(bare);
    assert.equal(await client.template('small'), undefined);
    assert.equal(await client.price?.('small', TEMPLATE), undefined);
    assert.deepEqual(await client.options?.('small', DEFAULTS), DEFAULTS);
  });

  it('says what went wrong, and in time', async () => {
    const provider = noting([], {
      increase: () => Promise.reject(new ProviderError('failed', 'the quota is used up')),
      targetSize: () => new Promise(() => {}),
    });
    const client = await connect(provider, 'grpc_timeout: 60s');
    await assert.rejects(client.increase('small', 1), {
      code: 'failed',
      message: 'externalgrpc: NodeGroupIncreaseSize: the quota is used up',
    });
    await assert.rejects(client.increase('small', -1), /delta is -1; it should be above 0/);
    const hasty = await connect(provider, 'grpc_timeout: 100ms');
    await assert.rejects(hasty.targetSize('small'), { code: 'timeout' });
  });

  it('lets nobody in without a certificate of its authority', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'capstan-grpc-'));
    closing.push(() => rmSync(dir, { recursive: true, force: true }));
    const authority = makeAuthority();
    const issued = authority.issue({ commonName: 'provider', addresses: ['127.0.0.1'] });
    const server = await serveExternalGrpc({
      address: '127.0.0.1:0',
      tls: {
        cert: Buffer.from(issued.cert),
        key: Buffer.from(issued.key),
        clientCa: Buffer.from(authority.cert),
      },
      provider: noting([]),
      log: silentLogger,
    });
    closing.push(() => server.close());
    async function ask(by: ReturnType<typeof makeAuthority>): Promise<number> {
      const { cert, key } = by.issue({ commonName: 'autoscaler' });
      writeFileSync(join(dir, 'cert'), cert);
      writeFileSync(join(dir, 'key'), key);
      writeFileSync(join(dir, 'ca'), authority.cert);
      const client = await createExternalGrpcProvider(
        parseExternalGrpcConfig(
          `{address: "127.0.0.1:${server.port}", cert: ${dir}/cert, key: ${dir}/key, cacert: ${dir}/ca, grpc_timeout: 2s}`,
        ),
      );
      closing.push(() => client.close().catch(() => {}));
      return client.targetSize('small');
    }
    assert.equal(await ask(authority), 3);
    await assert.rejects(ask(makeAuthority()), { name: 'ProviderError' });
  });

  it('refuses configurations that are not clear', () => {
    const bad = (text: string, words: RegExp): void =>
      assert.throws(() => parseExternalGrpcConfig(text), words);
    bad('address: somewhere', /address is "somewhere"; it should be HOST:PORT/);
    bad('address: a:1\nhost: b', /it has host; it should have address, key, cert, cacert, grpc_timeout/);
    bad('address: a:1\ncert: /c', /key, cert and cacert should be given all, or none/);
    bad('address: a:1\ngrpc_timeout: soon', /grpc_timeout is soon; it should be a duration above 0/);
  });
});
