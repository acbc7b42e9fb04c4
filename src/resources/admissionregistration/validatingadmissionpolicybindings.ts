/** ValidatingAdmissionPolicyBinding. */
import { eachRepeated } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkBinding, defaultMatchResources, specOf } from './policies.ts';

const ACTIONS = ['Audit', 'Deny', 'Warn'];

export const validatingadmissionpolicybindings = defineResource({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicybindings',
  allowUnconditionalUpdate: false,
  applyDefaults: (binding) => defaultMatchResources(specOf(binding)['matchResources']),
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: (binding) => {
    const errors = new Errors(),
      spec = specOf(binding);
    checkBinding(spec, errors);
    const actions = (spec['validationActions'] ?? []) as string[],
      path = SPEC.child('validationActions');
    if (actions.length === 0) errors.required(path, 'at least one validation action is required');
    actions.forEach((action, i) => {
      if (!ACTIONS.includes(action)) errors.notSupported(path.index(i), action, ACTIONS);
    });
    eachRepeated(actions, (action, i) => errors.duplicate(path.index(i), action));
    if (actions.includes('Deny') && actions.includes('Warn'))
      errors.invalid(
        path,
        actions,
        'must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)',
      );
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
