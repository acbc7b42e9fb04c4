/** Webhooks that objects describe, called on a real HTTPS server: where a Service leads, connections that are kept, who is trusted. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { KubeObject } from '#machinery/object.ts';
import type { WebhookClientConfig } from '#api/types.ts';
import { startWebhookPeer, type WebhookPeer } from '#testing/webhook-peer.ts';
import { FakeInternal } from '../authz/testing/loopback-client.ts';
import { callClientConfig, ClientConfigError } from './client-config.ts';

const SERVICES = { group: '', resource: 'services' };
const SLICES = { group: 'discovery.k8s.io', resource: 'endpointslices' };

let peer: WebhookPeer;
let internal: FakeInternal;
before(
  async () => (peer = await startWebhookPeer(() => ({ body: { ok: true } }), { dnsNames: ['hook.ns.svc'] })),
);
beforeEach(() => {
  internal = new FakeInternal();
  peer.answer(() => ({ body: { ok: true } }));
});
after(() => peer.stop());

const caBundle = (): string => Buffer.from(peer.caPem).toString('base64');
const port = (): number => Number(new URL(peer.url).port);
const call = (
  config: WebhookClientConfig,
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal; readonly body?: unknown } = {},
): Promise<unknown> =>
  callClientConfig(
    { caBundle: caBundle(), ...config },
    { internal, body: options.body ?? {}, timeoutMs: options.timeoutMs ?? 5000, signal: options.signal },
  );
const byService = (path?: string): Promise<unknown> =>
  call({ service: { namespace: 'ns', name: 'hook', port: port(), ...(path ? { path } : {}) } });
const service = (spec: object): void =>
  void internal.put(SERVICES, {
    metadata: { namespace: 'ns', name: 'hook' },
    spec: { ports: [{ name: 'https', port: port() }], ...spec },
  } as KubeObject);
const slice = (address: string, nodeName?: string): void =>
  void internal.put(SLICES, {
    metadata: { namespace: 'ns', name: 'hook-1', labels: { 'kubernetes.io/service-name': 'hook' } },
    ports: [{ name: 'https', port: port() }],
    endpoints: [{ addresses: [address], ...(nodeName ? { nodeName } : {}) }],
  } as KubeObject);
const says =
  (text: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ClientConfigError, String(error));
    assert.match(error.message, text);
    return true;
  };

test('posts JSON, and tells how long it has', async () => {
  assert.deepEqual(await call({ url: peer.url }, { timeoutMs: 1500, body: { a: 1 } }), { ok: true });
  const { path, body, headers } = peer.calls.at(-1)!;
  assert.deepEqual(
    [path, body, headers['content-type']],
    ['/webhook?timeout=2s', { a: 1 }, 'application/json'],
  );
});

test('a Service is called at its cluster address, checked for its name', async () => {
  service({ clusterIP: '127.0.0.1' });
  assert.deepEqual(await byService('/path'), { ok: true });
  assert.deepEqual(
    [peer.calls.at(-1)?.path, peer.calls.at(-1)?.headers.host],
    ['/path?timeout=5s', `hook.ns.svc:${port()}`],
  );
  internal.put(SERVICES, {
    metadata: { namespace: 'ns', name: 'other' },
    spec: { clusterIP: '127.0.0.1', ports: [{ port: port() }] },
  } as KubeObject);
  await assert.rejects(
    call({ service: { namespace: 'ns', name: 'other', port: port() } }),
    says(/x509: certificate is valid for localhost, hook\.ns\.svc, 127\.0\.0\.1, not other\.ns\.svc$/),
  );
});

test("an external name is called under the Service's own name", async () => {
  service({ type: 'ExternalName', externalName: '127.0.0.1' });
  assert.deepEqual(await byService(), { ok: true });
});

test('a Service that leads nowhere says so', async () => {
  await assert.rejects(
    byService(),
    says(/^Post "https:\/\/hook\.ns\.svc:\d+\/\?timeout=\w+": service "hook" not found$/),
  );
  service({ clusterIP: '127.0.0.1', ports: [{ port: 1 }] });
  await assert.rejects(byService(), says(/: no service port \d+ found for service "hook"$/));
  service({ clusterIP: 'None' });
  await assert.rejects(byService(), says(/: no endpoints available for service "hook"$/));
  // Nobody makes the server call itself by a made-up endpoint.
  slice('127.0.0.1');
  await assert.rejects(byService(), says(/: no endpoints available for service "hook"$/));
  await assert.rejects(call({}), says(/must have either service or URL/));
});

test('nothing is sent to simulated pods', async () => {
  service({ clusterIP: '127.0.0.1' });
  slice('10.0.0.1', 'fake');
  internal.put(
    { group: '', resource: 'nodes' },
    { metadata: { name: 'fake', annotations: { 'capstan.dev/simulated': 'true' } } },
  );
  const before = peer.calls.length;
  await assert.rejects(byService(), says(/all endpoints of service "hook" are on simulated nodes/));
  assert.equal(peer.calls.length, before);
});

test('a kept connection that was closed meanwhile is no failure, a new one that is cut is', async () => {
  await call({ url: peer.url });
  // A connection is taken up again in the next turn of the event loop.
  await setImmediate();
  let cuts = 1;
  peer.answer(() => (cuts-- > 0 ? { status: 0 } : { body: { ok: true } }));
  assert.deepEqual(await call({ url: peer.url }), { ok: true });
  cuts = 2;
  await assert.rejects(call({ url: peer.url }), says(/EOF$/));
});

test('the caller may end it', async () => {
  const controller = new AbortController();
  peer.answer(() => {
    controller.abort();
    return new Promise(() => {});
  });
  await assert.rejects(
    call({ url: peer.url }, { signal: controller.signal }),
    (error: unknown) => says(/context canceled$/)(error) && (error as ClientConfigError).isCanceled,
  );
});
