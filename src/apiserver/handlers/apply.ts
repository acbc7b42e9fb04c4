/**
 * Server-side apply: PATCH with the fields that one manager wants to own. #machinery/apply merges; all other writes maintain managedFields too
 * (field-manager.ts).
 */
import { Turn } from '#stdx/turn.ts';
import { fieldErrors, isStatusError, statusErrors } from '#machinery/errors.ts';
import { applyConfiguration } from '#machinery/apply/apply-configuration.ts';
import { deepClone, goTypeName, isJsonObject, type JsonObject } from '#machinery/json.ts';
import { parseApiVersion, type GroupVersionKind, type KubeObject } from '#machinery/object.ts';
import type { ParsedYaml } from '#machinery/yaml.ts';
import type { WriteContext } from '#machinery/apply/managed-fields.ts';
import type { Endpoint } from '../registry/endpoints.ts';
import type { RequestContext } from '../context.ts';
import { ownershipContext } from '../registry/field-manager.ts';
import { readYaml, type YamlReading } from '../http/yaml-reader.ts';
import { isTrue } from '../http/request-info.ts';
import type { MutationOptions } from '../registry/verb-options.ts';
import { MAX_BODY_BYTES } from '../registry/body.ts';

interface ReadApply {
  readonly config: KubeObject;
  readonly manager: string;
  readonly force: boolean;
  /** Field validation of the text: an error or warnings. Called after the configuration was applied successfully. */
  checkText(): void;
}

/** The body and options of an apply request, checked with upstream's words. */
export async function readApply(
  { gvk }: Pick<Endpoint, 'gvk'>,
  context: RequestContext,
  options: MutationOptions,
): Promise<ReadApply> {
  if (options.fieldManager === '') {
    throw statusErrors.invalid({ group: 'meta.k8s.io', kind: 'PatchOptions', name: '' }, [
      fieldErrors.required('fieldManager', 'is required for apply patch'),
    ]);
  }
  const text = (await context.request.body(MAX_BODY_BYTES)).toString();
  const turn = new Turn();
  const { value, problems } = readConfiguration(await readYaml(text));
  if (turn.isLong) await turn.pause();
  context.audit?.patched(value);
  checkKind(value, gvk);
  const config = value as KubeObject;
  // Ignore any value: clients may not set it. A value that is not a list fails the type check.
  const { managedFields } = (isJsonObject(config.metadata) ? config.metadata : {}) as {
    managedFields?: unknown;
  };
  if (Array.isArray(managedFields)) throw statusErrors.badRequest('metadata.managedFields must be nil');
  let isSaid = false;
  return {
    config,
    manager: options.fieldManager,
    force: isTrue(context.info.query['force'] ?? 'false'),
    checkText: () => {
      if (isSaid) return;
      isSaid = true;
      if (options.fieldValidation === 'strict' && problems.length > 0)
        throw statusErrors.badRequest(
          `error strict decoding YAML: error converting YAML to JSON: ${problems.join(', ')}`,
        );
      if (options.fieldValidation === 'warn')
        for (const problem of problems)
          context.warnings.push(
            ...problem
              .split('\n')
              .slice(1)
              .map((line) => line.trim()),
          );
    },
  };
}

/** null is an empty configuration. */
function readConfiguration(yaml: YamlReading): {
  readonly value: JsonObject;
  readonly problems: readonly string[];
} {
  let read: ParsedYaml;
  try {
    read = yaml();
  } catch (error) {
    throw isStatusError(error, 'BadRequest')
      ? statusErrors.badRequest(`error decoding YAML: ${error.message}`)
      : error;
  }
  const value = read.value ?? {};
  if (!isJsonObject(value))
    throw statusErrors.badRequest(
      `error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal ${goTypeName(value)} into Go value of type map[string]interface {}`,
    );
  return { value, problems: read.problems };
}

function checkKind({ apiVersion, kind }: JsonObject, expected: GroupVersionKind): void {
  const given = {
    ...parseApiVersion(typeof apiVersion === 'string' ? apiVersion : ''),
    kind: typeof kind === 'string' ? kind : '',
  };
  if (given.group === expected.group && given.version === expected.version && given.kind === expected.kind)
    return;
  throw statusErrors.badRequest(`invalid object type: ${given.group}/${given.version}, Kind=${given.kind}`);
}

/** The live object (in the endpoint's version; undefined creates) with the configuration applied; the live one itself when nothing changes. Rejects with 409 for conflicts. */
export async function applyTo(
  endpoint: Endpoint,
  read: ReadApply,
  at: { readonly live: KubeObject | undefined; readonly subresource: string; readonly nowMs: number },
): Promise<KubeObject> {
  const { live, subresource, nowMs } = at;
  return applyIn(ownershipContext(endpoint, { manager: read.manager, subresource, nowMs })!, read, live);
}

/** As applyTo, of whatever kind. */
export async function applyIn(
  context: WriteContext,
  read: ReadApply,
  live: KubeObject | undefined,
): Promise<KubeObject> {
  const applied = await applyConfiguration({
    ...context,
    live,
    config: deepClone(read.config),
    force: read.force,
  });
  read.checkText();
  return applied;
}
