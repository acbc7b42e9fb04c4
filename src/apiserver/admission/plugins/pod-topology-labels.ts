/** PodTopologyLabels: a pod gets the zone and region of the node it is bound to as labels, for its own use by the downward API. */
import type { Pod } from '#api/types.ts';
import type { KubeObject } from '#machinery/object.ts';
import { isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const LABELS = ['topology.kubernetes.io/zone', 'topology.kubernetes.io/region'] as const;

export const podTopologyLabels: AdmissionPlugin = {
  name: 'PodTopologyLabels',
  handles: (operation, target) =>
    operation === 'CREATE' && (isTarget(target, '', 'pods') || isTarget(target, '', 'pods', 'binding')),
  admit(attributes) {
    const { object, subresource } = attributes;
    const nodeName = subresource === 'binding' ? bindingTarget(object!) : (object as Pod).spec?.nodeName;
    if (!nodeName) return;
    const labels = computeLabels(attributes, nodeName);
    if (!labels) return;
    const meta = (object!.metadata ??= {});
    meta.labels = { ...meta.labels, ...labels };
  },
};

/** Bindings are to nodes. */
function bindingTarget(binding: KubeObject): string | undefined {
  const { kind, name } = (binding['target'] ?? {}) as { kind?: string; name?: string };
  return kind === undefined || kind === '' || kind === 'Node' ? name : undefined;
}

/** Undefined when the node is not there or has none. */
function computeLabels(
  { internal }: AdmissionAttributes,
  nodeName: string,
): Record<string, string> | undefined {
  const labels = internal.get({ group: '', resource: 'nodes' }, { name: nodeName })?.metadata?.labels ?? {};
  const found = LABELS.filter((name) => labels[name] !== undefined);
  return found.length === 0 ? undefined : Object.fromEntries(found.map((name) => [name, labels[name]!]));
}
