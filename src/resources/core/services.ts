/** Service. The API server allocates cluster IPs and node ports; defaults and validation are here. */
import type { Service, ServicePort, ServiceSpec } from '#api/types.ts';
import { isIP, isIPv6 } from 'node:net';
import {
  checkCIDR,
  checkDnsLabel,
  checkDnsSubdomain,
  checkEnum,
  checkIP,
  checkLabels,
  checkNonSpecialIP,
  checkPortNumber,
  checkPortNumberOrName,
  checkQualifiedName,
  eachRepeated,
  isDualStack,
  PROTOCOLS,
} from '../checks.ts';
import { addressWarnings, rangeWarnings } from '../address-warnings.ts';
import { defineResource } from '../define.ts';
import { Errors, METADATA, SPEC, STATUS } from '../field-path.ts';
import { keepAllButStatus, keepField } from '../strategy.ts';
import { formatAge, columns, formatLabels, nameOf } from '../tables.ts';

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const POLICIES = ['Cluster', 'Local'];
const FAMILIES = ['IPv4', 'IPv6'];
const FAMILY_POLICIES = ['PreferDualStack', 'RequireDualStack', 'SingleStack'];
const DISTRIBUTIONS = ['PreferClose', 'PreferSameZone', 'PreferSameNode'];
const AFFINITY_SECONDS_MAX = 86400;
const AFFINITY_SECONDS_DEFAULT = 10800;
const SOURCE_RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const NONE = 'None';
const KUBELET_PORT = 10250;

export const services = defineResource<Service>({
  group: '',
  plural: 'services',
  nameRule: 'dns-label',
  allowCreateOnUpdate: true,
  applyDefaults,
  prepareForCreate: (service) => {
    service.status = { loadBalancer: {} };
  },
  prepareForUpdate: (next, previous) => {
    keepField(next, previous, 'status');
    const spec = next.spec!,
      stored = previous.spec!;
    dropUnusedFields(spec, stored);
    if (spec.type !== 'LoadBalancer' && next.status?.loadBalancer?.ingress)
      next.status = { ...next.status, loadBalancer: {} };
  },
  validate: (service) => {
    const errors = new Errors();
    checkService(service, undefined, errors);
    return errors.list;
  },
  validateUpdate: (next, previous) => {
    const errors = new Errors();
    checkUpdate(next.spec!, previous.spec!, errors);
    checkService(next, previous, errors);
    return errors.list;
  },
  status: {
    prepareForUpdate: keepAllButStatus,
    validateUpdate: (next, previous) => {
      const errors = new Errors();
      checkLoadBalancerStatus(next, previous, errors);
      return errors.list;
    },
  },
  warnings,
  fieldSelectors: {
    'spec.clusterIP': (service) => service.spec?.clusterIP ?? '',
    'spec.type': (service) => service.spec?.type ?? '',
  },
  table: {
    columns: columns('Name', 'Type', 'Cluster-IP', 'External-IP', 'Port(s)', 'Age', 'Selector:wide'),
    row: (service, context) => [
      nameOf(service),
      service.spec?.type ?? '',
      service.spec?.clusterIPs?.[0] || service.spec?.clusterIP || '<none>',
      externalIPs(service),
      formatPorts(service.spec?.ports ?? []),
      formatAge(service, context),
      formatLabels(service.spec?.selector),
    ],
  },
});

export function isHeadless(spec: ServiceSpec): boolean {
  return spec.clusterIPs?.length === 1 && spec.clusterIPs[0] === NONE;
}

/** Reachable from outside the cluster: these types have an external traffic policy. */
function isExternallyAccessible(spec: ServiceSpec): boolean {
  return (
    spec.type === 'LoadBalancer' ||
    spec.type === 'NodePort' ||
    (spec.type === 'ClusterIP' && (spec.externalIPs ?? []).length > 0)
  );
}

export function needsHealthCheck(spec: ServiceSpec): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

export function needsNodePort(spec: ServiceSpec): boolean {
  return (
    spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false)
  );
}

function applyDefaults(service: Service): void {
  const spec = (service.spec ??= {});
  spec.sessionAffinity ||= 'None';
  if (spec.sessionAffinity === 'None') delete spec.sessionAffinityConfig;
  else if (
    spec.sessionAffinity === 'ClientIP' &&
    spec.sessionAffinityConfig?.clientIP?.timeoutSeconds === undefined
  ) {
    spec.sessionAffinityConfig = { clientIP: { timeoutSeconds: AFFINITY_SECONDS_DEFAULT } };
  }
  spec.type ||= 'ClusterIP';
  for (const port of spec.ports ?? []) {
    port.protocol ||= 'TCP';
    if (port.targetPort === undefined || port.targetPort === 0 || port.targetPort === '')
      port.targetPort = port.port;
  }
  if (isExternallyAccessible(spec)) spec.externalTrafficPolicy ||= 'Cluster';
  if (spec.type === 'NodePort' || spec.type === 'LoadBalancer' || spec.type === 'ClusterIP')
    spec.internalTrafficPolicy ??= 'Cluster';
  if (spec.type === 'LoadBalancer') {
    spec.allocateLoadBalancerNodePorts ??= true;
    for (const ingress of service.status?.loadBalancer?.ingress ?? [])
      if (ingress.ip) ingress.ipMode ??= 'VIP';
  }
}

function portKey(port: ServicePort, number: number | undefined): string {
  return `${port.protocol}/${number ?? 0}`;
}

/** Drops fields that the new type does not use, unless the client changed them. */
function dropUnusedFields(spec: ServiceSpec, stored: ServiceSpec): void {
  const same = (field: keyof ServiceSpec): boolean =>
    JSON.stringify(spec[field]) === JSON.stringify(stored[field]);
  const drop = (...fields: (keyof ServiceSpec)[]): void => {
    for (const field of fields) if (same(field)) delete spec[field];
  };
  if (spec.type === 'ExternalName' && stored.type !== 'ExternalName') {
    if (same('clusterIPs')) delete spec.clusterIP;
    drop('clusterIPs', 'ipFamilies', 'ipFamilyPolicy');
  }
  if (needsNodePort(stored) && !needsNodePort(spec) && sameNodePorts(spec, stored))
    for (const port of spec.ports ?? []) delete port.nodePort;
  if (needsHealthCheck(stored) && !needsHealthCheck(spec)) drop('healthCheckNodePort');
  if (stored.type === 'LoadBalancer' && spec.type !== 'LoadBalancer')
    drop('allocateLoadBalancerNodePorts', 'loadBalancerClass');
  if (isExternallyAccessible(stored) && !isExternallyAccessible(spec)) drop('externalTrafficPolicy');
}

/** Whether the new ones are a subset of the old ones. */
function sameNodePorts(spec: ServiceSpec, stored: ServiceSpec): boolean {
  const numbers = new Set(stored.ports?.map(({ nodePort }) => nodePort));
  return (spec.ports ?? []).every(({ nodePort }) => !nodePort || numbers.has(nodePort));
}

function checkService(service: Service, stored: Service | undefined, errors: Errors): void {
  const spec = service.spec ?? {},
    ports = spec.ports ?? [],
    headless = isHeadless(spec);
  checkTopologyAnnotations(service, errors);
  if (ports.length === 0 && !headless && spec.type !== 'ExternalName') errors.required(SPEC.child('ports'));
  checkTypeFields(spec, headless, errors);
  checkPorts(ports, spec, errors);
  if (spec.selector) checkLabels(spec.selector, SPEC.child('selector'), errors);
  checkAffinity(spec, errors);
  if (spec.type !== 'ExternalName') checkClusterIPs(spec, { headless, stored: stored?.spec }, errors);
  spec.externalIPs?.forEach((ip, i) => {
    if (checkIP(ip, SPEC.child('externalIPs').index(i), errors, stored?.spec?.externalIPs))
      checkNonSpecialIP(ip, SPEC.child('externalIPs').index(i), errors);
  });
  checkEnum(spec.type, TYPES, SPEC, 'type', errors);
  checkSourceRanges(service, stored, errors);
  const balanced = spec.type === 'LoadBalancer';
  if (spec.allocateLoadBalancerNodePorts !== undefined && !balanced)
    errors.forbidden(
      SPEC.child('allocateLoadBalancerNodePorts'),
      "may only be used when `type` is 'LoadBalancer'",
    );
  if (spec.loadBalancerClass !== undefined) {
    if (!balanced)
      errors.forbidden(SPEC.child('loadBalancerClass'), "may only be used when `type` is 'LoadBalancer'");
    else checkQualifiedName(spec.loadBalancerClass, SPEC.child('loadBalancerClass'), errors);
  }
  checkTrafficPolicies(spec, errors);
}

function checkTopologyAnnotations(service: Service, errors: Errors): void {
  const hints = service.metadata?.annotations?.['service.kubernetes.io/topology-aware-hints'],
    mode = service.metadata?.annotations?.['service.kubernetes.io/topology-mode'];
  if (hints !== undefined && mode !== undefined && hints !== mode) {
    errors.invalid(
      METADATA.child('annotations').key('service.kubernetes.io/topology-mode'),
      mode,
      'must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified',
    );
  }
}

function checkTypeFields(spec: ServiceSpec, headless: boolean, errors: Errors): void {
  if (spec.type === 'LoadBalancer') {
    spec.ports?.forEach(({ port }, i) => {
      if (port === KUBELET_PORT)
        errors.invalid(
          SPEC.child('ports').index(i),
          port,
          `may not expose port ${KUBELET_PORT} externally since it is used by kubelet`,
        );
    });
  }
  if (headless && (spec.type === 'LoadBalancer' || spec.type === 'NodePort'))
    errors.invalid(
      SPEC.child('clusterIPs').index(0),
      NONE,
      `may not be set to 'None' for ${spec.type} services`,
    );
  if (spec.type !== 'ExternalName') return;
  const forbidden = 'may not be set for ExternalName services';
  if (spec.clusterIPs?.length) errors.forbidden(SPEC.child('clusterIPs'), forbidden);
  if (spec.ipFamilies?.length) errors.forbidden(SPEC.child('ipFamilies'), forbidden);
  if (spec.ipFamilyPolicy !== undefined) errors.forbidden(SPEC.child('ipFamilyPolicy'), forbidden);
  const name = (spec.externalName ?? '').replace(/\.$/, '');
  if (name) checkDnsSubdomain(name, SPEC, 'externalName', errors);
  else errors.required(SPEC.child('externalName'));
}

function checkPorts(ports: readonly ServicePort[], spec: ServiceSpec, errors: Errors): void {
  const names = new Set<string>(),
    numbers = new Set<string>(),
    nodePorts = new Set<string>();
  ports.forEach((port, i) => {
    const at = SPEC.child('ports').index(i);
    if (port.name) {
      checkDnsLabel(port.name, at, 'name', errors);
      if (names.has(port.name)) errors.duplicate(at.child('name'), port.name);
      names.add(port.name);
    } else if (ports.length > 1) errors.required(at.child('name'));
    checkPortNumber(port.port, at, 'port', errors);
    checkEnum(port.protocol, PROTOCOLS, at, 'protocol', errors);
    checkPortNumberOrName(port.targetPort, at, 'targetPort', errors);
    if (port.appProtocol !== undefined) checkQualifiedName(port.appProtocol, at.child('appProtocol'), errors);
    if (port.nodePort && spec.type === 'ClusterIP')
      errors.forbidden(at.child('nodePort'), "may not be used when `type` is 'ClusterIP'");
    if (port.nodePort && nodePorts.has(portKey(port, port.nodePort)))
      errors.duplicate(at.child('nodePort'), port.nodePort);
    if (port.nodePort) nodePorts.add(portKey(port, port.nodePort));
    if (numbers.has(portKey(port, port.port)))
      errors.duplicate(at, { protocol: port.protocol, port: port.port, targetPort: 0 });
    numbers.add(portKey(port, port.port));
  });
}

function checkAffinity(spec: ServiceSpec, errors: Errors): void {
  checkEnum(spec.sessionAffinity, ['ClientIP', 'None'], SPEC, 'sessionAffinity', errors);
  const path = SPEC.child('sessionAffinityConfig'),
    config = spec.sessionAffinityConfig;
  if (spec.sessionAffinity === 'None' && config)
    errors.forbidden(path, 'must not be set when session affinity is None');
  if (spec.sessionAffinity !== 'ClientIP') return;
  const seconds = config?.clientIP?.timeoutSeconds,
    at = path.child('clientIP').child('timeoutSeconds');
  if (seconds === undefined)
    errors.required(
      !config ? path : !config.clientIP ? path.child('clientIP') : at,
      'when session affinity type is ClientIP',
    );
  else if (seconds <= 0 || seconds > AFFINITY_SECONDS_MAX)
    errors.invalid(at, seconds, `must be greater than 0 and less than ${AFFINITY_SECONDS_MAX}`);
}

/** clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy, each and together. */
export function checkClusterIPs(
  spec: ServiceSpec,
  { headless, stored }: { readonly headless: boolean; readonly stored: ServiceSpec | undefined },
  errors: Errors,
): void {
  const path = SPEC.child('clusterIPs'),
    ips = spec.clusterIPs ?? [],
    families = spec.ipFamilies ?? [];
  if (spec.clusterIP) {
    if (ips.length === 0) errors.required(path);
    else if (ips[0] !== spec.clusterIP) errors.invalid(path, ips, 'first value must match `clusterIP`');
  } else if (ips.length > 0) errors.invalid(path, ips, 'must be empty when `clusterIP` is not specified');
  families.forEach((family, i) => {
    if (!FAMILIES.includes(family)) errors.notSupported(SPEC.child('ipFamilies').index(i), family, FAMILIES);
  });
  eachRepeated(families, (family, i) => errors.duplicate(SPEC.child('ipFamilies').index(i), family));
  if (spec.ipFamilyPolicy !== undefined && !FAMILY_POLICIES.includes(spec.ipFamilyPolicy))
    errors.notSupported(SPEC.child('ipFamilyPolicy'), spec.ipFamilyPolicy, FAMILY_POLICIES);
  let bad = false;
  ips.forEach((ip, i) => {
    if (i === 0 && ip === NONE) {
      if (ips.length > 1) {
        bad = true;
        errors.invalid(path, ips, "'None' must be the first and only value");
      }
    } else if (!checkIP(ip, path.index(i), errors, stored?.clusterIPs)) bad = true;
  });
  if (ips.length > 2) errors.invalid(path, ips, 'may only hold up to 2 values');
  if (bad) return;
  if (ips.length > 1 && !isDualStack(ips))
    errors.invalid(path, ips, 'may specify no more than one IP for each IP family');
  if (headless) return;
  ips.forEach((ip, i) => {
    const family = families[i];
    if (family === 'IPv4' && isIPv6(ip))
      errors.invalid(path.index(i), ip, `expected an IPv4 value as indicated by \`ipFamilies[${i}]\``);
    if (family === 'IPv6' && !isIPv6(ip))
      errors.invalid(path.index(i), ip, `expected an IPv6 value as indicated by \`ipFamilies[${i}]\``);
  });
}

function checkSourceRanges(service: Service, stored: Service | undefined, errors: Errors): void {
  const spec = service.spec ?? {},
    ranges = spec.loadBalancerSourceRanges ?? [],
    annotation = service.metadata?.annotations?.[SOURCE_RANGES];
  if (ranges.length === 0 && annotation === undefined) return;
  const inSpec = ranges.length > 0;
  const path = inSpec
    ? SPEC.child('LoadBalancerSourceRanges')
    : METADATA.child('annotations').key(SOURCE_RANGES);
  if (spec.type !== 'LoadBalancer') errors.forbidden(path, "may only be used when `type` is 'LoadBalancer'");
  const values = inSpec ? ranges : annotation!.trim() === '' ? [] : annotation!.split(',');
  values.forEach((range, i) =>
    checkCIDR(
      range.trim(),
      inSpec ? path.index(i) : path,
      errors,
      inSpec ? stored?.spec?.loadBalancerSourceRanges : undefined,
    ),
  );
}

function checkTrafficPolicies(spec: ServiceSpec, errors: Errors): void {
  const external = spec.externalTrafficPolicy,
    at = SPEC.child('externalTrafficPolicy');
  if (!isExternallyAccessible(spec)) {
    if (external) errors.invalid(at, external, 'may only be set for externally-accessible services');
  } else checkEnum(external, POLICIES, SPEC, 'externalTrafficPolicy', errors);
  // Required, but the API server allocates it after this check.
  if (!needsHealthCheck(spec)) {
    if (spec.healthCheckNodePort)
      errors.invalid(
        SPEC.child('healthCheckNodePort'),
        spec.healthCheckNodePort,
        "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
      );
  } else if (spec.healthCheckNodePort)
    checkPortNumber(spec.healthCheckNodePort, SPEC, 'healthCheckNodePort', errors);
  if (spec.internalTrafficPolicy === undefined) {
    if (spec.type === 'NodePort' || spec.type === 'LoadBalancer' || spec.type === 'ClusterIP')
      errors.required(SPEC.child('internalTrafficPolicy'));
  } else if (!POLICIES.includes(spec.internalTrafficPolicy))
    errors.notSupported(SPEC.child('internalTrafficPolicy'), spec.internalTrafficPolicy, POLICIES);
  if (spec.trafficDistribution !== undefined && !DISTRIBUTIONS.includes(spec.trafficDistribution))
    errors.notSupported(SPEC.child('trafficDistribution'), spec.trafficDistribution, DISTRIBUTIONS);
}

/** The primary address and family are immutable; a second one can be added and removed. */
function checkUpdate(spec: ServiceSpec, stored: ServiceSpec, errors: Errors): void {
  if (
    spec.type === 'LoadBalancer' &&
    stored.type === 'LoadBalancer' &&
    spec.loadBalancerClass !== stored.loadBalancerClass
  ) {
    errors.invalid(SPEC.child('loadBalancerClass'), spec.loadBalancerClass, 'may not change once set');
  }
  if (
    needsHealthCheck(spec) &&
    needsHealthCheck(stored) &&
    spec.healthCheckNodePort !== stored.healthCheckNodePort
  )
    errors.forbidden(SPEC.child('healthCheckNodePort'), 'field is immutable');
  if (spec.type === 'ExternalName' || stored.type === 'ExternalName') return;
  const headless = isHeadless(spec),
    wasHeadless = isHeadless(stored);
  if (!(headless && wasHeadless)) checkKept('clusterIPs', 'clusterIP', spec, stored, errors);
  if (headless === wasHeadless && !headless) checkKept('ipFamilies', 'ipFamily', spec, stored, errors);
}

function checkKept(
  field: 'clusterIPs' | 'ipFamilies',
  singular: string,
  spec: ServiceSpec,
  stored: ServiceSpec,
  errors: Errors,
): void {
  const next = spec[field] ?? [],
    before = stored[field] ?? [],
    path = SPEC.child(field);
  if (before.length === next.length) {
    before.forEach((value, i) => {
      if (value !== next[i])
        errors.invalid(path.index(field === 'ipFamilies' ? 0 : i), next, 'may not change once set');
    });
    return;
  }
  if (before.length > next.length) {
    if (next.length === 0) errors.invalid(path.index(0), next, `primary ${singular} can not be unset`);
    if (next.length === 1 && spec.ipFamilyPolicy !== 'SingleStack') {
      errors.invalid(
        SPEC.child('ipFamilyPolicy'),
        spec.ipFamilyPolicy,
        `must be set to 'SingleStack' when releasing the secondary ${singular}`,
      );
    }
  }
  if (before.length > 0 && next.length > 0 && next[0] !== before[0])
    errors.invalid(path.index(0), next, 'may not change once set');
}

function checkLoadBalancerStatus(service: Service, stored: Service, errors: Errors): void {
  const path = STATUS.child('loadBalancer').child('ingress'),
    ingress = service.status?.loadBalancer?.ingress ?? [];
  if (service.spec?.type !== 'LoadBalancer' && ingress.length > 0) {
    errors.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'");
    return;
  }
  ingress.forEach(({ ip, ipMode, hostname }, i) => {
    const at = path.index(i);
    if (ip)
      checkIP(
        ip,
        at.child('ip'),
        errors,
        stored.status?.loadBalancer?.ingress?.map((old) => old.ip),
      );
    if (ipMode === undefined) {
      if (ip) errors.required(at.child('ipMode'), 'must be specified when `ip` is set');
    } else if (!ip) errors.forbidden(at.child('ipMode'), 'may not be specified when `ip` is not set');
    else if (ipMode !== 'VIP' && ipMode !== 'Proxy')
      errors.notSupported(at.child('ipMode'), ipMode, ['Proxy', 'VIP']);
    if (!hostname) return;
    checkDnsSubdomain(hostname, at, 'hostname', errors);
    if (isIP(hostname) !== 0)
      errors.invalid(at.child('hostname'), hostname, 'must be a DNS name, not an IP address');
  });
}

function warnings(service: Service): string[] {
  const list: string[] = [],
    spec = service.spec ?? {};
  if (service.metadata?.annotations?.['service.kubernetes.io/topology-aware-hints'] !== undefined)
    list.push(
      'annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead',
    );
  const headless = spec.type === 'ClusterIP' && spec.clusterIP === NONE,
    outside = (spec.externalIPs ?? []).length > 0;
  if (!isHeadless(spec))
    spec.clusterIPs?.forEach((ip, i) => list.push(...addressWarnings(ip, `spec.clusterIPs[${i}]`)));
  if (headless && spec.loadBalancerIP) list.push('spec.loadBalancerIP is ignored for headless services');
  if (headless && outside) list.push('spec.externalIPs is ignored for headless services');
  if (headless && spec.sessionAffinity !== 'None')
    list.push('spec.SessionAffinity is ignored for headless services');
  spec.externalIPs?.forEach((ip, i) => list.push(...addressWarnings(ip, `spec.externalIPs[${i}]`)));
  if (outside && !headless && spec.type !== 'ExternalName')
    list.push('spec.externalIPs is deprecated and may no longer be implemented in some clusters');
  if (spec.loadBalancerIP) list.push(...addressWarnings(spec.loadBalancerIP, 'spec.loadBalancerIP'));
  spec.loadBalancerSourceRanges?.forEach((range, i) =>
    list.push(...rangeWarnings(range, `spec.loadBalancerSourceRanges[${i}]`)),
  );
  if (spec.type === 'ExternalName' && outside)
    list.push('spec.externalIPs is ignored when spec.type is "ExternalName"');
  if (spec.type !== 'ExternalName' && spec.externalName)
    list.push('spec.externalName is ignored when spec.type is not "ExternalName"');
  if (spec.trafficDistribution === 'PreferClose')
    list.push('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"');
  return list;
}

function externalIPs(service: Service): string {
  const { type, externalIPs: ips = [], externalName } = service.spec ?? {};
  switch (type) {
    case 'ExternalName':
      return externalName ?? '';
    case 'LoadBalancer': {
      const balanced = (service.status?.loadBalancer?.ingress ?? [])
        .map(({ ip, hostname }) => ip || hostname || '')
        .filter((text) => text !== '');
      const shown = [...new Set(balanced)].sort().join(',');
      if (ips.length > 0) return [...(shown ? [shown] : []), ...ips].join(',');
      return shown || '<pending>';
    }
    case 'ClusterIP':
    case 'NodePort':
      return ips.length > 0 ? ips.join(',') : '<none>';
    default:
      return '<unknown>';
  }
}

function formatPorts(ports: readonly ServicePort[]): string {
  if (ports.length === 0) return '<none>';
  return ports
    .map(({ port, nodePort, protocol }) =>
      nodePort ? `${port}:${nodePort}/${protocol}` : `${port}/${protocol}`,
    )
    .join(',');
}
