/**
 * PodNodeSelector: adds the node selector of the namespace's annotation (else the cluster's default) to pods, and refuses labels that are not in
 * the administrator's list for the namespace. Upstream's configuration: podNodeSelectorPluginConfig.
 */
import type { Pod } from '#api/types.ts';
import { forbid, isTarget } from '../forbid.ts';
import type { AdmissionAttributes, AdmissionPlugin } from '../plugin.ts';

const ANNOTATION = 'scheduler.alpha.kubernetes.io/node-selector';
const CLUSTER_DEFAULT = 'clusterDefaultNodeSelector';

type Selector = Readonly<Record<string, string>>;

/** Allowed labels by namespace, and clusterDefaultNodeSelector. */
export type PodNodeSelectorOptions = Readonly<Record<string, Selector>>;

export function podNodeSelector(options: PodNodeSelectorOptions = {}): AdmissionPlugin {
  const selectorFor = (attributes: AdmissionAttributes): Selector => {
    const annotated = attributes.internal.get(
      { group: '', resource: 'namespaces' },
      { name: attributes.namespace },
    )?.metadata?.annotations?.[ANNOTATION];
    if (annotated === undefined) return own(options, CLUSTER_DEFAULT) ?? {};
    const selector = parseSelector(annotated);
    if (!selector)
      throw forbid(
        attributes,
        `the annotation ${ANNOTATION} of namespace ${attributes.namespace} is no node selector: ${JSON.stringify(annotated)}`,
      );
    return selector;
  };
  const check = (attributes: AdmissionAttributes, selector: Selector): Readonly<Record<string, string>> => {
    const asked = (attributes.object as Pod).spec?.nodeSelector ?? {};
    if (Object.entries(selector).some(([key, value]) => asked[key] !== undefined && asked[key] !== value))
      throw forbid(attributes, 'pod node label selector conflicts with its namespace node label selector');
    return asked;
  };
  return {
    name: 'PodNodeSelector',
    handles: (operation, target) => operation === 'CREATE' && isTarget(target, '', 'pods'),
    admit(attributes) {
      const selector = selectorFor(attributes);
      const asked = check(attributes, selector);
      const { spec } = attributes.object as Pod;
      if (spec && Object.keys(selector).length > 0) spec.nodeSelector = { ...asked, ...selector };
    },
    validate(attributes) {
      const asked = check(attributes, selectorFor(attributes));
      const allowed = own(options, attributes.namespace) ?? {};
      if (
        Object.keys(allowed).length > 0 &&
        Object.entries(asked).some(([key, value]) => allowed[key] !== value)
      )
        throw forbid(attributes, 'pod node label selector labels conflict with its namespace whitelist');
    },
  };
}

function own(options: PodNodeSelectorOptions, name: string): Selector | undefined {
  return Object.hasOwn(options, name) ? options[name] : undefined;
}

/** 'a=1,b=2'; undefined for anything else. */
export function parseSelector(text: string): Selector | undefined {
  const selector: Record<string, string> = {};
  for (const part of text
    .split(',')
    .map((piece) => piece.trim())
    .filter((piece) => piece !== '')) {
    const [, key = '', value = ''] = /^([^=!\s]+)\s*={1,2}\s*([^=\s]*)$/.exec(part) ?? [];
    if (key === '') return undefined;
    selector[key] = value;
  }
  return selector;
}
