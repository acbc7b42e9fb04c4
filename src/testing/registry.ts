/** A real image registry on loopback (Debian's docker-registry) and pushing a small image to it over its HTTP API. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { buildBusyboxImage } from '#node/images/busybox-image.ts';
import { freePort, until } from './cluster.ts';

export interface Registry {
  /** '127.0.0.1:5000' */
  readonly host: string;
  /** Of requests to it; absent where everybody may. */
  readonly authorization?: string | undefined;
  stop(): Promise<void>;
}

/** The only user of a registry with basic authentication; its hash is bcrypt's. */
export const REGISTRY_USER = { username: 'puller', password: 'secret' };
const HTPASSWD = `${REGISTRY_USER.username}:$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW\n`;

export async function startRegistry({ basicAuth = false } = {}): Promise<Registry> {
  const dir = await mkdtemp(join(tmpdir(), 'capstan-registry-'));
  const port = await freePort();
  const config = join(dir, 'config.yml');
  const htpasswd = join(dir, 'htpasswd');
  await writeFile(htpasswd, HTPASSWD);
  await writeFile(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${dir}/data}}\nhttp: {addr: "127.0.0.1:${port}"}\n${basicAuth ? `auth: {htpasswd: {realm: test, path: ${htpasswd}}}\n` : ''}`,
  );
  const { username, password } = REGISTRY_USER;
  const authorization = basicAuth
    ? `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
    : undefined;
  const headers = authorizationOf({ authorization });
  const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  await until(
    'the registry',
    async () => (await fetch(`http://127.0.0.1:${port}/v2/`, { headers })).ok,
    20_000,
  );
  return {
    host: `127.0.0.1:${port}`,
    authorization,
    async stop() {
      child.kill('SIGKILL');
      await ended;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** Returns the name to pull it by. */
export async function pushImage(
  registry: Registry,
  { from, as }: { readonly from: string; readonly as: string },
): Promise<string> {
  const name = `${registry.host}/${as}`;
  const { tar } = await buildBusyboxImage({ name, busybox: from });
  return pushArchive(registry, { tar, as });
}

/** Returns the name to pull it by. */
export async function pushArchive(
  registry: Registry,
  { tar, as }: { readonly tar: Buffer; readonly as: string },
): Promise<string> {
  const name = `${registry.host}/${as}`;
  const [repository = '', tag = 'latest'] = as.split(':');
  const files = await untar(tar);
  const index = JSON.parse(files.get('index.json')?.toString('utf8') ?? '{}') as {
    manifests: { digest: string; mediaType: string }[];
  };
  const [descriptor] = index.manifests;
  const manifest = files.get(blobPath(descriptor?.digest ?? ''));
  if (!descriptor || !manifest) throw new Error('the built image has no manifest');
  const { config, layers } = JSON.parse(manifest.toString('utf8')) as {
    config: { digest: string };
    layers: { digest: string }[];
  };
  for (const { digest } of [config, ...layers])
    await pushBlob(registry, { repository, digest, bytes: files.get(blobPath(digest)) ?? Buffer.alloc(0) });
  const response = await fetch(`http://${registry.host}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': descriptor.mediaType, ...authorizationOf(registry) },
    body: new Uint8Array(manifest),
  });
  if (!response.ok)
    throw new Error(`the registry refused the manifest: ${response.status} ${await response.text()}`);
  return name;
}

async function pushBlob(
  registry: Registry,
  {
    repository,
    digest,
    bytes,
  }: { readonly repository: string; readonly digest: string; readonly bytes: Buffer },
): Promise<void> {
  if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== digest)
    throw new Error(`blob ${digest} is not in the built image`);
  const start = await fetch(`http://${registry.host}/v2/${repository}/blobs/uploads/`, {
    method: 'POST',
    headers: authorizationOf(registry),
  });
  const location = new URL(start.headers.get('location') ?? '', `http://${registry.host}`);
  location.searchParams.set('digest', digest);
  const done = await fetch(location, {
    method: 'PUT',
    body: new Uint8Array(bytes),
    headers: { 'content-type': 'application/octet-stream', ...authorizationOf(registry) },
  });
  if (!done.ok) throw new Error(`the registry refused a blob: ${done.status}`);
}

function authorizationOf({ authorization }: Pick<Registry, 'authorization'>): Record<string, string> {
  return authorization === undefined ? {} : { authorization };
}

function blobPath(digest: string): string {
  return `blobs/${digest.replace(':', '/')}`;
}

async function untar(tar: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const unpack = Readable.from([tar[0] === 0x1f ? gunzipSync(tar) : tar]).pipe(extract());
  for await (const entry of unpack) {
    const pieces: Buffer[] = [];
    for await (const piece of entry) pieces.push(piece as Buffer);
    files.set(entry.header.name, Buffer.concat(pieces));
  }
  return files;
}
