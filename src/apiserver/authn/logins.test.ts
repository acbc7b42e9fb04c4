/** Passwords, tickets and sessions against a whole API server over TLS, with curl, kubectl's way of asking, and a real KDC. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { loginOptions } from '#cmd/apiserver/flags/login.ts';
import type { KubeObject } from '#machinery/object.ts';
import { createLogger } from '#stdx/log.ts';
import { freePort, runCommand } from '#testing/cluster.ts';
import { kerberosMissing, startRealm, type Realm } from '#testing/kerberos.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { hashPassword } from './basic/password-hash.ts';
import { initiate } from './kerberos/gssapi.ts';
import { nameMapper } from './kerberos/negotiate.ts';
import { LOGIN_API_VERSION, LOGIN_PATH } from './session/login-path.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}
interface Call {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  readonly tls?: RequestOptions;
}

const PASSWORD = 'tell-nobody';
const REVIEW = { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' };
const basic = (name: string, password: string): Record<string, string> => ({
  authorization: `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`,
});

let folder: string;
let api: TestApi;
let port: number;
let realm: Realm | undefined;
let keytab: string | undefined;
const log: string[] = [];

function call({ method = 'GET', path = '/version', headers = {}, body, tls = {} }: Call): Promise<Answer> {
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        method,
        path,
        ca: api.pki.ca.certificatePem,
        agent: false,
        headers: { ...headers, ...(text === undefined ? {} : { 'content-type': 'application/json' }) },
        ...tls,
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            text: Buffer.concat(chunks).toString(),
          }),
        );
      },
    );
    request.on('error', reject);
    request.end(text);
  });
}

async function whoAmI(headers: Readonly<Record<string, string>>): Promise<{
  readonly username: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}> {
  const { status, text } = await call({
    method: 'POST',
    path: '/apis/authentication.k8s.io/v1/selfsubjectreviews',
    headers,
    body: REVIEW,
  });
  assert.equal(status, 201, text);
  return (JSON.parse(text) as { status: { userInfo: never } }).status.userInfo;
}

async function login(
  headers: Readonly<Record<string, string>>,
  spec?: unknown,
): Promise<{ readonly answer: Answer; readonly token: string }> {
  const answer = await call({
    method: 'POST',
    path: LOGIN_PATH,
    headers,
    ...(spec === undefined ? {} : { body: { apiVersion: LOGIN_API_VERSION, kind: 'LoginRequest', spec } }),
  });
  return {
    answer,
    token:
      answer.status === 201 ? (JSON.parse(answer.text) as { status: { token: string } }).status.token : '',
  };
}

before(async () => {
  folder = mkdtempSync(join(tmpdir(), 'capstan-logins-'));
  const file = join(folder, 'users.csv');
  writeFileSync(file, `"${await hashPassword(PASSWORD)}",jane,7,"devs,ops"\n`);
  if (!kerberosMissing) {
    realm = await startRealm({ skewSeconds: 2 });
    realm.addUser('alice', 'alice-secret');
    keytab = realm.keytab('HTTP/localhost');
    Object.assign(process.env, realm.variables);
    process.env['KRB5CCNAME'] = realm.kinit('alice', { password: 'alice-secret' });
  }
  port = await freePort();
  const settings = {
    login: loginOptions(
      {
        basicAuthFile: file,
        ...(keytab
          ? { kerberosKeytab: keytab, kerberosNameMapping: ['^([^/@]+)@CAPSTAN\\.TEST$=krb:$1'] }
          : {}),
      },
      { pkiDir: folder },
    )!,
  };
  api = await startTestApi({
    port,
    settings,
    log: createLogger({ level: 'debug', write: (line) => log.push(line) }),
  });
});

// Whatever of it came to be: a KDC that is left behind would keep the process from ending.
after(async () => {
  await realm?.stop();
  await api?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('a password', () => {
  test('says who one is; a wrong one is 401, and offers the ways there are', async () => {
    assert.deepEqual(await whoAmI(basic('jane', PASSWORD)), {
      username: 'jane',
      uid: '7',
      groups: ['devs', 'ops', 'system:authenticated'],
    });
    for (const headers of [
      basic('jane', 'wrong'),
      basic('joe', PASSWORD),
      basic('', ''),
      { authorization: 'Basic !!' },
    ]) {
      const { status, headers: answered, text } = await call({ headers, path: '/api/v1/namespaces' });
      assert.equal(status, 'Basic !!' === headers.authorization ? 403 : 401, text);
      if (status === 401) {
        assert.equal(
          answered['www-authenticate'],
          `Basic realm="kubernetes", charset="UTF-8"${keytab ? ', Negotiate' : ''}`,
        );
        assert.equal((JSON.parse(text) as { message: string }).message, 'Unauthorized');
      }
    }
  });

  test('works with curl', { skip: existsSync('/usr/bin/curl') ? false : 'needs curl' }, async () => {
    writeFileSync(join(folder, 'ca.crt'), api.pki.ca.certificatePem);
    const { stdout, stderr } = await runCommand([
      'curl',
      '-sS',
      '--cacert',
      join(folder, 'ca.crt'),
      '-u',
      `jane:${PASSWORD}`,
      `https://127.0.0.1:${port}/version`,
    ]);
    assert.match(stdout, /gitVersion/, stderr);
  });
});

describe('a session', () => {
  test('is given for a password, for as long as asked within the bound, and is the same user', async () => {
    const { answer, token } = await login(basic('jane', PASSWORD), { expirationSeconds: 600 });
    assert.equal(answer.status, 201, answer.text);
    assert.equal(answer.headers['cache-control'], 'no-store');
    const { status } = JSON.parse(answer.text) as {
      status: { expirationTimestamp: string; userInfo: unknown };
    };
    assert.ok(Math.abs(Date.parse(status.expirationTimestamp) - Date.now() - 600_000) < 60_000);
    assert.deepEqual(status.userInfo, {
      username: 'jane',
      uid: '7',
      groups: ['devs', 'ops', 'system:authenticated'],
    });
    const { extra, ...user } = await whoAmI({ authorization: `Bearer ${token}` });
    assert.deepEqual(user, { username: 'jane', uid: '7', groups: ['devs', 'ops', 'system:authenticated'] });
    assert.match(extra?.['authentication.kubernetes.io/credential-id']?.[0] ?? '', /^JTI=/);
    const review = await api.api.create(
      {
        group: 'authentication.k8s.io',
        version: 'v1',
        plural: 'tokenreviews',
        kind: 'TokenReview',
        namespaced: false,
      },
      { metadata: {}, spec: { token } } as KubeObject,
    );
    assert.equal((review['status'] as { user: { username: string } }).user.username, 'jane');
  });

  test('is not given for a session, a certificate, a service account, an impersonated user, or to nobody', async () => {
    const { token } = await login(basic('jane', PASSWORD));
    const admin = api.pki.clients.admin;
    const serviceAccount = await api.api
      .createSubresource(
        { group: '', version: 'v1', plural: 'serviceaccounts', kind: 'ServiceAccount', namespaced: true },
        { name: 'default', namespace: 'default' },
        { subresource: 'token', body: { spec: {} } },
      )
      .catch(() => undefined);
    const bearer = (serviceAccount?.['status'] as { token?: string } | undefined)?.token ?? token;
    for (const [what, status, answer] of [
      ['session', 403, await login({ authorization: `Bearer ${token}` })],
      ['service account', 403, await login({ authorization: `Bearer ${bearer}` })],
      ['nobody', 403, await login({})],
      ['wrong password', 401, await login(basic('jane', 'wrong'))],
      ['impersonated', 403, await login({ ...basic('jane', PASSWORD), 'impersonate-user': 'root' })],
    ] as const)
      assert.equal(answer.answer.status, status, `${what}: ${answer.answer.text}`);
    const certificate = await call({
      method: 'POST',
      path: LOGIN_PATH,
      headers: basic('jane', PASSWORD),
      tls: { cert: admin.certificatePem, key: admin.keyPem },
    });
    assert.equal(certificate.status, 403, certificate.text);
    assert.match(certificate.text, /not given to holders of a client certificate/);
  });

  test('bad requests are told what is wrong', async () => {
    const headers = basic('jane', PASSWORD);
    const post = (body: unknown): Promise<Answer> =>
      call({ method: 'POST', path: LOGIN_PATH, headers, body });
    const proper = { apiVersion: LOGIN_API_VERSION, kind: 'LoginRequest' };
    for (const [body, status, says] of [
      ['{', 400, /./],
      ['[]', 400, /should be a LoginRequest/],
      [{ kind: 'Pod' }, 400, /kind LoginRequest/],
      [{ ...proper, spec: { seconds: 1 } }, 400, /unknown field \\"spec\.seconds\\"/],
      [
        { ...proper, spec: { expirationSeconds: 1 } },
        422,
        /spec\.expirationSeconds: Invalid value: 1: must be at least 60 seconds/,
      ],
      [{ ...proper, spec: { expirationSeconds: '1h' } }, 422, /must be a whole number/],
      ['x'.repeat(10_000), 413, /too large/],
    ] as const) {
      const answer = await post(body);
      assert.equal(answer.status, status, answer.text);
      assert.match(answer.text, says);
    }
    assert.equal((await call({ path: LOGIN_PATH, headers })).status, 403, 'GET is not allowed by the role');
  });
});

describe('a Kerberos ticket', { skip: kerberosMissing }, () => {
  const negotiate = (token: Buffer): Record<string, string> => ({
    authorization: `Negotiate ${token.toString('base64')}`,
  });

  test('says who one is, once', async () => {
    const ticket = negotiate(await initiate('HTTP@localhost'));
    const { username, groups, extra } = await whoAmI(ticket);
    assert.equal(username, 'krb:alice');
    assert.deepEqual(groups, ['system:authenticated']);
    assert.deepEqual(extra?.['authentication.capstan.dev/kerberos-principal'], ['alice@CAPSTAN.TEST']);
    assert.equal((await call({ headers: ticket })).status, 401, 'replayed');
    const answer = await call({ headers: negotiate(await initiate('HTTP@localhost')) });
    assert.match(
      String(answer.headers['www-authenticate']),
      /^Negotiate [A-Za-z0-9+/=]{50,}$/,
      'the server proves itself',
    );
  });

  test('is swapped for a session', async () => {
    const { answer, token } = await login(negotiate(await initiate('HTTP@localhost')));
    assert.equal(answer.status, 201, answer.text);
    assert.equal((await whoAmI({ authorization: `Bearer ${token}` })).username, 'krb:alice');
  });

  test(
    'works with curl --negotiate',
    {
      skip: /\bSPNEGO\b/.test(spawnSync('curl', ['--version'], { encoding: 'utf8' }).stdout ?? '')
        ? false
        : 'needs curl with SPNEGO',
    },
    async () => {
      writeFileSync(join(folder, 'ca.crt'), api.pki.ca.certificatePem);
      const { stdout, stderr } = await runCommand([
        'curl',
        '-sS',
        '--cacert',
        join(folder, 'ca.crt'),
        '--negotiate',
        '-u',
        ':',
        '-X',
        'POST',
        '-H',
        'content-type: application/json',
        '-d',
        JSON.stringify(REVIEW),
        `https://localhost:${port}/apis/authentication.k8s.io/v1/selfsubjectreviews`,
      ]);
      assert.match(stdout, /krb:alice/, stderr);
    },
  );

  test('of another service, another key, another person, too big, too old or no ticket at all is refused', async () => {
    const other = realm!.keytab('host/localhost');
    assert.ok(existsSync(other));
    const good = await initiate('HTTP@localhost');
    const broken = Buffer.from(good);
    broken[broken.length - 20]! ^= 0xff;
    for (const [what, token] of [
      ['another service', await initiate('host@localhost')],
      ['broken', broken],
      ['garbage', Buffer.from('garbage')],
      ['cut', good.subarray(0, 300)],
      ['NTLM', Buffer.from('NTLMSSP\u0000\u0001\u0000\u0000\u0000')],
      ['oversized', Buffer.alloc(48_001)],
    ] as const) {
      const { status, text } = await call({ headers: negotiate(token) });
      assert.equal(status, 401, `${what}: ${text}`);
      assert.equal((JSON.parse(text) as { message: string }).message, 'Unauthorized');
    }
    assert.equal(
      (await call({ headers: { authorization: 'Negotiate ' } })).status,
      200,
      'no token is no credential',
    );
    const late = await initiate('HTTP@localhost');
    const madeMs = Date.now();
    while (Date.now() < madeMs + 3500) await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(
      (await call({ headers: negotiate(late) })).status,
      401,
      'too old by more than clocks may differ',
    );
    realm!.addUser('bob/admin', 'bob-secret');
    process.env['KRB5CCNAME'] = realm!.kinit('bob/admin', { password: 'bob-secret' });
    assert.equal(
      (await call({ headers: negotiate(await initiate('HTTP@localhost')) })).status,
      401,
      'no mapping for this principal',
    );
  });
});

test('names are mapped by the first pattern that matches, in linear time', () => {
  const map = nameMapper([
    { pattern: '^(.*)@A$', replacement: '$1' },
    { pattern: '^(.*)@B$', replacement: 'b:$1' },
  ]);
  assert.equal(map('x@A'), 'x');
  assert.equal(map('x@B'), 'b:x');
  assert.throws(() => map('x@C'), /no --kerberos-name-mapping matches/);
  assert.throws(() => map('system:admin@A'), /reserved/);
  assert.throws(() => map('@A'), /reserved/);
  assert.equal(nameMapper([])('x@A'), 'x@A');
  assert.throws(() => nameMapper([{ pattern: '(', replacement: '' }]), /is no regular expression/);
  const started = performance.now();
  assert.throws(() => nameMapper([{ pattern: '^(a+)+$', replacement: '' }])(`${'a'.repeat(5000)}!`));
  assert.ok(performance.now() - started < 5000);
});

test('nothing secret is in the log', () => {
  const text = log.join('');
  assert.match(text, /unable to authenticate the request/);
  assert.doesNotMatch(text, /tell-nobody|alice-secret|eyJhbGci|scrypt|amFuZTp/);
});
