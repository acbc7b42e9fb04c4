/** DenyServiceExternalIPs: no Service may take new external addresses, by which it could draw others' traffic; those it has it may keep or give up. */
import type { Service } from '#api/types.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

export const denyServiceExternalIPs: AdmissionPlugin = {
  name: 'DenyServiceExternalIPs',
  handles: (operation, target) =>
    (operation === 'CREATE' || operation === 'UPDATE') && isTarget(target, '', 'services'),
  validate(attributes) {
    const before = new Set((attributes.oldObject as Service | undefined)?.spec?.externalIPs);
    const added = ((attributes.object as Service).spec?.externalIPs ?? []).some(
      (address) => !before.has(address),
    );
    if (added) throw forbid(attributes, 'Use of external IPs is denied by admission control');
  },
};
