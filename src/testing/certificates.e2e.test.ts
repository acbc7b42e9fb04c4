/** Certificates as users and machines get them: OpenSSL and kubectl make a user; a second machine joins with nothing but a token and serves, then renews, and returns when its certificate has ended. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import {
  certificateSigningRequests,
  endpointSlices,
  nodes,
  pods,
  secrets,
  serviceCIDRs,
  services,
} from '#client/refs.ts';
import { freePort, runCommand, until, type CommandResult } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');
const tools = foreignTools(35);
const TOKEN = { id: 'abcdef', secret: '0123456789abcdef' };

interface Part {
  readonly child: ChildProcess;
  readonly ended: Promise<number | null>;
  output(): string;
}

describe('certificates', { skip: 'missing' in tools && tools.missing }, () => {
  let dir: string;
  let api: Client;
  let server: string;
  const parts: Part[] = [];

  function start(...words: string[]): Part {
    const child = spawn(CAPSTAN, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (piece: string) => {
        text = (text + piece).slice(-20_000);
      });
    const part = {
      child,
      ended: new Promise<number | null>((done) => child.once('exit', done)),
      output: () => text,
    };
    parts.push(part);
    return part;
  }

  async function kubectl(
    words: readonly string[],
    { kubeconfig = join(dir, 'admin.kubeconfig'), input = '' } = {},
  ): Promise<CommandResult> {
    assert.ok(!('missing' in tools));
    return runCommand([tools.kubectl, '--kubeconfig', kubeconfig, ...words], { input, env: { HOME: dir } });
  }

  async function succeeds(result: Promise<CommandResult>): Promise<string> {
    const { code, stdout, stderr } = await result;
    assert.equal(code, 0, stderr);
    return stdout;
  }

  function startManager(): Part {
    const pki = join(dir, 'pki');
    return start(
      'controller-manager',
      '--kubeconfig',
      join(dir, 'kubeconfigs', 'controller-manager.kubeconfig'),
      '--cluster-signing-cert-file',
      join(pki, 'ca.crt'),
      '--cluster-signing-key-file',
      join(pki, 'ca.key'),
      '--cluster-signing-duration',
      '24s',
    );
  }

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'capstan-certificates-'));
    const port = await freePort();
    server = `https://127.0.0.1:${port}`;
    const part = start('apiserver', '--data-dir', dir, '--secure-port', String(port));
    await until(`the API server (${part.output()})`, () =>
      existsSync(join(dir, 'kubeconfigs', 'controller-manager.kubeconfig')),
    );
    api = createClient(createKubeconfigTransport({ path: join(dir, 'admin.kubeconfig') }), {
      userAgent: 'test',
    });
    await until('the API', async () => (await api.list(nodes)).items.length === 0);
  });

  after(async () => {
    await api?.close();
    for (const { child } of parts) child.kill('SIGKILL');
    await Promise.all(parts.map((part) => part.ended));
    await rm(dir, { recursive: true, force: true });
  });

  it('openssl req and kubectl certificate approve make a user', { timeout: 120_000 }, async () => {
    const pki = join(dir, 'pki');
    const manager = start(
      'controller-manager',
      '--kubeconfig',
      join(dir, 'kubeconfigs', 'controller-manager.kubeconfig'),
      '--cluster-signing-cert-file',
      join(pki, 'ca.crt'),
      '--cluster-signing-key-file',
      join(pki, 'ca.key'),
    );
    const [key, certificate] = [join(dir, 'jane.key'), join(dir, 'jane.crt')];
    const request = await succeeds(
      runCommand([
        'openssl',
        'req',
        '-new',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-keyout',
        key,
        '-subj',
        '/O=developers/CN=jane',
      ]),
    );
    const object = {
      apiVersion: 'certificates.k8s.io/v1',
      kind: 'CertificateSigningRequest',
      metadata: { name: 'jane' },
      spec: {
        request: Buffer.from(request).toString('base64'),
        signerName: 'kubernetes.io/kube-apiserver-client',
        expirationSeconds: 86_400,
        usages: ['client auth'],
      },
    };
    await succeeds(kubectl(['apply', '-f', '-'], { input: JSON.stringify(object) }));
    assert.match(
      await succeeds(kubectl(['get', 'csr', 'jane'])),
      /jane +\S+ +kubernetes\.io\/kube-apiserver-client +kubernetes-admin +24h +Pending/,
    );
    assert.match(
      await succeeds(kubectl(['certificate', 'approve', 'jane'])),
      /certificatesigningrequest.certificates.k8s.io\/jane approved/,
    );
    const issued = await until(
      'the certificate',
      async () =>
        (await succeeds(kubectl(['get', 'csr', 'jane', '-o', 'jsonpath={.status.certificate}']))) ||
        undefined,
    );
    await writeFile(certificate, Buffer.from(issued, 'base64'));
    assert.match(await succeeds(kubectl(['describe', 'csr', 'jane'])), /Status: +Approved,Issued/);
    await succeeds(
      kubectl([
        'create',
        'clusterrolebinding',
        'developers',
        '--clusterrole',
        'view',
        '--group',
        'developers',
      ]),
    );
    const jane = join(dir, 'jane.kubeconfig');
    await succeeds(
      kubectl(
        ['config', 'set-cluster', 'c', '--server', server, '--certificate-authority', join(pki, 'ca.crt')],
        { kubeconfig: jane },
      ),
    );
    await succeeds(
      kubectl(
        ['config', 'set-credentials', 'jane', '--client-certificate', certificate, '--client-key', key],
        { kubeconfig: jane },
      ),
    );
    await succeeds(
      kubectl(['config', 'set-context', 'c', '--cluster', 'c', '--user', 'jane'], { kubeconfig: jane }),
    );
    await succeeds(kubectl(['config', 'use-context', 'c'], { kubeconfig: jane }));
    assert.match(
      await succeeds(kubectl(['auth', 'whoami'], { kubeconfig: jane })),
      /Username +jane\nGroups +\[developers system:authenticated\]/,
    );
    await succeeds(kubectl(['get', 'pods'], { kubeconfig: jane }));
    assert.match(
      (await kubectl(['get', 'secrets'], { kubeconfig: jane })).stderr,
      /Forbidden.*User "jane" cannot list resource "secrets"/,
    );
    // Denied ones are never signed, and say so.
    await succeeds(
      kubectl(['create', '-f', '-'], { input: JSON.stringify({ ...object, metadata: { name: 'denied' } }) }),
    );
    await succeeds(kubectl(['certificate', 'deny', 'denied']));
    assert.match(await succeeds(kubectl(['get', 'csr', 'denied'])), /Denied/);
    const again = await kubectl(['certificate', 'approve', 'denied']);
    assert.notEqual(again.code, 0, again.stdout);
    const masters = await succeeds(
      runCommand([
        'openssl',
        'req',
        '-new',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-keyout',
        key,
        '-subj',
        '/O=system:masters/CN=eve',
      ]),
    );
    const refused = await kubectl(['create', '-f', '-'], {
      input: JSON.stringify({
        ...object,
        metadata: { name: 'masters' },
        spec: { ...object.spec, request: Buffer.from(masters).toString('base64') },
      }),
    });
    assert.match(
      refused.stderr,
      /use of kubernetes\.io\/kube-apiserver-client signer with system:masters group is not allowed/,
    );
    manager.child.kill('SIGTERM');
    await manager.ended;
  });

  it(
    'a machine with only a token joins, runs pods, renews its certificate, and returns after its end',
    { timeout: 180_000 },
    async () => {
      const machine = await mkdtemp(join(tmpdir(), 'capstan-machine-'));
      try {
        const admin = await readFile(join(dir, 'admin.kubeconfig'), 'utf8');
        const ca = /certificate-authority-data: (\S+)/.exec(admin)?.[1] ?? '';
        const bootstrap = join(machine, 'bootstrap.kubeconfig'),
          kubeconfig = join(machine, 'kubelet.kubeconfig');
        const write = (token: string): Promise<void> =>
          writeFile(
            bootstrap,
            JSON.stringify({
              apiVersion: 'v1',
              kind: 'Config',
              'current-context': 'c',
              clusters: [{ name: 'c', cluster: { server, 'certificate-authority-data': ca } }],
              users: [{ name: 'u', user: { token } }],
              contexts: [{ name: 'c', context: { cluster: 'c', user: 'u' } }],
            }),
          );
        const words = [
          'node',
          '--runtime',
          'simulated',
          '--node-name',
          'second',
          '--bootstrap-kubeconfig',
          bootstrap,
          '--kubeconfig',
          kubeconfig,
        ];
        await write(`${TOKEN.id}.ffffffffffffffff`);
        const wrong = await runCommand([CAPSTAN, ...words]);
        assert.equal(wrong.code, 1);
        assert.match(
          wrong.stderr,
          /does not accept the credentials in .*bootstrap\.kubeconfig \(401 Unauthorized\): they are expired, revoked or of another cluster/,
        );
        const encoded = {
          'token-id': TOKEN.id,
          'token-secret': TOKEN.secret,
          'usage-bootstrap-authentication': 'true',
          'auth-extra-groups': 'system:bootstrappers:kubeadm:default-node-token',
        };
        await api.create(secrets, {
          metadata: { name: `bootstrap-token-${TOKEN.id}`, namespace: 'kube-system' },
          type: 'bootstrap.kubernetes.io/token',
          stringData: encoded,
        });
        await write(`${TOKEN.id}.${TOKEN.secret}`);
        startManager();
        const part = start(...words);
        const joined = await until(`the node (${part.output()})`, async () =>
          (await api.list(nodes)).items.find(({ metadata }) => metadata?.name === 'second'),
        );
        assert.ok(joined);
        // From now on nobody needs the token.
        await api.delete(secrets, { name: `bootstrap-token-${TOKEN.id}`, namespace: 'kube-system' });
        const asNode = createClient(createKubeconfigTransport({ path: kubeconfig }), {
          userAgent: 'kube-proxy',
        });
        try {
          // What the service proxy of this machine reads.
          await Promise.all([asNode.list(services), asNode.list(endpointSlices), asNode.list(serviceCIDRs)]);
        } finally {
          await asNode.close();
        }
        const current = join(machine, 'pki', 'kubelet-client-current.pem');
        const first = await readFile(current, 'utf8');
        assert.equal(new X509Certificate(first).subject, 'O=system:nodes\nCN=system:node:second');
        await until('another certificate in use', async () => (await readFile(current, 'utf8')) !== first);
        assert.ok((await readdir(join(machine, 'pki'))).every((file) => file.startsWith('kubelet-client-')));
        await api.create(pods, {
          metadata: { name: 'p', namespace: 'default' },
          spec: { nodeName: 'second', containers: [{ name: 'c', image: 'x:1' }] },
        });
        await until(
          `the pod runs (${part.output()})`,
          async () => (await api.get(pods, { name: 'p', namespace: 'default' })).status?.phase === 'Running',
        );
        // Past the end of the first certificate it is still who it was.
        await until('the first has ended', () => Date.parse(new X509Certificate(first).validTo) < Date.now());
        await api.create(pods, {
          metadata: { name: 'q', namespace: 'default' },
          spec: { nodeName: 'second', containers: [{ name: 'c', image: 'x:1' }] },
        });
        await until(
          `the second pod runs (${part.output()})`,
          async () => (await api.get(pods, { name: 'q', namespace: 'default' })).status?.phase === 'Running',
        );
        const asked = (await api.list(certificateSigningRequests)).items.filter(
          ({ spec }) => spec.username === 'system:node:second',
        );
        assert.ok(
          asked.length >= 1 &&
            asked.every(({ status }) => status?.conditions?.[0]?.reason === 'AutoApproved'),
        );
        part.child.kill('SIGTERM');
        assert.equal(await part.ended, 0, part.output());
        // Off past the end of its certificate, without a token: it comes back by itself, once nothing runs as it.
        await rm(bootstrap);
        await until(
          'the last certificate has ended',
          async () => Date.parse(new X509Certificate(await readFile(current)).validTo) < Date.now(),
        );
        const ended = await readFile(current, 'utf8');
        const back = start(...words);
        const asksAgain = await until(`the request (${back.output()})`, async () =>
          (await api.list(certificateSigningRequests)).items.find(
            ({ spec }) => spec.username === 'capstan:expired-node:second',
          ),
        );
        assert.equal(asksAgain.status?.conditions, undefined);
        // What the node lifecycle controller writes after 50 seconds without a heartbeat.
        const away = await api.get(nodes, { name: 'second' });
        await api.updateStatus(nodes, {
          ...away,
          status: { ...away.status, conditions: [{ type: 'Ready', status: 'Unknown' }] },
        });
        await until(
          `another certificate (${back.output()})`,
          async () => (await readFile(current, 'utf8')) !== ended,
        );
        await until(`the node is ready (${back.output()})`, async () =>
          (await api.get(nodes, { name: 'second' })).status?.conditions?.some(
            ({ type, status }) => type === 'Ready' && status === 'True',
          ),
        );
        back.child.kill('SIGTERM');
        assert.equal(await back.ended, 0, back.output());
        // A Node that was removed does not come back by a certificate that has ended.
        await api.delete(nodes, { name: 'second' });
        await writeFile(current, ended);
        const removed = await runCommand([CAPSTAN, ...words]);
        assert.equal(removed.code, 1);
        assert.match(
          removed.stderr,
          /was denied: Node second was removed from the cluster; join the machine again with a new token\. The client certificate of node second ended on \S+ and does not bring it back: make a token/,
        );
      } finally {
        await rm(machine, { recursive: true, force: true });
      }
    },
  );
});
