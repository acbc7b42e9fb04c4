/**
 * The initial objects of a cluster, as upstream's post-start hooks create them: system namespaces, the kubernetes Service and its endpoints, system
 * priority classes, flow control defaults, the service CIDR, published client CA. Idempotent.
 */
import type { KubeObject } from '#machinery/object.ts';
import { ensureFlowObjects } from '../flowcontrol/bootstrap-objects.ts';
import type { GroupResource } from '../registry/loopback-client.ts';
import { publishAuthentication, type PublishedAuthentication } from './authentication-config.ts';
import { createIfAbsent } from './create-if-absent.ts';
import { ensureKubernetesService, type KubernetesServiceOptions } from './kubernetes-service.ts';

type BootstrapOptions = KubernetesServiceOptions & PublishedAuthentication;

const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
const core = (resource: string): GroupResource => ({ group: '', resource });

export async function bootstrapCluster(options: BootstrapOptions): Promise<void> {
  const { internal } = options;
  await Promise.all([
    ...NAMESPACES.map((name) =>
      createIfAbsent(internal, core('namespaces'), {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name },
      }),
    ),
    ...priorityClasses().map((object) =>
      createIfAbsent(internal, { group: 'scheduling.k8s.io', resource: 'priorityclasses' }, object),
    ),
    ensureFlowObjects(internal),
    ensureKubernetesService(options),
    publishAuthentication(internal, options),
  ]);
}

function priorityClasses(): KubeObject[] {
  const make = (name: string, value: number, description: string): KubeObject => ({
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name },
    value,
    description,
  });
  return [
    make(
      'system-node-critical',
      2_000_001_000,
      'For pods without which a node does not work: they are never moved off it.',
    ),
    make(
      'system-cluster-critical',
      2_000_000_000,
      'For pods without which the cluster does not work; they may be moved to another node.',
    ),
  ];
}
