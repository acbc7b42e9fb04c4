/** For tests only: a certificate authority in memory, and leaf certificates signed by it. Just enough DER (X.690) for X.509 v3 with P-256 keys. */
import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

interface Authority {
  readonly cert: string;
  issue(subject: Subject & { readonly addresses?: readonly string[] }): { cert: string; key: string };
}

interface Subject {
  readonly commonName: string;
  readonly organizations?: readonly string[];
}

const OID = {
  commonName: '550403',
  organization: '55040a',
  ecdsaWithSha256: '2a8648ce3d040302',
  basicConstraints: '551d13',
  subjectAltName: '551d11',
} as const;

export function makeAuthority(): Authority {
  const root = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const name: Subject = { commonName: 'test authority' };
  const authority = extension(OID.basicConstraints, {
    critical: true,
    value: der(0x30, der(0x01, Buffer.from([0xff]))),
  });
  let serial = 1;
  return {
    cert: certificate({
      serial,
      issuer: name,
      subject: name,
      publicKey: root.publicKey,
      signingKey: root.privateKey,
      extensions: [authority],
    }),
    issue({ addresses = [], ...subject }) {
      const leaf = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const ips = addresses.map((address) => der(0x87, Buffer.from(address.split('.').map(Number))));
      const extensions =
        ips.length > 0 ? [extension(OID.subjectAltName, { critical: false, value: der(0x30, ...ips) })] : [];
      serial += 1;
      return {
        cert: certificate({
          serial,
          issuer: name,
          subject,
          publicKey: leaf.publicKey,
          signingKey: root.privateKey,
          extensions,
        }),
        key: leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
      };
    },
  };
}

interface CertificateParts {
  readonly serial: number;
  readonly issuer: Subject;
  readonly subject: Subject;
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly extensions: readonly Buffer[];
}

function certificate({
  serial,
  issuer,
  subject,
  publicKey,
  signingKey,
  extensions,
}: CertificateParts): string {
  const algorithm = der(0x30, oid(OID.ecdsaWithSha256));
  const validity = der(0x30, utcTime(Date.now() - 3_600_000), utcTime(Date.now() + 86_400_000));
  const body = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([serial])),
    algorithm,
    distinguishedName(issuer),
    validity,
    distinguishedName(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length > 0 ? [der(0xa3, der(0x30, ...extensions))] : []),
  );
  const signature = der(0x03, Buffer.from([0]), sign('sha256', body, signingKey));
  const base64 = der(0x30, body, algorithm, signature)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n');
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}

function der(tag: number, ...content: readonly Buffer[]): Buffer {
  const body = Buffer.concat(content);
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'));
}

function distinguishedName({ commonName, organizations = [] }: Subject): Buffer {
  const attribute = (id: string, value: string): Buffer =>
    der(0x31, der(0x30, oid(id), der(0x0c, Buffer.from(value))));
  return der(
    0x30,
    ...organizations.map((value) => attribute(OID.organization, value)),
    attribute(OID.commonName, commonName),
  );
}

function extension(
  id: string,
  { critical, value }: { readonly critical: boolean; readonly value: Buffer },
): Buffer {
  return der(0x30, oid(id), ...(critical ? [der(0x01, Buffer.from([0xff]))] : []), der(0x04, value));
}

function utcTime(ms: number): Buffer {
  return der(0x17, Buffer.from(`${new Date(ms).toISOString().slice(2, 19).replace(/[-:T]/g, '')}Z`));
}
