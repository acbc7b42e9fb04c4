/** Certificates as openssl and a foreign library read them. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createAuthority, issueCertificate, type KeyPair } from './certificate.ts';
import { chainProblem, missingNames, readPair } from './chain.ts';
import { KEY_ALGORITHMS, publicKeyHash, signsForItself } from './keys.ts';
import { canonicalIp } from './names.ts';
import { certificatesIn, encodePem, PemError, splitPem } from './pem.ts';
import { altNamesOf, readSubject } from './read.ts';

const NOW = Date.now();
const DAY = 86_400_000;
const dir = mkdtempSync(join(tmpdir(), 'capstan-certificate-'));
const skip = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';
after(() => rmSync(dir, { recursive: true, force: true }));

const altNames = { dnsNames: ['api.example.org'], ipAddresses: ['192.0.2.7', 'fd00::7'] };
const subject = { commonName: 'kube-apiserver', organizations: ['Zoë & Co', 'ops'] };

function leaf(authority: KeyPair, lifetimeMs = DAY): KeyPair {
  return issueCertificate(authority, {
    subject,
    usages: ['serverAuth', 'clientAuth'],
    altNames,
    nowMs: NOW,
    lifetimeMs,
  });
}

function file(name: string, content: string): string {
  writeFileSync(join(dir, name), content);
  return join(dir, name);
}

function root(commonName = 'root'): KeyPair {
  return createAuthority({ commonName, nowMs: NOW, lifetimeMs: 10 * DAY });
}

test('authorities of every kind of key sign leaves that openssl verifies strictly', { skip }, () => {
  const ed25519 = generateKeyPairSync('ed25519').privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
  const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' }).privateKey.export({
    type: 'pkcs8',
    format: 'pem',
  }) as string;
  const kinds = [
    ...KEY_ALGORITHMS.filter((algorithm) => algorithm !== 'RSA-4096').map((algorithm) => ({ algorithm })),
    { keyPem: ed25519 },
    { keyPem: p521 },
  ];
  for (const kind of kinds) {
    const authority = createAuthority({ commonName: 'ca', nowMs: NOW, lifetimeMs: 10 * DAY, ...kind });
    const made = leaf(authority);
    execFileSync('openssl', [
      'verify',
      '-x509_strict',
      '-purpose',
      'sslserver',
      '-verify_ip',
      'fd00::7',
      '-CAfile',
      file('ca.crt', authority.certificatePem),
      file('leaf.crt', made.certificatePem),
    ]);
    const certificate = new X509Certificate(made.certificatePem);
    assert.deepEqual(readSubject(certificate), subject);
    assert.deepEqual(altNamesOf(certificate), { ...altNames, emailAddresses: [], uris: [] });
    assert.equal(signsForItself(createPrivateKey(made.keyPem)), true);
  }
});

test('a leaf under an intermediate is sent with it, and verifies against the root alone', { skip }, () => {
  const top = root();
  const middle = createAuthority({ commonName: 'middle', nowMs: NOW, lifetimeMs: 99 * DAY, parent: top });
  const lower = createAuthority({ commonName: 'lower', nowMs: NOW, lifetimeMs: 99 * DAY, parent: middle });
  const made = leaf(lower);
  const [certificate, ...intermediates] = certificatesIn(made.certificatePem);
  assert.deepEqual(
    intermediates.map(({ subject: name }) => name),
    ['CN=lower', 'CN=middle'],
  );
  const [authority] = certificatesIn(top.certificatePem);
  assert.equal(
    chainProblem(certificate!, { authorities: [authority!], intermediates, nowMs: NOW }),
    undefined,
  );
  assert.match(
    chainProblem(certificate!, { authorities: [authority!], nowMs: NOW }) ?? '',
    /^it was issued by CN=lower, which is not among the authorities$/,
  );
  execFileSync('openssl', [
    'verify',
    '-x509_strict',
    '-CAfile',
    file('root.crt', top.certificatePem),
    '-untrusted',
    file('chain.crt', made.certificatePem),
    file('leaf.crt', made.certificatePem),
  ]);
  // Neither outlives its parent.
  const end = new X509Certificate(top.certificatePem).validTo;
  assert.equal(new X509Certificate(lower.certificatePem).validTo, end);
  assert.equal(new X509Certificate(leaf(lower, 99 * DAY).certificatePem).validTo, end);
});

test('a chain is refused for what is wrong with it', () => {
  const authority = root();
  const certificate = new X509Certificate(leaf(authority).certificatePem);
  const authorities = [new X509Certificate(authority.certificatePem)];
  const at = (nowMs: number): string => chainProblem(certificate, { authorities, nowMs }) ?? 'none';
  assert.equal(at(NOW), 'none');
  assert.match(at(NOW + 2 * DAY), /^it expired on /);
  assert.match(at(NOW - DAY), /^it is not valid before /);
  // Of the same name, with another key.
  const other = [new X509Certificate(root().certificatePem)];
  assert.match(
    chainProblem(certificate, { authorities: other, nowMs: NOW }) ?? '',
    /not among the authorities/,
  );
  // A leaf is no authority.
  const leafPair = leaf(authority);
  const below = new X509Certificate(leaf(leafPair).certificatePem);
  assert.match(
    chainProblem(below, { authorities: [new X509Certificate(leafPair.certificatePem)], nowMs: NOW }) ?? '',
    /not among the authorities/,
  );
});

test(
  "the hash of an authority's key is what openssl pipelines of kubeadm's documents print",
  { skip },
  () => {
    const { certificatePem } = root();
    const hash = execFileSync(
      'sh',
      ['-c', 'openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -r'],
      { input: certificatePem, encoding: 'utf8' },
    ).split(' ')[0];
    assert.equal(publicKeyHash(new X509Certificate(certificatePem)), `sha256:${hash}`);
  },
);

test('a bundle is split whatever stands around its blocks, and no further than its bounds', () => {
  const one = root().certificatePem;
  const bundle = `# a comment - with a dash\n${one}\r\nmore\n${one.replaceAll('\n', '\r\n')}-----BEGIN X-----\n-----END X-----\n`;
  assert.equal(certificatesIn(bundle).length, 2);
  assert.equal(splitPem(bundle, 'X').length, 1);
  assert.deepEqual(splitPem('-----BEGIN CERTIFICATE-----\nAA==\n-----END X-----\n', 'CERTIFICATE'), []);
  assert.throws(() => certificatesIn(one + encodePem('CERTIFICATE', Buffer.from('x'))), {
    message: 'certificate 2 is damaged',
  });
  assert.throws(() => splitPem(encodePem('X', Buffer.alloc(1)).repeat(1001), 'X'), PemError);
  assert.throws(() => splitPem(' '.repeat((4 << 20) + 1), 'X'), PemError);
});

test('a pair in one text', () => {
  const authority = root();
  const { certificatePem, keyPem } = leaf(authority);
  assert.equal(readPair(keyPem + certificatePem).keyPem, keyPem);
  assert.throws(() => readPair(certificatePem), {
    message: 'it should hold a certificate and its key, as PEM',
  });
  assert.throws(() => readPair(certificatePem + authority.keyPem), {
    message: "the key is not the certificate's",
  });
});

test('names are compared by what they mean', () => {
  const certificate = new X509Certificate(leaf(root()).certificatePem);
  const wanted = { dnsNames: ['api.example.org', 'other'], ipAddresses: ['fd00:0::0:7', '192.0.2.8'] };
  assert.deepEqual(missingNames(certificate, wanted), ['other', '192.0.2.8']);
  assert.equal(canonicalIp('2001:DB8:0:0:1:0:0:1'), '2001:db8::1:0:0:1');
  assert.equal(canonicalIp('::ffff:10.0.0.1'), '::ffff:a00:1');
  assert.equal(canonicalIp('name'), 'name');
});

test('a certificate of more names than are read is refused', { skip }, () => {
  const names = Array.from({ length: 1001 }, (_, index) => `DNS:n${index}`).join(',');
  const pem = execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      '/dev/null',
      '-subj',
      '/CN=x',
      '-addext',
      `subjectAltName=${names}`,
    ],
    { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8' },
  );
  assert.throws(() => altNamesOf(new X509Certificate(pem)), {
    name: 'DerError',
    message: 'more than 1000 subject alternative names',
  });
});
