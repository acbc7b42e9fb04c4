/**
 * ComponentStatus, deprecated upstream: the other control plane components, derived from their leader election Leases, since their addresses are
 * unknown here. Upstream's etcd-0 is missing: /readyz reports the store.
 */
import { statusErrors } from '#machinery/errors.ts';
import type { KubeObject } from '#machinery/object.ts';
import type { Lease } from '#api/types.ts';
import type { ServerCore } from '../../../server-core.ts';
import type { ApiResponse } from '../../../http/request.ts';
import { parseListOptions } from '../../verb-options.ts';
import { listObject } from '../../list-object.ts';
import { respondEncoded, tableOf, viewOptions } from '../../transform.ts';
import type { Call } from '../../subresources/virtual-call.ts';

/** By name, which lease its leader holds. */
const LED: Readonly<Record<string, string>> = {
  'controller-manager': 'kube-controller-manager',
  scheduler: 'kube-scheduler',
};
const LEASES = { group: 'coordination.k8s.io', resource: 'leases' };

export async function componentStatuses({ endpoint, context, core }: Call): Promise<ApiResponse> {
  const view = viewOptions(context, core.clock.now());
  const all = Object.entries(LED).map(([name, lease]) => component(name, leaderProblem(core, lease)));
  const { name, verb } = context.info;
  if (name !== '' && verb === 'get') {
    const found = all.find(({ metadata }) => metadata?.name === name);
    if (!found) throw statusErrors.notFound({ group: '', resource: 'componentstatus', name });
    return respondEncoded(
      view.accepted.view === 'table' ? tableOf(endpoint, [found], { metadata: {}, options: view }) : found,
      { status: 200, options: view },
    );
  }
  const { labelSelector, fieldSelector } = parseListOptions(endpoint, context.info.query);
  const chosen = all.filter(
    ({ metadata }) =>
      (labelSelector?.matches(undefined) ?? true) &&
      (fieldSelector?.matches((field) => (field === 'metadata.name' ? (metadata?.name ?? '') : '')) ?? true),
  );
  return respondEncoded(listObject(endpoint, { objects: chosen, metadata: {}, view }), {
    status: 200,
    options: view,
  });
}

function component(name: string, problem: string | undefined): KubeObject {
  return {
    kind: 'ComponentStatus',
    apiVersion: 'v1',
    metadata: { name },
    conditions: [
      { type: 'Healthy', status: problem === undefined ? 'True' : 'False', message: problem ?? 'ok' },
    ],
  };
}

function leaderProblem({ internal, clock }: ServerCore, name: string): string | undefined {
  const { spec } = (internal.get(LEASES, { namespace: 'kube-system', name }) ?? {}) as Lease;
  if (!spec?.holderIdentity || !spec.renewTime) return `no holder of the lease kube-system/${name}`;
  const expiresMs = Date.parse(spec.renewTime) + (spec.leaseDurationSeconds ?? 0) * 1000;
  return expiresMs >= clock.now()
    ? undefined
    : `${spec.holderIdentity} has not renewed the lease kube-system/${name} since ${spec.renewTime}`;
}
