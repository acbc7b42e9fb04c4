/** MutatingAdmissionPolicy. */
import type { KubeObject } from '#machinery/object.ts';
import { checkEnum } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkMutatingPolicy, withExpressionErrors } from './expression-checks.ts';
import { checkMutatedOperations, checkPolicy, defaultMatchResources, specOf } from './policies.ts';

const PATCHES = { ApplyConfiguration: 'applyConfiguration', JSONPatch: 'jsonPatch' } as const;
const REINVOCATIONS = ['IfNeeded', 'Never'];

function checkMutation(mutation: Record<string, any>, at: Path, errors: Errors): void {
  const type = mutation['patchType'] as keyof typeof PATCHES;
  checkEnum(type, Object.keys(PATCHES), at, 'patchType', errors);
  const field = PATCHES[type];
  if (field === undefined) return;
  const other = type === 'JSONPatch' ? 'applyConfiguration' : 'jsonPatch';
  if (!mutation[field]) errors.required(at.child(field), `must be specified when patchType is ${type}`);
  else if (!mutation[field].expression?.trim()) errors.required(at.child(field).child('expression'));
  if (mutation[other])
    errors.invalid(at.child(other), `{${other}}`, `must not be specified when patchType is ${type}`);
}

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
  validate: (object) => withExpressionErrors(check(object), checkMutatingPolicy, { object }),
  validateUpdate: (object, previous) =>
    withExpressionErrors(check(object), checkMutatingPolicy, { object, previous }),
  table: {
    columns: columns('Name', 'Mutations:integer', 'ParamKind', 'Age'),
    row: (policy, context) => {
      const { mutations = [], paramKind } = specOf(policy);
      return [
        nameOf(policy),
        mutations.length,
        paramKind ? `${paramKind.apiVersion}/${paramKind.kind}` : '<unset>',
        formatAge(policy, context),
      ];
    },
  },
});

function check(policy: KubeObject): Errors['list'] {
  const errors = new Errors(),
    spec = specOf(policy);
  checkPolicy(spec, errors);
  checkMutatedOperations(spec['matchConstraints'], SPEC.child('matchConstraints'), errors);
  const mutations = spec['mutations'] ?? [];
  if (mutations.length === 0)
    errors.required(SPEC.child('mutations'), 'mutations must contain at least one item');
  mutations.forEach((mutation: Record<string, any>, i: number) =>
    checkMutation(mutation, SPEC.child('mutations').index(i), errors),
  );
  checkEnum(spec['reinvocationPolicy'], REINVOCATIONS, SPEC, 'reinvocationPolicy', errors);
  return errors.list;
}
