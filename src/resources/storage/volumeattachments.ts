/** VolumeAttachment. */
import type { VolumeAttachment } from '#api/types.ts';
import { validateDNS1123Subdomain } from '#machinery/names.ts';
import { checkImmutable } from '../checks.ts';
import { checkVolumeSpec } from '../core/persistentvolumes.ts';
import { defineResource } from '../define.ts';
import { Errors, SPEC } from '../field-path.ts';
import { checkProvisioner } from './storageclasses.ts';
import { keepAllButStatusAndMetadata, keepField } from '../strategy.ts';
import { ageOf, columns, nameOf } from '../tables.ts';

export const volumeattachments = defineResource<VolumeAttachment>({
  group: 'storage.k8s.io',
  plural: 'volumeattachments',
  allowUnconditionalUpdate: false,
  prepareForCreate: (attachment) => { attachment.status = { attached: false }; },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (attachment) => {
    const errors = new Errors(), { attacher = '', nodeName = '', source = {} } = attachment.spec ?? {};
    checkProvisioner(attacher, SPEC.child('attacher'), errors);
    const { inlineVolumeSpec, persistentVolumeName } = source, path = SPEC.child('source');
    if (inlineVolumeSpec && persistentVolumeName !== undefined) errors.forbidden(path, 'must specify exactly one of inlineVolumeSpec and persistentVolumeName');
    else if (inlineVolumeSpec) checkVolumeSpec(inlineVolumeSpec, '', path.child('inlineVolumeSpec'), errors, true);
    else if (persistentVolumeName !== undefined) {
      if (persistentVolumeName === '') errors.required(path.child('persistentVolumeName'), 'must specify non empty persistentVolumeName');
    } else errors.required(path, 'must specify exactly one of inlineVolumeSpec and persistentVolumeName');
    errors.invalidEach(SPEC.child('nodeName'), nodeName, validateDNS1123Subdomain(nodeName));
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkImmutable(next.spec, previous.spec, SPEC, errors);
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatusAndMetadata },
  table: {
    columns: columns('Name', 'Attacher', 'PV', 'Node', 'Attached:boolean', 'Age'),
    row: (attachment, context) => [
      nameOf(attachment), attachment.spec?.attacher ?? '', attachment.spec?.source?.persistentVolumeName ?? '', attachment.spec?.nodeName ?? '', attachment.status?.attached ?? false, ageOf(attachment, context),
    ],
  },
});
