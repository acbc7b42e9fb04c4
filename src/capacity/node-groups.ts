/**
 * Node groups: machines of one kind, of which there can be more. Kind NodeGroups of capacity.capstan.dev/v1alpha1. A group is made of the Nodes that its
 * selector takes; one of them is what a further one is like, and without any the template is.
 */
import type { Node } from '#api/types.ts';
import { parseLabelSelector, type LabelSelector } from '#machinery/labels.ts';
import { ConfigError, configKind, readConfig } from '#machinery/config/read.ts';
import { flag, integer, listOf, mapOf, real, struct, text } from '#machinery/config/schema.ts';
import { Quantity } from '#machinery/quantity.ts';

export interface NodeGroup {
  readonly name: string;
  /** Default 0. The cluster autoscaler removes no more. */
  readonly minSize: number;
  readonly maxSize: number;
  readonly selector: LabelSelector;
  /** Of one node for an hour, in any unit that all groups share. */
  readonly price: number | undefined;
  /** For the expander priority: the highest wins. */
  readonly priority: number;
  /** What a node of a group without any is like. */
  readonly template: Node | undefined;
}

export interface NodeGroups {
  readonly expanders: readonly Expander[];
  /** Similar groups grow together. */
  readonly balanceSimilarGroups: boolean;
  /** Of the whole cluster; 0: no limit. */
  readonly maxNodesTotal: number;
  readonly groups: readonly NodeGroup[];
}

/** Upstream's, asked in turn until one option is left; what is left then is chosen from at random. */
export const EXPANDERS = ['least-waste', 'most-pods', 'price', 'priority', 'random'] as const;
export type Expander = (typeof EXPANDERS)[number];

interface Given {
  readonly expanders?: readonly string[];
  readonly balanceSimilarGroups?: boolean;
  readonly maxNodesTotal?: number;
  readonly groups?: readonly {
    readonly name?: string;
    readonly selector?: string;
    readonly minSize?: number;
    readonly maxSize?: number;
    readonly price?: number;
    readonly priority?: number;
    readonly template?: GivenTemplate;
  }[];
}

/** What a Node is like, as files and scripts say it. */
export interface GivenTemplate {
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly {
    readonly key?: string;
    readonly value?: string;
    readonly effect?: string;
  }[];
  readonly allocatable?: Readonly<Record<string, string>>;
}

type GivenGroup = NonNullable<Given['groups']>[number];

export const TEMPLATE_SCHEMA = struct('NodeTemplate', {
  labels: mapOf(text),
  taints: listOf(struct('Taint', { key: text, value: text, effect: text })),
  allocatable: mapOf(text),
});

const KIND = configKind(
  { group: 'capacity.capstan.dev', versions: ['v1alpha1'], kind: 'NodeGroups' },
  {
    expanders: listOf(text),
    balanceSimilarGroups: flag,
    maxNodesTotal: integer,
    groups: listOf(
      struct('NodeGroup', {
        name: text,
        selector: text,
        minSize: integer,
        maxSize: integer,
        price: real,
        priority: integer,
        template: TEMPLATE_SCHEMA,
      }),
    ),
  },
);

const MAX_GROUPS = 500;

/** Throws ConfigError. */
export function parseNodeGroups(content: string): NodeGroups {
  const given = readConfig<Given>(content, [KIND]);
  const { expanders = ['least-waste'], balanceSimilarGroups = false, maxNodesTotal = 0, groups = [] } = given;
  const strange = expanders.find((one) => !EXPANDERS.includes(one as Expander));
  if (strange !== undefined)
    throw new ConfigError(`expanders has ${strange}; they should be of ${EXPANDERS.join(', ')}`);
  if (maxNodesTotal < 0)
    throw new ConfigError(`maxNodesTotal is ${maxNodesTotal}; it should not be negative (0: no limit)`);
  if (groups.length === 0 || groups.length > MAX_GROUPS)
    throw new ConfigError(`groups has ${groups.length} entries; it should have between 1 and ${MAX_GROUPS}`);
  const names = new Set<string>();
  return {
    expanders: expanders as readonly Expander[],
    balanceSimilarGroups,
    maxNodesTotal,
    groups: groups.map((group, index) => {
      const parsed = groupOf(group, `groups[${index}]`);
      if (names.has(parsed.name))
        throw new ConfigError(`groups[${index}].name ${parsed.name} is there twice`);
      names.add(parsed.name);
      if (parsed.price === undefined && expanders.includes('price'))
        throw new ConfigError(
          `groups[${index}].price is missing; the expander price needs one of each group`,
        );
      return parsed;
    }),
  };
}

function groupOf(
  { name, selector = ownSelector(name), minSize = 0, maxSize, price, priority = 0, template }: GivenGroup,
  path: string,
): NodeGroup {
  if (!name) throw new ConfigError(`${path}.name is missing`);
  if (selector === '')
    throw new ConfigError(`${path}.selector is empty; it should be of labels of its Nodes`);
  if (maxSize === undefined || maxSize < 0)
    throw new ConfigError(`${path}.maxSize is ${maxSize}; it should be a number of Nodes`);
  if (minSize < 0 || minSize > maxSize)
    throw new ConfigError(`${path}.minSize is ${minSize}; it should be between 0 and maxSize ${maxSize}`);
  if (price !== undefined && !(price >= 0))
    throw new ConfigError(`${path}.price is ${price}; it should not be negative`);
  return {
    name,
    minSize,
    maxSize,
    selector: selectorOf(selector, path),
    price,
    priority,
    template: template && templateOf(template, `${path}.template`),
  };
}

/** A label that providers give to their Nodes. */
export const GROUP_LABEL = 'capacity.capstan.dev/node-group';

function ownSelector(name: string | undefined): string {
  return `${GROUP_LABEL}=${name}`;
}

function selectorOf(selector: string, path: string): LabelSelector {
  try {
    return parseLabelSelector(selector);
  } catch (error) {
    throw new ConfigError(`${path}.selector: ${(error as Error).message}`, { cause: error });
  }
}

const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

/** Throws ConfigError. path: where it is, for the message. */
export function templateOf(
  { labels = {}, taints = [], allocatable = {} }: GivenTemplate,
  path: string,
): Node {
  for (const name of ['cpu', 'memory', 'pods'])
    if (allocatable[name] === undefined) throw new ConfigError(`${path}.allocatable.${name} is missing`);
  for (const [name, quantity] of Object.entries(allocatable))
    try {
      Quantity.parse(quantity);
    } catch (error) {
      throw new ConfigError(`${path}.allocatable.${name} is ${quantity}; it should be a quantity`, {
        cause: error,
      });
    }
  return {
    metadata: { name: 'template', labels },
    spec: {
      taints: taints.map(({ key, value, effect = '' }) => {
        if (!key || !EFFECTS.includes(effect))
          throw new ConfigError(
            `${path}.taints has key ${key} and effect ${effect}; the effect should be one of ${EFFECTS.join(', ')}`,
          );
        return { key, effect, ...(value === undefined ? {} : { value }) };
      }),
    },
    status: { capacity: allocatable, allocatable },
  };
}
