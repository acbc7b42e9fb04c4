/** DenyServiceExternalIPs: a Service may not add external IPs, which would let it intercept traffic; it may keep or remove existing ones. */
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
