/** `capstan config print|validate`. */
import {
  defaultCluster,
  defaultInit,
  defaultJoin,
  defaultKubelet,
  type DefaultedCluster,
} from '#deploy/config/defaults.ts';
import { readConfigAddons, readConfigFile } from '#deploy/config/read.ts';
import { requireValid } from '#deploy/config/validate.ts';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths } from '#deploy/machine/paths.ts';
import { serviceAddress } from '#deploy/machine/service-address.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { KUBERNETES_VERSION } from '../version.ts';

const KUBEADM = 'kubeadm.k8s.io/v1beta4';
const KUBELET = { apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' };
/** kubeadm's placeholders, which make an unedited copy obvious. */
const PLACEHOLDER = { token: 'abcdef.0123456789abcdef', facts: { hostName: 'node', address: '1.2.3.4' } };

type Printed = 'init-defaults' | 'join-defaults' | 'reset-defaults';

export function renderDefaults(
  what: Printed,
  { componentConfigs = '' }: { readonly componentConfigs?: string | undefined },
): string {
  const cluster = defaultCluster({}, { kubernetesVersion: KUBERNETES_VERSION.split('+', 1)[0] ?? '' });
  const documents = [...documentsOf(what, cluster), ...componentsOf(componentConfigs, cluster)];
  return documents.map((document) => stringifyYaml(document)).join('---\n');
}

function documentsOf(what: Printed, cluster: DefaultedCluster): readonly object[] {
  const { token, facts } = PLACEHOLDER;
  switch (what) {
    case 'init-defaults':
      return [
        {
          apiVersion: KUBEADM,
          kind: 'InitConfiguration',
          ...defaultInit({}, { ...facts, newToken: () => token }),
        },
        { apiVersion: KUBEADM, kind: 'ClusterConfiguration', ...cluster },
      ];
    case 'join-defaults':
      return [
        {
          apiVersion: KUBEADM,
          kind: 'JoinConfiguration',
          ...defaultJoin(
            {
              discovery: {
                bootstrapToken: {
                  token,
                  apiServerEndpoint: 'kube-apiserver:6443',
                  unsafeSkipCAVerification: true,
                },
              },
            },
            facts,
          ),
        },
      ];
    case 'reset-defaults':
      return [{ apiVersion: KUBEADM, kind: 'ResetConfiguration', certificatesDir: cluster.certificatesDir }];
  }
}

function componentsOf(kinds: string, cluster: DefaultedCluster): readonly object[] {
  return kinds
    .split(',')
    .filter((kind) => kind !== '')
    .map((kind) => {
      if (kind !== KUBELET.kind)
        throw new UserError(`--component-configs has "${kind}"; it can have ${KUBELET.kind}.`);
      const paths = machinePaths();
      const facts = {
        cluster,
        dnsAddress: serviceAddress(cluster.networking.serviceSubnet, 10),
        clientCAFile: `${paths.pki}/ca.crt`,
        staticPodPath: paths.manifests,
      };
      return { ...KUBELET, ...defaultKubelet({}, facts) };
    });
}

/** Returns warnings, one sentence each; throws a UserError for an invalid file. */
export function validateConfig(file: string): readonly string[] {
  const documents = readConfigFile(file);
  requireValid(documents);
  readConfigAddons(file, documents);
  return documents.warnings;
}
