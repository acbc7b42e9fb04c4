/** Check versions: upstream's version skew policy between the API server that answers and the node agents. */
import { nodes } from '#client/refs.ts';
import {
  compareMajorMinor,
  formatMajorMinor,
  parseMajorMinor,
  type MajorMinor,
} from '#machinery/effective-version.ts';
import { listAll } from '../list-all.ts';
import type { CheckContext, ReadinessCheck } from '../check.ts';

/** Minor versions that a kubelet may be older than the API server. */
const KUBELET_SKEW = 3;

export const versions: ReadinessCheck = {
  name: 'versions',
  short: 'versions of API server and node agents go together',
  async run(context) {
    const server = context.target ?? (await serverVersion(context));
    const { items } = await listAll(context.api, nodes);
    return items.flatMap(({ metadata, status }) => {
      const text = status?.nodeInfo?.kubeletVersion ?? '';
      const version = parseMajorMinor(text);
      if (!version) return [];
      const object = `Node ${metadata.name}`;
      if (!context.target && compareMajorMinor(version, server) > 0)
        return [
          {
            severity: 'error' as const,
            object,
            evidence: `its agent is ${text}, newer than the API server (${formatMajorMinor(server)})`,
            remedy: 'upgrade the control planes first: capstan upgrade plan',
          },
        ];
      if (server.major === version.major && server.minor - version.minor <= KUBELET_SKEW) return [];
      return [
        {
          severity: 'error' as const,
          object,
          evidence: `its agent is ${text}, more than ${KUBELET_SKEW} minor versions older than ${formatMajorMinor(server)}`,
          remedy: 'upgrade that node first: capstan upgrade node',
        },
      ];
    });
  },
};

async function serverVersion({ api }: CheckContext): Promise<MajorMinor> {
  const response = await api.transport.request({ method: 'GET', path: '/version' });
  const { gitVersion = '' } = JSON.parse((await response.bytes()).toString()) as { gitVersion?: string };
  return parseMajorMinor(gitVersion) ?? { major: 0, minor: 0 };
}
