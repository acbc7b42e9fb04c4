/**
 * What must stay secret appears in no log line (at level debug), no audit event at level Metadata, no metric, no error and no event: passwords, tokens,
 * keys and the data of Secrets, sent rightly and wrongly to the real program. What is looked for is what was sent.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { hashPassword } from '#apiserver/authn/basic/password-hash.ts';
import { freePort, until } from './cluster.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');
const secret = (): string => `S3cr${randomBytes(12).toString('hex')}`;

describe('nothing secret is written down', () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-secrets-')),
    data = join(dir, 'data');
  const known = new Map<string, string>();
  const errors: string[] = [];
  let output = '',
    port = 0;
  let child: ChildProcess | undefined;
  let agent: Agent;

  /** Looked for as it is, in base64, and in the header it travels in. */
  const keep = (what: string, value = secret()): string => {
    known.set(what, value);
    return value;
  };
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir, name), content);
    return join(dir, name);
  };

  interface Ask {
    readonly authorization?: string;
    readonly body?: unknown;
    readonly type?: string;
  }
  /** Errors are kept: they are looked through, too. */
  function ask(
    target: string,
    { authorization, body, type = 'application/json' }: Ask = {},
  ): Promise<{ readonly status: number; readonly text: string }> {
    const [method = 'GET', path = '/'] = target.split(' ');
    return new Promise((done, reject) => {
      const call = httpsRequest(
        {
          host: '127.0.0.1',
          port,
          method,
          path,
          agent:
            authorization === undefined ? agent : new Agent({ ca: readFileSync(join(data, 'pki/ca.crt')) }),
          headers: {
            ...(body === undefined ? {} : { 'content-type': type }),
            ...(authorization === undefined ? {} : { authorization }),
          },
        },
        (response) => {
          let text = '';
          response
            .setEncoding('utf8')
            .on('data', (part: string) => {
              text += part;
            })
            .on('end', () => {
              const status = response.statusCode ?? 0;
              if (status >= 400) errors.push(`${target}: ${JSON.stringify(response.headers)} ${text}`);
              done({ status, text });
            });
        },
      );
      call.on('error', reject);
      call.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body));
    });
  }
  const basic = (user: string, password: string): string =>
    `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;

  before(async () => {
    port = await freePort();
    const encryption = keep('a key of encryption', randomBytes(32).toString('base64'));
    const args = {
      'data-dir': data,
      'secure-port': String(port),
      'log-level': 'debug',
      'token-auth-file': file('tokens.csv', `${keep('a static token')},jane,1,system:masters\n`),
      'basic-auth-file': file(
        'users.csv',
        `"${await hashPassword(keep('a password'))}",joe,2,system:masters\n`,
      ),
      'encryption-provider-config': file(
        'encryption.yaml',
        `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: a, secret: ${encryption}}]}}, {identity: {}}]}]\n`,
      ),
      'audit-policy-file': file(
        'policy.yaml',
        'apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n',
      ),
      'audit-log-path': join(dir, 'audit.log'),
    };
    child = spawn(
      CAPSTAN,
      ['apiserver', ...Object.entries(args).map(([name, value]) => `--${name}=${value}`)],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    await until(
      'the API server is ready',
      () => existsSync(join(data, 'admin.kubeconfig')) && output.includes(' ready'),
    );
    const admin = readFileSync(join(data, 'admin.kubeconfig'), 'utf8');
    const of = (name: string): Buffer =>
      Buffer.from(new RegExp(`${name}: (\\S+)`).exec(admin)?.[1] ?? '', 'base64');
    agent = new Agent({
      keepAlive: true,
      ca: of('certificate-authority-data'),
      cert: of('client-certificate-data'),
      key: of('client-key-data'),
    });
    for (const name of ['ca.key', 'sa.key', 'apiserver.key', 'front-proxy-ca.key', 'session.key'])
      keep(`the key in ${name}`, readFileSync(join(data, 'pki', name), 'utf8').split('\n')[1]!);
  });
  after(async () => {
    agent?.destroy();
    if (child && child.exitCode === null) {
      const ended = new Promise((done) => child!.once('exit', done));
      child.kill('SIGTERM');
      await ended;
    }
    rmSync(dir, { recursive: true, force: true });
  });

  it('whatever is done with it', { timeout: 120_000 }, async () => {
    const secrets = '/api/v1/namespaces/default/secrets';
    // Credentials, right and wrong.
    assert.equal(
      (await ask(`GET ${secrets}`, { authorization: `Bearer ${known.get('a static token')}` })).status,
      200,
    );
    assert.equal(
      (await ask(`GET ${secrets}`, { authorization: basic('joe', known.get('a password')!) })).status,
      200,
    );
    for (const authorization of [
      `Bearer ${keep('a wrong token')}`,
      `Bearer x.${keep('a wrong JWT')}.y`,
      basic('joe', keep('a wrong password')),
      basic(keep('a password in place of a name'), 'x'),
      `Basic ${keep('half a header')}`,
      `Negotiate ${keep('a ticket')}`,
      `Digest ${keep('another scheme')}`,
    ]) {
      // Schemes that are not configured are nobody's: anonymous.
      assert.ok([401, 403].includes((await ask(`GET ${secrets}`, { authorization })).status), authorization);
    }
    // Tokens that are made here.
    const login = await ask('POST /capstan/login', {
      authorization: basic('joe', known.get('a password')!),
      body: { apiVersion: 'authentication.capstan.dev/v1', kind: 'LoginRequest', spec: {} },
    });
    assert.equal(login.status, 201, login.text);
    keep(
      'a session token',
      (JSON.parse(login.text) as { status: { token: string } }).status.token.split('.')[2]!,
    );
    assert.equal(
      (await ask('POST /api/v1/namespaces/default/serviceaccounts', { body: { metadata: { name: 'bot' } } }))
        .status,
      201,
    );
    const issued = await ask('POST /api/v1/namespaces/default/serviceaccounts/bot/token', {
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: {} },
    });
    assert.equal(issued.status, 201, issued.text);
    const { token } = (JSON.parse(issued.text) as { status: { token: string } }).status;
    keep('a service account token', token.split('.')[2]!);
    assert.equal((await ask(`GET ${secrets}`, { authorization: `Bearer ${token}` })).status, 403);
    assert.equal(
      (await ask(`GET ${secrets}`, { authorization: `Bearer ${token}${keep('what follows a token')}` }))
        .status,
      401,
    );
    for (const reviewed of [token, keep('a token under review')])
      assert.equal(
        (
          await ask('POST /apis/authentication.k8s.io/v1/tokenreviews', {
            body: { spec: { token: reviewed } },
          })
        ).status,
        201,
      );
    // Secrets: good ones, changes, and every sort of bad one.
    const encoded = (value: string): string => Buffer.from(value).toString('base64');
    assert.equal(
      (
        await ask(`POST ${secrets}`, {
          body: {
            metadata: { name: 'good' },
            immutable: false,
            stringData: { word: keep('text of a secret') },
            data: { bytes: encoded(keep('bytes of a secret')) },
          },
        })
      ).status,
      201,
    );
    assert.equal(
      (
        await ask(`PATCH ${secrets}/good`, {
          type: 'application/merge-patch+json',
          body: { stringData: { word: keep('patched text') } },
        })
      ).status,
      200,
    );
    assert.equal(
      (
        await ask(`PATCH ${secrets}/good?fieldManager=me&force=true`, {
          type: 'application/apply-patch+yaml',
          body: `apiVersion: v1\nkind: Secret\nmetadata: {name: good}\nstringData: {word: ${keep('applied text')}}\n`,
        })
      ).status,
      200,
    );
    assert.equal(
      (
        await ask(`PATCH ${secrets}/good`, {
          type: 'application/merge-patch+json',
          body: { immutable: true },
        })
      ).status,
      200,
    );
    const bad: readonly { readonly target?: string; readonly type?: string; readonly body: unknown }[] = [
      { body: { metadata: { name: 'x' }, data: { 'bad key!': encoded(keep('data under a bad key')) } } },
      { body: { metadata: { name: 'x' }, data: { key: `${keep('data that is no base64')}!` } } },
      { body: { metadata: { name: 'x' }, data: { key: { inner: keep('data that is no text') } } } },
      { body: { metadata: { name: 'x' }, data: keep('data that is no object') } },
      { body: { metadata: { name: 'x' }, stringData: [keep('text that is no object')] } },
      { body: { metadata: { name: 'Bad_Name' }, stringData: { key: keep('text under a bad name') } } },
      {
        body: {
          metadata: { name: 'x' },
          type: 'kubernetes.io/dockerconfigjson',
          stringData: { '.dockerconfigjson': `{"auths": ${keep('no docker configuration')}` },
        },
      },
      {
        body: {
          metadata: { name: 'x' },
          type: 'kubernetes.io/tls',
          stringData: { 'tls.key': keep('a key without certificate') },
        },
      },
      { body: { metadata: { name: 'good' }, stringData: { key: keep('a secret that is there already') } } },
      { body: `{"metadata":{"name":"x"},"stringData":{"key":"${keep('JSON without end')}"` },
      { body: `{"metadata":{"name":"x"},"stringData":{"key":"${keep('JSON with a bad end')}"]}` },
      {
        type: 'application/yaml',
        body: `metadata: {name: x}\nstringData:\n  key: "${keep('YAML without end')}\n  other: [`,
      },
      { type: 'application/vnd.kubernetes.protobuf', body: `k8s\0${keep('damaged protobuf')}` },
      { type: 'text/plain', body: keep('another media type') },
      {
        target: `PUT ${secrets}/good`,
        body: {
          metadata: { name: 'good' },
          immutable: true,
          stringData: { word: keep('a change of what is immutable') },
        },
      },
      {
        target: `PATCH ${secrets}/good`,
        type: 'application/json-patch+json',
        body: [{ op: 'test', path: '/data/word', value: keep('a test in a patch') }],
      },
      {
        target: `PATCH ${secrets}/good`,
        type: 'application/strategic-merge-patch+json',
        body: { data: keep('a patch of another type') },
      },
      {
        target: `PATCH ${secrets}/good`,
        type: 'application/merge-patch+json',
        body: `{"stringData": {"word": "${keep('a patch that is damaged')}"`,
      },
      {
        target: `PATCH ${secrets}/good?fieldValidation=Strict`,
        type: 'application/merge-patch+json',
        body: { strnigData: {}, stringData: { word: keep('a patch with a misspelled field') } },
      },
      {
        target: `PATCH ${secrets}/good?fieldManager=other`,
        type: 'application/apply-patch+yaml',
        body: `apiVersion: v1\nkind: Secret\nmetadata: {name: good}\ndata: ${keep('an applied text for a map')}\n`,
      },
      {
        target: `PATCH ${secrets}/good?fieldManager=other`,
        type: 'application/apply-patch+yaml',
        body: `apiVersion: v1\nkind: Secret\nmetadata: {name: good}\nstringData: {word: [${keep('an applied list for a text')}]}\n`,
      },
      {
        target: `PATCH ${secrets}/good?fieldManager=other`,
        type: 'application/apply-patch+yaml',
        body: `apiVersion: v1\nkind: Secret\nmetadata: {name: good}\ndata: {word: ${encoded(keep('a conflict of managers'))}}\n`,
      },
      {
        target: `POST ${secrets}?fieldValidation=Strict`,
        body: { metadata: { name: 'x' }, strnigData: { key: keep('a misspelled field') } },
      },
    ];
    for (const { target = `POST ${secrets}`, type = 'application/json', body } of bad) {
      const { status, text } = await ask(target, { body, type });
      assert.ok(status >= 400 && status < 500, `${JSON.stringify(body)}: ${status} ${text}`);
    }
    const { text: metrics } = await ask('GET /metrics');
    const { text: events } = await ask('GET /api/v1/events');
    const { text: flows } = await ask(
      'GET /debug/api_priority_and_fairness/dump_requests?includeRequestDetails=1',
    );
    const audit = readFileSync(join(dir, 'audit.log'), 'utf8');
    assert.match(audit, /"authentication.kubernetes.io\/issued-credential-id":"JTI=/);
    for (const [where, text] of Object.entries({
      log: output,
      audit,
      metrics,
      events,
      flows,
      errors: errors.join('\n'),
    })) {
      assert.ok(text.length > 0, where);
      for (const [what, value] of known) {
        for (const form of [value, encoded(value).replace(/=+$/, '').slice(0, -1), encodeURIComponent(value)])
          assert.ok(
            !text.includes(form),
            `${what} in ${where}: ${text.slice(Math.max(0, text.indexOf(form) - 300), text.indexOf(form) + 80)}`,
          );
      }
    }
  });

  it('nor where a file of them is wrong', async () => {
    const wrong: Readonly<Record<string, string>> = {
      'token-auth-file': `${keep('a token on a bad line')},jane\n`,
      'basic-auth-file': `${keep('a password in clear')},joe,1\n`,
      'encryption-provider-config': `apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{aesgcm: {keys: [{name: a, secret: ${Buffer.from(keep('a key of a bad length')).toString('base64')}}]}}]}]\n`,
      'service-account-signing-key-file': `-----BEGIN PRIVATE KEY-----\n${keep('a damaged key')}\n-----END PRIVATE KEY-----\n`,
    };
    for (const [flag, content] of Object.entries(wrong)) {
      const started = spawn(
        CAPSTAN,
        [
          'apiserver',
          `--data-dir=${join(dir, 'wrong')}`,
          '--storage=memory',
          `--secure-port=${await freePort()}`,
          '--log-level=debug',
          `--${flag}=${file('wrong', content)}`,
        ],
        { stdio: ['ignore', 'pipe', 'pipe'] },
      );
      let said = '';
      for (const stream of [started.stdout, started.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          said += text;
        });
      const code = await new Promise((done) => started.once('close', done));
      assert.equal(code, 1, `${flag}: ${said}`);
      for (const [what, value] of known)
        for (const form of [value, Buffer.from(value).toString('base64').slice(0, 20)])
          assert.ok(!said.includes(form), `${what}: ${said}`);
    }
  });
});
