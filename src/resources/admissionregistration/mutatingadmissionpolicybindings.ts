/** MutatingAdmissionPolicyBinding. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkBinding, checkMutatedOperations, defaultMatchResources, specOf } from './policies.ts';

export const mutatingadmissionpolicybindings = defineResource({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingadmissionpolicybindings',
  allowUnconditionalUpdate: false,
  applyDefaults: (binding) => defaultMatchResources(specOf(binding)['matchResources']),
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: (binding) => {
    const errors = new Errors(),
      spec = specOf(binding);
    checkBinding(spec, errors);
    checkMutatedOperations(spec['matchResources'], SPEC.child('matchResources'), errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'PolicyName', 'ParamRef', 'Age'),
    row: (binding, context) => {
      const { policyName = '', paramRef } = specOf(binding);
      const param = !paramRef
        ? '<unset>'
        : paramRef.name
          ? paramRef.namespace
            ? `${paramRef.namespace}/${paramRef.name}`
            : `*/${paramRef.name}`
          : '<selector>';
      return [nameOf(binding), policyName, param, formatAge(binding, context)];
    },
  },
});
