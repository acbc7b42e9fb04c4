/** NamespaceLifecycle: nothing is made in a namespace that is absent or going away, and the cluster's own namespaces stay. */
import { StatusError, statusErrors } from '#machinery/errors.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const IMMORTAL: ReadonlySet<string> = new Set(['default', 'kube-system', 'kube-public']);

export const namespaceLifecycle: AdmissionPlugin = {
  name: 'NamespaceLifecycle',
  handles(operation, target) {
    if (operation === 'DELETE') return isTarget(target, '', 'namespaces');
    // Reviews are questions, also about namespaces that are not there.
    return (
      (operation === 'CREATE' || operation === 'UPDATE') &&
      !(target.group === '' && target.resource === 'namespaces') &&
      target.group !== 'authorization.k8s.io'
    );
  },
  admit(attributes) {
    const { operation, namespace, internal } = attributes;
    if (operation === 'DELETE') {
      if (IMMORTAL.has(attributes.name)) throw forbid(attributes, 'this namespace may not be deleted');
      return;
    }
    if (namespace === '') return;
    const found = internal.get({ group: '', resource: 'namespaces' }, { name: namespace });
    if (!found) throw statusErrors.notFound({ group: '', resource: 'namespaces', name: namespace });
    if (operation !== 'CREATE') return;
    const isTerminating =
      found.metadata?.deletionTimestamp !== undefined ||
      (found['status'] as { phase?: string } | undefined)?.phase === 'Terminating';
    if (isTerminating) throw terminating(attributes);
  },
};

/** Controllers know this refusal by its cause. */
function terminating(attributes: AdmissionAttributes): StatusError {
  const { namespace } = attributes;
  const { status } = forbid(
    attributes,
    `unable to create new content in namespace ${namespace} because it is being terminated`,
  );
  const cause = {
    reason: 'NamespaceTerminating',
    message: `namespace ${namespace} is being terminated`,
    field: 'metadata.namespace',
  };
  return new StatusError({ ...status, details: { ...status.details, causes: [cause] } });
}
