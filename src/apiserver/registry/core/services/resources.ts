/** Resources that the allocation of service addresses reads and writes. */
import type { GroupResource } from '../../loopback-client.ts';

export const SERVICES: GroupResource = { group: '', resource: 'services' };
export const IP_ADDRESSES: GroupResource = { group: 'networking.k8s.io', resource: 'ipaddresses' };
export const SERVICE_CIDRS: GroupResource = { group: 'networking.k8s.io', resource: 'servicecidrs' };
