/**
 * The provider of simulated nodes: a machine is there at once, and lives in this process. For trying out the autoscaler, and for tests. Nodes that an earlier process made are taken
 * over: their label says which group they are of.
 */
import type { NodeProvider, ProviderNode } from '#capacity/autoscaler/provider.ts';
import { ProviderError } from '#capacity/autoscaler/provider.ts';
import { GROUP_LABEL, type NodeGroup, type NodeGroups } from '#capacity/node-groups.ts';
import { nodes } from '#client/refs.ts';
import { createSimulatedNodes, type SimulatedNodesComponent } from '#node/simulated/simulated-nodes.ts';
import type { ComponentContext } from '#runtime/component.ts';
import { randomSuffix, realRandom, type Random } from '#stdx/random.ts';
import { KUBERNETES_VERSION } from '../version.ts';

interface SimulatedProviderOptions extends Pick<ComponentContext, 'api' | 'clock' | 'log' | 'identity'> {
  readonly config: NodeGroups;
  readonly random?: Random | undefined;
}

/** Each group needs a template. */
export async function createSimulatedProvider({
  config,
  random = realRandom,
  ...context
}: SimulatedProviderOptions): Promise<NodeProvider> {
  const component = createSimulatedNodes({
    ...context,
    names: [],
    kubeletVersion: KUBERNETES_VERSION,
    canGrow: true,
  });
  await component.start();
  const provider = new SimulatedProvider({ config, component, random });
  const { items } = await context.api.list(nodes, { labelSelector: GROUP_LABEL });
  await Promise.all(
    items.map(({ metadata }) => provider.adopt(metadata.name, metadata.labels?.[GROUP_LABEL] ?? '')),
  );
  return provider;
}

const SCHEME = 'simulated://';

class SimulatedProvider implements NodeProvider {
  readonly name = 'simulated';
  readonly #groups: ReadonlyMap<string, NodeGroup>;
  readonly #component: SimulatedNodesComponent;
  readonly #random: Random;
  /** Groups by the names of machines. */
  readonly #machines = new Map<string, string>();

  constructor({
    config,
    component,
    random,
  }: {
    readonly config: NodeGroups;
    readonly component: SimulatedNodesComponent;
    readonly random: Random;
  }) {
    this.#groups = new Map(config.groups.map((group) => [group.name, group]));
    this.#component = component;
    this.#random = random;
  }

  async adopt(name: string, group: string): Promise<void> {
    if (this.#groups.has(group)) await this.#start(name, group);
  }

  async refresh(): Promise<void> {}

  groups() {
    return Promise.resolve(
      [...this.#groups.values()].map(({ name: id, minSize, maxSize }) => ({ id, minSize, maxSize })),
    );
  }

  groupOf(node: ProviderNode) {
    return Promise.resolve(this.#machines.get(nameOf(node)));
  }

  targetSize(group: string) {
    return Promise.resolve(this.#namesOf(group).length);
  }

  instances(group: string) {
    return Promise.resolve(
      this.#namesOf(group).map((name) => ({ id: idOf(group, name), state: 'running' as const })),
    );
  }

  template(group: string) {
    const { template } = this.#find(group);
    const labels = { ...template?.metadata?.labels, [GROUP_LABEL]: group };
    return Promise.resolve(template && { ...template, metadata: { ...template.metadata, labels } });
  }

  async increase(group: string, delta: number): Promise<void> {
    const { maxSize } = this.#find(group);
    const size = this.#namesOf(group).length + delta;
    if (size > maxSize)
      throw new ProviderError('failed', `group ${group} would have ${size} nodes, of at most ${maxSize}`);
    const names = Array.from({ length: delta }, () => `${group}-${randomSuffix(5, this.#random)}`);
    await Promise.all(names.map((name) => this.#start(name, group)));
  }

  async deleteNodes(group: string, gone: readonly ProviderNode[]): Promise<void> {
    const names = gone.map(nameOf);
    for (const name of names)
      if (this.#machines.get(name) !== group)
        throw new ProviderError('failed', `group ${group} has no machine ${name}`);
    for (const name of names) {
      this.#component.remove(name);
      this.#machines.delete(name);
    }
  }

  async decreaseTarget(group: string): Promise<void> {
    throw new ProviderError('failed', `all machines of group ${group} are there`);
  }

  price(group: string) {
    return Promise.resolve(this.#find(group).price);
  }

  close(): Promise<void> {
    return this.#component.stop();
  }

  #namesOf(group: string): readonly string[] {
    return [...this.#machines].flatMap(([name, of]) => (of === group ? [name] : []));
  }

  #find(group: string): NodeGroup {
    const found = this.#groups.get(group);
    if (!found) throw new ProviderError('failed', `there is no group ${group}`);
    return found;
  }

  async #start(name: string, group: string): Promise<void> {
    this.#machines.set(name, group);
    const { template } = this.#find(group);
    const { labels } = template?.metadata ?? {};
    const taints = template?.spec?.taints ?? [];
    await this.#component.add({
      name,
      providerID: idOf(group, name),
      labels: { ...labels, [GROUP_LABEL]: group },
      capacity: template?.status?.allocatable ?? {},
      ...(taints.length > 0 ? { taints } : {}),
    });
  }
}

function idOf(group: string, name: string): string {
  return `${SCHEME}${group}/${name}`;
}

/** Of a Node, or of an instance that is called by its ID. */
function nameOf({ name, providerID }: ProviderNode): string {
  return providerID.startsWith(SCHEME) ? providerID.slice(providerID.lastIndexOf('/') + 1) : name;
}
