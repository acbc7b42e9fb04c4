/**
 * What makes and removes machines: the interface to a cloud or a virtualization platform, after upstream's CloudProvider. Machines of one group are alike; a group knows how many it should have
 * (its target), and what instances it has, of which some are no Nodes yet.
 *
 *   refresh() ─► groups() ─► targetSize, instances, template …      read once in each loop
 *   increase, deleteNodes, decreaseTarget                           one call at a time for each group
 *
 * The autoscaler believes no answer more than it has to: a Node that is Ready is never forgotten because a provider does not list it.
 */
import type { Node } from '#api/types.ts';

export interface ProviderGroup {
  /** Unique within the provider. */
  readonly id: string;
  readonly minSize: number;
  readonly maxSize: number;
}

/** 'out-of-resources': a quota or a stock-out, as upstream's class 1; else 'other'. */
type InstanceErrorClass = 'out-of-resources' | 'other';

interface InstanceError {
  readonly errorClass: InstanceErrorClass;
  readonly code: string;
  readonly message: string;
}

export interface Instance {
  /** spec.providerID of its Node, or the Node's name where Nodes have none. */
  readonly id: string;
  readonly state: 'creating' | 'running' | 'deleting' | 'unknown';
  /** While it is created: it will not become a Node. */
  readonly error?: InstanceError;
}

/** What is deleted: a Node, or an instance that did not become one (name is its ID then). */
export interface ProviderNode {
  readonly name: string;
  readonly providerID: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

/** What a group may have otherwise than the cluster. */
export interface GroupOptions {
  readonly scaleDownUtilizationThreshold: number;
  readonly scaleDownUnneededMs: number;
  readonly scaleDownUnreadyMs: number;
  readonly maxNodeProvisionMs: number;
  readonly ignoreDaemonSetsUtilization: boolean;
}

/**
 * Every call may reject, at best with a ProviderError; the loop counts it and goes on without what it asked for. Nothing is retried within a loop. A call that does not end is given up by bounded-provider.ts,
 * and may then still take effect: the next refresh() shows it.
 */
export interface NodeProvider {
  /** As --cloud-provider names it. */
  readonly name: string;
  /** Before each loop: answers of the others are as of now. */
  refresh(): Promise<void>;
  groups(): Promise<readonly ProviderGroup[]>;
  /** Undefined: of no group. Such Nodes are left alone. */
  groupOf(node: ProviderNode): Promise<string | undefined>;
  targetSize(group: string): Promise<number>;
  instances(group: string): Promise<readonly Instance[]>;
  /** What a Node of a group without any is like. Undefined: nobody knows. */
  template(group: string): Promise<Node | undefined>;
  /** delta > 0. Resolves when the target is changed. */
  increase(group: string, delta: number): Promise<void>;
  /** And decreases the target by as many. Resolves when the target is changed; instances may be there for a while. */
  deleteNodes(group: string, nodes: readonly ProviderNode[]): Promise<void>;
  /** delta < 0: takes back machines that were asked for and do not exist. */
  decreaseTarget(group: string, delta: number): Promise<void>;
  /** Of one node for an hour, in a unit that all groups share; for the expander price. */
  price?(group: string, template: Node): Promise<number | undefined>;
  options?(group: string, defaults: GroupOptions): Promise<GroupOptions>;
  /** Ends connections and whatever runs for it. Machines stay. */
  close(): Promise<void>;
}

type ProviderErrorCode =
  /** It did not answer in time. */
  | 'timeout'
  /** It cannot be reached, or refused. */
  | 'failed'
  /** It answered with something that the contract does not know. */
  | 'bad-answer'
  /** It does not have this call. */
  | 'unsupported';

export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly code: ProviderErrorCode;
  constructor(code: ProviderErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function providerNode({ metadata, spec }: Node): ProviderNode {
  const { name = '', labels = {}, annotations = {} } = metadata ?? {};
  return { name, providerID: spec?.providerID ?? '', labels, annotations };
}

/** An instance that did not become a Node. */
export function instanceNode(id: string): ProviderNode {
  return { name: id, providerID: id, labels: {}, annotations: {} };
}

/** How an instance and its Node know of each other. */
export function instanceIdOf({ name, providerID }: Pick<ProviderNode, 'name' | 'providerID'>): string {
  return providerID === '' ? name : providerID;
}
