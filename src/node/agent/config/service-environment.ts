/** Service environment variables of a container, in Docker's link format. Pure; after upstream's envvars. */
import type { Service } from '#api/types.ts';
import { bracketed } from '#stdx/host-port.ts';

export interface EnvironmentVariable {
  readonly name: string;
  readonly value: string;
}

/** The Services of the pod's namespace, and always default/kubernetes. */
export function serviceEnvironment(
  services: readonly Service[],
  { namespace, enableServiceLinks }: { readonly namespace: string; readonly enableServiceLinks: boolean },
): EnvironmentVariable[] {
  const chosen = new Map<string, Service>();
  for (const service of services) {
    const { name = '', namespace: of } = service.metadata ?? {};
    const ip = service.spec?.clusterIP;
    if (!ip || ip === 'None' || (service.spec?.ports ?? []).length === 0) continue;
    if (of === namespace && enableServiceLinks) chosen.set(name, service);
    else if (of === 'default' && name === 'kubernetes' && !chosen.has(name)) chosen.set(name, service);
  }
  return [...chosen.values()]
    .sort((a, b) => ((a.metadata?.name ?? '') < (b.metadata?.name ?? '') ? -1 : 1))
    .flatMap(variablesOf);
}

function variablesOf(service: Service): EnvironmentVariable[] {
  const prefix = variableName(service.metadata?.name ?? '');
  const ip = service.spec?.clusterIP ?? '';
  const ports = service.spec?.ports ?? [];
  const host = bracketed(ip);
  const [first] = ports;
  return [
    { name: `${prefix}_SERVICE_HOST`, value: ip },
    { name: `${prefix}_SERVICE_PORT`, value: String(first?.port ?? '') },
    ...ports
      .filter(({ name }) => name)
      .map(({ name = '', port }) => ({
        name: `${prefix}_SERVICE_PORT_${variableName(name)}`,
        value: String(port),
      })),
    ...ports.flatMap(({ port, protocol = 'TCP' }, index) => {
      const lower = protocol.toLowerCase();
      const url = `${lower}://${host}:${port}`;
      const portPrefix = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`;
      return [
        ...(index === 0 ? [{ name: `${prefix}_PORT`, value: url }] : []),
        { name: portPrefix, value: url },
        { name: `${portPrefix}_PROTO`, value: lower },
        { name: `${portPrefix}_PORT`, value: String(port) },
        { name: `${portPrefix}_ADDR`, value: ip },
      ];
    }),
  ];
}

function variableName(name: string): string {
  return name.toUpperCase().replaceAll('-', '_');
}
