/** PodTemplate: a standalone template; no controller creates pods from it. */
import type { PodTemplate } from '#api/types.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { bumpGeneration, startGeneration } from '../strategy.ts';
import { columns, containerImages, containerNames, formatLabels, nameOf } from '../tables.ts';
import { defaultPodTemplate } from './pod/defaults.ts';
import { dropDisabledTemplateFields } from './pod/disabled.ts';
import { checkPodTemplate } from './pod/spec.ts';
import { workloadWarnings } from './pod/warnings.ts';

export const podtemplates = defineResource<PodTemplate>({
  group: '',
  plural: 'podtemplates',
  applyDefaults: (object) => defaultPodTemplate((object.template ??= {})),
  prepareForCreate: (object, context) => {
    startGeneration(object);
    dropDisabledTemplateFields(object.template, undefined, context);
  },
  prepareForUpdate: (next, previous, context) => {
    dropDisabledTemplateFields(next.template, previous.template, context);
    bumpGeneration(next, previous, ['template']);
  },
  validate: (object) => {
    const errors = new Errors();
    checkPodTemplate(object.template, Path.root('template'), errors);
    return errors.list;
  },
  warnings: (object, previous) =>
    workloadWarnings(object, previous, { template: object.template, path: 'template' }),
  table: {
    columns: columns('Name', 'Containers', 'Images', 'Pod Labels'),
    row: ({ template, ...object }) => [
      nameOf(object),
      containerNames(template?.spec),
      containerImages(template?.spec),
      formatLabels(template?.metadata?.labels),
    ],
  },
});
