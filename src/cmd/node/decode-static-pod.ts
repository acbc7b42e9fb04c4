/** A static pod's manifest as the API server would take it: YAML or JSON, decoded by the schema, with defaults, validated. */
import { schemaForKind } from '#api/schemas.ts';
import type { Pod } from '#api/types.ts';
import { decodeObject } from '#machinery/decode.ts';
import { fieldErrorsText } from '#machinery/errors.ts';
import { isJsonObject } from '#machinery/json.ts';
import { validateObjectMeta } from '#machinery/metadata-validation.ts';
import { parseYaml } from '#machinery/yaml.ts';
import { pods } from '#resources/core/pods.ts';
import type { HookContext } from '#resources/define.ts';
import { buildResource } from '#resources/resource.ts';

const POD = { group: '', version: 'v1', kind: 'Pod' };
const RESOURCE = buildResource(pods);
const DEFAULT_NAMESPACE = 'default';
/** Validation of a pod needs nothing but the pod. */
const CONTEXT: HookContext = {
  user: { name: '', groups: [] },
  nowMs: 0,
  dryRun: true,
  warn: () => {},
  find: () => undefined,
};

/** Throws an Error with the reason and field paths. */
export function decodeStaticPod(text: string): Pod {
  const { value } = parseYaml(text);
  if (!isJsonObject(value)) throw new Error('the file has no object; it should be a Pod of apiVersion v1');
  if (value['apiVersion'] !== 'v1' || value['kind'] !== 'Pod')
    throw new Error(
      `the file has kind ${JSON.stringify(value['kind'])} of apiVersion ${JSON.stringify(value['apiVersion'])}; it should be a Pod of apiVersion v1`,
    );
  const pod = decodeObject(schemaForKind(POD)!, value, 'ignore').object as Pod;
  pod.metadata ??= {};
  pod.metadata.namespace ||= DEFAULT_NAMESPACE;
  RESOURCE.applyDefaults(pod);
  const errors = [
    ...validateObjectMeta(pod.metadata, { namespaced: true, nameRule: RESOURCE.behaviour.nameRule }),
    ...RESOURCE.validate(pod, CONTEXT),
  ];
  if (errors.length > 0) throw new Error(fieldErrorsText(errors));
  return pod;
}
