/**
 * Whether a namespace may have another parent: no cycle, nothing overwritten below, and the user is an administrator of what the change concerns. After HNC's rules: the
 * most recent common ancestor where old and new parent are in one tree, or else the root of the old tree and the new parent.
 */
import type { Forest } from '#component-helpers/hierarchy/forest.ts';
import { INHERITED_FROM } from '#component-helpers/hierarchy/names.ts';
import { isPropagatedTo } from '#component-helpers/hierarchy/selectors.ts';
import { statusErrors, type StatusError } from '#machinery/errors.ts';
import type { GroupVersionKind, Stored } from '#machinery/object.ts';
import type { Authorizer } from '../../../authz/authorizer.ts';
import { forbid } from '../../forbid.ts';
import { requestName, type AdmissionAttributes } from '../../plugin.ts';
import { HIERARCHIES, type LiveTrees, type PropagatingType } from './live-trees.ts';

/** A request about trees, with what decides it. */
export interface TreeRequest {
  readonly attributes: AdmissionAttributes;
  readonly trees: LiveTrees;
  readonly forest: Forest;
  readonly authorizer: Authorizer;
}

interface Move {
  readonly namespace: string;
  /** Undefined: a root. */
  readonly from: string | undefined;
  readonly to: string | undefined;
}

/** Throws StatusError. */
export async function checkMove(request: TreeRequest, move: Move): Promise<void> {
  if (move.from === move.to) return;
  refuseCycle(request, move);
  refuseOverwriting(request, move);
  for (const { namespace, why } of authorityNeeded(request.forest, move))
    await requireAdministrator(request, { namespace, why });
}

export function conflict({ attributes }: Pick<TreeRequest, 'attributes'>, why: string): StatusError {
  const { gvr } = attributes;
  return statusErrors.conflict(
    { group: gvr.group, resource: gvr.resource, name: requestName(attributes) },
    why,
  );
}

function refuseCycle(request: TreeRequest, { namespace, to }: Move): void {
  if (to === undefined) return;
  if (to === namespace) throw conflict(request, `illegal parent: "${to}" cannot be set as its own parent`);
  const upwards = [to, ...request.forest.ancestorsOf(to).toReversed()];
  const found = upwards.indexOf(namespace);
  if (found < 0) return;
  const ancestry = upwards.slice(0, found + 1).join(' -> ');
  throw conflict(
    request,
    `illegal parent: cycle when making "${to}" the parent of "${namespace}": current ancestry is ${ancestry}`,
  );
}

/** An object below that has the name of one that would come down from the new ancestors. */
function refuseOverwriting(request: TreeRequest, move: Move): void {
  if (move.to === undefined || !request.forest.get(move.namespace)) return;
  const after = request.forest.withParent(move.namespace, move.to);
  const found = request.trees.types.flatMap((type) => overwritten(request, { type, after, move }));
  if (found.length === 0) return;
  throw conflict(
    request,
    `Cannot update hierarchy because it would overwrite the following object(s):\n  * ${found.join('\n  * ')}\nTo fix this, please rename or remove the conflicting objects first.`,
  );
}

function overwritten(
  { attributes: { internal }, trees }: TreeRequest,
  {
    type,
    after,
    move: { namespace, to },
  }: { readonly type: PropagatingType; readonly after: Forest; readonly move: Move },
): string[] {
  const above = [...after.ancestorsOf(to!), to!].flatMap((ancestor) =>
    sourcesIn({ internal, type }, ancestor),
  );
  if (above.length === 0) return [];
  return [...after.descendantsOf(namespace), namespace].toSorted().flatMap((below) => {
    const labels = { ...trees.namespace(below)?.metadata.labels, ...after.treeLabelsOf(below) };
    return above
      .filter(({ metadata: { name } }) => isSource(internal.get(type, { namespace: below, name })))
      .filter((source) => isPropagatedTo(source, { ref: type.gvk, mode: type.mode, labels }))
      .map(({ metadata }) => `Namespace "${below}": ${metadata.name} (${gvkString(type.gvk)})`);
  });
}

function sourcesIn(
  { internal, type }: { readonly internal: AdmissionAttributes['internal']; readonly type: PropagatingType },
  namespace: string,
): Stored[] {
  return internal.list(type, { namespace }).filter(isSource);
}

export function isSource(object: Stored | undefined): boolean {
  return object !== undefined && object.metadata.labels?.[INHERITED_FROM] === undefined;
}

export function gvkString({ group, version, kind }: GroupVersionKind): string {
  return `${group}/${version}, Kind=${kind}`;
}

interface Authority {
  readonly namespace: string;
  readonly why: string;
}

function authorityNeeded(forest: Forest, { from, to }: Move): Authority[] {
  const proposed = to === undefined ? [] : [{ namespace: to, why: 'proposed parent' }];
  // A parent that is gone or unmanaged is nobody's any more.
  if (from === undefined || !forest.get(from)) return proposed;
  const before = [...forest.ancestorsOf(from), from];
  const root = { namespace: before[0]!, why: 'current root ancestor' };
  if (to === undefined) return [root];
  const after = [...forest.ancestorsOf(to), to];
  const common = before.filter((name, depth) => after[depth] === name).at(-1);
  if (common === undefined || before[0] !== after[0]) return [root, ...proposed];
  const why = `most recent common ancestor of current parent "${from}" and proposed parent "${to}"`;
  return [{ namespace: common, why }];
}

/** Who may write its HierarchyConfiguration, as a SubjectAccessReview answers. */
async function requireAdministrator(
  { attributes, authorizer }: TreeRequest,
  { namespace, why }: Authority,
): Promise<void> {
  const { user } = attributes;
  const { decision, error } = await authorizer.authorize({
    ...HIERARCHIES,
    user,
    verb: 'update',
    isResourceRequest: true,
    version: '*',
    subresource: '',
    namespace,
    name: '',
    path: '',
  });
  if (decision === 'allow') return;
  if (error !== undefined)
    throw statusErrors.internal(`while checking authz for "${namespace}", the ${why}: ${error}`);
  throw forbid(
    attributes,
    `User ${user.name} is not authorized to modify the subtree of ${namespace}, which is the ${why}`,
  );
}
