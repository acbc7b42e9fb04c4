/**
 * Backups in an S3-compatible bucket: PUT for small ones, multipart uploads for others, of which nothing is visible before they are completed. Requests are
 * signed by aws4fetch over Node's fetch. What may pass (5xx, 429, a broken or silent connection) is tried again within bounds; a refusal is final.
 */
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { AwsClient } from 'aws4fetch';
import { BackupError } from '../errors.ts';
import { backupPrefix } from '../format.ts';
import type { BackupTarget, StoredFile } from './target.ts';
import { elements, element, type S3Failure, failureOf } from './s3-answers.ts';
import { backoffMs } from '#stdx/backoff.ts';

export interface S3Options {
  readonly bucket: string;
  /** '' or 'some/prefix/'. */
  readonly prefix: string;
  /** 'https://s3.example.org'; the bucket is in the path. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  /** Bounds, for tests. */
  readonly partBytes?: number | undefined;
  readonly tries?: number | undefined;
  readonly pauseMs?: number | undefined;
  readonly timeoutMs?: number | undefined;
}

/** S3 takes 5 MiB to 5 GiB, and 10,000 parts: 80 GB here. */
const PART_BYTES = 8 * 1024 * 1024;
const MAX_PARTS = 10_000;
const TRIES = 5;
const PAUSE_MS = 1_000;
/** Of one request: a part in a minute is 140 kB/s. */
const TIMEOUT_MS = 60_000;
const MAX_PAUSE_MS = 30_000;

interface Request {
  readonly method: string;
  readonly key: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
  /** Statuses that are an answer besides 2xx. */
  readonly expected?: readonly number[];
}

export class S3Target implements BackupTarget {
  readonly location: string;
  readonly #options: S3Options;
  readonly #client: AwsClient;

  constructor(options: S3Options) {
    this.#options = options;
    this.location = `s3://${options.bucket}/${options.prefix}`;
    const { accessKeyId, secretAccessKey, sessionToken, region } = options;
    this.#client = new AwsClient({
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      region,
      service: 's3',
      retries: 0,
    });
  }

  async list(): Promise<readonly StoredFile[]> {
    const files: StoredFile[] = [];
    const { prefix } = this.#options;
    let token = '';
    do {
      const query = `list-type=2&prefix=${encodeURIComponent(prefix)}${token && `&continuation-token=${encodeURIComponent(token)}`}`;
      const answer = await this.#text({ method: 'GET', key: '', query });
      for (const one of elements(answer, 'Contents')) {
        const name = element(one, 'Key').slice(prefix.length);
        if (!name.includes('/')) files.push({ name, bytes: Number(element(one, 'Size')) });
      }
      token = element(answer, 'NextContinuationToken');
    } while (token);
    return files;
  }

  /** Goes on where a connection broke. */
  async *read(name: string): AsyncGenerator<Uint8Array, void, void> {
    let at = 0;
    let etag = '';
    for (let attempt = 1; ; attempt++) {
      const response = await this.#send({
        method: 'GET',
        key: name,
        headers: at > 0 ? { range: `bytes=${at}-`, 'if-match': etag } : {},
      });
      etag = response.headers.get('etag') ?? '';
      const before = at;
      try {
        for await (const chunk of response.body ?? []) {
          at += chunk.length;
          yield chunk;
        }
        return;
      } catch (error) {
        if (at > before) attempt = 1;
        if (attempt >= this.#tries) throw this.#unavailable('read', name, error);
        await this.#pause(attempt);
      }
    }
  }

  async write(name: string, source: AsyncIterable<Uint8Array>): Promise<number> {
    await this.#requireFree(name);
    const parts = partsOf(source, this.#options.partBytes ?? PART_BYTES);
    const first = await parts.next();
    const second = await parts.next();
    const body = first.done ? Buffer.alloc(0) : first.value;
    if (second.done) {
      await this.#send({ method: 'PUT', key: name, headers: { 'if-none-match': '*' }, body });
      return body.length;
    }
    return this.#upload(
      name,
      (async function* () {
        yield body;
        yield second.value;
        yield* parts;
      })(),
    );
  }

  async #upload(name: string, parts: AsyncIterable<Buffer>): Promise<number> {
    const begun = await this.#text({ method: 'POST', key: name, query: 'uploads=' });
    const id = encodeURIComponent(element(begun, 'UploadId'));
    const tags: string[] = [];
    let bytes = 0;
    try {
      for await (const body of parts) {
        if (tags.length === MAX_PARTS)
          throw new BackupError('no-space', `a backup of more than ${bytes} bytes`);
        const query = `partNumber=${tags.length + 1}&uploadId=${id}`;
        const { headers } = await this.#send({ method: 'PUT', key: name, query, body });
        tags.push(headers.get('etag') ?? '');
        bytes += body.length;
      }
      await this.#complete(name, { id, tags, bytes });
      return bytes;
    } catch (error) {
      await this.#send({ method: 'DELETE', key: name, query: `uploadId=${id}`, expected: [404] }).catch(
        () => {},
      );
      throw error;
    }
  }

  async #complete(
    name: string,
    { id, tags, bytes }: { readonly id: string; readonly tags: readonly string[]; readonly bytes: number },
  ): Promise<void> {
    const list = tags.map((tag, i) => `<Part><PartNumber>${i + 1}</PartNumber><ETag>${tag}</ETag></Part>`);
    const answer = await this.#send({
      method: 'POST',
      key: name,
      query: `uploadId=${id}`,
      headers: { 'if-none-match': '*' },
      body: Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`),
      // A completion whose answer was lost: the upload is no more, and the object is there.
      expected: [404],
    });
    // S3 may answer 200 before it knows, and an error after it.
    const text = await answer.text();
    if (answer.status === 200 && !text.includes('<Error>')) return;
    const head = await this.#send({ method: 'HEAD', key: name, expected: [404] });
    if (head.status === 200 && Number(head.headers.get('content-length')) === bytes) return;
    throw new BackupError(
      'unavailable',
      `${this.location}${name} could not be completed: ${text.slice(0, 200)}`,
    );
  }

  async #requireFree(name: string): Promise<void> {
    const { status } = await this.#send({ method: 'HEAD', key: name, expected: [404] });
    if (status !== 404)
      throw new BackupError('exists', `${this.location}${name} exists: backups are never overwritten`);
  }

  async readText(name: string): Promise<string | undefined> {
    const response = await this.#send({ method: 'GET', key: name, expected: [404] });
    return response.status === 404 ? undefined : response.text();
  }

  async writeText(name: string, text: string): Promise<void> {
    await this.#send({ method: 'PUT', key: name, body: Buffer.from(text) });
  }

  async remove(name: string): Promise<void> {
    await this.#send({ method: 'DELETE', key: name, expected: [404] });
  }

  async tidy(cluster: string): Promise<void> {
    const { prefix } = this.#options;
    const ours = prefix + backupPrefix(cluster);
    for (let marker = ''; ;) {
      const query = `${marker}prefix=${encodeURIComponent(ours)}&uploads=`;
      const answer = await this.#text({ method: 'GET', key: '', query }).catch((error: unknown) => {
        // Not every server lists uploads.
        if (error instanceof BackupError && error.code === 'refused') return '';
        throw error;
      });
      for (const upload of elements(answer, 'Upload')) await this.#abort(upload, ours);
      if (element(answer, 'IsTruncated') !== 'true') return;
      const next = (name: string): string => encodeURIComponent(element(answer, name));
      // Parameters of a query are in the order of their names.
      marker = `key-marker=${next('NextKeyMarker')}&upload-id-marker=${next('NextUploadIdMarker')}&`;
    }
  }

  /** An element of ListMultipartUploads. */
  async #abort(upload: string, ours: string): Promise<void> {
    const key = element(upload, 'Key');
    if (!key.startsWith(ours)) return;
    const query = `uploadId=${encodeURIComponent(element(upload, 'UploadId'))}`;
    const name = key.slice(this.#options.prefix.length);
    await this.#send({ method: 'DELETE', key: name, query, expected: [404] });
  }

  async #text(request: Request): Promise<string> {
    return (await this.#send(request)).text();
  }

  /** Rejects with a BackupError. */
  async #send(request: Request): Promise<Response> {
    for (let attempt = 1; ; attempt++) {
      const failure = await this.#try(request);
      if (failure instanceof Response) return failure;
      if (failure.code !== 'unavailable') throw this.#errorOf(request, failure);
      if (attempt >= this.#tries) throw this.#unavailable(request.method, request.key, failure.message);
      await this.#pause(attempt);
    }
  }

  async #try({ method, key, query, headers, body, expected = [] }: Request): Promise<Response | S3Failure> {
    const { endpoint, bucket, prefix } = this.#options;
    const path = key === '' ? '' : `/${(prefix + key).split('/').map(encodeURIComponent).join('/')}`;
    const url = `${endpoint}/${bucket}${path}${query === undefined ? '' : `?${query}`}`;
    try {
      const response = await this.#client.fetch(url, {
        method,
        headers: { ...headers, 'x-amz-content-sha256': sha256(body ?? Buffer.alloc(0)) },
        ...(body ? { body: new Uint8Array(body) } : {}),
        signal: AbortSignal.timeout(this.#options.timeoutMs ?? TIMEOUT_MS),
      });
      if (response.ok || expected.includes(response.status)) return response;
      return failureOf(response.status, await response.text());
    } catch (error) {
      const { message, cause } = error as Error;
      return { code: 'unavailable', message: cause instanceof Error ? cause.message : message };
    }
  }

  get #tries(): number {
    return this.#options.tries ?? TRIES;
  }

  #pause(attempt: number): Promise<void> {
    const initialMs = this.#options.pauseMs ?? PAUSE_MS;
    return sleep(backoffMs(attempt - 1, { initialMs, maximumMs: MAX_PAUSE_MS }) * (0.5 + Math.random()));
  }

  #errorOf({ method, key }: Request, { code, message }: S3Failure): BackupError {
    if (code === 'exists' && method === 'GET')
      return new BackupError('unavailable', `${this.location}${key} was replaced while it was read`);
    if (code === 'exists')
      return new BackupError('exists', `${this.location}${key} exists: backups are never overwritten`);
    if (code === 'missing') return new BackupError('missing', `there is no backup ${this.location}${key}`);
    return new BackupError(code, `${method} ${this.location}${key}: ${message}`);
  }

  #unavailable(doing: string, key: string, why: unknown): BackupError {
    const words = why instanceof Error ? why.message : String(why);
    return new BackupError(
      'unavailable',
      `${doing} ${this.location}${key} failed ${this.#tries} times: ${words}`,
    );
  }
}

/** All of one size but the last. */
async function* partsOf(
  source: AsyncIterable<Uint8Array>,
  partBytes: number,
): AsyncGenerator<Buffer, void, void> {
  let chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of source) {
    chunks.push(chunk);
    size += chunk.length;
    while (size >= partBytes) {
      const all = Buffer.concat(chunks, size);
      yield all.subarray(0, partBytes);
      chunks = [all.subarray(partBytes)];
      size -= partBytes;
    }
  }
  if (size > 0) yield Buffer.concat(chunks, size);
}

function sha256(body: Buffer): string {
  return createHash('sha256').update(body).digest('hex');
}
