/** What `capstan history` calls a resource, as its keys' prefix: 'deploy', 'deployments', 'deployments.apps', 'Deployment'; custom resources as 'PLURAL.GROUP'. */
import { RESOURCES } from '#resources/registry.ts';
import { storedResource } from '#resources/stored-resource.ts';

const ROOT = '/registry/';

interface NamedResource {
  readonly prefix: string;
  /** Undefined: a custom resource may be either. */
  readonly namespaced: boolean | undefined;
}

/** Undefined for what is no resource's name. 'all': every resource. */
export function resourceNamed(name: string): NamedResource | undefined {
  const wanted = name.toLowerCase();
  if (wanted === 'all') return { prefix: ROOT, namespaced: undefined };
  const found = RESOURCES.find(
    ({ virtual, plural, singular, kind, shortNames, group }) =>
      !virtual &&
      (group === '' || group !== 'events.k8s.io') &&
      [plural, singular, kind.toLowerCase(), `${plural}.${group}`, ...shortNames].includes(wanted),
  );
  if (found) return { prefix: found.storagePrefix, namespaced: found.namespaced };
  const [, plural, group] = /^([a-z0-9-]+)\.([a-z0-9.-]+)$/.exec(wanted) ?? [];
  return plural && group ? { prefix: `${ROOT}${group}/${plural}/`, namespaced: undefined } : undefined;
}

interface NamedObject {
  /** 'deployments.apps' */
  readonly resource: string;
  readonly namespace: string | undefined;
  readonly name: string;
}

export function objectAt(key: string): NamedObject {
  const { prefix, resource, builtin } = storedResource(key);
  const rest = key.slice(prefix.length).split('/');
  const isNamespaced = builtin ? builtin.namespaced : rest.length > 1;
  return {
    resource: !resource
      ? prefix.slice(ROOT.length)
      : resource.group === ''
        ? resource.resource
        : `${resource.resource}.${resource.group}`,
    namespace: isNamespaced && rest.length > 1 ? rest[0] : undefined,
    name: isNamespaced && rest.length > 1 ? rest.slice(1).join('/') : rest.join('/'),
  };
}
