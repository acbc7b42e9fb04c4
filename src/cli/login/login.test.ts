/** `capstan login` as a user meets it: the program itself, a whole API server over TLS, kubectl, a KDC, and a real OpenID Connect provider. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { createServer, type Server } from 'node:https';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
// @ts-expect-error The package brings no types.
import Provider from 'oidc-provider';
import { makeAuthority } from '#testing/certificates.ts';
import { loginOptions } from '#cmd/apiserver/flags/login.ts';
import { hashPassword } from '#cmd/apiserver/login-client.ts';
import { browse } from '#testing/browser.ts';
import { capstan, onFreePort, runCommand, type CommandResult } from '#testing/cluster.ts';
import { foreignTools } from '#testing/foreign-tools.ts';
import { kerberosMissing, startRealm, type Realm } from '#testing/kerberos.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';

const PASSWORD = 'tell-nobody';
const tools = foreignTools(35);
const PROGRAM = resolve(import.meta.dirname, '../../../capstan');

let folder: string;
let api: TestApi;
let port: number;
let realm: Realm | undefined;

const file = (name: string): string => join(folder, name);
const server = (): string => `https://localhost:${port}`;
const env = (): Record<string, string> => ({ XDG_CACHE_HOME: file('cache'), KUBECONFIG: '', HOME: folder });

function login(words: readonly string[], input = ''): Promise<CommandResult> {
  return capstan(
    [
      'login',
      '--server',
      server(),
      '--certificate-authority',
      file('ca.crt'),
      '--kubeconfig',
      file('kubeconfig'),
      ...words,
    ],
    { env: env(), input },
  );
}

/** As kubectl calls it. */
function plugin(
  kubeconfigUser: readonly string[],
  more: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  const info = {
    apiVersion: 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      cluster: {
        server: server(),
        'certificate-authority-data': Buffer.from(api.pki.ca.certificatePem).toString('base64'),
      },
    },
  };
  return runCommand([PROGRAM, ...kubeconfigUser], {
    env: { ...env(), KUBERNETES_EXEC_INFO: JSON.stringify(info), ...more },
  });
}

function cachedTokens(): string[] {
  return readdirSync(file('cache/capstan/login')).map((name) => file(`cache/capstan/login/${name}`));
}

function endAll(): void {
  for (const path of cachedTokens())
    writeFileSync(
      path,
      readFileSync(path, 'utf8').replace(
        /"expirationTimestamp":"[^"]*"/,
        '"expirationTimestamp":"2020-01-01T00:00:00Z"',
      ),
    );
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'capstan-login-'));
  writeFileSync(file('users.csv'), `"${await hashPassword(PASSWORD)}",jane,7,"devs,ops"\n`);
  let keytab: string | undefined;
  if (!kerberosMissing) {
    realm = await startRealm();
    realm.addUser('alice', 'alice-secret');
    keytab = realm.keytab('HTTP/localhost');
    Object.assign(process.env, realm.variables);
  }
  api = await onFreePort((free) => {
    port = free;
    return startTestApi({
      port,
      settings: {
        login: loginOptions(
          { basicAuthFile: file('users.csv'), ...(keytab ? { kerberosKeytab: keytab } : {}) },
          { pkiDir: folder },
        )!,
      },
    });
  });
  writeFileSync(file('ca.crt'), api.pki.ca.certificatePem);
});

after(async () => {
  await realm?.stop();
  await api?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('by password', () => {
  test('a kubeconfig without any secret, a token that only its owner may read', async () => {
    const { code, stderr } = await login(
      ['--user', 'jane', '--password-stdin', '--namespace', 'shop', '--expires', '10m'],
      `${PASSWORD}\n`,
    );
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Logged in as jane until .*; context "jane@localhost:\d+"/);
    const [cached = ''] = cachedTokens();
    assert.equal(statSync(cached).mode & 0o777, 0o600);
    assert.equal(statSync(file('cache/capstan/login')).mode & 0o777, 0o700);
    assert.equal(statSync(file('kubeconfig')).mode & 0o777, 0o600);
    const kubeconfig = readFileSync(file('kubeconfig'), 'utf8');
    for (const text of [kubeconfig, readFileSync(cached, 'utf8'), stderr])
      assert.doesNotMatch(
        text,
        new RegExp(`${PASSWORD}|${Buffer.from(`jane:${PASSWORD}`).toString('base64')}`),
      );
    assert.doesNotMatch(kubeconfig, /token:|password/);
    assert.match(kubeconfig, /namespace: shop/);
  });

  test('kubectl uses it', { skip: 'missing' in tools ? tools.missing : false }, async () => {
    if ('missing' in tools) return;
    const { stdout, stderr } = await runCommand(
      [
        tools.kubectl,
        '--kubeconfig',
        file('kubeconfig'),
        'auth',
        'whoami',
        '-o',
        'jsonpath={.status.userInfo.username} {.status.userInfo.groups}',
      ],
      { env: env() },
    );
    assert.equal(stdout, 'jane ["devs","ops","system:authenticated"]', stderr);
  });

  test('what else the kubeconfig holds stays; logging in again changes nothing of it', async () => {
    const mine =
      '# mine\napiVersion: v1\nkind: Config\ncurrent-context: old\nclusters:\n- name: old # keep\n  cluster: {server: "https://old"}\ncontexts:\n- name: old\n  context: {cluster: old, user: old}\nusers:\n- name: old\n  user: {token: x}\n';
    writeFileSync(file('mine'), mine);
    for (const _ of [1, 2])
      assert.equal(
        (await login(['--user', 'jane', '--password-stdin', '--kubeconfig', file('mine')], PASSWORD)).code,
        0,
      );
    const text = readFileSync(file('mine'), 'utf8');
    for (const kept of ['# mine', '# keep', 'https://old', 'token: x']) assert.ok(text.includes(kept), kept);
    assert.equal(text.match(/ {2}- name: jane@|- name: jane@/g)?.length, 1);
    writeFileSync(file('damaged'), 'a: [');
    const { code, stderr } = await login(
      ['--user', 'jane', '--password-stdin', '--kubeconfig', file('damaged')],
      PASSWORD,
    );
    assert.equal(code, 1);
    assert.match(stderr, /is not a kubeconfig: it was left as it is/);
    assert.equal(readFileSync(file('damaged'), 'utf8'), 'a: [');
  });

  test('as plugin: the cached token while it lasts, then a sentence that says what to run', async () => {
    const words = ['login', '--exec-credential', '--basic', `--server=${server()}`, '--user=jane'];
    const first = await plugin(words);
    const credential = JSON.parse(first.stdout) as {
      apiVersion: string;
      kind: string;
      status: { token: string; expirationTimestamp: string };
    };
    assert.equal(credential.kind, 'ExecCredential');
    assert.equal(credential.apiVersion, 'client.authentication.k8s.io/v1');
    assert.ok(Date.parse(credential.status.expirationTimestamp) > Date.now());
    endAll();
    const ended = await plugin(words);
    assert.equal(ended.code, 1);
    assert.equal(ended.stdout, '');
    assert.match(
      ended.stderr,
      /The login at https:\/\/localhost:\d+ has ended\. Log in again: capstan login --basic --server .* --user jane/,
    );
  });

  test('a cache file that others may read is not believed', async () => {
    await login(['--user', 'jane', '--password-stdin'], PASSWORD);
    for (const path of cachedTokens()) await runCommand(['chmod', '644', path]);
    assert.equal(
      (await plugin(['login', '--exec-credential', '--basic', `--server=${server()}`, '--user=jane'])).code,
      1,
    );
    assert.match((await capstan(['login', '--forget'], { env: env() })).stdout, /^\d+ tokens are forgotten/);
    assert.deepEqual(cachedTokens(), []);
  });

  test('what cannot be is reported in a sentence', async () => {
    const strange = makeAuthority();
    writeFileSync(file('strange.crt'), strange.cert);
    for (const [words, input, says] of [
      [['--user', 'jane', '--password-stdin'], 'wrong', /The user name or the password is wrong\./],
      [['--user', 'jane', '--password-stdin'], '', /The password is empty/],
      [['--user', 'a:b', '--password-stdin'], 'x', /a name without a colon/],
      [
        ['--user', 'jane', '--password-stdin', '--certificate-authority', file('strange.crt')],
        PASSWORD,
        /cannot be reached: .*(certificate|signature)/,
      ],
      [
        ['--user', 'jane', '--password-stdin', '--server', 'http://localhost:1'],
        PASSWORD,
        /it should be https:/,
      ],
      [
        ['--user', 'jane', '--password-stdin', '--server', 'https://localhost:1'],
        PASSWORD,
        /cannot be reached: .*ECONNREFUSED/,
      ],
      [['--basic', '--oidc'], '', /exclude each other/],
      [['--oidc'], '', /--oidc needs --oidc-issuer-url/],
      [['--user', 'jane', '--password-stdin', '--expires', 'soon'], PASSWORD, /--expires is "soon"/],
      [['--user', 'jane', '--password-stdin', '--expires', '1s'], PASSWORD, /must be at least 60 seconds/],
    ] as const) {
      const { code, stderr } = await login(words, input);
      assert.equal(code, 1, words.join(' '));
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /\n\s+at |tell-nobody/);
    }
  });
});

describe('by Kerberos', { skip: kerberosMissing }, () => {
  test('a ticket is enough, and is used again when the token has ended', async () => {
    process.env['KRB5CCNAME'] = realm!.kinit('alice', { password: 'alice-secret' });
    const { code, stderr } = await login(['--kerberos']);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Logged in as alice@CAPSTAN\.TEST/);
    const words = ['login', '--exec-credential', '--kerberos', `--server=${server()}`];
    const before = (await plugin(words)).stdout;
    endAll();
    const { stdout, stderr: said } = await plugin(words);
    assert.match(stdout, /"ExecCredential"/, said);
    assert.notEqual(stdout, before);
    const none = await login(['--kerberos', '--kerberos-service', 'nothing']);
    assert.match(none.stderr, /Kerberos login at nothing: .*(not found in Kerberos database)/);
  });
});

describe('by OpenID Connect', () => {
  const authority = makeAuthority();
  let issuer: Server;
  let url: string;
  const children = new Set<ChildProcess>();

  before(async () => {
    issuer = createServer(authority.issue({ commonName: 'issuer', addresses: ['127.0.0.1'] }));
    await new Promise<void>((done) => issuer.listen(0, '127.0.0.1', done));
    url = `https://127.0.0.1:${(issuer.address() as AddressInfo).port}`;
    const provider = new Provider(url, {
      clients: [
        {
          client_id: 'kubectl',
          token_endpoint_auth_method: 'none',
          application_type: 'native',
          redirect_uris: ['http://127.0.0.1/callback'],
          response_types: ['code'],
          grant_types: [
            'authorization_code',
            'refresh_token',
            'urn:ietf:params:oauth:grant-type:device_code',
          ],
        },
      ],
      features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
      scopes: ['openid', 'offline_access', 'email'],
      claims: { email: ['email'] },
      conformIdTokenClaims: false,
      findAccount: (_context: unknown, sub: string) => ({
        accountId: sub,
        claims: () => ({ sub, email: `${sub}@example.com` }),
      }),
      cookies: { keys: ['test'] },
    });
    issuer.on('request', provider.callback());
    writeFileSync(file('issuer.crt'), authority.cert);
  });
  after(async () => {
    for (const child of children) child.kill();
    issuer.closeAllConnections();
    await new Promise((done) => issuer.close(done));
  });

  /** Runs a login, and hands its words to a browser as soon as they hold an address. */
  function interactiveLogin(
    words: readonly string[],
    visit: (address: string) => Promise<unknown>,
  ): Promise<CommandResult> {
    return new Promise((done, reject) => {
      const child = spawn(
        PROGRAM,
        [
          'login',
          '--server',
          server(),
          '--certificate-authority',
          file('ca.crt'),
          '--kubeconfig',
          file('oidc'),
          '--oidc',
          '--oidc-issuer-url',
          url,
          '--oidc-client-id',
          'kubectl',
          '--oidc-ca-file',
          file('issuer.crt'),
          '--oidc-scope',
          'email',
          '--no-browser',
          ...words,
        ],
        { env: { ...process.env, ...env() }, stdio: ['ignore', 'pipe', 'pipe'] },
      );
      children.add(child);
      let stderr = '';
      let visited = false;
      child.stderr.on('data', (chunk: Buffer) => {
        stderr += chunk.toString();
        const [address] = /https:\S+(?=\n)/.exec(stderr) ?? [];
        if (address === undefined || visited) return;
        visited = true;
        visit(address).catch(reject);
      });
      child.on('close', (code) => {
        children.delete(child);
        done({ code, stdout: '', stderr });
      });
    });
  }

  const fill = { login: 'jane', password: 'anything' };
  const words = (): string[] => [
    'login',
    '--exec-credential',
    '--oidc',
    `--server=${server()}`,
    `--oidc-issuer-url=${url}`,
    '--oidc-client-id=kubectl',
    `--oidc-ca-file=${file('issuer.crt')}`,
  ];

  test('with a browser: PKCE, an ID token that is refreshed when it ends, and no token in the kubeconfig', async () => {
    let page = '';
    const { code, stderr } = await interactiveLogin([], async (address) => {
      assert.match(address, /code_challenge_method=S256/);
      const redirect = new URL(address).searchParams.get('redirect_uri')!;
      const stray = await fetch(`${redirect}?code=x&state=guessed`);
      assert.equal(stray.status, 400, "another login's code is not taken");
      page = await browse(address, { ca: authority.cert, fill });
    });
    assert.equal(code, 0, stderr);
    assert.match(page, /You are logged in/);
    assert.doesNotMatch(readFileSync(file('oidc'), 'utf8'), /eyJ/);
    const first = JSON.parse((await plugin(words())).stdout) as { status: { token: string } };
    const claims = JSON.parse(
      Buffer.from(first.status.token.split('.')[1]!, 'base64url').toString(),
    ) as Record<string, unknown>;
    assert.deepEqual(
      [claims['iss'], claims['aud'], claims['sub'], claims['email']],
      [url, 'kubectl', 'jane', 'jane@example.com'],
    );
    endAll();
    // A token of the same second would be the same to the letter.
    while (Math.floor(Date.now() / 1000) <= Number(claims['iat']))
      await new Promise((resolve) => setTimeout(resolve, 20));
    const refreshed = await plugin(words());
    assert.match(refreshed.stdout, /"ExecCredential"/, refreshed.stderr);
    assert.notEqual((JSON.parse(refreshed.stdout) as typeof first).status.token, first.status.token);
  });

  test('with another device', async () => {
    const { code, stderr } = await interactiveLogin(['--oidc-device'], (address) =>
      browse(address, { ca: authority.cert, fill }),
    );
    assert.equal(code, 0, stderr);
    assert.match(stderr, /enter the code [A-Z]{4}-[A-Z]{4}/);
  });

  test('an issuer that is none, or that nobody vouches for', async () => {
    const base = ['--oidc', '--oidc-client-id', 'kubectl'];
    assert.match(
      (await login([...base, '--oidc-issuer-url', url])).stderr,
      /certificate is of an unknown authority/,
    );
    assert.match(
      (await login([...base, '--oidc-issuer-url', `${url}/nowhere`, '--oidc-ca-file', file('issuer.crt')]))
        .stderr,
      /is no OpenID Connect issuer/,
    );
    assert.match((await login([...base, '--oidc-issuer-url', 'http://x'])).stderr, /should be an https:/);
  });
});
