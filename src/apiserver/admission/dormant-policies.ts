/** Admission policies are not run yet: whoever makes one is warned that it has no effect, rather than left to believe it. */
import type { AdmissionPlugin } from './plugin.ts';

const DORMANT: ReadonlySet<string> = new Set([
  'validatingadmissionpolicies', 'validatingadmissionpolicybindings', 'mutatingadmissionpolicies', 'mutatingadmissionpolicybindings',
]);

export const dormantPolicies: AdmissionPlugin = {
  name: 'DormantAdmissionPolicies',
  handles: (operation, { group, resource, subresource }) => (operation === 'CREATE' || operation === 'UPDATE') && group === 'admissionregistration.k8s.io' && subresource === '' && DORMANT.has(resource),
  validate(attributes) {
    attributes.warn(`${attributes.gvr.resource}.${attributes.gvr.group} are stored but not evaluated by this version of Capstan: this object has no effect`);
  },
};
