/** Phase etcd-join: this machine's etcd becomes a voting member of the cluster's, as a learner first. */
import { join } from 'node:path';
import type { Client } from '#client/client.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { endpointSlices } from '#client/refs.ts';
import { issueCertificate } from '#pki/certificate.ts';
import { errorMessage } from '#stdx/log.ts';
import { parseHostPort } from '../../config/endpoint.ts';
import { UserError } from '../../data-dir.ts';
import { joinEtcd } from '../../etcd/join-member.ts';
import { clientURL } from '../../machine/etcd-service.ts';
import { findEtcd } from '../../packages/etcd.ts';
import { decryptedFiles } from '../download-certs.ts';
import { sharedFiles } from '../kubeadm-certs.ts';
import type { Phase } from '../phase.ts';
import { bootstrapClient, type JoinContext, type JoinedCluster } from './context.ts';
import { supervisedEtcd } from './local-etcd.ts';

/** Validity of the identity with which a witness looks up etcd. */
const ADMIN_LIFETIME_MS = 10 * 60_000;

export const etcdJoin: Phase<JoinContext> = {
  name: 'etcd-join',
  short: 'Join etcd for a control plane or a witness',
  async run(context) {
    const { role, paths, print, dryRun, options, machine, local, program, clock } = context;
    if (role === 'worker') return;
    if (dryRun) return print('[etcd-join] Would add this machine to etcd, as a learner first');
    const joined = await context.discovered();
    const settings = joined.cluster.etcd.local;
    if (!settings) return print('[etcd-join] External etcd mode: Skipping');
    const found = await findEtcd({
      given: options.etcdBinary,
      kept: paths.capstan,
      mayFetch: options.mayFetchEtcd,
      print: (line) => print(`[etcd-join] ${line}`),
    });
    if (found.remark) context.warn(found.remark);
    const membership = program.etcd({
      endpoints: await otherEndpoints(context, joined),
      caFile: join(paths.etcdPki, 'ca.crt'),
      certFile: join(paths.etcdPki, 'healthcheck-client.crt'),
      keyFile: join(paths.etcdPki, 'healthcheck-client.key'),
    });
    try {
      await joinEtcd({
        local: supervisedEtcd({
          paths,
          machine,
          name: context.join.nodeRegistration.name,
          address: local.advertiseAddress,
          settings: {
            program: found.program,
            extraArgs: settings.extraArgs,
            env:
              settings.extraEnvs &&
              Object.fromEntries(settings.extraEnvs.map(({ name = '', value = '' }) => [name, value])),
          },
          follow: () => program.startSupervisor(),
        }),
        membership,
        clock,
        print,
      });
      print('[etcd-join] This machine is a voting member of etcd');
    } finally {
      membership.close();
    }
  },
};

/** Every API server has a member beside it, at its address. */
async function otherEndpoints(context: JoinContext, joined: JoinedCluster): Promise<readonly string[]> {
  const { local, machine } = context;
  const listed = await apiServerAddresses(await administrator(context, joined));
  // One that is away at this moment is not in the list, but may be back in the next.
  const seeds = machine.read().seeds.flatMap((seed) => parseHostPort(seed)?.host ?? []);
  const others = [...new Set([...listed, ...seeds])].filter((host) => host !== local.advertiseAddress);
  if (others.length === 0)
    throw new UserError(
      'The EndpointSlice default/kubernetes names no other API server, so the members of etcd are not known: is a control plane of the cluster running?',
    );
  return others.map(clientURL);
}

async function apiServerAddresses(api: Client): Promise<readonly string[]> {
  try {
    const { items } = await api.list(endpointSlices, {
      namespace: 'default',
      labelSelector: 'kubernetes.io/service-name=kubernetes',
    });
    return [
      ...new Set(items.flatMap(({ endpoints = [] }) => endpoints.flatMap(({ addresses }) => addresses))),
    ];
  } catch (error) {
    throw new UserError(`The addresses of the API servers cannot be read: ${errorMessage(error)}.`, error);
  }
}

/** A control plane has the administrator's kubeconfig. A witness issues itself an identity for this lookup, and stores none. */
async function administrator(context: JoinContext, joined: JoinedCluster): Promise<Client> {
  const { role, paths, program, clock, options } = context;
  const { apiServer, caPem } = joined;
  if (role === 'control-plane') {
    const { options: admin } = resolveContext(loadKubeconfig({ path: paths.kubeconfig('admin') }));
    return program.client({ ...admin, server: apiServer });
  }
  const files = await decryptedFiles({
    api: bootstrapClient(context, joined),
    files: sharedFiles(paths).filter(({ name }) => name === 'ca.crt' || name === 'ca.key'),
    certificateKey: options.certificateKey ?? '',
  });
  const content = (wanted: string): string => files.find(({ name }) => name === wanted)?.content ?? '';
  if (content('ca.key') === '')
    throw new UserError(
      'The key of the cluster authority is on no machine, so a witness cannot find the members of etcd by itself.',
    );
  const { certificatePem, keyPem } = issueCertificate(
    { certificatePem: content('ca.crt'), keyPem: content('ca.key') },
    {
      subject: { commonName: 'capstan-witness', organizations: ['kubeadm:cluster-admins'] },
      usages: ['clientAuth'],
      nowMs: clock.now(),
      lifetimeMs: ADMIN_LIFETIME_MS,
    },
  );
  return program.client({ server: apiServer, ca: caPem, cert: certificatePem, key: keyPem });
}
