/** Builds a pod's CRI sandbox configuration. Pure. */
import type { Pod } from '#api/types.ts';
import { longRunningContainers } from '#component-helpers/containers.ts';
import { CONFIG_SOURCE, FROM_API, FROM_FILE, isStaticPod } from '#component-helpers/static-pods.ts';
import type { CriInput, PodSandboxConfig, PortMapping, Protocol } from '../../cri/types.ts';
import { LABELS } from '../labels.ts';
import { podDns, podHostname, type DnsOptions } from './dns.ts';
import { sandboxSecurity } from './security.ts';

interface SandboxOptions {
  readonly pod: Pod;
  readonly attempt: number;
  readonly logDirectory: string;
  readonly cgroupParent: string;
  readonly dns: DnsOptions;
}

export function sandboxConfig({
  pod,
  attempt,
  logDirectory,
  cgroupParent,
  dns,
}: SandboxOptions): CriInput<PodSandboxConfig> {
  const { name = '', namespace = '', uid = '' } = pod.metadata ?? {};
  const { hostname, domain } = podHostname(pod, dns.clusterDomain);
  const fqdn = pod.spec?.setHostnameAsFQDN && domain ? `${hostname}.${domain}` : hostname;
  return {
    metadata: { name, namespace, uid, attempt },
    ...(pod.spec?.hostNetwork ? {} : { hostname: fqdn }),
    logDirectory,
    dnsConfig: podDns(pod, dns),
    portMappings: portMappings(pod),
    labels: {
      ...pod.metadata?.labels,
      [LABELS.podName]: name,
      [LABELS.podNamespace]: namespace,
      [LABELS.podUID]: uid,
    },
    annotations: { ...pod.metadata?.annotations, [CONFIG_SOURCE]: isStaticPod(pod) ? FROM_FILE : FROM_API },
    linux: {
      cgroupParent,
      sysctls: Object.fromEntries(
        (pod.spec?.securityContext?.sysctls ?? []).map(({ name: key, value }) => [key, value]),
      ),
      securityContext: sandboxSecurity(pod),
    },
  };
}

function portMappings({ spec }: Pod): CriInput<PortMapping>[] {
  if (spec?.hostNetwork) return [];
  return longRunningContainers(spec).flatMap(({ ports = [] }) =>
    ports
      .filter(({ hostPort }) => hostPort)
      .map(({ containerPort, hostPort = 0, protocol = 'TCP', hostIP = '' }) => ({
        containerPort,
        hostPort,
        protocol: protocol as Protocol,
        hostIp: hostIP,
      })),
  );
}
