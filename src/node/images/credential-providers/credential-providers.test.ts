/** The configuration's checks, and providers that are real programs: what they are asked, and how long their answers are kept. */
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { createLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { readCredentialProviders } from './configuration.ts';
import { CredentialProviders } from './credential-providers.ts';

let dir: string;
let binDir: string;
let asked: string;

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'capstan-providers-'));
  binDir = join(dir, 'bin');
  asked = join(dir, 'asked');
  await mkdir(binDir);
  // Answers with $ANSWER, and notes its arguments and what it is asked.
  await program('echo', 'echo "$* $(cat)" >> "$ASKED"; printf %s "$ANSWER"');
  await program('fail', 'echo no credentials today >&2; exit 3');
  await program('hang', 'sleep 1000 & wait');
  await program('flood', 'exec cat /dev/zero');
});
after(() => rm(dir, { recursive: true, force: true }));

async function program(name: string, text: string): Promise<void> {
  await writeFile(join(binDir, name), `#!/bin/sh\n${text}\n`);
  await chmod(join(binDir, name), 0o755);
}

async function settings(
  providers: unknown,
  { version = 'v1' } = {},
): Promise<ReturnType<typeof readCredentialProviders>> {
  const path = join(dir, 'config.yaml');
  const file = {
    apiVersion: `kubelet.config.k8s.io/${version}`,
    kind: 'CredentialProviderConfig',
    providers,
  };
  await writeFile(path, JSON.stringify(file));
  return readCredentialProviders({ path, binDir });
}

const API = 'credentialprovider.kubelet.k8s.io/v1';
const POD: Pod = {
  metadata: { name: 'web', namespace: 'shop', uid: 'pod-uid' },
  spec: { containers: [], serviceAccountName: 'bot' },
};

function answer(more: object = {}): string {
  return JSON.stringify({
    apiVersion: API,
    kind: 'CredentialProviderResponse',
    cacheKeyType: 'Image',
    auth: { 'registry.example.com': { username: 'u', password: 'p' } },
    ...more,
  });
}

function provider(more: object = {}, response = answer()): Record<string, unknown> {
  return {
    name: 'echo',
    matchImages: ['*.example.com'],
    defaultCacheDuration: '10s',
    apiVersion: API,
    args: ['--from', 'here'],
    env: [
      { name: 'ASKED', value: asked },
      { name: 'ANSWER', value: response },
    ],
    ...more,
  };
}

interface Account {
  readonly uid?: string;
  readonly annotations?: Record<string, string>;
}

interface Made {
  readonly providers: CredentialProviders;
  readonly clock: FakeClock;
  readonly lines: string[];
  account: Account;
  token: string;
  users(image: string, pod?: Pod): Promise<unknown[]>;
  /** Since the last call. */
  asked(): Promise<unknown[]>;
}

async function make(configured: readonly object[], { timeoutMs = 60_000 } = {}): Promise<Made> {
  await rm(asked, { force: true });
  const clock = new FakeClock();
  const lines: string[] = [];
  const made: Made = {
    clock,
    lines,
    account: {},
    token: 'token-1',
    providers: new CredentialProviders({
      settings: await settings(configured),
      clock,
      log: createLogger({ level: 'info', write: (line) => lines.push(line) }),
      serviceAccount: async (namespace, name) => ({
        metadata: { name, namespace, uid: 'account-uid', ...made.account },
      }),
      token: async () => made.token,
      timeoutMs,
    }),
    users: async (image, pod = POD) =>
      (await made.providers.credentials(image, pod)).map(({ auth }) => auth.username),
    async asked() {
      const text = await readFile(asked, 'utf8').catch(() => '');
      await rm(asked, { force: true });
      return text
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line.slice(line.indexOf('{'))) as unknown);
    },
  };
  return made;
}

test('a configuration is read strictly, of three versions, from a file or a directory', async () => {
  const read = await settings([provider({ args: undefined, env: undefined })]);
  assert.deepEqual(read.providers, [
    {
      name: 'echo',
      matchImages: ['*.example.com'],
      defaultCacheMs: 10_000,
      apiVersion: API,
      args: [],
      env: [],
    },
  ]);
  assert.match(read.hash, /^sha256:[0-9a-f]{64}$/);
  await settings([provider()], { version: 'v1beta1' });
  await settings([provider({ apiVersion: 'credentialprovider.kubelet.k8s.io/v1alpha1' })], {
    version: 'v1alpha1',
  });
  const folder = join(dir, 'conf');
  await mkdir(folder);
  assert.throws(() => readCredentialProviders({ path: folder, binDir }), /no configuration files found/);
  for (const [file, name] of [
    ['b.json', 'echo'],
    ['a.yml', 'fail'],
    ['c.txt', 'hang'],
  ] as const)
    await writeFile(
      join(folder, file),
      JSON.stringify({
        apiVersion: 'kubelet.config.k8s.io/v1',
        kind: 'CredentialProviderConfig',
        providers: [provider({ name })],
      }),
    );
  const merged = readCredentialProviders({ path: folder, binDir });
  assert.deepEqual(
    merged.providers.map(({ name }) => name),
    ['fail', 'echo'],
  );
  await writeFile(join(folder, 'c.yaml'), await readFile(join(folder, 'b.json')));
  assert.throws(
    () => readCredentialProviders({ path: folder, binDir }),
    /providers\.name: Duplicate value: "echo"/,
  );
});

test('a wrong configuration is refused by the name of the field', async () => {
  const attributes = {
    serviceAccountTokenAudience: 'registry',
    cacheType: 'Token',
    requireServiceAccount: true,
  };
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [[], /providers: Required value: at least 1 item in plugins is required/],
    [
      [provider({ name: 'a/b' })],
      /providers\.name: Invalid value: "a\/b": provider name cannot contain '\/'/,
    ],
    [[provider({ name: '..' })], /provider name cannot be '\.\.'/],
    [[provider({ name: 'absent' })], /error inspecting binary executable .*\/absent/],
    [[provider({ matchImages: [] })], /providers\.matchImages: Required value/],
    [[provider({ matchImages: ['a b'] })], /providers\.matchImages: Invalid value: "a b"/],
    [[provider({ defaultCacheDuration: undefined })], /providers\.defaultCacheDuration: Required value/],
    [[provider({ defaultCacheDuration: '-1s' })], /must be greater than or equal to 0/],
    [[provider({ apiVersion: 'v1' })], /providers\.apiVersion: Unsupported value: "v1"/],
    [[provider({ tokens: true })], /unknown field "providers\[0\]\.tokens"/],
    [
      [provider({ tokenAttributes: { ...attributes, cacheType: undefined } })],
      /cacheType is required to be set when tokenAttributes is specified/,
    ],
    [
      [provider({ tokenAttributes: { ...attributes, cacheType: 'Pod' } })],
      /tokenAttributes\.cacheType: Unsupported value: "Pod"/,
    ],
    [
      [provider({ tokenAttributes: attributes, apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1' })],
      /tokenAttributes is only supported for credentialprovider\.kubelet\.k8s\.io\/v1 API version/,
    ],
    [
      [
        provider({
          tokenAttributes: {
            ...attributes,
            requireServiceAccount: false,
            requiredServiceAccountAnnotationKeys: ['a'],
            optionalServiceAccountAnnotationKeys: ['a'],
          },
        }),
      ],
      /requireServiceAccount cannot be false .*annotation keys cannot be both required and optional/,
    ],
  ];
  for (const [providers, expected] of cases) await assert.rejects(settings(providers), expected);
  await assert.rejects(
    settings([provider({ tokenAttributes: attributes })], { version: 'v1beta1' }),
    /unknown field "providers\[0\]\.tokenAttributes"/,
  );
});

test('a program is asked for images that match, and its answer kept as long as it says', async () => {
  const made = await make([provider()]);
  assert.deepEqual(await made.users('nginx'), []);
  assert.deepEqual(await made.users('a.b.example.com/app'), []);
  assert.deepEqual(await made.asked(), []);
  assert.deepEqual(
    await Promise.all([
      made.users('registry.example.com/team/app:3'),
      made.users('registry.example.com/team/app:4'),
    ]),
    [['u'], ['u']],
  );
  const request = {
    kind: 'CredentialProviderRequest',
    apiVersion: API,
    image: 'registry.example.com/team/app',
  };
  assert.deepEqual(await made.asked(), [request], 'two pods share a run');
  await made.clock.advance(10_000);
  await made.users('registry.example.com/team/app');
  assert.deepEqual(await made.asked(), [], 'still kept');
  await made.users('registry.example.com/other');
  assert.equal((await made.asked()).length, 1, 'kept by image');
  await made.clock.advance(1);
  await made.users('registry.example.com/team/app');
  assert.equal((await made.asked()).length, 1, 'kept no longer');
});

test('answers are kept by registry, for all images, or not at all', async () => {
  const asks = async (response: object, images: readonly string[]): Promise<number> => {
    const made = await make([provider({}, answer(response))]);
    for (const image of images) assert.deepEqual(await made.users(image), ['u']);
    return (await made.asked()).length;
  };
  const images = ['a.example.com/one', 'a.example.com/two', 'b.example.com/one'];
  assert.equal(await asks({ cacheKeyType: 'Registry' }, images), 2);
  assert.equal(await asks({ cacheKeyType: 'Global' }, images), 1);
  assert.equal(await asks({ cacheKeyType: 'Global', cacheDuration: '0s' }, images), 3);
});

test('credentials of several providers come in their order', async () => {
  const other = answer({ auth: { 'registry.example.com': { username: 'other', password: 'p' } } });
  await program('echo-2', 'printf %s "$ANSWER"');
  const made = await make([provider({ name: 'echo-2' }, other), provider({ name: 'fail' }), provider()]);
  assert.deepEqual(await made.users('registry.example.com/app'), ['other', 'u']);
  assert.match(made.lines.join('\n'), /exit status 3: no credentials today/);
});

test('programs end within their time, write no more than they may, and answer in the version they were asked in', async () => {
  const logged = async (...given: Parameters<typeof make>): Promise<string> => {
    const made = await make(...given);
    assert.deepEqual(await made.users('registry.example.com/app'), []);
    return made.lines.join('\n');
  };
  assert.match(
    await logged([provider({ name: 'hang' })], { timeoutMs: 200 }),
    /plugin hang for image registry\.example\.com\/app: it did not end within 0\.2 s/,
  );
  assert.match(await logged([provider({ name: 'flood' })]), /it wrote more than 1048576 bytes/);
  assert.match(
    await logged([provider({}, answer({ apiVersion: 'credentialprovider.kubelet.k8s.io/v1beta1' }))]),
    /did not match expected apiVersion:credentialprovider\.kubelet\.k8s\.io\/v1, actual/,
  );
  assert.match(
    await logged([provider({}, answer({ cacheKeyType: 'Pod' }))]),
    /did not return a valid cacheKeyType: Pod/,
  );
  assert.match(
    await logged([provider({}, 'p4ssw0rd: [')]),
    /error decoding credential provider plugin response/,
  );
  assert.doesNotMatch(await logged([provider({}, 'p4ssw0rd: [')]), /p4ssw0rd/);
});

test("with tokenAttributes it is given the account's token and annotations, and its answers are kept by them", async () => {
  const tokenAttributes = {
    serviceAccountTokenAudience: 'registry',
    cacheType: 'Token',
    requireServiceAccount: true,
    requiredServiceAccountAnnotationKeys: ['example.com/role'],
    optionalServiceAccountAnnotationKeys: ['example.com/zone'],
  };
  const made = await make([provider({ tokenAttributes })]);
  const image = 'registry.example.com/app';
  const withoutAccount: Pod = { ...POD, spec: { containers: [] } };
  assert.deepEqual(await made.users(image, withoutAccount), []);
  assert.deepEqual(await made.users(image), [], 'the annotation is missing');
  assert.deepEqual([await made.asked(), made.lines], [[], []]);
  made.account = { annotations: { 'example.com/role': 'puller', other: 'x' } };
  assert.deepEqual(await made.users(image), ['u']);
  assert.deepEqual(await made.asked(), [
    {
      kind: 'CredentialProviderRequest',
      apiVersion: API,
      image,
      serviceAccountToken: 'token-1',
      serviceAccountAnnotations: { 'example.com/role': 'puller' },
    },
  ]);
  assert.deepEqual(await made.users(image), ['u']);
  assert.equal((await made.asked()).length, 0);
  made.token = 'token-2';
  await made.users(image);
  assert.equal((await made.asked()).length, 1, 'another token');
  made.account = { ...made.account, uid: 'another' };
  await made.users(image);
  assert.equal((await made.asked()).length, 1, 'another account');

  const byAccount = { ...tokenAttributes, cacheType: 'ServiceAccount' };
  const leaking = answer({ auth: { 'registry.example.com': { username: 'u', password: 'token-1' } } });
  const leak = await make([provider({ tokenAttributes: byAccount }, leaking)]);
  leak.account = made.account;
  assert.deepEqual(await leak.users(image), []);
  assert.match(leak.lines.join('\n'), /returned the service account token as the password/);
  const kept = await make([provider({ tokenAttributes: byAccount })]);
  kept.account = made.account;
  await kept.users(image);
  kept.token = 'token-2';
  await kept.users(image);
  assert.equal((await kept.asked()).length, 1, 'kept by account');
});
