/** The parameters of a policy's binding: any objects of the policy's paramKind, custom ones too. After upstream's generic.CollectParams. */
import { compileLabelSelector } from '#machinery/labels.ts';
import { parseApiVersion, type KubeObject } from '#machinery/object.ts';
import type { AdmissionAttributes, AdmissionStart } from '../plugin.ts';
import type { ParamKind, ParamRef } from './policy.ts';

/** The binding is misconfigured; failurePolicy decides. */
export class ConfigurationError extends Error {
  /** It is the policy's own fault, whichever binding it is used by. */
  readonly ofPolicy: boolean;

  constructor(message: string, { ofPolicy = false }: { readonly ofPolicy?: boolean } = {}) {
    super(message);
    this.ofPolicy = ofPolicy;
  }
}

interface ParamsOptions {
  readonly paramKind: ParamKind | undefined;
  readonly paramRef: ParamRef | undefined;
  readonly attributes: AdmissionAttributes;
  readonly context: Pick<AdmissionStart, 'internal' | 'kinds'>;
}

/** One evaluation for each; null where the policy has none. Empty: no evaluation. Throws ConfigurationError. */
export async function collectParams({
  paramKind,
  paramRef,
  attributes,
  context,
}: ParamsOptions): Promise<readonly (KubeObject | null)[]> {
  if (!paramKind || !paramRef) return [null];
  const { internal, kinds } = context;
  const gvk = { ...parseApiVersion(paramKind.apiVersion ?? ''), kind: paramKind.kind ?? '' };
  const resource = kinds.resourceOf(gvk);
  if (!resource)
    throw new ConfigurationError(
      `failed to find resource referenced by paramKind: '${gvk.group === '' ? '' : `${gvk.group}/`}${gvk.version}, Kind=${gvk.kind}'`,
      { ofPolicy: true },
    );
  const { gvr, namespaced } = resource;
  if (!namespaced && paramRef.namespace)
    throw new ConfigurationError('paramRef.namespace must not be provided for a cluster-scoped `paramKind`');
  const namespace = namespaced ? paramRef.namespace || attributes.namespace : '';
  if (namespaced && namespace === '')
    throw new ConfigurationError(
      'cannot use namespaced paramRef in policy binding that matches cluster-scoped resources',
    );
  const found = find(paramRef);
  if (found.length === 0 && paramRef.parameterNotFoundAction === 'Deny')
    throw new ConfigurationError('no params found for policy binding with `Deny` parameterNotFoundAction');
  return Promise.all(found.map((object) => kinds.convert(object, gvr, gvk)));

  function find({ name, selector }: ParamRef): KubeObject[] {
    if (name) {
      const object = internal.get(gvr, { name, namespace });
      return object ? [object] : [];
    }
    const selects = compileLabelSelector(selector ?? {});
    return internal
      .list(gvr, { namespace })
      .filter((object) => selects.matches(object.metadata?.labels ?? {}));
  }
}
