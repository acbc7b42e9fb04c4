/** What expressions of policies see of one request. */
import type { KubeObject } from '#machinery/object.ts';
import type { AuthorizerChecks } from '#cel/authorizer.ts';
import { admissionRequest } from '../admission-request.ts';
import { namespaceValue } from '../expressions.ts';
import type { Match } from '../matching.ts';
import type { AdmissionAttributes, AdmissionStart } from '../plugin.ts';

interface ValuesOptions {
  readonly attributes: AdmissionAttributes;
  readonly context: Pick<AdmissionStart, 'kinds'>;
  readonly checks: AuthorizerChecks;
}

/** The request in the version that the policy's rule names. */
export async function admissionValues(
  { attributes, context, checks }: ValuesOptions,
  match: Match,
): Promise<Record<string, unknown>> {
  const { object, oldObject, gvr, namespace, internal } = attributes;
  const shown = async (value: KubeObject | undefined): Promise<KubeObject | null> =>
    value ? (value.apiVersion === undefined ? value : context.kinds.convert(value, gvr, match.gvk)) : null;
  const scope =
    namespace === '' || (gvr.group === '' && gvr.resource === 'namespaces')
      ? undefined
      : internal.get({ group: '', resource: 'namespaces' }, { name: namespace });
  return {
    object: await shown(object),
    oldObject: await shown(oldObject),
    request: admissionRequest(attributes, match),
    authorizer: checks,
    namespaceObject: scope ? namespaceValue(scope) : null,
  };
}
