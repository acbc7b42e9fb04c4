/** Safe sysctls: kernel parameters that pods may set, each limited to a namespace of the pod. After upstream's safe sysctls. */
import type { Pod } from '#api/types.ts';

type Namespace = 'IPC' | 'Net';

/** All are namespaced since Linux 5.7; older kernels refuse them at the container's start. */
const SAFE: ReadonlyMap<string, Namespace> = new Map([
  ['kernel.shm_rmid_forced', 'IPC'],
  ...[
    'ip_local_port_range',
    'tcp_syncookies',
    'ping_group_range',
    'ip_unprivileged_port_start',
    'ip_local_reserved_ports',
    'tcp_keepalive_time',
    'tcp_fin_timeout',
    'tcp_keepalive_intvl',
    'tcp_keepalive_probes',
    'tcp_rmem',
    'tcp_wmem',
  ].map((name): [string, Namespace] => [`net.ipv4.${name}`, 'Net']),
]);

const NAMESPACES: readonly { readonly prefix: RegExp; readonly namespace: Namespace }[] = [
  { prefix: /^(kernel\.(shm|msg|sem)|fs\.mqueue\.)/, namespace: 'IPC' },
  { prefix: /^net\./, namespace: 'Net' },
];

/** Why the pod is rejected, in upstream's words. allowedUnsafe: further names; a trailing '*' stands for any ending. */
export function forbiddenSysctl({ spec }: Pod, allowedUnsafe: readonly string[] = []): string | undefined {
  for (const { name } of spec?.securityContext?.sysctls ?? []) {
    const dotted = withDots(name),
      namespace = SAFE.get(dotted) ?? unsafeNamespace(dotted, allowedUnsafe);
    if (!namespace) return `forbidden sysctl: "${dotted}" not allowlisted`;
    if (namespace === 'IPC' ? spec?.hostIPC : spec?.hostNetwork)
      return `forbidden sysctl: "${dotted}" not allowed with host ${namespace} enabled`;
  }
  return undefined;
}

/** In names whose first separator is a slash, dots stand for slashes of the dotted form: net/ipv4/conf/eth0.1/x is net.ipv4.conf.eth0/1.x. */
function withDots(name: string): string {
  const first = /[./]/.exec(name)?.[0];
  return first === '/' ? name.replace(/[./]/g, (separator) => (separator === '/' ? '.' : '/')) : name;
}

function unsafeNamespace(name: string, allowed: readonly string[]): Namespace | undefined {
  const matches = allowed.some((one) =>
    one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : name === one,
  );
  return matches ? NAMESPACES.find(({ prefix }) => prefix.test(name))?.namespace : undefined;
}
