/** OIDC with an issuer of other people's making, oidc-provider, in a process of its own. */
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { makeAuthority } from '#testing/oidc-issuer.ts';
import { openJwtSource } from './jwt-source.ts';

const AUDIENCES = ['https://kubernetes.default.svc'];

test("oidc-provider's tokens are believed, and its word is taken for the user", async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-provider-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  const authority = makeAuthority();
  const { cert, key } = authority.issue({ commonName: 'provider', addresses: ['127.0.0.1'] });
  for (const [name, text] of [
    ['tls.crt', cert],
    ['tls.key', key],
    ['ca.crt', authority.cert],
  ] as const)
    writeFileSync(join(dir, name), text);
  const provider = fork(
    fileURLToPath(new URL('../../../testing/oidc-provider-process.ts', import.meta.url)),
    [join(dir, 'tls.crt'), join(dir, 'tls.key')],
    { silent: true },
  );
  t.after(async () => {
    const gone = once(provider, 'exit');
    provider.kill();
    await gone;
  });
  let said = '';
  provider.stderr?.on('data', (text: Buffer) => {
    said += text.toString();
  });
  const [message] = (await Promise.race([
    once(provider, 'message'),
    once(provider, 'exit').then(() => {
      throw new Error(`the provider ended: ${said}`);
    }),
  ])) as [{ url: string }];
  const source = await openJwtSource({
    flags: {
      oidcIssuerUrl: message.url,
      oidcClientId: 'capstan',
      oidcUsernameClaim: 'email',
      oidcGroupsClaim: 'groups',
      oidcGroupsPrefix: 'corp:',
    },
    caFile: join(dir, 'ca.crt'),
    disallowedIssuers: [],
    apiAudiences: AUDIENCES,
    clock: realClock,
    log: silentLogger,
  });
  t.after(() => source.close());
  const endMs = performance.now() + 15_000;
  while (source.problems().length > 0) {
    assert.ok(performance.now() < endMs, source.problems().join());
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { access_token: token } = await post(`${message.url}/token`, {
    ca: authority.cert,
    body: 'grant_type=client_credentials&scope=api',
  });
  const found = await source.tokens.authenticateToken(token, AUDIENCES);
  assert.deepEqual(found, {
    user: { name: 'jane@example.org', groups: ['corp:developers', 'corp:oncall'] },
    audiences: AUDIENCES,
  });
  const [head, body, tail] = token.split('.') as [string, string, string];
  await assert.rejects(
    async () => source.tokens.authenticateToken(`${head}.${body}.${tail.slice(0, -6)}AAAAAA`, AUDIENCES),
    /failed to verify id token signature/,
  );
});

function post(
  url: string,
  { ca, body }: { readonly ca: string; readonly body: string },
): Promise<{ access_token: string }> {
  return new Promise((resolve, reject) => {
    const call = request(
      url,
      {
        method: 'POST',
        ca,
        agent: false,
        auth: 'kubectl:a-secret-of-a-test',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
      },
      (response) => {
        let text = '';
        response.on('data', (part: Buffer) => {
          text += part.toString();
        });
        response.on('end', () =>
          response.statusCode === 200
            ? resolve(JSON.parse(text) as { access_token: string })
            : reject(new Error(text)),
        );
      },
    );
    call.on('error', reject);
    call.end(body);
  });
}
