/** The flags that the API servers run with: from /flagz, else from the command lines of their static pods. Undefined where neither can be read. */
import type { Pod } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import type { Stored } from '#machinery/object.ts';

/** By name without dashes. */
export type ServerFlags = ReadonlyMap<string, string>;

export async function readFlags(api: Client, pods: readonly Stored<Pod>[]): Promise<ServerFlags | undefined> {
  return (await fromFlagz(api)) ?? fromPods(pods);
}

async function fromFlagz(api: Client): Promise<ServerFlags | undefined> {
  const response = await api.transport.request({
    method: 'GET',
    path: '/flagz',
    headers: { accept: 'text/plain' },
  });
  const text = (await response.bytes()).toString();
  return response.status === 200 ? parseFlagz(text) : undefined;
}

/** Lines of 'name: value', 'name=value' or 'name value', after a header. Undefined: none is one. */
export function parseFlagz(text: string): ServerFlags | undefined {
  const flags = new Map<string, string>();
  for (const line of text.split('\n')) {
    const found = /^([a-z][a-z0-9-]*)(?::\s?|=|\s+)(.*)$/.exec(line.trim());
    if (found && found[1]!.includes('-')) flags.set(found[1]!, found[2]!.trim());
  }
  return flags.size === 0 ? undefined : flags;
}

/** Of the first pod with component=kube-apiserver, as kubeadm and kind label them. */
export function fromPods(pods: readonly Stored<Pod>[]): ServerFlags | undefined {
  const pod = pods.find(
    ({ metadata }) =>
      metadata.namespace === 'kube-system' && metadata.labels?.['component'] === 'kube-apiserver',
  );
  const [container] = pod?.spec?.containers ?? [];
  if (!container) return undefined;
  const words = [...(container.command ?? []), ...(container.args ?? [])];
  return new Map(
    words.flatMap((word): [string, string][] => {
      const found = /^--([^=]+)(?:=(.*))?$/s.exec(word);
      return found ? [[found[1]!, found[2] ?? 'true']] : [];
    }),
  );
}
