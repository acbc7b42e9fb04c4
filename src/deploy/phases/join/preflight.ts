/** Phase preflight: what would keep this machine from joining, before anything is written; and who the cluster is. */
import { readIfPresent } from '../../pki/files.ts';
import { UserError } from '../../data-dir.ts';
import { parseCertificateKey } from '../kubeadm-certs.ts';
import { runChecks, type Check } from '../../preflight/check.ts';
import {
  clock as clockCheck,
  diskSpace,
  hostName,
  isLinux,
  isPrivilegedUser,
  memory,
  mtu,
  numCPU,
  portFree,
} from '../../preflight/checks.ts';
import {
  etcdCheck,
  MINIMUM_DISK_BYTES,
  MINIMUM_MEMORY_BYTES,
  realNodeChecks,
} from '../../preflight/machine-checks.ts';
import type { Phase } from '../phase.ts';
import type { JoinContext } from './context.ts';

export const preflight: Phase<JoinContext> = {
  name: 'preflight',
  short: 'Run join pre-flight checks',
  async run(context) {
    const { print, options, role } = context;
    print('[preflight] Running pre-flight checks');
    if (role !== 'worker') requireCertificateKey(context);
    requireSameMachine(context);
    const around = {
      ignore: options.ignorePreflightErrors,
      warn: (line: string) => context.warn(line),
    };
    await runChecks(selectChecks(context), around);
    print(
      '[preflight] Reading configuration from the "kubeadm-config" ConfigMap in namespace "kube-system"...',
    );
    const { server, caPem, cluster } = await context.discovered();
    await requireSameCluster(context, caPem);
    if (cluster.etcd.local) await runChecks(selectEtcdChecks(context), around);
    if (role === 'witness' && cluster.etcd.external)
      throw new UserError(
        'The etcd of this cluster is external: it has no witness. Add a member with its own means.',
      );
    if (role === 'control-plane' && !cluster.controlPlaneEndpoint)
      context.warn(
        `the cluster has no --control-plane-endpoint: people and the admin kubeconfig go to ${server} alone; the machines themselves go to every API server`,
      );
  },
};

function requireCertificateKey({ options, role }: JoinContext): void {
  if (options.certificateKey) parseCertificateKey(options.certificateKey);
  else
    throw new UserError(
      `--${role} needs --certificate-key, which \`capstan init phase upload-certs --upload-certs\` prints on a control plane: this machine gets its certificates with it.`,
    );
}

function selectChecks(context: JoinContext): readonly Check[] {
  const { role, options, paths, clock, program, local, join } = context;
  const ours = { holdsIt: () => program.isSupervised() };
  const isReal = options.runtime === 'cri' && role !== 'witness';
  const isControlPlane = role === 'control-plane';
  const { advertiseAddress: address } = local;
  return [
    ...(isReal ? [isPrivilegedUser(), isLinux()] : []),
    ...(isControlPlane ? [numCPU(), memory(MINIMUM_MEMORY_BYTES)] : []),
    clockCheck(clock.now()),
    ...(isControlPlane ? [local.bindPort, 10257, 10259].map((port) => portFree(port, ours)) : []),
    ...(isReal ? realNodeChecks({ ours, manifests: paths.manifests }) : []),
    hostName(join.nodeRegistration.name),
    ...(role === 'worker'
      ? []
      : [mtu(address), diskSpace(paths.etcdData, { minimumBytes: MINIMUM_DISK_BYTES })]),
  ];
}

/** Of a machine with a member of its own: once the cluster is known, whose etcd may be external. */
function selectEtcdChecks({ role, options, paths, program, local }: JoinContext): readonly Check[] {
  if (role === 'worker') return [];
  const ours = { holdsIt: () => program.isSupervised() };
  return [
    portFree(2379, ours),
    portFree(2380, { ...ours, address: local.advertiseAddress }),
    etcdCheck({ given: options.etcdBinary, kept: paths.capstan, mayFetch: options.mayFetchEtcd }),
  ];
}

/** A repeated join continues; with other arguments it would mix two machines. */
function requireSameMachine({ machine, role, join }: JoinContext): void {
  const record = machine.read();
  if (record.role === undefined) return;
  const clean = 'it leaves that cluster with `capstan leave`, and is cleaned with `capstan reset`';
  if (record.role !== role || record.phases['init'] !== undefined)
    throw new UserError(
      `this machine is a ${record.role} of ${record.controlPlaneEndpoint ?? 'a cluster'} already: ${clean}`,
    );
  const { name } = join.nodeRegistration;
  if (record.nodeName !== undefined && record.nodeName !== name)
    throw new UserError(
      `this machine joined as ${record.nodeName}, and now ${name} is asked for: join as before, or start over with \`capstan reset\``,
    );
}

async function requireSameCluster({ paths }: JoinContext, caPem: string): Promise<void> {
  const path = `${paths.pki}/ca.crt`;
  const found = await readIfPresent(path);
  if (found !== undefined && !caPem.includes(found.trim()) && !found.includes(caPem.trim()))
    throw new UserError(
      `${path} already exists, and is not the authority of this cluster: clean this machine with \`capstan reset\`, then join again`,
    );
}
