/** MutatingAdmissionPolicy. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { checkPolicy, defaultMatchResources, specOf } from './policies.ts';

export const mutatingadmissionpolicies = defineResource({
  group: 'admissionregistration.k8s.io',
  plural: 'mutatingadmissionpolicies',
  allowUnconditionalUpdate: false,
  applyDefaults: (policy) => {
    const spec = specOf(policy);
    spec['failurePolicy'] ??= 'Fail';
    defaultMatchResources(spec['matchConstraints']);
  },
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate: (policy) => {
    const errors = new Errors(), spec = specOf(policy);
    checkPolicy(spec, errors);
    const mutations = spec['mutations'] ?? [];
    if (mutations.length === 0) errors.required(SPEC.child('mutations'), 'mutations must contain at least one item');
    mutations.forEach((mutation: Record<string, any>, i: number) => {
      const at = SPEC.child('mutations').index(i), type = mutation['patchType'];
      const field = type === 'JSONPatch' ? 'jsonPatch' : 'applyConfiguration';
      if (!type) errors.required(at.child('patchType'));
      else if (type !== 'JSONPatch' && type !== 'ApplyConfiguration') errors.notSupported(at.child('patchType'), type, ['ApplyConfiguration', 'JSONPatch']);
      else if (!mutation[field]?.expression?.trim()) errors.required(at.child(field).child('expression'), 'expression is not specified');
    });
    if (!['Never', 'IfNeeded'].includes(spec['reinvocationPolicy'])) errors.required(SPEC.child('reinvocationPolicy'));
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Mutations:integer', 'ParamKind', 'Age'),
    row: (policy, context) => {
      const { mutations = [], paramKind } = specOf(policy);
      return [nameOf(policy), mutations.length, paramKind ? `${paramKind.apiVersion}/${paramKind.kind}` : '<unset>', ageOf(policy, context)];
    },
  },
});
