/** Names, archives, credentials and the sandbox program; and against a real containerd: loading, pulling from a registry, garbage. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import tar from 'tar-stream';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { createContainerd, destroyContainerd } from '../containerd/containerd.ts';
import type { Containerd } from '../containerd/containerd.ts';
import { inspectMachine } from '../containerd/machine.ts';
import { inspectArchive } from './archive.ts';
import { buildImage, hostArchitecture, writeImage } from './build.ts';
import type { BuiltImage } from './build.ts';
import { buildBusyboxImage } from './busybox-image.ts';
import { ImageGarbageCollector } from './garbage.ts';
import { credentialsFor, credentialsOfSecret } from './keyring.ts';
import { pauseElf } from './pause-elf.ts';
import { pullImage } from './pull.ts';
import { normalizeReference } from './reference.ts';
import { renderHosts, writeRegistryHosts } from './registry-hosts.ts';
import { SANDBOX_IMAGE } from './sandbox-image.ts';

let dir: string;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'capstan-images-'));
});
after(() => rm(dir, { recursive: true, force: true }));

test('names are normalised as containerd does', () => {
  const cases: Readonly<Record<string, string | undefined>> = {
    busybox: 'docker.io/library/busybox:latest',
    'busybox:1.36': 'docker.io/library/busybox:1.36',
    'team/app': 'docker.io/team/app:latest',
    'index.docker.io/nginx': 'docker.io/library/nginx:latest',
    'localhost/app': 'localhost/app:latest',
    'localhost:5000/a/b:c': 'localhost:5000/a/b:c',
    'registry.k8s.io/pause@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef':
      'registry.k8s.io/pause@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',
    'Upper/Case': undefined,
    'a b': undefined,
    '': undefined,
    'x:': undefined,
    ':tag': undefined,
  };
  for (const [name, expected] of Object.entries(cases))
    assert.equal(normalizeReference(name), expected, name);
});

test(
  'the sandbox program sleeps, and ends at SIGTERM and SIGINT',
  { skip: hostArchitecture() ? false : 'no program for this machine' },
  async () => {
    const path = join(dir, 'pause');
    await writeFile(path, pauseElf(hostArchitecture() ?? 'amd64'), { mode: 0o755 });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const child = spawn(path);
      while (!/^SigCgt:\s*0*4002$/m.test(readFileSync(`/proc/${child.pid}/status`, 'utf8')))
        await new Promise((resolve) => setTimeout(resolve, 5));
      assert.match(
        readFileSync(`/proc/${child.pid}/status`, 'utf8'),
        /^SigIgn:\s*[0-9a-f]*[13579bdf][0-9a-f]{4}$/m,
        'SIGCHLD is ignored',
      );
      const ended = new Promise((resolve) => child.on('exit', (code) => resolve(code)));
      child.kill(signal);
      assert.equal(await ended, 0);
    }
  },
);

test('both sandbox programs stay as they are', () => {
  const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  assert.equal(pauseElf('amd64').readUInt16LE(18), 62);
  assert.equal(pauseElf('arm64').readUInt16LE(18), 183);
  assert.deepEqual(
    [digest(pauseElf('amd64')), digest(pauseElf('arm64'))],
    ['8e869399e2a071fb', '0354b2a5aed6cb9c'],
  );
});

test('an image is the same bytes every time, and is recognised', async () => {
  const build = (): Promise<BuiltImage> =>
    buildImage({
      name: 'app:v1',
      architecture: 'amd64',
      layers: [
        {
          entries: [
            { path: 'a', content: 'x' },
            { path: 'l', type: 'symlink', target: 'a' },
          ],
        },
      ],
      config: { Cmd: ['/a'] },
    });
  const image = await build();
  assert.ok(image.tar.equals((await build()).tar));
  const path = join(dir, 'app.tar');
  await writeImage(image, path);
  assert.deepEqual(await inspectArchive(path), {
    format: 'oci',
    gzip: false,
    names: ['docker.io/library/app:v1'],
  });
  await writeFile(`${path}.gz`, gzipSync(image.tar));
  assert.deepEqual(await inspectArchive(`${path}.gz`), {
    format: 'oci',
    gzip: true,
    names: ['docker.io/library/app:v1'],
  });
  await assert.rejects(buildImage({ name: 'Not A Name', layers: [] }), /"Not A Name" is no valid image name/);
});

test('what is no whole image is named as what it is', async () => {
  const image = await buildImage({
    name: 'app:v1',
    architecture: 'amd64',
    layers: [
      { entries: [{ path: 'a', content: 'x'.repeat(50_000) }] },
      { entries: [{ path: 'b', content: 'y' }] },
    ],
  });
  const refused = async (
    name: string,
    { content, expected }: { readonly content: Buffer | string; readonly expected: RegExp },
  ): Promise<void> => {
    const path = join(dir, name);
    await writeFile(path, content);
    await assert.rejects(inspectArchive(path), (error: Error) => expected.test(error.message), name);
  };
  await refused('truncated', {
    content: image.tar.subarray(0, image.tar.length - 3000),
    expected: /is not whole/,
  });
  await refused('truncated-gz', { content: gzipSync(image.tar).subarray(0, 600), expected: /is not whole/ });
  await refused('text', { content: 'FROM scratch\n'.repeat(100), expected: /it is no tar file/ });
  await refused('empty', { content: '', expected: /it is empty/ });
  const pack = tar.pack();
  pack.entry({ name: 'readme' }, 'hello');
  pack.finalize();
  const parts: Buffer[] = [];
  for await (const part of pack as AsyncIterable<Buffer>) parts.push(part);
  await refused('other-tar', {
    content: Buffer.concat(parts),
    expected:
      /it has neither index\.json with oci-layout \(OCI image layout\) nor manifest\.json \(docker save\)/,
  });
  await assert.rejects(inspectArchive(join(dir, 'missing')), /there is no such file/);
  await assert.rejects(inspectArchive(dir), /it is no regular file/);
});

test('pull secrets are matched to images, the most specific first', () => {
  const secret = (auths: object): Parameters<typeof credentialsOfSecret>[0] => ({
    type: 'kubernetes.io/dockerconfigjson',
    data: { '.dockerconfigjson': Buffer.from(JSON.stringify({ auths })).toString('base64') },
  });
  const credentials = credentialsOfSecret(
    secret({
      'https://index.docker.io/v1/': { auth: Buffer.from('hub:pass:word').toString('base64') },
      'registry.example.com': { username: 'all', password: 'p' },
      'registry.example.com/team': { username: 'team', password: 'p' },
      '*.wild.example.com:5000': { username: 'wild', password: 'p' },
    }),
  );
  const users = (image: string): unknown[] =>
    credentialsFor(image, credentials).map(({ username }) => username);
  assert.deepEqual(credentialsFor('nginx', credentials), [{ username: 'hub', password: 'pass:word' }]);
  assert.deepEqual(users('registry.example.com/team/app'), ['team', 'all']);
  assert.deepEqual(users('registry.example.com/other'), ['all']);
  assert.deepEqual(users('a.wild.example.com:5000/x'), ['wild']);
  assert.deepEqual(users('a.b.wild.example.com:5000/x'), []);
  assert.throws(
    () => credentialsOfSecret({ type: 'Opaque', data: {} }),
    /a secret of type "Opaque" is no pull secret/,
  );
});

test("registries are configured in containerd's own format", () => {
  assert.equal(
    renderHosts({ host: 'docker.io', endpoints: ['http://mirror:5000'], skipVerify: true }),
    '# Written by Capstan.\nserver = "https://registry-1.docker.io"\n[host."http://mirror:5000"]\n  capabilities = ["pull", "resolve"]\n  skip_verify = true\n',
  );
});

test("registries of Capstan's own are replaced, an administrator's stay", async () => {
  const registries = join(dir, 'registries');
  const declared = { host: 'docker.io', endpoints: ['http://mirror:5000'] };
  await writeRegistryHosts(registries, [
    declared,
    { host: 'old.example.com', endpoints: ['http://old:5000'] },
  ]);
  const theirs = {
    'registry.example.com/hosts.toml': 'server = "https://registry.example.com"\n',
    'private.example.com/ca.crt': 'PEM',
  };
  for (const [file, text] of Object.entries(theirs)) {
    await mkdir(dirname(join(registries, file)), { recursive: true });
    await writeFile(join(registries, file), text);
  }
  await mkdir(join(registries, 'empty.example.com'));

  await writeRegistryHosts(registries, [declared]);
  assert.deepEqual((await readdir(registries)).toSorted(), [
    'docker.io',
    'private.example.com',
    'registry.example.com',
  ]);
  for (const [file, text] of Object.entries(theirs))
    assert.equal(await readFile(join(registries, file), 'utf8'), text);
});

const skip = await inspectMachine().then(
  () => (existsSync('/bin/busybox') ? false : 'no /bin/busybox: apt-get install busybox-static'),
  (error: Error) => error.message,
);

describe('documents of an archive that somebody else made', () => {
  const digest = (name: string): string => `sha256:${name}`;
  const descriptor = (name: string): object => ({ digest: digest(name) });

  /** An OCI layout whose blobs are these documents; digests are names, since nobody checks them before the runtime. */
  async function layout(index: unknown, blobs: Readonly<Record<string, unknown>> = {}): Promise<string> {
    const pack = tar.pack();
    const add = (name: string, value: unknown): void =>
      void pack.entry({ name }, typeof value === 'string' ? value : JSON.stringify(value));
    add('oci-layout', { imageLayoutVersion: '1.0.0' });
    add('index.json', index);
    for (const [name, value] of Object.entries(blobs)) add(`blobs/sha256/${name}`, value);
    pack.finalize();
    const path = join(dir, 'layout.tar');
    await writeFile(path, pack as unknown as Readable);
    return path;
  }

  async function refused(path: string, expected: RegExp): Promise<void> {
    await assert.rejects(inspectArchive(path), (error: Error) => {
      assert.equal(error.name, 'ImageError', `${error.stack}`);
      assert.match(error.message, expected);
      return true;
    });
  }

  test('manifests that name themselves are refused', async () => {
    const itself = await layout({ manifests: [descriptor('a')] }, { a: { manifests: [descriptor('a')] } });
    await refused(itself, /is no image archive: manifest sha256:a names itself/);
    const circle = { a: { manifests: [descriptor('b')] }, b: { manifests: [descriptor('a')] } };
    await refused(await layout({ manifests: [descriptor('a')] }, circle), /manifest sha256:a names itself/);
  });

  test('indexes within indexes end, by depth and by number', async () => {
    const chain = Object.fromEntries(
      Array.from({ length: 12 }, (_, i) => [`a${i}`, { manifests: [descriptor(`a${i + 1}`)] }]),
    );
    const deep = await layout(
      { manifests: [descriptor('a0')] },
      { ...chain, a12: { config: descriptor('c') } },
    );
    await refused(deep, /refused: it has indexes of manifests more than 8 deep/);
    const wide = await layout({ manifests: Array.from({ length: 1_001 }, (_, i) => descriptor(`m${i}`)) });
    await refused(wide, /refused: manifests of its index.json has 1001 entries; at most 1000 are read/);
    // 30 ways to choose at each of six levels: 729 million paths to the same image, which is read once.
    const levels = Array.from({ length: 6 }, (_, i) => [
      `l${i}`,
      { manifests: Array(30).fill(descriptor(`l${i + 1}`)) },
    ]);
    const image = { l6: { config: descriptor('c'), layers: [] }, c: {} };
    const many = await layout({ manifests: [descriptor('l0')] }, { ...Object.fromEntries(levels), ...image });
    assert.deepEqual(await inspectArchive(many), { format: 'oci', gzip: false, names: [] });
  });

  test('a field of another type is named', async () => {
    const cases: readonly [unknown, Readonly<Record<string, unknown>>, RegExp][] = [
      ['null', {}, /the document of its index.json should be an object/],
      [[], {}, /the document of its index.json should be an object/],
      [{ manifests: {} }, {}, /manifests of its index.json should be a list/],
      [{ manifests: [7] }, {}, /manifests\[0\] of its index.json should be an object/],
      [
        { manifests: [{ digest: 7 }] },
        {},
        /manifests\[0\].digest of its index.json should be a digest such as/,
      ],
      [
        { manifests: [{ digest: 'sha256:../x' }] },
        {},
        /manifests\[0\].digest of its index.json should be a digest/,
      ],
      [{ manifests: [{ ...descriptor('a'), size: '7' }] }, {}, /manifests\[0\].size .* a number of bytes/],
      [
        { manifests: [{ ...descriptor('a'), annotations: 'x' }] },
        {},
        /manifests\[0\].annotations .* an object/,
      ],
      [{ manifests: [{ ...descriptor('a'), annotations: { x: 7 } }] }, {}, /annotations\["x"\] .* a string/],
      [{ manifests: [descriptor('a')] }, { a: 'null' }, /its manifest sha256:a is no JSON/],
      [
        { manifests: [descriptor('a')] },
        { a: { config: null } },
        /config of its manifest sha256:a should be an object/,
      ],
      [
        { manifests: [descriptor('a')] },
        { a: { config: descriptor('a'), layers: 'x' } },
        /layers of .* a list/,
      ],
    ];
    for (const [index, blobs, expected] of cases) await refused(await layout(index, blobs), expected);
  });

  test('so are those of docker save', async () => {
    const cases: readonly [unknown, RegExp][] = [
      [{}, /the document of its manifest.json should be a list/],
      [[null], /\[0\] of its manifest.json should be an object/],
      [[{ Config: 7 }], /\[0\].Config of its manifest.json should be a string/],
      [[{ Config: 'manifest.json', Layers: {} }], /\[0\].Layers of its manifest.json should be a list/],
      [
        [{ Config: 'manifest.json', RepoTags: [7] }],
        /\[0\].RepoTags\[0\] of its manifest.json should be a string/,
      ],
    ];
    for (const [manifest, expected] of cases) {
      const pack = tar.pack();
      pack.entry({ name: 'manifest.json' }, JSON.stringify(manifest));
      pack.finalize();
      const path = join(dir, 'docker.tar');
      await writeFile(path, pack as unknown as Readable);
      await refused(path, expected);
    }
  });
});

describe('with a real containerd', { skip }, () => {
  let runtime: Containerd;
  let registry: Server;
  let host: string;

  before(async () => {
    runtime = createContainerd({ dir: join(dir, 'node') });
    await runtime.start();
    const image = await buildImage({
      name: 'tool:1',
      layers: [{ entries: [{ path: 'file', content: 'pulled' }] }],
      config: { Cmd: ['/file'] },
    });
    registry = await serveRegistry(image, { user: 'me', password: 'secret' });
    host = `127.0.0.1:${(registry.address() as AddressInfo).port}`;
  });

  after(async () => {
    registry?.close();
    registry?.closeAllConnections();
    await runtime?.stop();
    assert.deepEqual(await destroyContainerd({ dir: join(dir, 'node') }), []);
  });

  test('archives are loaded as OCI layout, docker save and gzip; wrong ones are refused', async () => {
    const image = await buildBusyboxImage({ name: 'example.com/bb:1' });
    const path = join(dir, 'bb.tar.gz');
    await writeFile(path, gzipSync(image.tar, { level: 1 }));
    assert.deepEqual(
      (await runtime.importImage(path)).map(({ name, id }) => [name, id]),
      [['example.com/bb:1', image.id]],
    );
    const docker = join(dir, 'docker.tar');
    await writeFile(docker, await withoutOciLayout(image.tar));
    await runtime.cri.removeImage({ image: { image: 'example.com/bb:1' } });
    assert.deepEqual(
      (await runtime.importImage(docker)).map(({ name, id }) => [name, id]),
      [['example.com/bb:1', image.id]],
    );
    await assert.rejects(runtime.importImage(Buffer.from('nonsense')), /is no image archive|is not whole/);
    const other = hostArchitecture() === 'amd64' ? 'arm64' : 'amd64';
    const foreign = await buildImage({
      name: 'foreign:1',
      architecture: other,
      layers: [{ entries: [{ path: 'a', content: 'x' }] }],
    });
    await assert.rejects(runtime.importImage(foreign.tar), (error: Error) =>
      /containerd refused .+|built for this machine's architecture/.test(error.message),
    );
  });

  test('a registry on loopback is pulled from in plain HTTP, with the secret that fits', async () => {
    const image = `${host}/tool:1`;
    const { registryDir } = runtime.layout;
    await assert.rejects(
      pullImage({ cri: runtime.cri, image, registryDir }),
      /401|authorization failed|unauthorized/i,
    );
    const credentials = [{ registry: host, auth: { username: 'me', password: 'secret' } }];
    const ref = await pullImage({ cri: runtime.cri, image, registryDir, credentials });
    assert.equal((await runtime.cri.imageStatus({ image: { image: ref } })).image?.repoTags[0], image);
    await assert.rejects(
      pullImage({ cri: runtime.cri, image: `${host}/tool:2`, registryDir, credentials }),
      /not found/,
    );
    await assert.rejects(
      pullImage({ cri: runtime.cri, image: 'Bad Name' }),
      /couldn't parse image name "Bad Name": invalid reference format/,
    );
  });

  test('unused images go, the sandbox image stays', async () => {
    let nowMs = 1_000_000;
    const gc = new ImageGarbageCollector({
      cri: runtime.cri,
      clock: { ...realClock, now: () => nowMs },
      log: silentLogger,
      usage: async () => ({ capacityBytes: 1000, availableBytes: 100 }),
    });
    assert.equal((await gc.collect()).freedBytes, 0, 'images just seen stay');
    nowMs += 200_000;
    assert.ok((await gc.list()).length >= 2);
    assert.ok((await gc.free(Infinity)) > 0);
    assert.deepEqual(
      (await runtime.cri.listImages({})).images.flatMap(({ repoTags }) => repoTags),
      [SANDBOX_IMAGE],
    );
  });
});

async function listEntries(archive: Buffer): Promise<Map<string, Buffer>> {
  const extract = tar.extract();
  extract.end(archive);
  const entries = new Map<string, Buffer>();
  for await (const entry of extract) {
    const parts: Buffer[] = [];
    for await (const part of entry) parts.push(part as Buffer);
    entries.set(entry.header.name, Buffer.concat(parts));
  }
  return entries;
}

async function withoutOciLayout(archive: Buffer): Promise<Buffer> {
  const pack = tar.pack();
  for (const [name, content] of await listEntries(archive))
    if (name !== 'oci-layout' && name !== 'index.json') pack.entry({ name }, content);
  pack.finalize();
  const parts: Buffer[] = [];
  for await (const part of pack as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}

/** Just enough of the distribution API for one image behind basic authentication. */
async function serveRegistry(
  image: BuiltImage,
  { user, password }: { readonly user: string; readonly password: string },
): Promise<Server> {
  const entries = await listEntries(image.tar);
  const expected = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const server = createServer((request, response) => {
    if (request.headers.authorization !== expected)
      return void response.writeHead(401, { 'www-authenticate': 'Basic realm="test"' }).end();
    const [, , , kind, reference = ''] = (request.url ?? '').split('?')[0]?.split('/') ?? [];
    const digest = reference === '1' ? image.digest : reference;
    const content = entries.get(`blobs/${digest.replace(':', '/')}`);
    if (!content) return void response.writeHead(404).end();
    const type =
      kind === 'manifests' ? 'application/vnd.oci.image.manifest.v1+json' : 'application/octet-stream';
    response.writeHead(200, {
      'content-type': type,
      'docker-content-digest': digest,
      'content-length': String(content.length),
    });
    response.end(request.method === 'HEAD' ? undefined : content);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
