/** VolumeAttachment. */
import type { VolumeAttachment } from '#api/types.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import { between, checkImmutable, MAX_INT32 } from '../checks.ts';
import { checkVolumeSpec } from '../core/persistentvolumes.ts';
import { defineResource } from '../define.ts';
import { Errors, type Path, SPEC, STATUS } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import { keepAllButStatusAndMetadata, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

export const volumeattachments = defineResource<VolumeAttachment>({
  group: 'storage.k8s.io',
  plural: 'volumeattachments',
  written: { status: { without: ['spec', 'metadata'] } },
  allowUnconditionalUpdate: false,
  prepareForCreate: (attachment) => {
    attachment.status = { attached: false };
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate,
  validateUpdate: validateChange,
  status: { prepareForUpdate: keepAllButStatusAndMetadata, validateUpdate: validateChange },
  table: {
    columns: columns('Name', 'Attacher:name', 'PV', 'Node', 'Attached:boolean', 'Age'),
    row: (attachment, context) => [
      nameOf(attachment),
      attachment.spec?.attacher ?? '',
      attachment.spec?.source?.persistentVolumeName ?? '',
      attachment.spec?.nodeName ?? '',
      attachment.status?.attached ?? false,
      formatAge(attachment, context),
    ],
  },
});

function validate({ spec, status }: VolumeAttachment): Errors['list'] {
  const errors = new Errors(),
    { attacher = '', nodeName = '', source = {} } = spec ?? {},
    { persistentVolumeName } = source;
  checkDriverName(attacher, SPEC.child('attacher'), errors);
  checkSource(source, SPEC.child('source'), errors);
  errors.invalidEach(SPEC.child('nodeName'), nodeName, validateDNS1123Subdomain(nodeName));
  checkStatus(status ?? {}, errors);
  if (persistentVolumeName !== undefined)
    errors.invalidEach(
      SPEC.child('source').child('persistentVolumeName'),
      persistentVolumeName,
      validateDNS1123Subdomain(persistentVolumeName),
    );
  return errors.list;
}

function validateChange(next: VolumeAttachment, previous: VolumeAttachment): Errors['list'] {
  const errors = new Errors();
  checkImmutable(next.spec, previous.spec, SPEC, errors);
  return [...validate(next), ...errors.list];
}

function checkSource(
  { inlineVolumeSpec, persistentVolumeName }: NonNullable<VolumeAttachment['spec']>['source'],
  path: Path,
  errors: Errors,
): void {
  if (inlineVolumeSpec && persistentVolumeName !== undefined)
    errors.forbidden(path, 'must specify exactly one of inlineVolumeSpec and persistentVolumeName');
  else if (inlineVolumeSpec)
    checkVolumeSpec(inlineVolumeSpec, '', path.child('inlineVolumeSpec'), errors, true);
  else if (persistentVolumeName === undefined)
    errors.required(path, 'must specify exactly one of inlineVolumeSpec and persistentVolumeName');
  else if (persistentVolumeName === '')
    errors.required(path.child('persistentVolumeName'), 'must specify non empty persistentVolumeName');
}

const METADATA_MAX_BYTES = 256 * 1024;
const MESSAGE_MAX_BYTES = 1024;

function checkStatus(
  { attachmentMetadata = {}, attachError, detachError }: Partial<NonNullable<VolumeAttachment['status']>>,
  errors: Errors,
): void {
  const bytes = Object.entries(attachmentMetadata).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );
  if (bytes > METADATA_MAX_BYTES) errors.tooLong(STATUS.child('attachmentMetadata'), METADATA_MAX_BYTES);
  for (const [name, error] of Object.entries({ attachError, detachError })) {
    if (!error) continue;
    const { message = '', errorCode } = error;
    // Upstream's message has the other limit.
    if (Buffer.byteLength(message) > MESSAGE_MAX_BYTES)
      errors.tooLong(STATUS.child(name).child('message'), METADATA_MAX_BYTES);
    if (errorCode !== undefined && errorCode < 0)
      errors.invalid(STATUS.child(name).child('errorCode'), errorCode, between(0, MAX_INT32));
  }
}
