/** Whether an object goes to a descendant: the mode of its kind, its propagate.hnc.x-k8s.io annotations, and what HNC never copies. Pure. */
import type { Labels } from '#machinery/labels.ts';
import { parseLabelSelector } from '#machinery/labels.ts';
import type { GroupVersionKind, KubeObject } from '#machinery/object.ts';
import { validateDNS1123Label } from '#machinery/names.ts';
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

/** As shouldPropagate; one whose annotations cannot be read goes nowhere. */
export function isPropagatedTo(object: KubeObject, destination: Destination): boolean {
  try {
    return shouldPropagate(object, destination);
  } catch (error) {
    if (error instanceof SelectorProblem) return false;
    throw error;
  }
}

/** Throws SelectorProblem for a value of one of the annotations that cannot be read. */
export function validateException(annotation: string, value: string): void {
  if (annotation === SELECTORS.select) matches(value, {});
  else if (annotation === SELECTORS.treeSelect) treeSelector(value);
  else truth({ [annotation]: value }, annotation);
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
    const problems = validateDNS1123Label(name);
    if (problems.length > 0)
      throw new SelectorProblem(`"${name}" is not a valid namespace name: ${problems.join('; ')}`);
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
  throw new SelectorProblem(
    `invalid ${name} value: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`,
  );
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
