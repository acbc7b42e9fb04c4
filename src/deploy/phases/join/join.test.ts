import assert from 'node:assert/strict';
import { createPublicKey } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, it } from 'node:test';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { nodes } from '#client/refs.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import type { Client } from '#client/client.ts';
import { createAuthority } from '#pki/certificate.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';
import { defaultCluster, defaultJoin } from '../../config/defaults.ts';
import { machinePaths } from '../../machine/paths.ts';
import { machineFile, type MachineRole } from '../../machine/record.ts';
import { createCertificateKey, sharedFiles } from '../kubeadm-certs.ts';
import { runWorkflow } from '../runner.ts';
import { uploadCertificates } from '../upload-certs.ts';
import type { JoinContext } from './context.ts';
import { controlPlanePrepare } from './control-plane-prepare.ts';
import { kubeletStart } from './kubelet-start.ts';
import { preflight } from './preflight.ts';
import { JOIN_WORKFLOW } from './workflow.ts';

const authority = createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 86_400_000 });
const others = createAuthority({ commonName: 'kubernetes', nowMs: Date.now(), lifetimeMs: 86_400_000 });
const certificateKey = createCertificateKey();
let dir: string;
let api: Client;
let lines: string[];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'capstan-join-'));
  lines = [];
  api = createClient(
    createDirectTransport(createFakeApi().handler, {
      user: { name: 'admin', groups: [] },
    }),
    {
      userAgent: 'test',
    },
  );
});
afterEach(async () => {
  await api.close();
  rmSync(dir, { recursive: true });
});

function contextOf(role: MachineRole, more: Partial<JoinContext> = {}): JoinContext {
  const paths = machinePaths({ rootfs: join(dir, 'machine') });
  return {
    paths,
    machine: machineFile(paths),
    dryRun: false,
    role,
    join: defaultJoin(
      {
        nodeRegistration: { name: 'm2', ...(role === 'worker' ? {} : { taints: [] }) },
        discovery: {
          bootstrapToken: { token: 'abcdef.0123456789abcdef', apiServerEndpoint: '10.0.0.1:6443' },
        },
      },
      { hostName: 'host', address: '10.0.0.2' },
    ),
    local: { advertiseAddress: '10.0.0.2', bindPort: 6443 },
    options: {
      apiServerEndpoint: '10.0.0.1:6443',
      certificateKey: role === 'worker' ? undefined : certificateKey,
      ignorePreflightErrors: ['all'],
      mayFetchEtcd: true,
      runtime: 'cri',
    },
    clock: realClock,
    log: silentLogger,
    program: {
      client: () => api,
      etcd: () => assert.fail('no etcd here'),
      serverProblem: () => Promise.resolve(undefined),
      requireFlags: () => Promise.resolve(),
      startSupervisor: () => Promise.resolve(void lines.push('supervisor follows')),
      isSupervised: () => true,
      failedService: () => Promise.resolve(undefined),
    },
    discovered: () =>
      Promise.resolve({
        server: 'https://api.example.org:6443',
        apiServer: 'https://10.0.0.1:6443',
        caPem: authority.certificatePem,
        cluster: defaultCluster(
          { controlPlaneEndpoint: 'api.example.org:6443' },
          { kubernetesVersion: 'v1.36.0' },
        ),
        kubelet: { clusterDomain: 'cluster.local', serverTLSBootstrap: false },
        credentials: { ca: authority.certificatePem, token: 'abcdef.0123456789abcdef' },
      }),
    print: (line) => void lines.push(line),
    warn: (line) => void lines.push(`warning: ${line}`),
    ...more,
  };
}

it('writes what a worker needs, and leads it to its balancer', async () => {
  const context = contextOf('worker');
  await kubeletStart.run!(context);
  const { paths, machine } = context;
  const text = (path: string): string => readFileSync(path, 'utf8');
  const bootstrap = text(paths.kubeconfig('bootstrap-kubelet'));
  assert.match(bootstrap, /server: "https:\/\/127\.0\.0\.1:7445"/);
  assert.match(bootstrap, /token: "abcdef\.0123456789abcdef"/);
  assert.equal(text(join(paths.pki, 'ca.crt')), authority.certificatePem);
  assert.match(text(paths.kubeletConfig), /kind: KubeletConfiguration/);
  assert.ok(text(paths.kubeletConfig).includes(`clientCAFile: ${join(paths.pki, 'ca.crt')}`));
  const record = machine.read();
  assert.deepEqual(
    record.services.map(({ name }) => name),
    ['balancer', 'node', 'proxy'],
  );
  assert.deepEqual(record.seeds, ['10.0.0.1:6443', 'api.example.org:6443']);
  assert.equal(record.role, 'worker');
  assert.match(record.clusterID ?? '', /^[0-9a-f]{8}$/);
  assert.ok(lines.includes('supervisor follows'));
});

it('refuses the name of a node that is alive, and takes over one that is not', async () => {
  await api.create(nodes, {
    metadata: { name: 'm2' },
    status: { conditions: [{ type: 'Ready', status: 'True' }] },
  });
  await assert.rejects(
    kubeletStart.run!(contextOf('worker')),
    /a Node with name "m2" and status "Ready" already exists.*kubectl delete node m2/,
  );
  await api.delete(nodes, { name: 'm2' });
  await api.create(nodes, { metadata: { name: 'm2' } });
  await kubeletStart.run!(contextOf('worker'));
});

it('gives a witness the authority of etcd and nothing that speaks for the cluster', async () => {
  await upload();
  const context = contextOf('witness');
  await runParts(context);
  const files = readdirSync(context.paths.pki, { recursive: true }).map(String).toSorted();
  assert.deepEqual(
    files.filter((name) => /\.(crt|key|pub)$/.test(name)),
    ['ca', 'healthcheck-client', 'peer', 'server'].flatMap((name) => [
      `etcd/${name}.crt`,
      `etcd/${name}.key`,
    ]),
  );
  assert.equal(context.machine.read().advertiseAddress, '10.0.0.2');
});

it('makes the leaves and kubeconfigs of a control plane, all but super-admin', async () => {
  await upload();
  const context = contextOf('control-plane');
  await runParts(context);
  const { paths } = context;
  for (const name of ['apiserver', 'apiserver-etcd-client', 'front-proxy-client', 'sa', 'etcd/peer'])
    assert.ok(existsSync(join(paths.pki, `${name}.key`)), name);
  for (const name of ['admin', 'controller-manager', 'scheduler'] as const)
    assert.ok(existsSync(paths.kubeconfig(name)), name);
  for (const name of ['super-admin', 'kubelet'] as const)
    assert.ok(!existsSync(paths.kubeconfig(name)), name);
  assert.deepEqual(context.machine.read().seeds[0], '10.0.0.2:6443');
});

it('does not make a second machine out of one, nor take over files of another cluster', async () => {
  const context = contextOf('worker');
  await kubeletStart.run!(context);
  await assert.rejects(
    preflight.run!(contextOf('witness')),
    /this machine is a worker of api\.example\.org:6443 already.*capstan leave/,
  );
  await preflight.run!(contextOf('worker'));
  writeFileSync(join(context.paths.pki, 'ca.crt'), others.certificatePem);
  await assert.rejects(
    preflight.run!(contextOf('worker')),
    /is not the authority of this cluster.*capstan reset/,
  );
});

it('asks for the certificate key before anything else', async () => {
  const context = contextOf('witness');
  const without = { ...context, options: { ...context.options, certificateKey: undefined } };
  await assert.rejects(preflight.run!(without), /--witness needs --certificate-key/);
});

it('changes nothing in a dry run', async () => {
  for (const role of ['worker', 'control-plane', 'witness'] as const)
    await runWorkflow(JOIN_WORKFLOW, contextOf(role, { dryRun: true }));
  assert.ok(!existsSync(join(dir, 'machine')));
  assert.ok(lines.some((line) => line.startsWith('[etcd-join] Would add')));
});

async function upload(): Promise<void> {
  const pki = join(dir, 'first');
  const files = sharedFiles({ pki, etcdPki: join(pki, 'etcd') });
  mkdirSync(join(pki, 'etcd'), { recursive: true });
  const pair = { crt: authority.certificatePem, key: authority.keyPem, pub: '' };
  for (const { path, name } of files) writeFileSync(path, pair[name.split('.').at(-1) as keyof typeof pair]);
  writeFileSync(
    join(pki, 'sa.pub'),
    createPublicKey(authority.keyPem).export({ type: 'spki', format: 'pem' }),
  );
  await uploadCertificates({ api, files, certificateKey, nowMs: Date.now() });
}

async function runParts(context: JoinContext): Promise<void> {
  for (const part of controlPlanePrepare.phases ?? []) await part.run?.(context);
}
