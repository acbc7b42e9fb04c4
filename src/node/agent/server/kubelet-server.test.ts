/** The kubelet API's certificate may be replaced while it serves. What is answered is node-agent.test.ts's concern. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { connect } from 'node:tls';
import { KubeletServer, type KubeletServerOptions } from './kubelet-server.ts';

it('new connections get the certificate that replaced the first', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-kubelet-'));
  const pair = (name: string): { certificatePem: string; keyPem: string } => {
    const [key, certificate] = [join(dir, `${name}.key`), join(dir, `${name}.crt`)];
    execFileSync(
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
        key,
        '-out',
        certificate,
        '-subj',
        `/CN=${name}`,
      ],
      { stdio: 'ignore' },
    );
    return { certificatePem: readFileSync(certificate, 'utf8'), keyPem: readFileSync(key, 'utf8') };
  };
  const [first, second] = [pair('first'), pair('second')];
  const server = new KubeletServer({
    ...({ cri: {} } as unknown as KubeletServerOptions),
    tls: { ...first, clientCaPem: first.certificatePem, clients: [] },
    address: '127.0.0.1',
    port: 0,
    nodeName: 'a',
    imageDir: dir,
    workers: () => [],
  });
  await server.start();
  t.after(async () => {
    await server.stop();
    rmSync(dir, { recursive: true, force: true });
  });
  const shown = (): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false }, () => {
        resolve(new X509Certificate(socket.getPeerCertificate().raw).subject);
        socket.destroy();
      });
      socket.on('error', reject);
    });
  assert.equal(await shown(), 'CN=first');
  server.replaceTls(second);
  assert.equal(await shown(), 'CN=second');
});
