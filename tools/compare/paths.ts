/** URLs of resources, and steps that most scenarios are made of. */
import type { ResourceFacts } from '#api/resources.ts';
import type { Body, Step } from './scenario.ts';

type Located = Pick<ResourceFacts, 'group' | 'version' | 'plural' | 'namespaced'>;

/** '/apis/apps/v1/namespaces/x/deployments' */
export function collectionPath(
  { group, version, plural, namespaced }: Located,
  ownNamespace: string,
): string {
  // Events about nothing in particular are let into that namespace alone.
  const namespace = plural === 'events' ? 'default' : ownNamespace;
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  return `${root}${namespaced ? `/namespaces/${namespace}` : ''}/${plural}`;
}

const PATCH_TYPES = {
  json: 'application/json-patch+json',
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  apply: 'application/apply-patch+yaml',
  applyCbor: 'application/apply-patch+cbor',
};

type More = Omit<Partial<Step>, 'method' | 'path' | 'body'>;

export const steps = {
  get: (path: string, more: More = {}): Step => ({ method: 'GET', path, ...more }),
  post: (path: string, body: Body, more: More = {}): Step => ({ method: 'POST', path, body, ...more }),
  put: (path: string, body: Body, more: More = {}): Step => ({ method: 'PUT', path, body, ...more }),
  remove: (path: string, body?: Body, more: More = {}): Step => ({
    method: 'DELETE',
    path,
    ...(body === undefined ? {} : { body }),
    ...more,
  }),
  patch: (
    type: keyof typeof PATCH_TYPES,
    path: string,
    { body, ...more }: More & { readonly body: Body },
  ): Step => ({
    method: 'PATCH',
    path,
    body,
    ...more,
    headers: { 'content-type': PATCH_TYPES[type], ...more.headers },
  }),
};
