/** Which endpoint of a Service of both families the API server itself goes to. The rest is in streams.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { InternalApi } from '../../registry/loopback-client.ts';
import { serviceProxyTarget } from './locations.ts';

test('services/proxy goes to an endpoint of the first family', () => {
  const endpoint = (ip: string): object => ({
    addresses: [ip],
    conditions: { ready: true },
    targetRef: { kind: 'Pod', namespace: 'default', name: 'p' },
  });
  const slice = (addressType: string, ip: string): object => ({
    metadata: { labels: { 'kubernetes.io/service-name': 'web' } },
    addressType,
    ports: [{ name: '', port: 8080 }],
    endpoints: [endpoint(ip)],
  });
  const targetOf = (ipFamilies: readonly string[]): string => {
    const internal = {
      get: ({ resource }: { readonly resource: string }) =>
        resource === 'services'
          ? { spec: { ipFamilies, ports: [{ port: 80 }] } }
          : resource === 'pods'
            ? { status: { podIPs: [{ ip: '10.244.0.5' }, { ip: 'fd00::5' }] } }
            : undefined,
      list: () => [slice('IPv6', 'fd00::5'), slice('IPv4', '10.244.0.5')],
    } as unknown as InternalApi;
    return serviceProxyTarget(internal, { namespace: 'default', id: 'web:80', random: () => 0 }).href;
  };
  assert.equal(targetOf(['IPv4', 'IPv6']), 'http://10.244.0.5:8080/');
  assert.equal(targetOf(['IPv6', 'IPv4']), 'http://[fd00::5]:8080/');
});
