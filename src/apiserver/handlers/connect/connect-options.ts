/** What admission sees of requests that connect to a pod, node or service: the options kind of the subresource, read from the query. */
import { statusErrors } from '#machinery/errors.ts';
import { deepClone, deepEqual } from '#machinery/json.ts';
import type { GroupVersionKind, KubeObject } from '#machinery/object.ts';
import type { Endpoint } from '../../registry/endpoints.ts';
import { WriteRequest } from '../../registry/write-request.ts';
import type { RequestContext } from '../../context.ts';
import type { ServerCore } from '../../server-core.ts';
import { isTrue, queryValues, type RequestInfo } from '../../http/request-info.ts';

const KINDS: Readonly<Record<string, string>> = {
  'pods/exec': 'PodExecOptions',
  'pods/attach': 'PodAttachOptions',
  'pods/portforward': 'PodPortForwardOptions',
  'pods/proxy': 'PodProxyOptions',
  'nodes/proxy': 'NodeProxyOptions',
  'services/proxy': 'ServiceProxyOptions',
};
const FLAGS = ['stdin', 'stdout', 'stderr', 'tty'];

function optionsOf(
  info: RequestInfo,
  { kind, query }: { readonly kind: string; readonly query: string },
): KubeObject {
  const options: KubeObject = { kind, apiVersion: 'v1' };
  if (kind.endsWith('ProxyOptions'))
    return {
      ...options,
      ...(info.rest && { path: info.rest.startsWith('/') ? info.rest : `/${info.rest}` }),
    };
  if (kind === 'PodPortForwardOptions') {
    const ports = queryValues(query, 'ports')
      .flatMap((value) => value.split(','))
      .map(Number)
      .filter(Number.isInteger);
    return { ...options, ...(ports.length > 0 && { ports }) };
  }
  for (const flag of FLAGS)
    if (info.query[flag] !== undefined && isTrue(info.query[flag])) options[flag] = true;
  const container = info.query['container'],
    command = queryValues(query, 'command');
  return {
    ...options,
    ...(container && { container }),
    ...(kind === 'PodExecOptions' && command.length > 0 && { command }),
  };
}

/** Waits for admission of a CONNECT. Throws a StatusError when it is refused, or changed, which is not supported. */
export async function admitConnect(
  { request, info, user, warnings, annotate }: RequestContext,
  core: ServerCore,
  endpoint: Endpoint,
): Promise<void> {
  const { name, namespace, subresource } = info;
  const kind = KINDS[`${info.resource}/${subresource}`] ?? endpoint.gvk.kind;
  const object = optionsOf(info, { kind, query: request.query });
  const before = deepClone(object);
  const gvk: GroupVersionKind = { group: '', version: 'v1', kind };
  const write = new WriteRequest({
    endpoint,
    target: { namespace, name },
    subresource,
    user,
    internal: core.internal,
    warn: (message) => void warnings.push(message),
    annotate,
    onAbort: (callback) => request.onAbort(callback),
  });
  write.begin({ operation: 'CONNECT', nowMs: core.clock.now(), object, oldObject: undefined, gvk });
  await core.admission.admit(write);
  if (!deepEqual(object, before))
    throw statusErrors.internal(
      `admission changed the ${kind} of ${info.resource}/${subresource}, which is not supported: it may only allow or deny it`,
    );
  await core.admission.validate(write);
}
