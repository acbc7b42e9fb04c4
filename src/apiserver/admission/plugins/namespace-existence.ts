/** NamespaceAutoProvision makes the namespace of a new object, NamespaceExists refuses writes to one that is not there. NamespaceLifecycle does the latter too. */
import { isStatusError, statusErrors } from '#machinery/errors.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const NAMESPACES = { group: '', resource: 'namespaces' };

const isNamespace = ({ group, resource }: { readonly group: string; readonly resource: string }): boolean =>
  group === '' && resource === 'namespaces';

function isMissing({ namespace, internal }: AdmissionAttributes): boolean {
  return namespace !== '' && !internal.get(NAMESPACES, { name: namespace });
}

export const namespaceAutoProvision: AdmissionPlugin = {
  name: 'NamespaceAutoProvision',
  handles: (operation, target) => operation === 'CREATE' && !isNamespace(target),
  admit(attributes) {
    // Nothing is made by a dry run: it is refused for want of its namespace.
    return attributes.dryRun || !isMissing(attributes) ? undefined : provide(attributes);
  },
};

async function provide({ namespace, internal }: AdmissionAttributes): Promise<void> {
  try {
    await internal.create(NAMESPACES, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
  }
}

export const namespaceExists: AdmissionPlugin = {
  name: 'NamespaceExists',
  handles: (operation, target) => operation !== 'CONNECT' && !isNamespace(target),
  validate(attributes) {
    if (isMissing(attributes)) throw statusErrors.notFound({ ...NAMESPACES, name: attributes.namespace });
  },
};
