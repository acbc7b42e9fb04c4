/** Row: the cluster's DNS survives the loss of a machine, and grows with the cluster. */
import { configMaps, deployments, endpointSlices, horizontalPodAutoscalers } from '#client/refs.ts';
import { assessment, count, type ScorecardRow } from '../row.ts';
import type { ClusterView } from '../view.ts';

const SELECTOR = 'kubernetes.io/service-name=kube-dns';

export const dnsScaling: ScorecardRow = {
  name: 'dns',
  topic: 'Limits on workloads',
  title: 'DNS answers from two machines or more, and grows with the cluster',
  explain:
    'Counted are the ready endpoints of Service kube-system/kube-dns and the Nodes they are on. DNS grows where an autoscaler is found: ConfigMap dns-autoscaler, by which Capstan chooses machines that serve DNS too, or a HorizontalPodAutoscaler of CoreDNS. Met: two endpoints on two machines, and one of these.',
  async assess(view) {
    const { addresses, machines } = await readyEndpoints(view);
    const grows = await growsBy(view, addresses);
    const evidence = [
      `${count(addresses, 'ready endpoint')} on ${count(machines, 'machine')}`,
      grows ?? 'no autoscaler of DNS was found',
    ];
    const verdict = addresses < 2 || machines < 2 ? 'not met' : grows ? 'met' : 'partly';
    return assessment(verdict, {
      evidence,
      remedy:
        addresses < 2 || machines < 2
          ? 'join a machine, or run two replicas of DNS on two machines: kubectl -n kube-system scale deployment/coredns --replicas=2'
          : 'install the cluster-proportional-autoscaler for DNS; on Capstan run the proportional-autoscaler-controller',
    });
  },
};

async function readyEndpoints({
  api,
}: ClusterView): Promise<{ readonly addresses: number; readonly machines: number }> {
  const { items } = await api.list(endpointSlices, { namespace: 'kube-system', labelSelector: SELECTOR });
  const ready = items.flatMap(({ endpoints }) =>
    (endpoints ?? []).filter(({ conditions }) => conditions?.ready !== false),
  );
  const of = (endpoint: (typeof ready)[number]): string => endpoint.nodeName ?? endpoint.addresses[0] ?? '';
  return {
    addresses: new Set(ready.flatMap(({ addresses }) => addresses)).size,
    machines: new Set(ready.map(of)).size,
  };
}

/** Undefined: nothing makes it grow. */
async function growsBy(view: ClusterView, addresses: number): Promise<string | undefined> {
  const { items } = await view.api.list(configMaps, {
    namespace: 'kube-system',
    fieldSelector: 'metadata.name=dns-autoscaler',
  });
  if (items.length > 0) return 'ConfigMap kube-system/dns-autoscaler';
  const scalers = await view.optional(horizontalPodAutoscalers);
  const scaler = scalers.find(({ spec }) => /^(coredns|kube-dns)$/.test(spec?.scaleTargetRef.name ?? ''));
  if (scaler) return `HorizontalPodAutoscaler ${scaler.metadata.namespace}/${scaler.metadata.name}`;
  const own = (await view.isCapstan()) && !(await hasDeployment(view));
  return own && addresses >= 2 ? 'each control plane serves DNS' : undefined;
}

async function hasDeployment({ optional }: ClusterView): Promise<boolean> {
  return (await optional(deployments)).some(
    ({ metadata }) => metadata.namespace === 'kube-system' && /^(coredns|kube-dns)$/.test(metadata.name),
  );
}
