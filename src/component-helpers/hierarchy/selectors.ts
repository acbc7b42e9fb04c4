/** Whether an object goes to a descendant: the mode of its kind, its propagate.hnc.x-k8s.io annotations, and what HNC never copies. Pure. */
import type { Labels } from '#machinery/labels.ts';
import { parseLabelSelector } from '#machinery/labels.ts';
import type { GroupVersionKind, KubeObject } from '#machinery/object.ts';
import { errorMessage } from '#stdx/log.ts';
import { DEPTH_SUFFIX, SELECTORS, type SynchronizationMode } from './names.ts';

/** An annotation that cannot be read; the object goes nowhere. */
export class SelectorProblem extends Error {
  override readonly name = 'SelectorProblem';
}

type GroupAndKind = Pick<GroupVersionKind, 'group' | 'kind'>;

interface Destination {
  readonly ref: GroupAndKind;
  readonly mode: SynchronizationMode;
  /** Of the namespace. */
  readonly labels: Labels;
}

const NAMESPACE_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const TRUE = ['1', 't', 'T', 'TRUE', 'true', 'True'];
const FALSE = ['0', 'f', 'F', 'FALSE', 'false', 'False'];

/** Throws SelectorProblem. */
export function shouldPropagate(object: KubeObject, { ref, mode, labels }: Destination): boolean {
  if (mode !== 'Propagate' && mode !== 'AllowPropagate') return false;
  if (isNeverPropagated(object, ref)) return false;
  const annotations = object.metadata?.annotations ?? {};
  let wanted = mode === 'Propagate';
  for (const selector of [annotations[SELECTORS.select], treeSelector(annotations[SELECTORS.treeSelect])]) {
    if (!selector) continue;
    wanted = true;
    if (!matches(selector, labels)) return false;
  }
  if (truth(annotations, SELECTORS.none)) return false;
  return truth(annotations, SELECTORS.all) || wanted;
}

function matches(selector: string, labels: Labels): boolean {
  try {
    return parseLabelSelector(selector).matches(labels);
  } catch (error) {
    throw new SelectorProblem(`while parsing "${SELECTORS.select}": ${errorMessage(error)}`);
  }
}

/** 'a', '!b' become selectors of the tree labels of those namespaces. */
function treeSelector(given: string | undefined): string | undefined {
  if (given === undefined || given === '') return undefined;
  const parts = given.split(',').map((part) => part.trim());
  for (const part of parts) {
    const name = part.replace(/^!/, '');
    if (!NAMESPACE_NAME.test(name)) throw new SelectorProblem(`"${name}" is not a valid namespace name`);
  }
  const positive = parts.filter((part) => !part.startsWith('!'));
  if (positive.length > 1)
    throw new SelectorProblem(
      `should only have one non-negated namespace, but got multiple: [${positive.join(' ')}]`,
    );
  return parts.map((part) => part + DEPTH_SUFFIX).join(', ');
}

function truth(annotations: Readonly<Record<string, string>>, name: string): boolean {
  const value = annotations[name] ?? '';
  if (value === '' || FALSE.includes(value)) return false;
  if (TRUE.includes(value)) return true;
  throw new SelectorProblem(`invalid ${name} value: "${value}" is neither true nor false`);
}

/** Copies of these would fight with who makes them, or carry an identity to another namespace. */
function isNeverPropagated({ metadata, ...rest }: KubeObject, { group, kind }: GroupAndKind): boolean {
  if ((metadata?.finalizers?.length ?? 0) > 0) return true;
  if (metadata?.annotations?.['openshift.io/description'] !== undefined) return true;
  if (group !== '') return false;
  const { type } = rest as { readonly type?: string };
  if (kind === 'Secret')
    return type === 'kubernetes.io/service-account-token' || type === 'helm.sh/release.v1';
  return kind === 'ConfigMap' && ['istio-ca-root-cert', 'kube-root-ca.crt'].includes(metadata?.name ?? '');
}
