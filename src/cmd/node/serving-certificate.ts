/** The certificate of the kubelet API of a node inside the cluster's program: issued from DIR/pki, and followed there when it is renewed. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import type { KeyPair } from '#pki/certificate.ts';
import { belongsTo } from '#pki/chain.ts';
import { certificatesIn } from '#pki/pem.ts';
import { ensureNodeCertificates } from '#deploy/pki/pki.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { watchFiles } from '#stdx/watched-files.ts';

/** Addresses of the kubelet API. */
export function kubeletAddresses({
  addresses,
  gateways,
}: {
  readonly addresses: readonly string[];
  readonly gateways: readonly string[];
}): string[] {
  return [...new Set([...addresses, ...gateways, '127.0.0.1'])];
}

interface IssueOptions {
  readonly pkiDir: string;
  readonly caPem: string;
  readonly nodeName: string;
  readonly addresses: readonly string[];
  readonly nowMs: number;
}

export async function issueServing({
  pkiDir,
  caPem,
  nodeName,
  addresses,
  nowMs,
}: IssueOptions): Promise<KeyPair> {
  const keyPem = await readFile(join(pkiDir, 'ca.key'), 'utf8');
  const pki = { dir: pkiDir, ca: { certificatePem: caPem, keyPem } };
  return (await ensureNodeCertificates(pki, { nodeName, addresses, nowMs })).serving;
}

interface FollowedTls extends KeyPair {
  /** Authorities of the kubelet API's clients. */
  readonly clientCaPem: string;
}

interface FollowOptions {
  readonly pkiDir: string;
  readonly nodeName: string;
  /** In use. */
  readonly current: FollowedTls;
  readonly replace: (next: FollowedTls) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The certificate, and the cluster's authorities: they change together when those are rotated. */
export function followServing({ pkiDir, nodeName, current, replace, clock, log }: FollowOptions): {
  close(): void;
} {
  const pair = ['crt', 'key'].map((extension) => join(pkiDir, 'nodes', nodeName, `kubelet.${extension}`));
  return watchFiles({
    paths: [...pair, join(pkiDir, 'ca.crt')],
    clock,
    isKnown: ([certificatePem, keyPem, clientCaPem]) =>
      certificatePem === current.certificatePem &&
      keyPem === current.keyPem &&
      clientCaPem === current.clientCaPem,
    changed([certificatePem = '', keyPem = '', clientCaPem = '']) {
      try {
        if (!belongsTo(new X509Certificate(certificatePem), keyPem))
          throw new Error(`${pair[0]} does not belong to ${pair[1]}`);
        if (certificatesIn(clientCaPem).length === 0) throw new Error('ca.crt has no certificate in PEM');
        replace({ certificatePem, keyPem, clientCaPem });
        log.info('a new serving certificate is in use');
      } catch (error) {
        log.error('the changed serving certificate is invalid, keeping the previous one', {
          error: errorMessage(error),
        });
      }
    },
    unreadable: (error) => log.error('the serving certificate cannot be read', { error: error.message }),
  });
}
