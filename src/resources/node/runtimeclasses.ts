/** RuntimeClass. */
import type { RuntimeClass } from '#api/types.ts';
import { validateDNS1123Label } from '#machinery/names.ts';
import { checkImmutable, checkLabels } from '../checks.ts';
import { checkResources } from '../core/pod/containers.ts';
import { checkTolerations } from '../core/pod/scheduling.ts';
import { nodeLabelWarnings } from '../core/pod/warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, Path } from '../field-path.ts';
import { checkContainerResourceName } from '../resource-list.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const HANDLER = Path.root('handler');

export const runtimeclasses = defineResource<RuntimeClass>({
  group: 'node.k8s.io',
  plural: 'runtimeclasses',
  allowUnconditionalUpdate: false,
  allowCreateOnUpdate: true,
  prepareForCreate: () => {},
  prepareForUpdate: () => {},
  validate: (runtimeClass) => {
    const errors = new Errors(),
      { handler = '', overhead, scheduling } = runtimeClass;
    if (handler === '') errors.required(HANDLER);
    else errors.invalidEach(HANDLER, handler, validateDNS1123Label(handler));
    if (overhead?.podFixed)
      checkResources({ limits: overhead.podFixed }, Path.root('overhead'), errors, {
        claimNames: new Set(),
        checkName: checkContainerResourceName,
      });
    if (scheduling) {
      checkLabels(scheduling.nodeSelector, Path.root('scheduling').child('nodeSelector'), errors);
      const tolerations = scheduling.tolerations ?? [],
        path = Path.root('scheduling').child('tolerations');
      checkTolerations(tolerations, path, errors);
      const seen = new Set<string>();
      tolerations.forEach((toleration, i) => {
        const { key: name, operator, value, effect } = toleration,
          key = JSON.stringify([name ?? '', operator ?? '', value ?? '', effect ?? '']);
        if (seen.has(key)) errors.duplicate(path.index(i), toleration);
        seen.add(key);
      });
    }
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next.handler, previous.handler, HANDLER, errors);
    return errors.list;
  },
  warnings: ({ scheduling }) => nodeLabelWarnings(scheduling?.nodeSelector, 'scheduling.nodeSelector'),
  table: {
    columns: columns('Name', 'Handler', 'Age'),
    row: (object, context) => [nameOf(object), object.handler ?? '', formatAge(object, context)],
  },
});
