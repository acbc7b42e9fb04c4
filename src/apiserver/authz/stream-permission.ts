/**
 * Pod streams opened by another method than POST (WebSockets use GET) also require the verb create, so that permission to get pods/exec alone opens
 * no shell. Upstream's AuthorizePodWebsocketUpgradeCreatePermission, on since 1.35.
 */
import type { RequestContext } from '../context.ts';
import type { ServerCore } from '../server-core.ts';
import { refusal } from './forbidden.ts';
import type { AuthorizationAttributes } from '#machinery/authorization.ts';

const STREAMS: ReadonlySet<string> = new Set(['exec', 'attach', 'portforward']);

/** Throws StatusError 403. After the request itself was authorized. */
export async function requireCreateForStream(
  { info, user }: RequestContext,
  core: Pick<ServerCore, 'authorizer'>,
): Promise<void> {
  const { group, version, resource, subresource, namespace, name, path } = info;
  if (info.verb === 'create' || group !== '' || resource !== 'pods' || !STREAMS.has(subresource)) return;
  const attributes: AuthorizationAttributes = {
    user,
    verb: 'create',
    isResourceRequest: true,
    group,
    version,
    resource,
    subresource,
    namespace,
    name,
    path,
  };
  const decision = await core.authorizer.authorize(attributes);
  if (decision.decision !== 'allow') throw refusal(attributes, decision);
}
