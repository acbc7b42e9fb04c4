/** Extenders as real HTTP servers: a scheduler asks them; also slow, failing and wrong ones. */
import assert from 'node:assert/strict';
import { createServer, type IncomingMessage } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { text } from 'node:stream/consumers';
import type { AddressInfo } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { priorityClasses } from '#client/refs.ts';
import { extendersFrom } from '#cmd/scheduler/extenders.ts';
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import { realClock } from '#stdx/clock.ts';
import { NAMESPACE, until, worldFor, type World } from '../testing/cluster.ts';

const HOUR_MS = 3_600_000;

interface Question {
  readonly verb: string;
  readonly body: Record<string, any>;
}
type Answer = (question: Question) => unknown;

/** An answer of undefined: it never answers; a number: a status. */
async function extender(
  t: TestContext,
  answer: Answer,
  tls?: { readonly cert: string; readonly key: string },
): Promise<{ readonly url: string; readonly asked: Question[] }> {
  const asked: Question[] = [];
  const handle = async (
    request: IncomingMessage,
    response: import('node:http').ServerResponse,
  ): Promise<void> => {
    const question = { verb: request.url!.split('/').at(-1)!, body: JSON.parse(await text(request)) };
    asked.push(question);
    const said = answer(question);
    if (said === undefined) return;
    if (typeof said === 'number') response.writeHead(said).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(said));
  };
  const server = tls
    ? createTlsServer(tls, (request, response) => void handle(request, response))
    : createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    url: `${tls ? 'https' : 'http'}://127.0.0.1:${(server.address() as AddressInfo).port}/scheduler`,
    asked,
  };
}

async function scheduling(t: TestContext, ...extenders: readonly object[]): Promise<World> {
  const w = await worldFor(t);
  await w.node('x');
  await w.node('y');
  await w.scheduler({ extenders: extendersFrom(JSON.stringify(extenders)) });
  return w;
}

const only =
  (name: string) =>
  ({ body }: Question) => ({
    nodeNames: [name],
    failedNodes: Object.fromEntries(
      (body['NodeNames'] as string[]).filter((one) => one !== name).map((one) => [one, 'too far']),
    ),
  });

describe('extenders', () => {
  it('filter by names, with upstream-like lower-case answers', async (t) => {
    const { url, asked } = await extender(t, only('y'));
    const w = await scheduling(t, { urlPrefix: url, filterVerb: 'filter', nodeCacheCapable: true });
    await w.pod('p');
    assert.equal(await w.placed('p'), 'y');
    assert.equal(asked[0]?.verb, 'filter');
    assert.equal(asked[0]?.body['Pod'].metadata.name, 'p');
    assert.deepEqual((asked[0]!.body['NodeNames'] as string[]).sort(), ['x', 'y']);
  });

  it('filter by whole nodes, one after another', async (t) => {
    const all = await extender(t, ({ body }) => ({ Nodes: body['Nodes'] }));
    const first = await extender(t, ({ body }) => ({
      Nodes: {
        items: (body['Nodes'].items as { metadata: { name: string } }[]).filter(
          ({ metadata }) => metadata.name === 'x',
        ),
      },
    }));
    const w = await scheduling(
      t,
      { urlPrefix: first.url, filterVerb: 'f' },
      { urlPrefix: all.url, filterVerb: 'f' },
    );
    await w.pod('p');
    assert.equal(await w.placed('p'), 'x');
    assert.equal(all.asked[0]?.body['Nodes'].items.length, 1);
  });

  it('scores are weighed and added; a node that none accepts leaves the reasons', async (t) => {
    const { url } = await extender(t, ({ verb }) =>
      verb === 'prioritize'
        ? [
            { Host: 'x', Score: 0 },
            { Host: 'y', Score: 10 },
          ]
        : { NodeNames: [], FailedNodes: { x: 'too far' }, FailedAndUnresolvableNodes: { y: 'never' } },
    );
    const w = await scheduling(
      t,
      { urlPrefix: url, prioritizeVerb: 'prioritize', weight: 100, nodeCacheCapable: true },
      {
        urlPrefix: url,
        filterVerb: 'filter',
        nodeCacheCapable: true,
        managedResources: [{ name: 'example.com/x', ignoredByScheduler: true }],
      },
    );
    await w.pod('p');
    assert.equal(await w.placed('p'), 'y');
    const requests = { 'example.com/x': '1' };
    // The profile of this scheduler does not ignore the resource: see profiles.test.ts.
    await w.pod('q', {
      spec: { containers: [{ name: 'c', image: 'c:1', resources: { requests, limits: requests } }] },
    });
    assert.match(await w.refusal('q'), /Insufficient example\.com\/x/);
  });

  it('binds instead of the scheduler, and its error is tried again', async (t) => {
    let calls = 0;
    const { url, asked } = await extender(t, () => ({ Error: ++calls === 1 ? 'not now' : '' }));
    const w = await scheduling(t, { urlPrefix: url, bindVerb: 'bind' });
    const { metadata } = await w.pod('p');
    await until('it is asked twice', async () => asked.length >= 2);
    const { Node: node, ...binding } = asked[0]!.body;
    assert.deepEqual(binding, { PodName: 'p', PodNamespace: NAMESPACE, PodUID: metadata?.uid });
    assert.match(String(node), /^[xy]$/);
  });

  it('agrees to preemptions', async (t) => {
    const { url, asked } = await extender(t, ({ body }) => ({
      nodeNameToMetaVictims: { y: { Pods: body['NodeNameToMetaVictims'].y.Pods } },
    }));
    const w = await scheduling(t, { urlPrefix: url, preemptVerb: 'preempt', nodeCacheCapable: true });
    await w.api.create(priorityClasses, { metadata: { name: 'high' }, value: 1000 });
    for (const name of ['a', 'b']) await w.pod(name, { cpu: '3' });
    for (const name of ['a', 'b']) await w.placed(name);
    await w.pod('p', { cpu: '3', className: 'high' });
    await until('the node is nominated', async () => (await w.read('p')).status?.nominatedNodeName === 'y');
    assert.deepEqual(Object.keys(asked[0]!.body['NodeNameToMetaVictims']).sort(), ['x', 'y']);
  });

  it('that fail are tried again, or ignored; slow ones end at their timeout', async (t) => {
    const broken = await extender(t, () => 500);
    const slow = await extender(t, () => undefined);
    const lying = await extender(t, () => ({ NodeNames: ['z'] }));
    const w = await scheduling(
      t,
      { urlPrefix: broken.url, filterVerb: 'filter', ignorable: true },
      { urlPrefix: slow.url, filterVerb: 'filter', httpTimeout: '100ms', ignorable: true },
      {
        urlPrefix: lying.url,
        filterVerb: 'filter',
        nodeCacheCapable: true,
        managedResources: [{ name: 'example.com/x' }],
      },
    );
    await w.pod('p');
    await w.placed('p');
    assert.equal(slow.asked.length, 1);
    const strict = await scheduling(t, { urlPrefix: broken.url, filterVerb: 'filter' });
    await strict.pod('p');
    assert.match(await strict.refusal('p'), /^failed filter with extender at URL http:.*\/filter, code 500$/);
  });

  it('with TLS, verified by a CA', async (t) => {
    const nowMs = realClock.now();
    const authority = createAuthority({ commonName: 'extenders', nowMs, lifetimeMs: HOUR_MS });
    const { certificatePem: cert, keyPem: key } = issueCertificate(authority, {
      subject: { commonName: 'extender' },
      usages: ['serverAuth'],
      altNames: { dnsNames: [], ipAddresses: ['127.0.0.1'] },
      nowMs,
      lifetimeMs: HOUR_MS,
    });
    const { url } = await extender(t, only('y'), { cert, key });
    const trusting = { caData: Buffer.from(authority.certificatePem).toString('base64') };
    const w = await scheduling(t, {
      urlPrefix: url,
      filterVerb: 'filter',
      nodeCacheCapable: true,
      enableHTTPS: true,
      tlsConfig: trusting,
    });
    await w.pod('p');
    assert.equal(await w.placed('p'), 'y');
    const doubting = await scheduling(t, { urlPrefix: url, filterVerb: 'filter', nodeCacheCapable: true });
    await doubting.pod('p');
    assert.match(
      await doubting.refusal('p'),
      /unable to verify|self.signed certificate|unable to get local issuer/i,
    );
  });
});
