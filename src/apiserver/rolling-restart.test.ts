/**
 * Three API servers on three etcd members (one, where network namespaces cannot be had) are restarted one after the other under load. A client that retries as
 * client-go does (connections refused, GOAWAY, refused streams, 429 with Retry-After; never a write that may have been processed) loses nothing, and a
 * watch goes on from its revision without another list.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createAuthority, issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { openEtcdStore, type EtcdStoreOptions } from '#storage/drivers/etcd/etcd-store.ts';
import { clusterProblem, startEtcdCluster } from '#storage/drivers/etcd/test-etcd-cluster.ts';
import { startEtcd } from '#storage/drivers/etcd/test-etcd.ts';
import { freePort } from '#testing/cluster.ts';
import { startTestServer, type TestServer } from './testing/server.ts';
import { someEtcd } from './testing/shared-etcd.ts';

const MAPS = '/api/v1/namespaces/default/configmaps';
const WRITERS = 8;
const program = someEtcd();

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** Of one client: a connection to one server at a time. */
class RetryingClient {
  readonly #ports: readonly number[];
  #at: number;
  #session: ClientHttp2Session | undefined;
  retries = 0;

  constructor(ports: readonly number[], first: number) {
    this.#ports = ports;
    this.#at = first;
  }

  async request(method: string, path: string, body?: object): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      try {
        const answer = await this.#once(method, path, body);
        if (answer.status !== 429) return answer;
      } catch (error) {
        if (attempt > 200 || !isSafeToRetry(error as NodeJS.ErrnoException, method)) throw error;
      }
      this.retries++;
      await sleep(10);
    }
  }

  async #once(method: string, path: string, body: object | undefined): Promise<Answer> {
    const session = await this.#connected();
    const stream = session.request({ ':method': method, ':path': path, 'content-type': 'application/json' });
    stream.end(body && JSON.stringify(body));
    const [headers] = (await Promise.race([
      once(stream, 'response'),
      // Closed without an error: nothing was processed, or nobody would know.
      once(stream, 'close').then(() => {
        throw refusal(stream.rstCode);
      }),
    ])) as [Record<string, number>];
    let text = '';
    for await (const chunk of stream.setEncoding('utf8')) text += chunk as string;
    return { status: headers[':status']!, body: text };
  }

  async #connected(): Promise<ClientHttp2Session> {
    const current = this.#session;
    if (current && !current.closed && !current.destroyed) return current;
    const port = this.#ports[this.#at++ % this.#ports.length]!;
    const session = connect(`https://127.0.0.1:${port}`, { rejectUnauthorized: false });
    session.on('error', () => {});
    await once(session, 'connect');
    return (this.#session = session);
  }

  close(): void {
    this.#session?.destroy();
  }
}

function refusal(code: number | undefined): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`stream closed with code ${code}`);
  error.code = code === constants.NGHTTP2_REFUSED_STREAM ? 'REFUSED_STREAM' : 'UNKNOWN';
  return error;
}

function isSafeToRetry({ code, message }: NodeJS.ErrnoException, method: string): boolean {
  return (
    method === 'GET' ||
    code === 'ECONNREFUSED' ||
    code === 'REFUSED_STREAM' ||
    code === 'ERR_HTTP2_GOAWAY_SESSION' ||
    code === 'ERR_HTTP2_INVALID_SESSION' ||
    (code === 'ERR_HTTP2_STREAM_ERROR' && message.includes('REFUSED_STREAM'))
  );
}

describe('a rolling restart under load', { skip: program ? false : 'no etcd here' }, () => {
  let etcd: { readonly options: EtcdStoreOptions; close(): Promise<void> };
  let tls: KeyPair;
  let ports: number[];
  let servers: TestServer[];

  const start = async (port: number): Promise<TestServer> => {
    const server = await startTestServer({
      bootstrapObjects: true,
      advertiseAddress: { ip: '192.0.2.1', port: 6443 },
      store: await openEtcdStore(etcd.options),
    });
    await server.server.ready();
    await server.server.start({
      host: '127.0.0.1',
      port,
      tls: { cert: tls.certificatePem, key: tls.keyPem },
    });
    return server;
  };

  before(async () => {
    if (clusterProblem() === undefined) {
      const cluster = startEtcdCluster(program!);
      await cluster.healthy();
      etcd = cluster;
    } else etcd = await startEtcd(program!);
    const nowMs = Date.now(),
      lifetimeMs = 3_600_000;
    const authority = createAuthority({ commonName: 'own', nowMs, lifetimeMs });
    tls = issueCertificate(authority, {
      subject: { commonName: 'apiserver' },
      usages: ['serverAuth'],
      nowMs,
      lifetimeMs,
    });
    ports = [await freePort(), await freePort(), await freePort()];
    servers = await Promise.all(ports.map(start));
  });
  after(async () => {
    await Promise.all(servers.map((server) => server.stop()));
    await etcd.close();
  });

  /** Creates, changes and reads its own objects; answers the names of those that were acknowledged. */
  const write = async (writer: number, isOver: () => boolean): Promise<string[]> => {
    const client = new RetryingClient(ports, writer);
    const names: string[] = [];
    for (let i = 0; !isOver(); i++) {
      const name = `w${writer}-${i}`;
      const made = await client.request('POST', MAPS, { metadata: { name }, data: { i: String(i) } });
      assert.equal(made.status, 201, made.body);
      names.push(name);
      const body = JSON.parse(made.body) as { data: Record<string, string> };
      const changed = await client.request('PUT', `${MAPS}/${name}`, { ...body, data: { i: `${i}!` } });
      assert.equal(changed.status, 200, changed.body);
      const read = await client.request('GET', `${MAPS}/${name}`);
      assert.equal((JSON.parse(read.body) as typeof body).data['i'], `${i}!`);
    }
    client.close();
    return names;
  };

  /** Never lists: one watch after the other from the newest revision seen. */
  const watch = async (from: string, { ended }: { readonly ended: AbortSignal }): Promise<string[]> => {
    const added: string[] = [];
    let revision = from;
    for (let at = 0; !ended.aborted; at++) {
      const session = connect(`https://127.0.0.1:${ports[at % ports.length]}`, { rejectUnauthorized: false });
      const close = (): void => session.destroy();
      session.on('error', () => {});
      ended.addEventListener('abort', close, { once: true });
      const stream = session.request({ ':path': `${MAPS}?watch=1&resourceVersion=${revision}` });
      stream.on('error', () => {});
      let text = '';
      try {
        for await (const chunk of stream.setEncoding('utf8')) {
          text += chunk as string;
          const lines = text.split('\n');
          text = lines.pop()!;
          for (const line of lines) {
            const { type, object } = JSON.parse(line) as {
              type: string;
              object: { metadata: { name: string; resourceVersion: string } };
            };
            assert.notEqual(type, 'ERROR', line);
            assert.ok(Number(object.metadata.resourceVersion) > Number(revision), 'in order, none twice');
            revision = object.metadata.resourceVersion;
            if (type === 'ADDED') added.push(object.metadata.name);
          }
        }
      } catch (error) {
        if (error instanceof assert.AssertionError) throw error;
      }
      session.destroy();
      ended.removeEventListener('abort', close);
      await sleep(5);
    }
    return added;
  };

  test('no request is lost, and a watch misses nothing', async () => {
    const list = await servers[0]!.request(`GET ${MAPS}`);
    const ended = new AbortController();
    const watching = watch(list.body.metadata.resourceVersion, { ended: ended.signal });
    let isOver = false;
    const writing = Promise.all(Array.from({ length: WRITERS }, (_, i) => write(i, () => isOver)));
    // Fails at once where a writer does.
    const restarting = (async () => {
      for (let round = 0; round < 2; round++)
        for (const [i, port] of ports.entries()) {
          await sleep(300);
          servers[i]!.server.leave();
          const ready = await servers[i]!.request('GET /readyz');
          assert.equal(ready.status, 500, 'not ready before it stops serving');
          await sleep(100);
          await servers[i]!.stop();
          servers[i] = await start(port);
        }
    })();
    await Promise.race([writing, restarting]);
    isOver = true;
    await restarting;
    const acknowledged = (await writing).flat();
    const { items } = (await servers[1]!.request(`GET ${MAPS}`)).body as {
      items: { metadata: { name: string }; data: Record<string, string> }[];
    };
    assert.ok(acknowledged.length > 50, `${acknowledged.length} were written`);
    assert.deepEqual(new Set(items.map(({ metadata }) => metadata.name)), new Set(acknowledged));
    await sleep(500);
    ended.abort();
    const added = await watching;
    assert.deepEqual(added.toSorted(), acknowledged.toSorted());
  });
});
