/** Workload: templates of PodGroups. Served with the feature gate GenericWorkload. After upstream's pkg/registry/scheduling/workload strategy. */
import type { PodGroupTemplate, Workload } from '#api/generated/types/scheduling-v1alpha2.ts';
import { validatePathSegmentName } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, type Path } from '../field-path.ts';
import { formatAge, columns, nameOf } from '../tables.ts';
import {
  checkName,
  checkSchedulingPolicy,
  checkUnchanged,
  dropDisabledGroupFields,
  LONG_NAME,
  SHORT_NAME,
} from './pod-group-parts.ts';

const TEMPLATES_MAX = 8;

export const workloads = defineResource<Workload>({
  group: 'scheduling.k8s.io',
  plural: 'workloads',
  // As in upstream, it has no generation.
  prepareForCreate: (workload) => dropDisabled(workload, undefined),
  prepareForUpdate: dropDisabled,
  validate: ({ spec }) => {
    const errors = new Errors();
    checkControllerRef(spec?.controllerRef, errors);
    checkTemplates(spec?.podGroupTemplates ?? [], errors);
    return errors.list;
  },
  validateUpdate: ({ spec }, { spec: stored }) => {
    const errors = new Errors();
    for (const field of ['controllerRef', 'podGroupTemplates'] as const)
      checkUnchanged(spec?.[field], stored?.[field], SPEC.child(field), errors);
    return errors.list;
  },
  table: {
    columns: columns('Name', 'Age'),
    row: (workload, context) => [nameOf(workload), formatAge(workload, context)],
  },
});

function dropDisabled({ spec }: Workload, previous: Workload | undefined): void {
  spec?.podGroupTemplates?.forEach((template, i) =>
    dropDisabledGroupFields(template, previous?.spec?.podGroupTemplates?.[i]),
  );
}

function checkControllerRef(ref: Workload['spec']['controllerRef'], errors: Errors): void {
  if (!ref) return;
  const at = SPEC.child('controllerRef');
  if (ref.apiGroup) errors.invalidEach(at.child('apiGroup'), ref.apiGroup, LONG_NAME(ref.apiGroup));
  checkName(ref.kind, at.child('kind'), validatePathSegmentName, errors);
  checkName(ref.name, at.child('name'), validatePathSegmentName, errors);
}

function checkTemplates(templates: readonly PodGroupTemplate[], errors: Errors): void {
  const at = SPEC.child('podGroupTemplates');
  if (templates.length > TEMPLATES_MAX) return errors.tooMany(at, templates.length, TEMPLATES_MAX);
  if (templates.length === 0) return errors.required(at);
  templates.forEach((template, i) => {
    if (templates.findIndex(({ name }) => name === template.name) < i)
      errors.duplicate(at.index(i), template);
  });
  templates.forEach((template, i) => checkTemplate(template, at.index(i), errors));
}

function checkTemplate({ name, schedulingPolicy }: PodGroupTemplate, path: Path, errors: Errors): void {
  checkName(name, path.child('name'), SHORT_NAME, errors);
  checkSchedulingPolicy(schedulingPolicy, path.child('schedulingPolicy'), errors);
}
