/** APIService: the server of a group and version. */
import type { APIService } from '#api/types.ts';
import { validateDNS1035Label, validateDNS1123Subdomain } from '#machinery/names.ts';
import { formatTime } from '#machinery/time.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, SPEC } from '../field-path.ts';
import { keepAllButStatusAndMetadata, keepField } from '../strategy.ts';
import { formatAge, columns, nameOf } from '../tables.ts';

export const apiservices = defineResource<APIService>({
  group: 'apiregistration.k8s.io',
  plural: 'apiservices',
  written: { status: { without: ['spec', 'metadata'] } },
  // 'v1.' is the core group.
  nameRule: 'path-segment',
  allowUnconditionalUpdate: false,
  applyDefaults: ({ spec }) => {
    if (spec?.service) spec.service.port ??= 443;
  },
  prepareForCreate: (service, { nowMs }) => {
    service.status = {};
    // Groups of this server itself are always available.
    if (!service.spec?.service)
      service.status.conditions = [
        {
          type: 'Available',
          status: 'True',
          lastTransitionTime: formatTime(nowMs),
          reason: 'Local',
          message: 'Local APIServices are always available',
        },
      ];
  },
  prepareForUpdate: (next, previous) => keepField(next, previous, 'status'),
  validate: (service) => {
    const errors = new Errors(),
      {
        group = '',
        version = '',
        groupPriorityMinimum = 0,
        versionPriority = 0,
        service: target,
        caBundle,
        insecureSkipTLSVerify,
      } = service.spec ?? ({} as Partial<NonNullable<APIService['spec']>>);
    const required = `${version}.${group}`;
    if (nameOf(service) !== '' && nameOf(service) !== required)
      errors.invalid(
        METADATA.child('name'),
        nameOf(service),
        `must be \`spec.version+"."+spec.group\`: ${JSON.stringify(required)}`,
      );
    if (group === '') {
      if (version !== 'v1')
        errors.required(SPEC.child('group'), 'only v1 may have an empty group and it better be legacy kube');
    } else errors.invalidEach(SPEC.child('group'), group, validateDNS1123Subdomain(group));
    errors.invalidEach(SPEC.child('version'), version, validateDNS1035Label(version));
    if (groupPriorityMinimum <= 0 || groupPriorityMinimum > 20000)
      errors.invalid(
        SPEC.child('groupPriorityMinimum'),
        groupPriorityMinimum,
        'must be positive and less than 20000',
      );
    if (versionPriority <= 0 || versionPriority > 1000)
      errors.invalid(SPEC.child('versionPriority'), versionPriority, 'must be positive and less than 1000');
    if (!target) {
      if (caBundle)
        errors.invalid(
          SPEC.child('caBundle'),
          `${Buffer.from(caBundle, 'base64').length} bytes`,
          'local APIServices may not have a caBundle',
        );
      if (insecureSkipTLSVerify)
        errors.invalid(
          SPEC.child('insecureSkipTLSVerify'),
          true,
          'local APIServices may not have insecureSkipTLSVerify',
        );
      return errors.list;
    }
    const at = SPEC.child('service');
    if (!target.namespace) errors.required(at.child('namespace'));
    if (!target.name) errors.required(at.child('name'));
    const port = target.port ?? 443;
    if (port < 1 || port > 65535)
      errors.invalid(at.child('port'), port, 'port is not valid: must be between 1 and 65535, inclusive');
    if (insecureSkipTLSVerify && caBundle)
      errors.invalid(SPEC.child('insecureSkipTLSVerify'), true, 'may not be true if caBundle is present');
    return errors.list;
  },
  status: { prepareForUpdate: keepAllButStatusAndMetadata },
  table: {
    columns: columns('Name', 'Service', 'Available', 'Age'),
    row: (service, context) => {
      const target = service.spec?.service,
        condition = service.status?.conditions?.find(({ type }) => type === 'Available');
      const available = !condition
        ? 'Unknown'
        : condition.status === 'True' || !condition.reason
          ? condition.status
          : `${condition.status} (${condition.reason})`;
      return [
        nameOf(service),
        target ? `${target.namespace}/${target.name}` : 'Local',
        available,
        formatAge(service, context),
      ];
    },
  },
});
