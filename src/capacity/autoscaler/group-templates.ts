/**
 * What a further Node of each group is like: one of its Ready Nodes, else the provider's template with the pods that DaemonSets put on it. A provider is asked once for a group without
 * Nodes, until the group's Nodes are gone again.
 */
import type { DaemonSet, Node, Pod } from '#api/types.ts';
import type { NodeUse, Simulation } from '#scheduler/simulation.ts';
import { errorMessage } from '#stdx/log.ts';
import { nodeLike, type TemplateNode } from '../template-node.ts';
import type { AutoscalerContext } from './context.ts';
import { isBeingDeleted, isNodeReady } from './node-facts.ts';

export type GroupTemplates = ReadonlyMap<string, TemplateNode>;

interface Asking {
  readonly simulation: Simulation;
  readonly daemonSets: readonly DaemonSet[];
}

export class TemplateSource {
  readonly #given = new Map<string, Node>();

  async read(
    { state, provider, log }: AutoscalerContext,
    { simulation, daemonSets }: Asking,
  ): Promise<GroupTemplates> {
    const members = Map.groupBy(
      simulation.nodeNames.map((name) => simulation.use(name)),
      ({ node }) => state.groupOfNode(node.metadata?.name ?? '')?.id,
    );
    const templates = new Map<string, TemplateNode>();
    for (const { id } of state.groups) {
      const live = (members.get(id) ?? []).find(isModel);
      if (live) {
        this.#given.delete(id);
        templates.set(id, live);
        continue;
      }
      const given = await this.#ask(id, () => provider.template(id)).catch((error: unknown) => {
        log.warn('error reading the template of a node group', { group: id, error: errorMessage(error) });
        return undefined;
      });
      if (given) templates.set(id, withDaemonPods(simulation, { node: given, daemonSets }));
    }
    return templates;
  }

  async #ask(group: string, ask: () => Promise<Node | undefined>): Promise<Node | undefined> {
    const known = this.#given.get(group) ?? (await ask());
    if (known) this.#given.set(group, known);
    return known;
  }
}

function isModel({ node }: NodeUse): boolean {
  return isNodeReady(node) && !isBeingDeleted(node);
}

function withDaemonPods(
  simulation: Simulation,
  { node, daemonSets }: { readonly node: Node; readonly daemonSets: readonly DaemonSet[] },
): TemplateNode {
  const name = 'template-node-of-a-provider';
  const empty = nodeLike({ node, pods: [] }, name);
  simulation.addNode(empty.node);
  const pods = daemonSets.map(daemonPod).filter((pod) => simulation.place(pod, [name]).kind === 'fits');
  simulation.removeNode(name);
  return { node, pods };
}

function daemonPod({ metadata, spec }: DaemonSet): Pod {
  const { name = '', namespace = '', uid = '' } = metadata ?? {};
  const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name, uid, controller: true };
  return {
    metadata: {
      ...spec?.template.metadata,
      name,
      namespace,
      uid: `${uid}/template`,
      ownerReferences: [owner],
    },
    ...(spec?.template.spec ? { spec: spec.template.spec } : {}),
  };
}
