/** ValidatingAdmissionPolicy. */
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, keepField, startGeneration } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';
import { checkPolicy, defaultMatchResources, specOf } from './policies.ts';

const REASONS = ['Forbidden', 'Invalid', 'RequestEntityTooLarge', 'Unauthorized'];

export const validatingadmissionpolicies = defineResource({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicies',
  allowUnconditionalUpdate: false,
  applyDefaults: (policy) => {
    const spec = specOf(policy);
    spec['failurePolicy'] ??= 'Fail';
    defaultMatchResources(spec['matchConstraints']);
  },
  prepareForCreate: (policy) => {
    delete policy['status'];
    startGeneration(policy);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (policy) => {
    const errors = new Errors(), spec = specOf(policy);
    checkPolicy(spec, errors);
    const validations = spec['validations'] ?? [], annotations = spec['auditAnnotations'] ?? [];
    if (validations.length === 0 && annotations.length === 0) errors.required(SPEC.child('validations'), 'validations or auditAnnotations must contain at least one item');
    validations.forEach((validation: Record<string, string>, i: number) => {
      const at = SPEC.child('validations').index(i), { expression = '', message = '', reason } = validation;
      if (expression.trim() === '') errors.required(at.child('expression'), 'expression is not specified');
      if (message !== '' && message.trim() === '') errors.invalid(at.child('message'), message, 'message must be non-empty if specified');
      else if (/[\r\n]/.test(message)) errors.invalid(at.child('message'), message, 'message must not contain line breaks');
      if (reason !== undefined && !REASONS.includes(reason)) errors.notSupported(at.child('reason'), reason, REASONS);
    });
    annotations.forEach((annotation: Record<string, string>, i: number) => {
      for (const field of ['key', 'valueExpression']) if (!annotation[field]?.trim()) errors.required(SPEC.child('auditAnnotations').index(i).child(field), `${field} is not specified`);
    });
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Validations:integer', 'ParamKind', 'Age'),
    row: (policy, context) => {
      const { validations = [], paramKind } = specOf(policy);
      return [nameOf(policy), validations.length, paramKind ? `${paramKind.apiVersion}/${paramKind.kind}` : '<unset>', ageOf(policy, context)];
    },
  },
});
