/** IngressClass. */
import type { IngressClass } from '#api/types.ts';
import { validateDNS1123Label, validatePathSegmentName } from '#machinery/names.ts';
import { checkDnsSubdomain, checkDomainPrefixedPath, checkImmutable } from '../checks.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const CONTROLLER_MAX = 250;

export const ingressclasses = defineResource<IngressClass>({
  group: 'networking.k8s.io',
  plural: 'ingressclasses',
  applyDefaults: ({ spec }) => {
    if (spec?.parameters) spec.parameters.scope ??= 'Cluster';
  },
  prepareForCreate: startGeneration,
  prepareForUpdate: (next, previous) => bumpGeneration(next, previous),
  validate,
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(
      next.spec?.controller ?? '',
      previous.spec?.controller ?? '',
      SPEC.child('controller'),
      errors,
    );
    return [...errors.list, ...validate(next)];
  },
  table: {
    columns: columns('Name', 'Controller', 'Parameters', 'Age'),
    row: (ingressClass, context) => {
      const parameters = ingressClass.spec?.parameters;
      const text = parameters
        ? `${parameters.kind}${parameters.apiGroup ? `.${parameters.apiGroup}` : ''}/${parameters.name}`
        : '<none>';
      return [
        nameOf(ingressClass),
        ingressClass.spec?.controller ?? '',
        text,
        formatAge(ingressClass, context),
      ];
    },
  },
});

function validate(ingressClass: IngressClass): Errors['list'] {
  const errors = new Errors(),
    { controller = '', parameters } = ingressClass.spec ?? {};
  const path = SPEC.child('controller');
  if (controller.length > CONTROLLER_MAX) errors.tooLong(path, CONTROLLER_MAX);
  checkDomainPrefixedPath(controller, path, errors);
  if (!parameters) return errors.list;
  const at = SPEC.child('parameters');
  if (parameters.apiGroup !== undefined) checkDnsSubdomain(parameters.apiGroup, at, 'apiGroup', errors);
  for (const field of ['kind', 'name'] as const) {
    if (parameters[field])
      errors.invalidEach(at.child(field), parameters[field], validatePathSegmentName(parameters[field]));
    else errors.required(at.child(field));
  }
  if (parameters.scope === 'Namespace') {
    if (parameters.namespace === undefined)
      errors.required(at.child('namespace'), "`parameters.scope` is set to 'Namespace'");
    else
      errors.invalidEach(
        at.child('namespace'),
        parameters.namespace,
        validateDNS1123Label(parameters.namespace),
      );
  } else if (parameters.scope === 'Cluster') {
    if (parameters.namespace !== undefined)
      errors.forbidden(at.child('namespace'), "`parameters.scope` is set to 'Cluster'");
  } else errors.notSupported(at.child('scope'), parameters.scope ?? '', ['Cluster', 'Namespace']);
  return errors.list;
}
