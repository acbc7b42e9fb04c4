/**
 * What a new cluster has from its first second, as upstream's post-start hooks make it: system namespaces, the kubernetes Service and
 * its endpoints, system priority classes, flow control defaults, the service CIDR, published client CA. Idempotent.
 */
import type { KubeObject } from '#machinery/object.ts';
import { ensureFlowObjects } from '../flowcontrol/bootstrap-objects.ts';
import type { GroupResource } from '../registry/loopback-client.ts';
import { createIfAbsent } from './create-if-absent.ts';
import { ensureKubernetesService, type KubernetesServiceOptions } from './kubernetes-service.ts';

interface BootstrapOptions extends KubernetesServiceOptions {
  readonly clientCa: string | undefined;
  readonly requestHeader: PublishedRequestHeader | undefined;
}

/** What extension API servers must know to believe this server's X-Remote-* headers. */
export interface PublishedRequestHeader {
  /** PEM. */
  readonly ca: string;
  readonly allowedNames: readonly string[];
  /** As configured, in the proxy's spelling. */
  readonly usernameHeaders: readonly string[];
  readonly uidHeaders: readonly string[];
  readonly groupHeaders: readonly string[];
  readonly extraHeaderPrefixes: readonly string[];
}

const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
const core = (resource: string): GroupResource => ({ group: '', resource });

export async function bootstrapCluster(options: BootstrapOptions): Promise<void> {
  const { internal } = options;
  await Promise.all([
    ...NAMESPACES.map((name) =>
      createIfAbsent(internal, core('namespaces'), {
        apiVersion: 'v1',
        kind: 'Namespace',
        metadata: { name },
      }),
    ),
    ...priorityClasses().map((object) =>
      createIfAbsent(internal, { group: 'scheduling.k8s.io', resource: 'priorityclasses' }, object),
    ),
    ensureFlowObjects(internal),
    ensureKubernetesService(options),
    authenticationConfigMap(options),
  ]);
}

/** How extension API servers are to authenticate: by the same client certificates, and by this server's word. */
async function authenticationConfigMap({
  internal,
  clientCa,
  requestHeader,
}: BootstrapOptions): Promise<void> {
  if (clientCa === undefined && requestHeader === undefined) return;
  const name = 'extension-apiserver-authentication',
    namespace = 'kube-system';
  const data: Record<string, string> = {
    ...(clientCa === undefined ? {} : { 'client-ca-file': clientCa }),
    ...(requestHeader ? requestHeaderData(requestHeader) : {}),
  };
  const current = internal.get(core('configmaps'), { name, namespace });
  if (!current)
    return createIfAbsent(internal, core('configmaps'), {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace },
      data,
    });
  await internal.modify(core('configmaps'), { name, namespace }, (stored) => {
    const before = stored['data'] as Record<string, string> | undefined;
    if (Object.entries(data).every(([key, value]) => before?.[key] === value)) return false;
    stored['data'] = { ...before, ...data };
    return true;
  });
}

function requestHeaderData({
  ca,
  allowedNames,
  usernameHeaders,
  uidHeaders,
  groupHeaders,
  extraHeaderPrefixes,
}: PublishedRequestHeader): Record<string, string> {
  return {
    'requestheader-client-ca-file': ca,
    'requestheader-allowed-names': JSON.stringify(allowedNames),
    'requestheader-username-headers': JSON.stringify(usernameHeaders),
    'requestheader-uid-headers': JSON.stringify(uidHeaders),
    'requestheader-group-headers': JSON.stringify(groupHeaders),
    'requestheader-extra-headers-prefix': JSON.stringify(extraHeaderPrefixes),
  };
}

function priorityClasses(): KubeObject[] {
  const make = (name: string, value: number, description: string): KubeObject => ({
    apiVersion: 'scheduling.k8s.io/v1',
    kind: 'PriorityClass',
    metadata: { name },
    value,
    description,
  });
  return [
    make(
      'system-node-critical',
      2_000_001_000,
      'For pods without which a node does not work: they are never moved off it.',
    ),
    make(
      'system-cluster-critical',
      2_000_000_000,
      'For pods without which the cluster does not work; they may be moved to another node.',
    ),
  ];
}
