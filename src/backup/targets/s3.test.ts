/** Backups in a real S3 server that checks signatures, behind a proxy that breaks things: 503, cut connections, silence, refusals, a full bucket. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, beforeEach, describe, test } from 'node:test';
import { backupName } from '../format.ts';
import { text } from 'node:stream/consumers';
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

/** What the test's server lacks: which uploads are neither completed nor aborted, a page of one at a time, and aborting them. */
class Uploads {
  /** Keys by id. */
  readonly open = new Map<string, string>();

  /** A POST that was answered. */
  note(url: URL, body: string): void {
    const id = /<UploadId>([^<]+)</.exec(body)?.[1];
    if (url.searchParams.has('uploads') && id) this.open.set(id, keyOf(url));
    else this.open.delete(url.searchParams.get('uploadId') ?? '');
  }

  /** False: it is for the server. */
  answer(
    { method }: IncomingMessage,
    { url, response }: { readonly url: URL; readonly response: ServerResponse },
  ): boolean {
    const { searchParams: query } = url;
    const isAbort = method === 'DELETE' && query.has('uploadId');
    if (!isAbort && !(method === 'GET' && query.has('uploads'))) return false;
    if (isAbort) {
      response.writeHead(this.open.delete(query.get('uploadId')!) ? 204 : 404).end();
      return true;
    }
    const all = [...this.open].filter(([, key]) => key.startsWith(query.get('prefix') ?? ''));
    const [one] = all;
    const upload = one ? `<Upload><Key>${one[1]}</Key><UploadId>${one[0]}</UploadId></Upload>` : '';
    response.end(
      `<ListMultipartUploadsResult>${upload}<IsTruncated>${all.length > 1}</IsTruncated><NextKeyMarker>${one?.[1] ?? ''}</NextKeyMarker><NextUploadIdMarker>${one?.[0] ?? ''}</NextUploadIdMarker></ListMultipartUploadsResult>`,
    );
    return true;
  }
}

function keyOf({ pathname }: URL): string {
  return decodeURIComponent(pathname.split('/').slice(2).join('/'));
}

describe('a bucket', () => {
  const dir = temporaryDir();
  let server: S3Server;
  let proxy: Server;
  let options: S3Options;
  let fault: Fault = () => false;
  let requests = 0;
  const uploads = new Uploads();
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
      const { url = '', method, headers } = message;
      const at = new URL(url, 'http://bucket');
      if (uploads.answer(message, { url: at, response })) return;
      const onward = request({ host: '127.0.0.1', port, path: url, method, headers }, (answer) => {
        response.writeHead(answer.statusCode!, answer.headers);
        answer.pipe(response);
        if (method === 'POST') void text(answer).then((body) => uploads.note(at, body));
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

  test('a writer that is killed before any request leaves a whole backup or none, and nothing after a tidy', async () => {
    const cluster = '11111111-2222-4333-8444-555555555555';
    const name = backupName({ cluster, time: '2026-01-01T00:00:00Z', revision: 1 });
    const bytes = randomBytes(2 * PART + 1);
    const target = new S3Target(options);
    const seen: string[] = [];
    let left = 0;
    for (let at = 0, isKilled = true; isKilled; at++) {
      isKilled = false;
      let count = 0;
      // Nothing of it arrives any more.
      fault = (message, response) => {
        if (count++ < at) return false;
        isKilled = true;
        seen.push(`${message.method} ${/uploads|uploadId|partNumber/.exec(message.url ?? '')?.[0] ?? ''}`);
        response.destroy();
        return true;
      };
      const written = await new S3Target({ ...options, tries: 1 }).write(name, pieces(bytes)).catch(() => 0);
      fault = () => false;
      assert.equal(written > 0, !isKilled, seen.join());
      const listed = (await target.list()).map((one) => one.name);
      assert.equal(listed.includes(name), !isKilled);
      left += uploads.open.size;
      // Several of them, now and then.
      if (at % 3 < 2 && isKilled) continue;
      await target.tidy(cluster.slice(0, 8));
      assert.equal(uploads.open.size, 0);
      assert.equal(await target.write('next', pieces(bytes)), bytes.length);
      await target.remove('next');
    }
    assert.ok(seen.includes('POST uploads') && seen.includes('PUT partNumber'), seen.join());
    assert.ok((await readAll(target, name)).equals(bytes));
    await target.remove(name);
    assert.ok(left >= 3, `${left} uploads were left`);
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
