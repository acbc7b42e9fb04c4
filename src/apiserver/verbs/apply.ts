/**
 * Server-side apply: PATCH with a configuration of fields that one manager wants to own. The merge itself is #machinery/apply; all other
 * writes keep managedFields true as well (ownership.ts).
 */
import { fieldErrors, statusErrors } from '#machinery/errors.ts';
import { applyConfiguration } from '#machinery/apply/managed-fields.ts';
import { deepClone, isJsonObject } from '#machinery/json.ts';
import { apiVersionOf, type KubeObject } from '#machinery/object.ts';
import { parseYaml } from '#machinery/yaml.ts';
import type { Endpoint } from '../catalogue.ts';
import type { RequestContext } from '../context.ts';
import { resetFields } from '../ownership.ts';
import { isTrue } from '../request-info.ts';
import type { MutationOptions } from './options.ts';
import { MAX_BODY_BYTES } from './write.ts';

export interface ReadApply {
  readonly config: KubeObject;
  readonly manager: string;
  readonly force: boolean;
}

/** The body and options of an apply request, checked with upstream's words. */
export async function readApply(endpoint: Pick<Endpoint, 'gvk'>, context: RequestContext, options: MutationOptions): Promise<ReadApply> {
  if (options.fieldManager === '') {
    throw statusErrors.invalid({ group: 'meta.k8s.io', kind: 'PatchOptions', name: '' }, [fieldErrors.required('fieldManager', 'is required for apply patch')]);
  }
  const { value, problems } = parseYaml((await context.request.body(MAX_BODY_BYTES)).toString());
  if (options.fieldValidation === 'strict' && problems.length > 0) throw statusErrors.badRequest(`error strict decoding YAML: ${problems.join(', ')}`);
  if (options.fieldValidation === 'warn') context.warnings.push(...problems);
  if (!isJsonObject(value)) throw statusErrors.badRequest('error decoding YAML: the configuration should be an object');
  context.audit?.patched(value);
  const config = value as KubeObject;
  const wanted = apiVersionOf(endpoint.gvk);
  if (typeof config.apiVersion !== 'string' || config.apiVersion === '') throw statusErrors.badRequest('apiVersion must be set');
  if (typeof config.kind !== 'string' || config.kind === '') throw statusErrors.badRequest("Object 'Kind' is missing in the configuration");
  if (config.apiVersion !== wanted || config.kind !== endpoint.gvk.kind) {
    throw statusErrors.badRequest(`Incorrect version specified in apply patch. Specified patch version: ${config.apiVersion}, expected: ${wanted}`);
  }
  if ((config.metadata?.managedFields ?? []).length > 0) throw statusErrors.badRequest('metadata.managedFields must be nil');
  return { config, manager: options.fieldManager, force: isTrue(context.info.query['force'] ?? 'false') };
}

/** The live object (in the endpoint's version; undefined creates) with the configuration applied; the live one itself when nothing changes. Throws 409 for conflicts. */
export function applyTo(endpoint: Endpoint, read: ReadApply, at: { readonly live: KubeObject | undefined; readonly subresource: string; readonly nowMs: number }): KubeObject {
  const { live, subresource, nowMs } = at;
  return applyConfiguration({
    schema: endpoint.schema!, live, config: deepClone(read.config), manager: read.manager, force: read.force, nowMs,
    apiVersion: apiVersionOf(endpoint.gvk), resetFields: resetFields(endpoint, subresource), ...(subresource ? { subresource } : {}),
  });
}
