/**
 * One HTTP extender: a server that filters and scores nodes, agrees to preemptions, or binds pods. After upstream's pkg/scheduler/extender.go, with its
 * wire format (kube-scheduler/extender/v1). Each call has the extender's timeout, and a bounded answer.
 */
import type { Node, Pod } from '#api/types.ts';
import { asObject, parseJsonBytes, type JsonObject } from '#machinery/json.ts';
import { HttpsClient, readBody, type Destination } from '#stdx/https-client.ts';
import type { NodeInfo } from '../node-info.ts';

export interface ExtenderConfig {
  readonly urlPrefix: string;
  /** '': the extender does not do it. */
  readonly filterVerb: string;
  readonly prioritizeVerb: string;
  readonly preemptVerb: string;
  readonly bindVerb: string;
  /** Of its scores. */
  readonly weight: number;
  readonly timeoutMs: number;
  /** It is sent names of nodes only. */
  readonly nodeCacheCapable: boolean;
  /** Pods are scheduled without it when it fails. */
  readonly ignorable: boolean;
  /** Only pods that request one of these; empty: all pods. */
  readonly managedResources: ReadonlySet<string>;
  /** Of these, those that NodeResourcesFit leaves to it. */
  readonly ignoredResources: ReadonlySet<string>;
  readonly tls: {
    readonly verifies: boolean;
    readonly serverName: string | undefined;
    readonly ca: string | undefined;
    readonly cert: string | undefined;
    readonly key: string | undefined;
  };
}

/** An answer with 15,000 nodes of 10 kB is smaller; a larger one fails the call. */
const MAX_ANSWER_BYTES = 256 * 2 ** 20;
/** Scores of extenders go to 10, those of nodes to 100. */
const SCORE_SCALE = 10;

interface FilterAnswer {
  readonly nodes: ReadonlySet<string>;
  readonly failed: ReadonlyMap<string, string>;
  readonly unresolvable: ReadonlyMap<string, string>;
}

interface NodeVictims {
  readonly pods: readonly Pod[];
  readonly violations: number;
}

export class Extender {
  readonly config: ExtenderConfig;
  readonly #client: HttpsClient;
  readonly #to: Destination;
  readonly #path: string;

  constructor(config: ExtenderConfig, client: HttpsClient) {
    this.config = config;
    this.#client = client;
    const { protocol, hostname, port, pathname } = new URL(config.urlPrefix);
    const isSecure = protocol === 'https:';
    const { verifies, serverName, ca, cert, key } = config.tls;
    this.#to = {
      protocol: isSecure ? 'https:' : 'http:',
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (isSecure ? 443 : 80),
      ...(isSecure ? { tls: { ca, cert, key, servername: serverName, rejectUnauthorized: verifies } } : {}),
    };
    this.#path = pathname.replace(/\/+$/, '');
  }

  get name(): string {
    return this.config.urlPrefix;
  }

  isInterested({ spec }: Pod): boolean {
    const { managedResources } = this.config;
    if (managedResources.size === 0) return true;
    return [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])].some(({ resources }) =>
      [resources?.requests, resources?.limits].some((list) =>
        Object.keys(list ?? {}).some((resource) => managedResources.has(resource)),
      ),
    );
  }

  /** Throws when the answer names a node that was not asked about. */
  async filter(pod: Pod, nodes: readonly NodeInfo[]): Promise<FilterAnswer> {
    const answer = await this.#send(this.config.filterVerb, this.#question(pod, nodes));
    requireNoError(answer);
    const names = namesIn(answer, this.config.nodeCacheCapable);
    const asked = new Set(nodes.map(({ name }) => name));
    const unknown = names.find((name) => !asked.has(name));
    if (unknown !== undefined)
      throw new Error(
        `extender ${JSON.stringify(this.name)} claims a filtered node ${JSON.stringify(unknown)} which is not found in the input node list`,
      );
    return {
      nodes: new Set(names),
      failed: reasonsIn(answer, 'FailedNodes'),
      unresolvable: reasonsIn(answer, 'FailedAndUnresolvableNodes'),
    };
  }

  /** By node, on the scale of the plugins, with the weight. */
  async prioritize(pod: Pod, nodes: readonly NodeInfo[]): Promise<ReadonlyMap<string, number>> {
    const answer = await this.#send(this.config.prioritizeVerb, this.#question(pod, nodes));
    const scores = new Map<string, number>();
    for (const entry of Array.isArray(answer) ? (answer as unknown[]) : []) {
      const [host, score] = [fieldOf(entry, 'Host'), fieldOf(entry, 'Score')];
      if (typeof host === 'string' && typeof score === 'number')
        scores.set(host, score * this.config.weight * SCORE_SCALE);
    }
    return scores;
  }

  /** Which of the nodes may be preempted on, with the victims that the extender wants. */
  async preempt(
    pod: Pod,
    victims: ReadonlyMap<string, NodeVictims>,
  ): Promise<ReadonlyMap<string, { readonly uids: readonly string[]; readonly violations: number }>> {
    const isMeta = this.config.nodeCacheCapable;
    const byNode = Object.fromEntries(
      [...victims].map(([node, { pods, violations }]) => [
        node,
        {
          Pods: isMeta ? pods.map(({ metadata }) => ({ UID: metadata?.uid })) : pods,
          NumPDBViolations: violations,
        },
      ]),
    );
    const answer = await this.#send(this.config.preemptVerb, {
      Pod: pod,
      [isMeta ? 'NodeNameToMetaVictims' : 'NodeNameToVictims']: byNode,
    });
    const agreed = asObject(fieldOf(answer, 'NodeNameToMetaVictims')) ?? {};
    return new Map(
      Object.entries(agreed).map(([node, meta]) => {
        const pods = fieldOf(meta, 'Pods');
        const uids = (Array.isArray(pods) ? pods : []).map((one) => String(fieldOf(one, 'UID')));
        return [node, { uids, violations: Number(fieldOf(meta, 'NumPDBViolations') ?? 0) }];
      }),
    );
  }

  async bind({ metadata }: Pod, node: string): Promise<void> {
    const { name: PodName, namespace: PodNamespace, uid: PodUID } = metadata ?? {};
    const answer = await this.#send(this.config.bindVerb, { PodName, PodNamespace, PodUID, Node: node });
    requireNoError(answer);
  }

  #question(pod: Pod, nodes: readonly NodeInfo[]): JsonObject {
    return this.config.nodeCacheCapable
      ? { Pod: pod, Nodes: null, NodeNames: nodes.map(({ name }) => name) }
      : { Pod: pod, Nodes: { metadata: {}, items: nodes.map(({ node }) => node) }, NodeNames: null };
  }

  async #send(verb: string, body: JsonObject): Promise<unknown> {
    const path = `${this.#path}/${verb}`;
    const response = await this.#client.request({
      to: this.#to,
      method: 'POST',
      path,
      headers: { 'content-type': 'application/json' },
      body: Buffer.from(JSON.stringify(body)),
      signal: AbortSignal.timeout(this.config.timeoutMs),
      repeats: true,
    });
    const answer = await readBody(response, {
      maximumBytes: MAX_ANSWER_BYTES,
      tooLong: () => new Error(`extender ${this.name} answered more than ${MAX_ANSWER_BYTES} bytes`),
    });
    if (response.status !== 200)
      throw new Error(
        `failed ${verb} with extender at URL ${this.name.replace(/\/+$/, '')}/${verb}, code ${response.status}`,
      );
    return parseJsonBytes(answer);
  }
}

function requireNoError(answer: unknown): void {
  const error = fieldOf(answer, 'Error');
  if (typeof error === 'string' && error !== '') throw new Error(error);
}

/** Servers in Go write field names in either case, and its decoder reads both. */
function fieldOf(value: unknown, name: string): unknown {
  const object = asObject(value);
  if (!object) return undefined;
  if (Object.hasOwn(object, name)) return object[name];
  const key = Object.keys(object).find((one) => one.toLowerCase() === name.toLowerCase());
  return key === undefined ? undefined : object[key];
}

function namesIn(answer: unknown, nodeCacheCapable: boolean): string[] {
  const names = fieldOf(answer, 'NodeNames');
  if (nodeCacheCapable && Array.isArray(names)) return names.map(String);
  const items = fieldOf(fieldOf(answer, 'Nodes'), 'Items');
  return (Array.isArray(items) ? (items as Node[]) : []).map(({ metadata }) => metadata?.name ?? '');
}

function reasonsIn(answer: unknown, field: string): ReadonlyMap<string, string> {
  return new Map(
    Object.entries(asObject(fieldOf(answer, field)) ?? {}).map(([node, why]) => [node, String(why)]),
  );
}
