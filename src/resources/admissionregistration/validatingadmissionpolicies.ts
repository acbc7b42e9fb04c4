/** ValidatingAdmissionPolicy. */
import type { AuditAnnotation, Validation } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { checkOptionalEnum, checkQualifiedName, eachRepeated } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC } from '../field-path.ts';
import { bumpGeneration, keepField, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import { checkValidatingPolicy, withExpressionErrors } from './expression-checks.ts';
import { checkPolicy, defaultMatchResources, specOf } from './policies.ts';

const REASONS = ['Forbidden', 'Invalid', 'RequestEntityTooLarge'];
const VALUE_EXPRESSION_MAX_BYTES = 5 * 1024;
const ANNOTATIONS_MAX = 20;

function checkValidation(
  { expression = '', message = '', messageExpression = '', reason }: Validation,
  at: Path,
  errors: Errors,
): void {
  if (expression.trim() === '') errors.required(at.child('expression'), 'expression is not specified');
  if (messageExpression !== '' && messageExpression.trim() === '')
    errors.invalid(at.child('messageExpression'), messageExpression, 'must be non-empty if specified');
  if (message !== '' && message.trim() === '')
    errors.invalid(at.child('message'), message, 'must be non-empty if specified');
  else if (/[\r\n]/.test(message.trim()))
    errors.invalid(at.child('message'), message, 'must not contain line breaks');
  checkOptionalEnum(reason, REASONS, at, 'reason', errors);
}

function checkAuditAnnotations(
  annotations: readonly AuditAnnotation[],
  { policy, errors }: { readonly policy: string; readonly errors: Errors },
): void {
  const at = SPEC.child('auditAnnotations');
  if (annotations.length > ANNOTATIONS_MAX)
    errors.invalid(at, annotations, `must not have more than ${ANNOTATIONS_MAX} auditAnnotations`);
  annotations.forEach(({ key = '', valueExpression = '' }, i) => {
    if (policy === '') errors.invalid(at.index(i).child('key'), key, 'requires metadata.name be non-empty');
    // As it is written to the audit log.
    else checkQualifiedName(`${policy}/${key}`, at.index(i).child('key'), errors);
    const value = valueExpression.trim();
    if (value === '')
      errors.required(at.index(i).child('valueExpression'), 'valueExpression is not specified');
    else if (Buffer.byteLength(value) > VALUE_EXPRESSION_MAX_BYTES)
      errors.required(
        at.index(i).child('valueExpression'),
        `must not exceed ${VALUE_EXPRESSION_MAX_BYTES} bytes in length`,
      );
  });
  eachRepeated(
    annotations.map(({ key }) => key),
    (key, i) => errors.duplicate(at.index(i).child('key'), key),
  );
}

export const validatingadmissionpolicies = defineResource({
  group: 'admissionregistration.k8s.io',
  plural: 'validatingadmissionpolicies',
  written: { status: { without: ['spec', 'metadata'] } },
  allowUnconditionalUpdate: false,
  applyDefaults: (policy) => {
    const spec = specOf(policy);
    spec['failurePolicy'] ??= 'Fail';
    defaultMatchResources(spec['matchConstraints']);
  },
  prepareForCreate: (policy) => {
    policy['status'] = {};
    startGeneration(policy);
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    bumpGeneration(next, previous);
  },
  validate: (object) => withExpressionErrors(check(object), checkValidatingPolicy, { object }),
  validateUpdate: (object, previous) =>
    withExpressionErrors(check(object), checkValidatingPolicy, { object, previous }),
  table: {
    columns: columns('Name', 'Validations:integer', 'ParamKind', 'Age'),
    row: (policy, context) => {
      const { validations = [], paramKind } = specOf(policy);
      return [
        nameOf(policy),
        validations.length,
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
  const validations = (spec['validations'] ?? []) as readonly Validation[],
    annotations = (spec['auditAnnotations'] ?? []) as readonly AuditAnnotation[];
  if (validations.length === 0 && annotations.length === 0)
    for (const field of ['validations', 'auditAnnotations'])
      errors.required(SPEC.child(field), 'validations or auditAnnotations must contain at least one item');
  validations.forEach((validation, i) =>
    checkValidation(validation, SPEC.child('validations').index(i), errors),
  );
  checkAuditAnnotations(annotations, { policy: policy.metadata?.name ?? '', errors });
  return errors.list;
}
