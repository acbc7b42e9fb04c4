/** Backups in a real S3 server that checks signatures, behind a proxy that breaks things: 503, cut connections, silence, refusals, a full bucket. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { makeBackup } from '../make.ts';
import { openBackup } from '../open-backup.ts';
import { listBackups } from '../stored-backups.ts';
import { makeOptions, PLAIN, storeWith, temporaryDir } from '../testing/cluster-store.ts';
import { S3Target, type S3Options } from './s3.ts';

const BUCKET = 'backups';
/** The smallest part that S3 takes. */
const PART = 5 * 1024 * 1024;

/** Answers in place of the server, or undefined. */
type Fault = (message: IncomingMessage, response: ServerResponse) => boolean;

interface S3Server {
  run(): Promise<AddressInfo>;
  close(): Promise<void>;
}
/** The package has no types. */
const { default: S3rver } = (await import('@20minutes/s3rver' as string)) as {
  readonly default: new (options: object) => S3Server;
};

describe('a bucket', () => {
  const dir = temporaryDir();
  let server: S3Server;
  let proxy: Server;
  let options: S3Options;
  let fault: Fault = () => false;
  let requests = 0;
  before(async () => {
    server = new S3rver({
      port: 0,
      address: '127.0.0.1',
      silent: true,
      directory: dir.path,
      configureBuckets: [{ name: BUCKET, configs: [] }],
    });
    const { port } = await server.run();
    proxy = createServer((message, response) => {
      requests++;
      if (fault(message, response)) return;
      const { url, method, headers } = message;
      const onward = request({ host: '127.0.0.1', port, path: url, method, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
      });
      onward.on('error', () => response.destroy());
      message.pipe(onward);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    options = {
      bucket: BUCKET,
      prefix: 'a/',
      endpoint: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
      region: 'us-east-1',
      accessKeyId: 'S3RVER',
      secretAccessKey: 'S3RVER',
      partBytes: PART,
      pauseMs: 1,
      timeoutMs: 5_000,
    };
  });
  beforeEach(() => {
    fault = () => false;
    requests = 0;
  });
  after(async () => {
    proxy.closeAllConnections();
    await new Promise((resolve) => proxy.close(resolve));
    await server.close();
    dir.remove();
  });

  async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
  }
  async function readAll(target: S3Target, name: string): Promise<Buffer> {
    const chunks: Uint8Array[] = [];
    for await (const chunk of target.read(name)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }
  const answer = (response: ServerResponse, status: number, code: string): boolean => {
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(`<Error><Code>${code}</Code><Message>injected</Message></Error>`);
    return true;
  };
  /** The first requests of this kind. */
  const first = (count: number, matches: (message: IncomingMessage) => boolean, then: Fault): Fault => {
    let seen = 0;
    return (message, response) => matches(message) && seen++ < count && then(message, response);
  };

  test('holds a backup, which is listed, read and removed', async () => {
    const target = new S3Target(options);
    const made = await makeBackup(await makeOptions(await storeWith(50), target));
    const [one, ...others] = await listBackups(target);
    assert.deepEqual([one?.name, others.length], [made.name, 0]);
    assert.equal(one?.note?.objects, 51);
    await target.remove(made.name);
    assert.deepEqual(await listBackups(target), []);
    await assert.rejects(readAll(target, made.name), { code: 'missing' });
  });

  test('takes a large one in parts, and never overwrites', async () => {
    const target = new S3Target(options);
    const bytes = randomBytes(2 * PART + 12_345);
    assert.equal(await target.write('large', pieces(bytes)), bytes.length);
    assert.ok((await readAll(target, 'large')).equals(bytes));
    await assert.rejects(target.write('large', pieces(bytes)), { code: 'exists' });
    await target.tidy('11111111');
  });

  test('with another key refuses at once', async () => {
    const target = new S3Target({ ...options, secretAccessKey: 'wrong' });
    await assert.rejects(target.write('x', pieces(Buffer.from('x'))), { code: 'refused', message: /403/ });
    assert.equal(requests, 1);
    await assert.rejects(new S3Target({ ...options, bucket: 'none' }).list(), {
      code: 'refused',
      message: /NoSuchBucket/,
    });
  });

  test('that is busy or breaks connections is asked again, within bounds', async () => {
    const target = new S3Target(options);
    const bytes = randomBytes(PART + 1000);
    const isPart = ({ method, url }: IncomingMessage): boolean =>
      method === 'PUT' && url!.includes('partNumber');
    const faults: Record<string, Fault> = {
      busy: (_, response) => answer(response, 503, 'SlowDown'),
      cut: (message) => (message.destroy(), true),
    };
    for (const [name, then] of Object.entries(faults)) {
      fault = first(3, isPart, then);
      await target.write(name, pieces(bytes));
      fault = () => false;
      assert.ok((await readAll(target, name)).equals(bytes), name);
    }
    fault = (_, response) => answer(response, 503, 'SlowDown');
    requests = 0;
    await assert.rejects(target.write('never', pieces(bytes)), {
      code: 'unavailable',
      message: /failed 5 times: .*503/,
    });
    assert.equal(requests, 5);
  });

  test('that is silent is given up after its time', async () => {
    const target = new S3Target({ ...options, timeoutMs: 200, tries: 2 });
    fault = () => true;
    await assert.rejects(target.list(), { code: 'unavailable', message: /failed 2 times/ });
  });

  test('that is full fails at once, and nothing of the backup is listed', async () => {
    const target = new S3Target(options);
    const before = await target.list();
    fault = first(
      99,
      ({ url }) => url!.includes('partNumber=2'),
      (_, response) => answer(response, 403, 'QuotaExceeded'),
    );
    await assert.rejects(target.write('full', pieces(randomBytes(3 * PART))), { code: 'no-space' });
    assert.deepEqual(await target.list(), before);
  });

  test('a read that is cut goes on where it was', async () => {
    const target = new S3Target(options);
    const bytes = randomBytes(300_000);
    await target.write('interrupted', pieces(bytes));
    fault = first(
      1,
      ({ method }) => method === 'GET',
      (_, response) => {
        response.writeHead(200, {
          'content-length': String(bytes.length),
          etag: `"${createHash('md5').update(bytes).digest('hex')}"`,
        });
        response.write(bytes.subarray(0, 100_000), () => setImmediate(() => response.destroy()));
        return true;
      },
    );
    const got = await readAll(target, 'interrupted').catch((error: unknown) => error);
    assert.ok(Buffer.isBuffer(got) ? got.equals(bytes) : false, String(got));
  });

  test('a backup of a source that fails leaves nothing', async () => {
    const target = new S3Target(options);
    const before = await target.list();
    const failing = (async function* () {
      yield randomBytes(2 * PART);
      throw new Error('the source failed');
    })();
    await assert.rejects(target.write('failing', failing), /the source failed/);
    assert.deepEqual(await target.list(), before);
  });

  test('what was written is opened again', async () => {
    const target = new S3Target({ ...options, prefix: 'b/' });
    const made = await makeOptions(await storeWith(10), target);
    const { name } = await makeBackup(made);
    const manifest = await openBackup({
      target,
      name,
      identities: [made.key.identity],
      decode: PLAIN.decode,
    });
    assert.equal(manifest.objects, 11);
  });
});
