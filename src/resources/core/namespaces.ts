/** Namespace: created Active with the finalizer kubernetes, which the namespace controller removes when the namespace is empty. */
import type { Namespace } from '#api/types.ts';
import { validateQualifiedName } from '#machinery/names.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC, STATUS, type Path } from '../field-path.ts';
import { keepAllButStatus, keepField, metaOf } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

const STANDARD_FINALIZERS = ['kubernetes', 'orphan', 'foregroundDeletion'];
const NAME_LABEL = 'kubernetes.io/metadata.name';

export const namespaces = defineResource<Namespace>({
  group: '',
  plural: 'namespaces',
  written: { finalize: { without: ['status'] } },
  nameRule: 'dns-label',
  isNamespace: true,
  holdsDeletion: (namespace) => (namespace.spec?.finalizers?.length ?? 0) > 0,
  markDeleting: (namespace) => {
    (namespace.status ??= {}).phase = 'Terminating';
  },
  applyDefaults: (namespace) => {
    labelWithName(namespace);
    namespace.spec ??= {};
    namespace.status ??= {};
    namespace.status.phase ||= 'Active';
  },
  prepareForCreate: (namespace) => {
    // A generated name exists only now.
    labelWithName(namespace);
    namespace.status = { phase: 'Active' };
    const finalizers = (namespace.spec ??= {}).finalizers ?? [];
    if (!finalizers.includes('kubernetes')) namespace.spec.finalizers = [...finalizers, 'kubernetes'];
  },
  prepareForUpdate: (next, previous, context) => {
    if (context.subresource === 'finalize') {
      keepField(next, previous, 'status');
      return;
    }
    const spec = (next.spec ??= {}),
      finalizers = previous.spec?.finalizers;
    if (finalizers) spec.finalizers = finalizers;
    else delete spec.finalizers;
    keepField(next, previous, 'status');
  },
  validate: (namespace) => {
    const errors = new Errors();
    for (const finalizer of namespace.spec?.finalizers ?? [])
      checkFinalizer(finalizer, SPEC.child('finalizers'), errors);
    return errors.list;
  },
  validateUpdate: (next, _previous, context) => {
    const errors = new Errors();
    if (context.subresource === 'finalize')
      next.spec?.finalizers?.forEach((finalizer, i) =>
        checkFinalizer(finalizer, SPEC.child('finalizers').index(i), errors),
      );
    return errors.list;
  },
  status: {
    prepareForUpdate: (next, previous) => keepAllButStatus(next, previous),
    validateUpdate: (next) => {
      const errors = new Errors();
      const phase = next.status?.phase ?? '',
        deleted = next.metadata?.deletionTimestamp !== undefined;
      if (!deleted && phase !== 'Active')
        errors.invalid(STATUS.child('Phase'), phase, "may only be 'Active' if `deletionTimestamp` is empty");
      if (deleted && phase !== 'Terminating')
        errors.invalid(
          STATUS.child('Phase'),
          phase,
          "may only be 'Terminating' if `deletionTimestamp` is not empty",
        );
      return errors.list;
    },
  },
  fieldSelectors: { 'status.phase': (namespace) => namespace.status?.phase ?? '' },
  table: {
    columns: columns('Name', 'Status', 'Age'),
    row: (namespace, context) => [
      nameOf(namespace),
      namespace.status?.phase ?? '',
      formatAge(namespace, context),
    ],
  },
});

function labelWithName(namespace: Namespace): void {
  const meta = metaOf(namespace);
  if (meta.name) (meta.labels ??= {})[NAME_LABEL] = meta.name;
}

function checkFinalizer(name: string, path: Path, errors: Errors): void {
  errors.invalidEach(path, name, validateQualifiedName(name));
  if (!name.includes('/') && !STANDARD_FINALIZERS.includes(name))
    errors.invalid(path, name, 'name is neither a standard finalizer name nor is it fully qualified');
}
