/**
 * The provider that is a program of the user's: for virtualization platforms and whatever else makes machines. It is called with a verb, reads JSON on its standard input and answers with JSON on its standard
 * output; another exit code than 0 is a failure, and standard error says why.
 *
 *   PROGRAM list            <  {}                                        >  {"groups": [{"id", "minSize", "maxSize", "targetSize", "price"?, "instances": [{"id", "state"?, "error"?}]}]}
 *   PROGRAM increase        <  {"group", "delta"}                        >  {}
 *   PROGRAM delete          <  {"group", "instances": [{"id", "node"}]}  >  {}
 *   PROGRAM decrease-target <  {"group", "delta"}                        >  {}
 *   PROGRAM template        <  {"group"}                                 >  {"template": {"labels", "taints", "allocatable"}}, or {}
 */
import { ConfigError, configKind, decodeStrictly, parseConfig, readConfig } from '#machinery/config/read.ts';
import {
  duration,
  integer,
  listOf,
  mapOf,
  objectSchema,
  real,
  struct,
  text,
} from '#machinery/config/schema.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import type { ObjectSchema } from '#machinery/schema.ts';
import { errorMessage } from '#stdx/log.ts';
import { runFilter } from '#stdx/run-filter.ts';
import {
  instanceIdOf,
  ProviderError,
  type Instance,
  type NodeProvider,
  type ProviderGroup,
  type ProviderNode,
} from './autoscaler/provider.ts';
import { TEMPLATE_SCHEMA, templateOf, type GivenTemplate } from './node-groups.ts';

interface ScriptConfig {
  readonly command: readonly [string, ...string[]];
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

interface GivenConfig {
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly timeout?: string;
}

const KIND = configKind(
  { group: 'capacity.capstan.dev', versions: ['v1alpha1'], kind: 'ScriptProvider' },
  { command: listOf(text), env: mapOf(text), timeout: duration },
);
const DEFAULT_TIMEOUT = '30s';

/** Throws ConfigError. */
export function parseScriptConfig(content: string): ScriptConfig {
  const { command = [], env = {}, timeout = DEFAULT_TIMEOUT } = readConfig<GivenConfig>(content, [KIND]);
  const [program, ...args] = command;
  if (!program?.startsWith('/'))
    throw new ConfigError(
      `command[0] is ${JSON.stringify(program ?? '')}; it should be the path of a program, from / on`,
    );
  const timeoutMs = goDurationMs(timeout);
  if (timeoutMs <= 0) throw new ConfigError(`timeout is ${timeout}; it should be longer than 0`);
  return { command: [program, ...args], env, timeoutMs };
}

interface GivenGroup {
  readonly id?: string;
  readonly minSize?: number;
  readonly maxSize?: number;
  readonly targetSize?: number;
  readonly price?: number;
  readonly instances?: readonly GivenInstance[];
}

interface GivenInstance {
  readonly id?: string;
  readonly state?: string;
  readonly error?: { readonly class?: string; readonly code?: string; readonly message?: string };
}

const LIST = objectSchema('ListAnswer', {
  groups: listOf(
    struct('Group', {
      id: text,
      minSize: integer,
      maxSize: integer,
      targetSize: integer,
      price: real,
      instances: listOf(
        struct('Instance', {
          id: text,
          state: text,
          error: struct('InstanceError', { class: text, code: text, message: text }),
        }),
      ),
    }),
  ),
});
const TEMPLATE = objectSchema('TemplateAnswer', { template: TEMPLATE_SCHEMA });
const NOTHING = objectSchema('Answer', {});

const MAX_OUTPUT_BYTES = 16 * 2 ** 20;

interface Group extends ProviderGroup {
  readonly target: number;
  readonly price: number | undefined;
  readonly instances: readonly Instance[];
}

export function createScriptProvider(config: ScriptConfig): NodeProvider {
  return new ScriptProvider(config);
}

class ScriptProvider implements NodeProvider {
  readonly name = 'script';
  readonly #config: ScriptConfig;
  #groups = new Map<string, Group>();
  /** By the IDs of instances. */
  #groupOf = new Map<string, string>();

  constructor(config: ScriptConfig) {
    this.#config = config;
  }

  async refresh(): Promise<void> {
    const { groups = [] } = await this.#run<{ groups?: readonly GivenGroup[] }>('list', {
      input: {},
      schema: LIST,
    });
    const read = groups.map((group, index) => inAnswer('list', () => groupFrom(group, `groups[${index}]`)));
    this.#groups = new Map(read.map((group) => [group.id, group]));
    this.#groupOf = new Map(
      read.flatMap(({ id, instances }) => instances.map((instance) => [instance.id, id] as const)),
    );
  }

  groups() {
    return Promise.resolve([...this.#groups.values()]);
  }

  groupOf(node: ProviderNode) {
    return Promise.resolve(this.#groupOf.get(instanceIdOf(node)));
  }

  targetSize(group: string) {
    return Promise.resolve(this.#find(group).target);
  }

  instances(group: string) {
    return Promise.resolve(this.#find(group).instances);
  }

  async template(group: string) {
    const { template } = await this.#run<{ template?: GivenTemplate }>('template', {
      input: { group },
      schema: TEMPLATE,
    });
    return template && inAnswer('template', () => templateOf(template, 'template'));
  }

  increase(group: string, delta: number): Promise<void> {
    return this.#change('increase', { group, delta });
  }

  deleteNodes(group: string, nodes: readonly ProviderNode[]): Promise<void> {
    const instances = nodes.map((node) => ({ id: instanceIdOf(node), node: node.name }));
    return this.#change('delete', { group, instances });
  }

  decreaseTarget(group: string, delta: number): Promise<void> {
    return this.#change('decrease-target', { group, delta });
  }

  price(group: string) {
    return Promise.resolve(this.#find(group).price);
  }

  async close(): Promise<void> {}

  #find(id: string): Group {
    const found = this.#groups.get(id);
    if (!found) throw new ProviderError('failed', `the script lists no group ${id}`);
    return found;
  }

  async #change(verb: string, input: object): Promise<void> {
    await this.#run(verb, { input, schema: NOTHING });
  }

  async #run<T>(
    verb: string,
    { input, schema }: { readonly input: object; readonly schema: ObjectSchema },
  ): Promise<T> {
    const { command, env, timeoutMs } = this.#config;
    const [program, ...args] = command;
    const output = await runFilter(program, {
      args: [...args, verb],
      env,
      input: `${JSON.stringify(input)}\n`,
      timeoutMs,
      maxOutputBytes: MAX_OUTPUT_BYTES,
    }).catch((error: unknown) => {
      throw new ProviderError('failed', `${program} ${verb}: ${errorMessage(error)}`, { cause: error });
    });
    // A change may be answered with nothing.
    const answer = output.trim() === '' && schema === NOTHING ? '{}' : output;
    return inAnswer(verb, () => {
      const { value, problems } = parseConfig(answer);
      return decodeStrictly<T>(value, schema, problems);
    });
  }
}

/** Of what the script answered. */
function inAnswer<T>(verb: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new ProviderError('bad-answer', `the answer to ${verb} is wrong: ${errorMessage(error)}`, {
      cause: error,
    });
  }
}

function groupFrom(
  { id, minSize = 0, maxSize, targetSize, price, instances = [] }: GivenGroup,
  path: string,
): Group {
  if (!id) throw new ConfigError(`${path}.id is missing`);
  if (maxSize === undefined || minSize < 0 || maxSize < minSize)
    throw new ConfigError(
      `${path} has minSize ${minSize} and maxSize ${maxSize}; they should be numbers of machines, the first not above the second`,
    );
  const given = instances.map((instance, index) => instanceFrom(instance, `${path}.instances[${index}]`));
  const target = targetSize ?? given.filter(({ state }) => state !== 'deleting').length;
  return { id, minSize, maxSize, target, price, instances: given };
}

const STATES = ['creating', 'running', 'deleting', 'unknown'] as const;

function instanceFrom({ id, state = 'running', error }: GivenInstance, path: string): Instance {
  if (!id) throw new ConfigError(`${path}.id is missing`);
  const known = STATES.find((one) => one === state);
  if (!known) throw new ConfigError(`${path}.state is ${state}; it should be one of ${STATES.join(', ')}`);
  if (!error) return { id, state: known };
  const { code = 'OTHER', message = '' } = error;
  const errorClass = error.class === 'OutOfResources' ? 'out-of-resources' : 'other';
  return { id, state: known, error: { errorClass, code, message } };
}
