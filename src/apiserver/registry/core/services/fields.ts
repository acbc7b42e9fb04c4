/** Dependent fields of a Service, and values that an update keeps: how upstream completes an update before validation. */
import type { ServiceSpec } from '#api/types.ts';
import { needsHealthCheck, needsNodePort } from '#resources/core/services.ts';

/** clusterIP is clusterIPs[0]: a client that knows only the older field changes both. What else does not fit is for validation to say. */
export function keepInStep(spec: ServiceSpec, stored: ServiceSpec | undefined): void {
  if (!stored) {
    if (spec.clusterIP && !spec.clusterIPs?.length) spec.clusterIPs = [spec.clusterIP];
    return;
  }
  const sameOne = (spec.clusterIP ?? '') === (stored.clusterIP ?? '');
  if (sameOne) {
    if (stored.clusterIPs?.length && !spec.clusterIPs?.length) spec.clusterIPs = stored.clusterIPs;
    return;
  }
  const { clusterIPs = [] } = spec,
    before = stored.clusterIPs ?? [];
  if (clusterIPs.length !== before.length || clusterIPs.some((ip, i) => ip !== before[i])) return;
  if (spec.clusterIP) spec.clusterIPs = [spec.clusterIP];
  else delete spec.clusterIPs;
}

/** A client that sends its original manifest again need not include allocated values. */
export function keepAllocated(spec: ServiceSpec, stored: ServiceSpec): void {
  if (spec.type !== 'ExternalName' && stored.type !== 'ExternalName') {
    if (!spec.clusterIP && stored.clusterIP !== undefined) spec.clusterIP = stored.clusterIP;
    if (!spec.clusterIPs?.length && stored.clusterIPs?.length) spec.clusterIPs = stored.clusterIPs;
  }
  if (needsNodePort(spec) && needsNodePort(stored)) keepNodePorts(spec, stored);
  if (
    needsHealthCheck(spec) &&
    needsHealthCheck(stored) &&
    !spec.healthCheckNodePort &&
    stored.healthCheckNodePort
  )
    spec.healthCheckNodePort = stored.healthCheckNodePort;
}

/** By the port's name; not one that another port of the new Service has. */
function keepNodePorts(spec: ServiceSpec, stored: ServiceSpec): void {
  const named = new Map((stored.ports ?? []).map(({ name = '', nodePort }) => [name, nodePort]));
  const used = new Set(spec.ports?.map(({ nodePort }) => nodePort));
  for (const port of spec.ports ?? []) {
    const old = named.get(port.name ?? '');
    if (!port.nodePort && old && !used.has(old)) port.nodePort = old;
  }
}
