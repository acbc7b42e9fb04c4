/** Labels of request metrics, with upstream's verbs and scopes. Pure. */
import type { RequestLabels } from './metrics.ts';
import type { RequestInfo } from '../http/request-info.ts';

export function computeLabels(info: RequestInfo): RequestLabels {
  const { group, version, resource, subresource } = info;
  if (!info.isResourceRequest)
    return { verb: info.verb.toUpperCase(), group, version, resource, subresource, scope: '' };
  const scope =
    info.name !== '' && info.verb !== 'list' && info.verb !== 'watch'
      ? 'resource'
      : info.namespace === ''
        ? 'cluster'
        : 'namespace';
  const verb = info.verb === 'create' ? 'POST' : info.verb === 'update' ? 'PUT' : info.verb.toUpperCase();
  return { verb, group, version, resource, subresource, scope };
}
