/** Phase bootstrap-token: the tokens that machines join with, and ConfigMap cluster-info, by which they find and verify the cluster. The roles of tokens are the API server's own to make. */
import type { Client } from '#client/client.ts';
import { clusterRoleBindings, clusterRoles, configMaps, roleBindings, roles } from '#client/refs.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import type { Clock } from '#stdx/clock.ts';
import { parseBootstrapToken } from '../../discovery/bootstrap-token.ts';
import { SIGNATURE_PREFIX } from '../../discovery/cluster-info.ts';
import { applyObject } from '../apply-object.ts';
import { writeToken } from '../bootstrap-tokens.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';
import { clusterAuthority } from './kubeconfig.ts';

const NAMESPACE = 'kube-public';
const CLUSTER_INFO = 'cluster-info';
const CLUSTER_INFO_ROLE = 'kubeadm:bootstrap-signer-clusterinfo';
const RBAC = 'rbac.authorization.k8s.io';
/** The API server makes the role: nodes read each other's addresses and pod ranges. */
const POD_NETWORK_ROLE = 'capstan:node-pod-network';
const SERVING_ROLE = 'capstan:node-autoapprove-serving';
/** The controllers of a cluster that was restored lead once the Lease of their predecessor is over. */
const SIGNING_TIMEOUT_MS = 60_000;
const LOOK_EVERY_MS = 200;

export const bootstrapToken: Phase<InitContext> = {
  name: 'bootstrap-token',
  short: 'Generates bootstrap tokens used to join a node to a cluster',
  async run({ init, paths, endpoint, options, program, clock, print, dryRun }) {
    for (const { token } of init.bootstrapTokens)
      print(`[bootstrap-token] Using token: ${options.printToken ? token : '<value withheld>'}`);
    if (dryRun) return print('[bootstrap-token] Would create the tokens and ConfigMap "cluster-info"');
    const api = program.api();
    for (const token of init.bootstrapTokens) await writeToken(api, token, { nowMs: clock.now() });
    print(`[bootstrap-token] Creating the "${CLUSTER_INFO}" ConfigMap in the "${NAMESPACE}" namespace`);
    const { certificatePem } = await clusterAuthority(paths.pki);
    await applyObject(api, configMaps, {
      metadata: { name: CLUSTER_INFO, namespace: NAMESPACE },
      data: { kubeconfig: renderClusterInfo({ server: `https://${endpoint}`, caPem: certificatePem }) },
    });
    await applyObject(api, roles, {
      metadata: { name: CLUSTER_INFO_ROLE, namespace: NAMESPACE },
      rules: [{ apiGroups: [''], resources: ['configmaps'], resourceNames: [CLUSTER_INFO], verbs: ['get'] }],
    });
    await applyObject(api, roleBindings, {
      metadata: { name: CLUSTER_INFO_ROLE, namespace: NAMESPACE },
      roleRef: { apiGroup: RBAC, kind: 'Role', name: CLUSTER_INFO_ROLE },
      subjects: [{ apiGroup: RBAC, kind: 'User', name: 'system:anonymous' }],
    });
    await approveServingCertificates(api);
    await bindNodes(api, POD_NETWORK_ROLE);
    const signing = init.bootstrapTokens.filter(({ usages }) => usages.includes('signing'));
    const ids = signing.map(({ token }) => parseBootstrapToken(token).id);
    if (!(await areSigned(api, { ids, clock })))
      print(
        `[bootstrap-token] "${CLUSTER_INFO}" is not signed with the token after ${SIGNING_TIMEOUT_MS / 1000}s: machines can join once the controller manager has done so; \`capstan status\` shows it`,
      );
  },
};

/** The join lines that init ends with can be used at once. */
async function areSigned(
  api: Client,
  { ids, clock }: { readonly ids: readonly string[]; readonly clock: Clock },
): Promise<boolean> {
  for (const begin = clock.monotonic(); ; await clock.sleep(LOOK_EVERY_MS)) {
    const { data = {} } = await api.get(configMaps, { name: CLUSTER_INFO, namespace: NAMESPACE });
    if (ids.every((id) => `${SIGNATURE_PREFIX}${id}` in data)) return true;
    if (clock.monotonic() - begin > SIGNING_TIMEOUT_MS) return false;
  }
}

/** Kubelets' serving certificates are approved by themselves: delete the binding to approve each by hand. */
async function approveServingCertificates(api: Client): Promise<void> {
  await applyObject(api, clusterRoles, {
    metadata: { name: SERVING_ROLE },
    rules: [
      {
        apiGroups: ['certificates.k8s.io'],
        resources: ['certificatesigningrequests/selfnodeserver'],
        verbs: ['create'],
      },
    ],
  });
  await bindNodes(api, SERVING_ROLE);
}

async function bindNodes(api: Client, role: string): Promise<void> {
  await applyObject(api, clusterRoleBindings, {
    metadata: { name: role },
    roleRef: { apiGroup: RBAC, kind: 'ClusterRole', name: role },
    subjects: [{ apiGroup: RBAC, kind: 'Group', name: 'system:nodes' }],
  });
}

/** A kubeconfig without a user, as kubeadm writes it. */
function renderClusterInfo({ server, caPem }: { readonly server: string; readonly caPem: string }): string {
  return stringifyYaml({
    apiVersion: 'v1',
    clusters: [
      {
        cluster: { 'certificate-authority-data': Buffer.from(caPem).toString('base64'), server },
        name: '',
      },
    ],
    contexts: null,
    'current-context': '',
    kind: 'Config',
    users: null,
  });
}
