/** Writes of objects of the kinds that propagate: copies are the controller's alone, exceptions of sources can be read, and no source overwrites another below it. */
import { DEPTH_SUFFIX, INHERITED_FROM, isExcluded, SELECTORS } from '#component-helpers/hierarchy/names.ts';
import {
  isPropagatedTo,
  SelectorProblem,
  validateException,
} from '#component-helpers/hierarchy/selectors.ts';
import { statusErrors, type StatusError } from '#machinery/errors.ts';
import { deepEqual } from '#machinery/json.ts';
import type { KubeObject } from '#machinery/object.ts';
import { requestName, type AdmissionAttributes } from '../../plugin.ts';
import type { PropagatingType } from './live-trees.ts';
import { isSource, type TreeRequest } from './new-parent.ts';

const EXCEPTIONS: readonly string[] = Object.values(SELECTORS);

/** Throws StatusError. */
export async function checkObject(request: TreeRequest): Promise<void> {
  const { attributes, trees } = request;
  const type = trees.typeOf(attributes.gvr);
  if (!type || isExcluded(attributes.namespace)) return;
  const { object, oldObject, operation } = attributes;
  const from = { before: sourceOf(oldObject), after: sourceOf(object) };
  if (from.before !== undefined || from.after !== undefined) return checkCopy(request, from);
  if (operation !== 'DELETE') return checkSource(request, type);
}

function sourceOf(object: KubeObject | undefined): string | undefined {
  return object?.metadata?.labels?.[INHERITED_FROM];
}

function checkCopy(
  { attributes, trees }: TreeRequest,
  { before, after }: { readonly before: string | undefined; readonly after: string | undefined },
): void {
  const { operation, namespace, object, oldObject } = attributes;
  if (operation === 'CREATE')
    throw refuse(attributes, `cannot create objects with the label "${INHERITED_FROM}"`);
  if (operation === 'DELETE') {
    const home = trees.namespace(namespace);
    if (!home || home.metadata.deletionTimestamp) return;
    throw refuse(attributes, `cannot delete object propagated from namespace "${before}"`);
  }
  if (before !== after) throw refuse(attributes, `cannot modify the label "${INHERITED_FROM}"`);
  if (!deepEqual(essence(object!), essence(oldObject!)))
    throw refuse(attributes, `cannot modify object propagated from namespace "${before}"`);
}

/** What a copy has of its source. */
function essence({ metadata, ...rest }: KubeObject): object {
  const { labels = {}, annotations = {} } = metadata ?? {};
  return { ...rest, apiVersion: '', kind: '', status: undefined, labels, annotations };
}

/** With 'namespace/name', as HNC names objects. */
function refuse(attributes: AdmissionAttributes, why: string): StatusError {
  return statusErrors.forbidden(nameOf(attributes), why);
}

function nameOf(attributes: AdmissionAttributes): Parameters<typeof statusErrors.forbidden>[0] {
  const { gvr, namespace } = attributes;
  return { group: gvr.group, resource: gvr.resource, name: `${namespace}/${requestName(attributes)}` };
}

async function checkSource(request: TreeRequest, type: PropagatingType): Promise<void> {
  const { attributes, forest } = request;
  const { object, oldObject, operation, namespace, internal } = attributes;
  const [before, after] = [oldObject, object].map((one) => exceptionsOf(one));
  refuseUnreadable(after!, before!);
  // What stands already stands; only other exceptions bring it where it was not.
  if (operation === 'UPDATE' && deepEqual(before, after)) return;
  if (forest.childrenOf(namespace).length === 0) return;
  await internal.caughtUp();
  const taken = request.forest
    .descendantsOf(namespace)
    .filter((below) => isTaken(request, { type, below, object: object! }))
    .toSorted();
  if (taken.length > 0)
    throw statusErrors.conflict(
      nameOf(attributes),
      `would overwrite objects in the following descendant namespace(s): ${taken.join(',')}. To fix this, choose a different name for the object, or remove the conflicting objects from the listed namespaces`,
    );
}

function isTaken(
  { attributes, forest, trees }: TreeRequest,
  {
    type,
    below,
    object,
  }: { readonly type: PropagatingType; readonly below: string; readonly object: KubeObject },
): boolean {
  const name = requestName(attributes);
  if (!isSource(attributes.internal.get(type, { namespace: below, name }))) return false;
  const labels = { ...trees.namespace(below)?.metadata.labels, ...forest.treeLabelsOf(below) };
  return isPropagatedTo(object, { ref: type.gvk, mode: type.mode, labels });
}

type Exceptions = Readonly<Record<string, string>>;

/** All annotations of the tree's groups, also those that mean nothing. */
function exceptionsOf(object: KubeObject | undefined): Exceptions {
  const all = Object.entries(object?.metadata?.annotations ?? {});
  return Object.fromEntries(all.filter(([key]) => key.split('/', 1)[0]!.endsWith(EXCEPTION_DOMAIN)));
}

const EXCEPTION_DOMAIN = DEPTH_SUFFIX.slice('.tree'.length, DEPTH_SUFFIX.indexOf('/'));

function refuseUnreadable(after: Exceptions, before: Exceptions): void {
  const stranger = Object.keys(after).find((key) => !EXCEPTIONS.includes(key));
  if (stranger !== undefined)
    throw statusErrors.badRequest(
      `invalid HNC exceptions annotation: ${stranger}, should be one of the following: ${EXCEPTIONS.join('; ')}`,
    );
  for (const [key, value] of Object.entries(after)) {
    if (value === '' || before[key] === value) continue;
    try {
      validateException(key, value);
    } catch (error) {
      if (!(error instanceof SelectorProblem)) throw error;
      throw statusErrors.badRequest(problemText(key, error));
    }
  }
  const set = EXCEPTIONS.filter((key) => after[key]);
  if (set.length > 1 && !deepEqual(after, before))
    throw statusErrors.badRequest(
      `cannot have more than one selector at the same time, but got multiple: ${set.join(', ')}`,
    );
}

function problemText(key: string, { message }: SelectorProblem): string {
  if (key === SELECTORS.select) return `invalid Kubernetes labelSelector: ${message}`;
  return key === SELECTORS.treeSelect ? `invalid HNC "${key}" value: ${message}` : message;
}
