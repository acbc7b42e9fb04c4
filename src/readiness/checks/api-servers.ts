/** Check api-servers: what /readyz of the API server that answers says. */
import type { ReadinessCheck } from '../check.ts';

export const apiServers: ReadinessCheck = {
  name: 'api-servers',
  short: 'the API server is ready',
  async run({ api }) {
    const response = await api.transport.request({ method: 'GET', path: '/readyz?verbose' });
    const text = (await response.bytes()).toString();
    if (response.status === 200) return [];
    return text
      .split('\n')
      .filter((line) => line.startsWith('[-]'))
      .map((line) => ({
        severity: 'error' as const,
        object: 'API server',
        evidence: `its readiness check ${line.slice('[-]'.length).replace(/ failed:.*/, '')} fails`,
        remedy: 'see its log: /var/log/capstan/apiserver.log, and: capstan etcd status',
      }));
  },
};
