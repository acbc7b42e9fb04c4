import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { parse } from 'yaml';
import {
  ensureNodeCertificates,
  ensurePki,
  issueClientCertificate,
  PkiError,
  type PkiOptions,
} from './pki.ts';
import { renderKubeconfig, writeKubeconfig } from './kubeconfig.ts';
import { createAuthority, issueCertificate } from '#pki/certificate.ts';
import { readSubject } from '#pki/read.ts';

const NOW = Date.UTC(2026, 0, 15);
const DAY = 86_400_000;
const folders: string[] = [];
const openssl = spawnSync('openssl', ['version']).status === 0;

function optionsFor(dir: string, changes: Partial<PkiOptions['apiServer']> = {}, nowMs = NOW): PkiOptions {
  return {
    dir,
    nowMs,
    apiServer: {
      hostName: 'box',
      serviceIP: '10.96.0.1',
      bindAddresses: ['0.0.0.0', '192.0.2.7', 'fd00::7'],
      ...changes,
    },
  };
}

function freshDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-pki-'));
  folders.push(dir);
  return join(dir, 'pki');
}

afterEach(() => {
  for (const dir of folders.splice(0)) rmSync(dir, { recursive: true, force: true });
});

test('the first start makes everything, the second changes nothing', async () => {
  const dir = freshDir();
  const first = await ensurePki(optionsFor(dir));
  assert.ok(first.changes.length >= 11);
  const second = await ensurePki(optionsFor(dir));
  assert.deepEqual(second.changes, []);
  assert.deepEqual({ ...second, changes: 0 }, { ...first, changes: 0 });
  assert.equal(statSync(join(dir, 'ca.key')).mode & 0o777, 0o600);
  assert.equal(statSync(join(dir, 'sa.key')).mode & 0o777, 0o600);
});

test('subjects follow kubeadm', async () => {
  const pki = await ensurePki(optionsFor(freshDir()));
  const subject = (pem: string): unknown => readSubject(new X509Certificate(pem));
  assert.deepEqual(subject(pki.clients.admin.certificatePem), {
    commonName: 'kubernetes-admin',
    organizations: ['kubeadm:cluster-admins'],
  });
  assert.deepEqual(subject(pki.clients['super-admin'].certificatePem), {
    commonName: 'kubernetes-super-admin',
    organizations: ['system:masters'],
  });
  // Not an administrator: RBAC gives it the kubelet API and nothing else.
  assert.deepEqual(subject(pki.clients['apiserver-kubelet-client'].certificatePem), {
    commonName: 'kube-apiserver-kubelet-client',
    organizations: [],
  });
  assert.deepEqual(subject(pki.clients.scheduler.certificatePem), {
    commonName: 'system:kube-scheduler',
    organizations: [],
  });
  const node = await ensureNodeCertificates(pki, { nodeName: 'n1', addresses: ['192.0.2.8'], nowMs: NOW });
  assert.deepEqual(subject(node.client.certificatePem), {
    commonName: 'system:node:n1',
    organizations: ['system:nodes'],
  });
});

test(
  'openssl accepts the chains, names and purposes',
  { skip: openssl ? false : 'openssl is not installed' },
  async () => {
    const dir = freshDir();
    const pki = await ensurePki(
      optionsFor(dir, { extraSANs: ['api.example.org', '198.51.100.4'] }, Date.now()),
    );
    await ensureNodeCertificates(pki, {
      nodeName: 'n1',
      addresses: ['192.0.2.8', 'fd00::8'],
      nowMs: Date.now(),
    });
    const verify = (...args: string[]): string =>
      execFileSync('openssl', ['verify', '-x509_strict', ...args], { encoding: 'utf8' });
    for (const name of [
      'kubernetes',
      'kubernetes.default',
      'kubernetes.default.svc',
      'kubernetes.default.svc.cluster.local',
      'localhost',
      'box',
      'api.example.org',
    ]) {
      verify(
        '-CAfile',
        join(dir, 'ca.crt'),
        '-purpose',
        'sslserver',
        '-verify_hostname',
        name,
        join(dir, 'apiserver.crt'),
      );
    }
    for (const address of ['10.96.0.1', '127.0.0.1', '::1', '192.0.2.7', 'fd00::7', '198.51.100.4']) {
      verify(
        '-CAfile',
        join(dir, 'ca.crt'),
        '-purpose',
        'sslserver',
        '-verify_ip',
        address,
        join(dir, 'apiserver.crt'),
      );
    }
    for (const name of [
      'admin',
      'controller-manager',
      'scheduler',
      'kube-proxy',
      'apiserver-kubelet-client',
      'nodes/n1/kubelet-client',
    ]) {
      verify('-CAfile', join(dir, 'ca.crt'), '-purpose', 'sslclient', join(dir, `${name}.crt`));
    }
    verify(
      '-CAfile',
      join(dir, 'front-proxy-ca.crt'),
      '-purpose',
      'sslclient',
      join(dir, 'front-proxy-client.crt'),
    );
    verify(
      '-CAfile',
      join(dir, 'ca.crt'),
      '-purpose',
      'sslserver',
      '-verify_ip',
      'fd00::8',
      join(dir, 'nodes/n1/kubelet.crt'),
    );
    assert.throws(() => verify('-CAfile', join(dir, 'ca.crt'), join(dir, 'front-proxy-client.crt')));
  },
);

test(
  'a certificate authority and signing key made by openssl (RSA, P-384) is used',
  { skip: openssl ? false : 'openssl is not installed' },
  async () => {
    for (const algorithm of [
      ['-newkey', 'rsa:2048'],
      ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:secp384r1'],
    ]) {
      const dir = freshDir();
      await ensurePki(optionsFor(dir, {}, Date.now()));
      execFileSync(
        'openssl',
        [
          'req',
          '-x509',
          ...algorithm,
          '-nodes',
          '-days',
          '30',
          '-subj',
          '/O=Übung & Co/CN=their own',
          '-utf8',
          '-keyout',
          join(dir, 'ca.key'),
          '-out',
          join(dir, 'ca.crt'),
        ],
        { stdio: 'ignore' },
      );
      const pki = await ensurePki(optionsFor(dir, {}, Date.now()));
      assert.ok(
        pki.changes.some((change) =>
          change.startsWith('reissued apiserver.crt: it was signed by another authority'),
        ),
      );
      execFileSync('openssl', ['verify', '-CAfile', join(dir, 'ca.crt'), join(dir, 'apiserver.crt')]);
      assert.deepEqual((await ensurePki(optionsFor(dir, {}, Date.now()))).changes, []);
    }
  },
);

test('a changed name or a near end re-issues the leaf with its old key', async () => {
  const dir = freshDir();
  const first = await ensurePki(optionsFor(dir));
  const renamed = await ensurePki(optionsFor(dir, { extraSANs: ['203.0.113.9'] }));
  assert.deepEqual(renamed.changes, ['reissued apiserver.crt: it lacked 203.0.113.9']);
  assert.equal(renamed.apiServer.keyPem, first.apiServer.keyPem);
  const later = await ensurePki(optionsFor(dir, {}, NOW + 300 * DAY));
  assert.equal(later.changes.length, 8);
  assert.equal(later.ca.certificatePem, first.ca.certificatePem);
});

test('damage is named with its file, and nothing is overwritten', async () => {
  const cases: { code: PkiError['code']; file: string; break(dir: string): void; nowMs?: number }[] = [
    { code: 'unreadable', file: 'ca.crt', break: (dir) => writeFileSync(join(dir, 'ca.crt'), 'rubbish') },
    { code: 'unreadable', file: 'ca.key', break: (dir) => writeFileSync(join(dir, 'ca.key'), '') },
    {
      code: 'mismatched',
      file: 'ca.crt',
      break: (dir) => writeFileSync(join(dir, 'ca.crt'), readFileSync(join(dir, 'front-proxy-ca.crt'))),
    },
    { code: 'incomplete', file: 'ca.key', break: (dir) => unlinkSync(join(dir, 'ca.key')) },
    { code: 'incomplete', file: 'apiserver.key', break: (dir) => unlinkSync(join(dir, 'apiserver.key')) },
    {
      code: 'unreadable',
      file: 'apiserver.crt',
      break: (dir) => writeFileSync(join(dir, 'apiserver.crt'), 'x'),
    },
    { code: 'mismatched', file: 'sa.pub', break: (dir) => writeFileSync(join(dir, 'sa.pub'), publicOf(dir)) },
    { code: 'incomplete', file: 'sa.key', break: (dir) => unlinkSync(join(dir, 'sa.key')) },
    { code: 'expired', file: 'ca.crt', break: () => {}, nowMs: NOW + 3651 * DAY },
    { code: 'expired', file: 'ca.crt', break: () => {}, nowMs: NOW - DAY },
  ];
  for (const { code, file, break: damage, nowMs } of cases) {
    const dir = freshDir();
    await ensurePki(optionsFor(dir));
    damage(dir);
    const error = await ensurePki(optionsFor(dir, {}, nowMs ?? NOW)).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof PkiError, `${file} ${code}`);
    assert.equal(error.code, code);
    assert.equal(error.path, join(dir, file));
    assert.ok(error.message.includes(join(dir, file)), error.message);
    // Whoever reads it learns what to do, and not what OpenSSL calls it.
    if (code === 'unreadable') assert.match(error.message, /: restore it from a copy/);
    assert.doesNotMatch(error.message, /error:[0-9A-F]{8}/);
  }
});

test('a bit that flips in a private key is found at the start, whichever pair it is in', async () => {
  for (const file of ['ca.key', 'front-proxy-ca.key', 'sa.key', 'apiserver.key', 'admin.key']) {
    const dir = freshDir();
    await ensurePki(optionsFor(dir));
    writeFileSync(join(dir, file), withFlippedBit(readFileSync(join(dir, file), 'utf8')));
    await assert.rejects(ensurePki(optionsFor(dir)), (error: PkiError) => {
      assert.equal(error.code, 'unreadable');
      assert.equal(error.path, join(dir, file));
      assert.match(error.message, /does not verify with its own public key\): restore it from a copy/);
      return true;
    });
  }
});

/** In the private number of a PKCS#8 key on P-256, whose copy of the public key stays right. */
function withFlippedBit(pem: string): string {
  const key = Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const at = key.indexOf(Buffer.from([0x02, 0x01, 0x01, 0x04, 0x20])) + 20;
  key[at]! ^= 0x10;
  return `-----BEGIN PRIVATE KEY-----\n${key.toString('base64')}\n-----END PRIVATE KEY-----\n`;
}

test('authorities and signing keys of a cluster that has run are not recreated', async () => {
  const cases = [
    { file: 'ca.crt', lose: ['.'] },
    { file: 'ca.crt', lose: ['ca.crt', 'ca.key'] },
    { file: 'front-proxy-ca.crt', lose: ['front-proxy-ca.crt', 'front-proxy-ca.key'] },
    { file: 'sa.key', lose: ['sa.key', 'sa.pub'] },
  ];
  for (const { file, lose } of cases) {
    const dir = freshDir();
    await ensurePki(optionsFor(dir));
    for (const name of lose) rmSync(join(dir, name), { recursive: true });
    await assert.rejects(ensurePki({ ...optionsFor(dir), mayCreate: false }), (error: PkiError) => {
      assert.equal(error.code, 'missing');
      assert.equal(error.path, join(dir, file));
      assert.match(error.message, /is missing, though this cluster has run before: put .* back from a copy/);
      return true;
    });
    assert.equal(existsSync(join(dir, file)), false);
  }
});

test('a key that others may read is warned of', async () => {
  const dir = freshDir();
  assert.deepEqual((await ensurePki(optionsFor(dir))).warnings, []);
  chmodSync(join(dir, 'ca.key'), 0o644);
  const { warnings } = await ensurePki(optionsFor(dir));
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!.message, /ca\.key may be read or written by others \(mode 644\).*chmod 600/);
});

test('an authority that nears its end is warned of at 90, 30 and 7 days', async () => {
  const dir = freshDir();
  await ensurePki(optionsFor(dir));
  const keysAt = async (day: number): Promise<readonly string[]> =>
    (await ensurePki(optionsFor(dir, {}, NOW + day * DAY))).warnings
      .map(({ key }) => key.replace(`${dir}/`, ''))
      .toSorted();
  assert.deepEqual(await keysAt(3650 - 91), []);
  for (const days of [90, 30, 7])
    assert.deepEqual(await keysAt(3650 - days), [
      `ca.crt ends within ${days} days`,
      `front-proxy-ca.crt ends within ${days} days`,
    ]);
});

test("an administrator's own serving certificate stays, and what it lacks is reported", async () => {
  const theirs = createAuthority({ commonName: 'example.org CA', nowMs: NOW, lifetimeMs: 4000 * DAY });
  const dir = freshDir();
  const pki = await ensurePki(optionsFor(dir));
  const subjects = [
    { authority: theirs, commonName: 'api.example.org' },
    { authority: theirs, commonName: 'kube-apiserver' },
    { authority: pki.ca, commonName: 'api.example.org' },
  ];
  for (const { authority, commonName } of subjects) {
    const own = issueCertificate(authority, {
      subject: { commonName },
      usages: ['serverAuth'],
      altNames: { dnsNames: ['api.example.org'], ipAddresses: [] },
      nowMs: NOW,
      lifetimeMs: 100 * DAY,
    });
    writeFileSync(join(dir, 'apiserver.key'), own.keyPem);
    writeFileSync(join(dir, 'apiserver.crt'), own.certificatePem);
    const { apiServer, changes, warnings } = await ensurePki(optionsFor(dir, {}, NOW + 75 * DAY));
    assert.deepEqual(apiServer, own);
    assert.deepEqual(changes, []);
    const told = warnings.map(({ message }) => message).join('\n');
    assert.match(told, /stays as it is, but it lacks kubernetes, .*10\.96\.0\.1/);
    assert.match(told, /apiserver\.crt ends on .*, in less than 25 days/);
    assert.equal(/is not signed by/.test(told), authority === theirs);
  }
});

function publicOf(dir: string): string {
  return new X509Certificate(readFileSync(join(dir, 'ca.crt'))).publicKey.export({
    type: 'spki',
    format: 'pem',
  }) as string;
}

test('a key whose certificate was lost in a crash is completed', async () => {
  const dir = freshDir();
  const first = await ensurePki(optionsFor(dir));
  for (const name of ['ca.crt', 'apiserver.crt', 'sa.pub']) unlinkSync(join(dir, name));
  const second = await ensurePki(optionsFor(dir));
  assert.equal(second.ca.keyPem, first.ca.keyPem);
  assert.equal(second.apiServer.keyPem, first.apiServer.keyPem);
  assert.equal(second.serviceAccountKey.publicKeyPem, first.serviceAccountKey.publicKeyPem);
});

test('a kubeconfig holds everything and is private', async () => {
  const dir = freshDir();
  const pki = await ensurePki(optionsFor(dir));
  const certificate = issueClientCertificate(pki, {
    subject: { commonName: 'jane', organizations: ['devs', 'ops'] },
    nowMs: NOW,
  });
  assert.deepEqual(readSubject(new X509Certificate(certificate.certificatePem)).organizations, [
    'devs',
    'ops',
  ]);
  const options = {
    server: 'https://127.0.0.1:6443',
    caPem: pki.ca.certificatePem,
    clusterName: 'capstan',
    userName: 'jane: "x"',
    credentials: { certificate },
  };
  const config = parse(renderKubeconfig(options)) as {
    'current-context': string;
    clusters: [{ cluster: Record<string, string> }];
    users: [{ user: Record<string, string> }];
  };
  assert.equal(config['current-context'], 'jane: "x"@capstan');
  assert.equal(
    Buffer.from(config.clusters[0].cluster['certificate-authority-data']!, 'base64').toString(),
    pki.ca.certificatePem,
  );
  assert.equal(
    Buffer.from(config.users[0].user['client-key-data']!, 'base64').toString(),
    certificate.keyPem,
  );
  const path = join(dir, 'jane.kubeconfig');
  writeFileSync(path, 'old');
  chmodSync(path, 0o644);
  assert.equal(await writeKubeconfig(path, options), true);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  assert.equal(await writeKubeconfig(path, options), false);
});
