/** The behaviours of sig-auth's conformance tests that concern service accounts and their tokens, against a whole API server over TLS. */
import assert from 'node:assert/strict';
import { request as httpsRequest } from 'node:https';
import { after, before, test } from 'node:test';
import { createLocalJWKSet, jwtVerify } from 'jose';
import type { Pod, Secret, ServiceAccount } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import {
  localSubjectAccessReviews,
  namespaces,
  pods,
  roleBindings,
  roles,
  secrets,
  serviceAccounts,
  subjectAccessReviews,
  tokenReviews,
} from '#client/refs.ts';
import { serviceAccountTokenController } from '#controllers/serviceaccount/serviceaccount-token-controller.ts';
import { createControllerManager, type ControllerManager } from '#runtime/run-controllers.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { freePort } from './cluster.ts';
import { startTestApi, type TestApi } from './start-test-api.ts';

const AUDIENCE = 'https://kubernetes.default.svc.cluster.local';
let at: TestApi, port: number, manager: ControllerManager;

before(async () => {
  port = await freePort();
  at = await startTestApi({ port });
  await at.api.create(namespaces, { metadata: { name: 'red' } });
  await at.api.create(serviceAccounts, { metadata: { name: 'default', namespace: 'red' } });
  const { pki } = at;
  manager = createControllerManager(
    [
      serviceAccountTokenController({
        serviceAccountKey: pki.serviceAccountKey.keyPem,
        rootCA: pki.ca.certificatePem,
      }),
    ],
    {
      api: at.clientAs({ name: 'system:kube-controller-manager', groups: ['system:authenticated'] }),
      clock: realClock,
      log: silentLogger,
      identity: 'test',
    },
  );
  await manager.start();
});
after(async () => {
  await manager.stop();
  await at.stop();
});

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

function send(
  path: string,
  { token, body }: { readonly token?: string; readonly body?: unknown } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const call = httpsRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        ca: at.pki.ca.certificatePem,
        agent: false,
        method: body === undefined ? 'GET' : 'POST',
        headers: {
          ...(token ? { authorization: `Bearer ${token}` } : {}),
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
      },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(parts).toString(),
            headers: response.headers,
          }),
        );
      },
    );
    call.on('error', reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function issue(
  name: string,
  spec: object = {},
): Promise<{ token: string; expirationTimestamp: string }> {
  const answer = await at.api.createSubresource(
    serviceAccounts,
    { name, namespace: 'red' },
    { subresource: 'token', body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec } },
  );
  return (answer as unknown as { status: { token: string; expirationTimestamp: string } }).status;
}

interface Reviewed {
  readonly authenticated?: boolean;
  readonly error?: string;
  readonly audiences?: string[];
  readonly user?: { username?: string; uid?: string; groups?: string[]; extra?: Record<string, string[]> };
}

async function review(token: string, audiences?: string[]): Promise<Reviewed> {
  return (
    (
      (await at.api.create(tokenReviews, { spec: { token, ...(audiences ? { audiences } : {}) } })) as {
        status?: Reviewed;
      }
    ).status ?? {}
  );
}

async function selfReview(token: string): Promise<{ status: number; user: Reviewed['user'] }> {
  const { status, text } = await send('/apis/authentication.k8s.io/v1/selfsubjectreviews', {
    token,
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'SelfSubjectReview' },
  });
  return {
    status,
    user: (JSON.parse(text) as { status?: { userInfo?: Reviewed['user'] } }).status?.userInfo,
  };
}

async function until<T>(what: string, check: () => Promise<T | undefined | false>): Promise<T> {
  const endMs = performance.now() + 15_000;
  for (;;) {
    const found = await check();
    if (found) return found;
    assert.ok(performance.now() < endMs, `never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

test('a service account is created, patched, updated, listed, watched and deleted', async () => {
  const labels = { e2e: 'static' };
  const seen: string[] = [];
  at.api.informer(serviceAccounts, { namespace: 'red', labelSelector: 'e2e=static' }).subscribe({
    added: () => seen.push('ADDED'),
    updated: () => seen.push('MODIFIED'),
    deleted: () => seen.push('DELETED'),
  });
  const made = await at.api.create(serviceAccounts, {
    metadata: { name: 'cycle', namespace: 'red', labels },
  });
  await until('ADDED', () => Promise.resolve(seen.includes('ADDED')));
  assert.equal(
    (
      (await at.api.patch(
        serviceAccounts,
        { name: 'cycle', namespace: 'red' },
        { type: 'merge', patch: { automountServiceAccountToken: false } },
      )) as ServiceAccount
    ).automountServiceAccountToken,
    false,
  );
  assert.deepEqual(
    (await at.api.list(serviceAccounts, { labelSelector: 'e2e=static' })).items.map(
      ({ metadata, automountServiceAccountToken }) => [metadata?.uid, automountServiceAccountToken],
    ),
    [[made.metadata.uid, false]],
  );
  const current = await at.api.get(serviceAccounts, { name: 'cycle', namespace: 'red' });
  assert.equal(
    (await at.api.update(serviceAccounts, { ...current, automountServiceAccountToken: true }))
      .automountServiceAccountToken,
    true,
  );
  await at.api.deleteCollection(serviceAccounts, { namespace: 'red', labelSelector: 'e2e=static' });
  await until('DELETED', () => Promise.resolve(seen.includes('DELETED')));
});

test('a token is created and reviewed', async () => {
  const account = await at.api.create(serviceAccounts, { metadata: { name: 'reviewed', namespace: 'red' } });
  const { token, expirationTimestamp } = await issue('reviewed');
  assert.notEqual(token, '');
  assert.ok(Math.abs(Date.parse(expirationTimestamp) - Date.now() - 3_600_000) < 60_000);
  const { user, ...rest } = await review(token);
  assert.deepEqual(rest, { authenticated: true, audiences: [AUDIENCE] });
  const credential = user?.extra?.['authentication.kubernetes.io/credential-id']?.[0] ?? '';
  assert.match(credential, /^JTI=[0-9a-f-]{36}$/);
  assert.deepEqual(user, {
    username: 'system:serviceaccount:red:reviewed',
    uid: account.metadata.uid,
    groups: ['system:serviceaccounts', 'system:serviceaccounts:red', 'system:authenticated'],
    extra: { 'authentication.kubernetes.io/credential-id': [credential] },
  });
  assert.deepEqual(await selfReview(token), { status: 201, user });
  const vault = await issue('reviewed', { audiences: ['vault'] });
  assert.equal((await review(vault.token)).authenticated, undefined);
  assert.match(
    (await review(vault.token)).error ?? '',
    /token audiences \["vault"\] is invalid for the target audiences/,
  );
  assert.deepEqual((await review(vault.token, ['vault', 'x'])).audiences, ['vault']);
  assert.equal((await send('/api', { token: vault.token })).status, 401);
  await assert.rejects(
    at.api.create(tokenReviews, { spec: { token: '' } }),
    (error) =>
      isStatusError(error, 'BadRequest') &&
      error.message === 'token is required for TokenReview in authentication',
  );
});

test('TokenRequest: what is refused, and how', async () => {
  await at.api.create(serviceAccounts, { metadata: { name: 'asked', namespace: 'red' } });
  await at.api.create(pods, {
    metadata: { name: 'other', namespace: 'red' },
    spec: { containers: [{ name: 'c', image: 'i' }] },
  });
  const refused = (
    spec: object,
    reason: 'Invalid' | 'BadRequest' | 'NotFound' | 'Conflict',
    message: RegExp,
  ): Promise<void> =>
    assert.rejects(
      issue('asked', spec),
      (error) => isStatusError(error, reason) && message.test(error.message),
    );
  const asked = async (metadata: object): Promise<Answer> =>
    send('/api/v1/namespaces/red/serviceaccounts/asked/token', {
      token: (await issue('asked')).token,
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', metadata, spec: {} },
    });
  await at.api.create(roles, {
    metadata: { name: 'asking', namespace: 'red' },
    rules: [{ apiGroups: [''], resources: ['serviceaccounts/token'], verbs: ['create'] }],
  });
  await at.api.create(roleBindings, {
    metadata: { name: 'asking', namespace: 'red' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'asking' },
    subjects: [{ kind: 'ServiceAccount', name: 'asked' }],
  });
  for (const [metadata, status, message] of [
    [
      { name: 'x' },
      422,
      /metadata\.name: Invalid value: "x": must match the service account name if specified/,
    ],
    [
      { namespace: 'blue' },
      400,
      /the namespace of the provided object does not match the namespace sent on the request/,
    ],
    [
      { uid: 'x' },
      409,
      /the UID in the token request \(x\) does not match the UID of the service account \(/,
    ],
  ] as const) {
    const answer = await asked(metadata);
    assert.equal(answer.status, status, answer.text);
    assert.match((JSON.parse(answer.text) as { message: string }).message, message);
  }
  const { metadata, spec } = JSON.parse((await asked({})).text) as {
    metadata: { name: string; namespace: string; uid: string };
    spec: object;
  };
  assert.deepEqual(
    [metadata.name, metadata.namespace, metadata.uid],
    ['asked', 'red', (await at.api.get(serviceAccounts, { name: 'asked', namespace: 'red' })).metadata.uid],
  );
  assert.deepEqual(spec, { expirationSeconds: 3600, audiences: [AUDIENCE], boundObjectRef: null });
  await refused(
    { boundObjectRef: { kind: 'Pod', apiVersion: 'v1' } },
    'BadRequest',
    /Name parameter required/,
  );
  const pod = { kind: 'Pod', apiVersion: 'v1', name: 'other' };
  await refused(
    { expirationSeconds: 599 },
    'Invalid',
    /spec\.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes/,
  );
  await refused(
    { expirationSeconds: 2 ** 32 + 1 },
    'Invalid',
    /may not specify a duration larger than 2\^32 seconds/,
  );
  await refused(
    { boundObjectRef: { kind: 'ConfigMap', apiVersion: 'v1', name: 'x' } },
    'BadRequest',
    /cannot bind token to object of type \/v1, Kind=ConfigMap/,
  );
  await refused({ boundObjectRef: { ...pod, name: 'none' } }, 'NotFound', /pods "none" not found/);
  await refused(
    { boundObjectRef: pod },
    'BadRequest',
    /cannot bind token for serviceaccount "asked" to pod running with different serviceaccount name/,
  );
  await refused(
    { boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: 'none' } },
    'NotFound',
    /secrets "none" not found/,
  );
  await at.api.create(secrets, { metadata: { name: 'held', namespace: 'red' } });
  await refused(
    { boundObjectRef: { kind: 'Secret', apiVersion: 'v1', name: 'held', uid: 'x' } },
    'Conflict',
    /the UID in the bound object reference \(x\) does not match the UID in record/,
  );
  await assert.rejects(
    issue('nobody'),
    (error) => isStatusError(error, 'NotFound') && /serviceaccounts "nobody" not found/.test(error.message),
  );
});

test('a token ends with the secret or pod it is bound to', async () => {
  await at.api.create(serviceAccounts, { metadata: { name: 'bound', namespace: 'red' } });
  const make = {
    Secret: () => at.api.create(secrets, { metadata: { name: 'ties', namespace: 'red' } }),
    Pod: () =>
      at.api.create(pods, {
        metadata: { name: 'ties', namespace: 'red' },
        spec: { serviceAccountName: 'bound', containers: [{ name: 'c', image: 'i' }] },
      }),
  };
  for (const [kind, ref] of [
    ['Secret', secrets],
    ['Pod', pods],
  ] as const) {
    const object: KubeObject = await make[kind]();
    const { token } = await issue('bound', {
      boundObjectRef: { kind, apiVersion: 'v1', name: 'ties', uid: object.metadata!.uid },
    });
    assert.equal((await selfReview(token)).status, 201, kind);
    if (kind === 'Pod')
      assert.deepEqual((await review(token)).user?.extra?.['authentication.kubernetes.io/pod-uid'], [
        object.metadata!.uid,
      ]);
    await at.api.delete(ref, { name: 'ties', namespace: 'red' }, { gracePeriodSeconds: 0 });
    assert.equal((await selfReview(token)).status, 401, `${kind} gone`);
    await make[kind]();
    assert.equal((await selfReview(token)).status, 401, `${kind} recreated`);
  }
});

test("the issuer's discovery document and keys verify a pod's token for anyone who knows them", async () => {
  await at.api.create(serviceAccounts, { metadata: { name: 'discovered', namespace: 'red' } });
  const { token } = await issue('discovered', { audiences: ['oidc-discovery-test'] });
  // As upstream, service accounts may read it: whoever else asks is not told.
  const own = (await issue('discovered')).token;
  assert.equal((await send('/.well-known/openid-configuration')).status, 403);
  const document = await send('/.well-known/openid-configuration', { token: own });
  assert.equal(document.headers['content-type'], 'application/json');
  const {
    issuer,
    jwks_uri: jwksUri,
    id_token_signing_alg_values_supported: algorithms,
  } = JSON.parse(document.text) as {
    issuer: string;
    jwks_uri: string;
    id_token_signing_alg_values_supported: string[];
  };
  assert.equal(issuer, AUDIENCE);
  const keys = await send(new URL(jwksUri).pathname, { token: own });
  assert.equal(keys.headers['content-type'], 'application/jwk-set+json');
  const { payload, protectedHeader } = await jwtVerify(
    token,
    createLocalJWKSet(JSON.parse(keys.text) as never),
    { issuer, audience: 'oidc-discovery-test' },
  );
  assert.equal(payload.sub, 'system:serviceaccount:red:discovered');
  assert.ok(algorithms.includes(protectedHeader.alg));
});

test("tokens are mounted unless pod or account refuse, the pod's word before the account's", async () => {
  const path = '/var/run/secrets/kubernetes.io/serviceaccount';
  for (const [account, ofAccount] of [
    ['mount-nil', undefined],
    ['mount-true', true],
    ['mount-false', false],
  ] as const) {
    await at.api.create(serviceAccounts, {
      metadata: { name: account, namespace: 'red' },
      ...(ofAccount === undefined ? {} : { automountServiceAccountToken: ofAccount }),
    });
    for (const ofPod of [undefined, true, false]) {
      const pod = await at.api.create(pods, {
        metadata: { name: `${account}-${String(ofPod)}`, namespace: 'red' },
        spec: {
          serviceAccountName: account,
          containers: [
            { name: 'a', image: 'i' },
            { name: 'b', image: 'i' },
            { name: 'c', image: 'i' },
          ],
          ...(ofPod === undefined ? {} : { automountServiceAccountToken: ofPod }),
        },
      } satisfies Pod);
      const mounts = pod.spec!.containers.map(
        ({ volumeMounts = [] }) => volumeMounts.filter(({ mountPath }) => mountPath === path).length,
      );
      const expected = (ofPod ?? ofAccount ?? true) ? 1 : 0;
      assert.deepEqual(mounts, [expected, expected, expected], `${account}, pod ${String(ofPod)}`);
      const sources = pod.spec!.volumes?.flatMap(({ projected }) => projected?.sources ?? []) ?? [];
      assert.deepEqual(
        sources.map(
          (source) =>
            source.serviceAccountToken?.path ??
            source.configMap?.items?.[0]?.path ??
            source.downwardAPI?.items?.[0]?.path,
        ),
        expected ? ['token', 'ca.crt', 'namespace'] : [],
      );
    }
  }
});

test('access reviews say of a service account what happens when it calls', async () => {
  await at.api.create(serviceAccounts, { metadata: { name: 'asking', namespace: 'red' } });
  await at.api.create(roles, {
    metadata: { name: 'reader', namespace: 'red' },
    rules: [{ apiGroups: [''], resources: ['configmaps'], verbs: ['list'] }],
  });
  await at.api.create(roleBindings, {
    metadata: { name: 'reader', namespace: 'red' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'reader' },
    subjects: [{ kind: 'ServiceAccount', name: 'asking', namespace: 'red' }],
  });
  const { token } = await issue('asking');
  const user = 'system:serviceaccount:red:asking';
  for (const [resource, allowed] of [
    ['configmaps', true],
    ['secrets', false],
  ] as const) {
    const spec = { user, resourceAttributes: { namespace: 'red', verb: 'list', resource } };
    assert.equal((await at.api.create(subjectAccessReviews, { spec })).status?.allowed, allowed);
    assert.equal(
      (await at.api.create(localSubjectAccessReviews, { metadata: { namespace: 'red' }, spec })).status
        ?.allowed,
      allowed,
    );
    assert.equal((await send(`/api/v1/namespaces/red/${resource}`, { token })).status, allowed ? 200 : 403);
  }
});

test('a token in a secret: made, used, noted as used, and gone with its account', async () => {
  const account = await at.api.create(serviceAccounts, { metadata: { name: 'legacy', namespace: 'red' } });
  await at.api.create(secrets, {
    metadata: {
      name: 'legacy-token',
      namespace: 'red',
      annotations: { 'kubernetes.io/service-account.name': 'legacy' },
    },
    type: 'kubernetes.io/service-account-token',
  });
  const secret: Secret = await until('filled', async () => {
    const found = await at.api.get(secrets, { name: 'legacy-token', namespace: 'red' });
    return found.data?.['token'] ? found : undefined;
  });
  const token = Buffer.from(secret.data!['token']!, 'base64').toString();
  assert.deepEqual(await selfReview(token), {
    status: 201,
    user: {
      username: 'system:serviceaccount:red:legacy',
      uid: account.metadata.uid,
      groups: ['system:serviceaccounts', 'system:serviceaccounts:red', 'system:authenticated'],
    },
  });
  await until(
    'noted',
    async () =>
      (await at.api.get(secrets, { name: 'legacy-token', namespace: 'red' })).metadata?.labels?.[
        'kubernetes.io/legacy-token-last-used'
      ] === new Date().toISOString().slice(0, 10),
  );
  // A legacy token of the token controller: the client gets a warning.
  await at.api.patch(
    serviceAccounts,
    { name: 'legacy', namespace: 'red' },
    { type: 'merge', patch: { secrets: [{ name: 'legacy-token' }] } },
  );
  assert.match(
    String((await send('/api', { token })).headers['warning']),
    /Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens\./,
  );
  await at.api.patch(
    secrets,
    { name: 'legacy-token', namespace: 'red' },
    {
      type: 'merge',
      patch: { metadata: { labels: { 'kubernetes.io/legacy-token-invalid-since': '2026-01-01' } } },
    },
  );
  assert.equal((await send('/api', { token })).status, 401);
  assert.match(
    (await review(token)).error ?? '',
    /the token in secret red\/legacy-token for service account red\/legacy has been marked invalid/,
  );
  await at.api.patch(
    secrets,
    { name: 'legacy-token', namespace: 'red' },
    { type: 'merge', patch: { metadata: { labels: { 'kubernetes.io/legacy-token-invalid-since': null } } } },
  );
  assert.equal((await send('/api', { token })).status, 200);
  await at.api.delete(serviceAccounts, { name: 'legacy', namespace: 'red' });
  assert.equal((await send('/api', { token })).status, 401);
  await until('deleted', async () =>
    at.api.get(secrets, { name: 'legacy-token', namespace: 'red' }).then(
      () => false,
      (error: unknown) => isStatusError(error, 'NotFound'),
    ),
  );
});
