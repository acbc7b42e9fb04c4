/** The client: a provider of nodes that is a gRPC server of upstream's protocol. Any that serves upstream's cluster autoscaler does. */
import { readFile } from 'node:fs/promises';
import type { Client } from '@grpc/grpc-js';
import type { Node } from '#api/types.ts';
import { schemaOf } from '#api/schemas.ts';
import { describeFailure } from '#grpc/status.ts';
import { callUnary, connectTcp } from '#grpc/unary.ts';
import { decodeMessage } from '#machinery/codec/protobuf.ts';
import { errorMessage } from '#stdx/log.ts';
import {
  ProviderError,
  type GroupOptions,
  type Instance,
  type NodeProvider,
  type ProviderGroup,
  type ProviderNode,
} from '../autoscaler/provider.ts';
import type { ExternalGrpcConfig } from './config.ts';
import {
  cloudProviderMethods,
  durationMs,
  durationOf,
  OUT_OF_RESOURCES,
  type WireGroup,
  type WireInstance,
  type WireOptions,
  type WireState,
} from './protocol.ts';

const MAX_MESSAGE_BYTES = 16 * 2 ** 20;
export const NODE_DEFINITION = 'io.k8s.api.core.v1.Node';
const HOUR_MS = 3_600_000;

/** Reads the certificates; connects with the first call. */
export async function createExternalGrpcProvider({
  address,
  key,
  cert,
  cacert,
  timeoutMs,
}: ExternalGrpcConfig): Promise<NodeProvider> {
  const read = (file: string | undefined): Promise<Buffer> | undefined =>
    file === undefined ? undefined : readFile(file);
  const tls =
    cacert === undefined
      ? undefined
      : { ca: await read(cacert), cert: await read(cert), key: await read(key) };
  return new ExternalGrpcProvider(
    connectTcp(address, { tls, maxMessageBytes: MAX_MESSAGE_BYTES }),
    timeoutMs,
  );
}

const STATES: Readonly<Record<WireState, Instance['state']>> = {
  unspecified: 'unknown',
  instanceRunning: 'running',
  instanceCreating: 'creating',
  instanceDeleting: 'deleting',
};

class ExternalGrpcProvider implements NodeProvider {
  readonly name = 'externalgrpc';
  readonly #connection: Client;
  readonly #timeoutMs: number;
  /** By the node's name and provider ID; until the next refresh(). */
  readonly #groupOf = new Map<string, string>();

  constructor(connection: Client, timeoutMs: number) {
    this.#connection = connection;
    this.#timeoutMs = timeoutMs;
  }

  async refresh(): Promise<void> {
    this.#groupOf.clear();
    await this.#call('Refresh', {});
  }

  async groups(): Promise<readonly ProviderGroup[]> {
    const { nodeGroups } = await this.#call<{ nodeGroups: readonly WireGroup[] }>('NodeGroups', {});
    return nodeGroups.map(({ id, minSize, maxSize }) => ({ id, minSize, maxSize }));
  }

  async groupOf(node: ProviderNode): Promise<string | undefined> {
    const key = `${node.name} ${node.providerID}`;
    const known = this.#groupOf.get(key);
    if (known !== undefined) return known;
    const { nodeGroup } = await this.#call<{ nodeGroup?: WireGroup }>('NodeGroupForNode', { node });
    if (!nodeGroup?.id) return undefined;
    this.#groupOf.set(key, nodeGroup.id);
    return nodeGroup.id;
  }

  async targetSize(id: string): Promise<number> {
    return (await this.#call<{ targetSize: number }>('NodeGroupTargetSize', { id })).targetSize;
  }

  async instances(id: string): Promise<readonly Instance[]> {
    const { instances } = await this.#call<{ instances: readonly WireInstance[] }>('NodeGroupNodes', { id });
    return instances.map(instanceFrom);
  }

  async template(id: string): Promise<Node | undefined> {
    const answer = await this.#optional<{ nodeBytes: Buffer }>('NodeGroupTemplateNodeInfo', { id });
    if (!answer || answer.nodeBytes.length === 0) return undefined;
    try {
      return decodeMessage(answer.nodeBytes, schemaOf(NODE_DEFINITION)) as Node;
    } catch (error) {
      throw new ProviderError(
        'bad-answer',
        `the template of group ${id} is no Node: ${errorMessage(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  async increase(id: string, delta: number): Promise<void> {
    await this.#call('NodeGroupIncreaseSize', { id, delta });
  }

  async deleteNodes(id: string, nodes: readonly ProviderNode[]): Promise<void> {
    await this.#call('NodeGroupDeleteNodes', { id, nodes });
  }

  async decreaseTarget(id: string, delta: number): Promise<void> {
    await this.#call('NodeGroupDecreaseTargetSize', { id, delta });
  }

  /** Of the template, as upstream asks for it. */
  async price(_: string, { metadata, spec }: Node): Promise<number | undefined> {
    const { name = '', labels = {}, annotations = {} } = metadata ?? {};
    const nowMs = Date.now();
    const answer = await this.#optional<{ price: number }>('PricingNodePrice', {
      node: { name, labels, annotations, providerID: spec?.providerID ?? '' },
      startTimestamp: durationOf(nowMs),
      endTimestamp: durationOf(nowMs + HOUR_MS),
    });
    return answer?.price;
  }

  async options(id: string, defaults: GroupOptions): Promise<GroupOptions> {
    const answer = await this.#optional<{ nodeGroupAutoscalingOptions?: WireOptions }>(
      'NodeGroupGetOptions',
      { id, defaults: wireOptions(defaults) },
    );
    const given = answer?.nodeGroupAutoscalingOptions;
    return given ? optionsFrom(given, defaults) : defaults;
  }

  async close(): Promise<void> {
    await this.#call('Cleanup', {}).finally(() => this.#connection.close());
  }

  /** Undefined: the server does not implement it. */
  async #optional<T>(method: string, request: object): Promise<T | undefined> {
    try {
      return await this.#call<T>(method, request);
    } catch (error) {
      if (error instanceof ProviderError && error.code === 'unsupported') return undefined;
      throw error;
    }
  }

  async #call<T>(method: string, request: object): Promise<T> {
    const codec = cloudProviderMethods.get(method)!;
    try {
      return await callUnary<T>(this.#connection, {
        codec,
        request,
        options: { deadlineMs: this.#timeoutMs },
      });
    } catch (error) {
      const { code, details } = describeFailure(error);
      const known =
        code === 'unimplemented' ? 'unsupported' : code === 'deadline-exceeded' ? 'timeout' : 'failed';
      throw new ProviderError(known, `externalgrpc: ${method}: ${details}`, { cause: error });
    }
  }
}

function instanceFrom({ id, status }: WireInstance): Instance {
  const { errorInfo } = status ?? {};
  return {
    id,
    state: STATES[status?.instanceState ?? 'unspecified'],
    ...(errorInfo && errorInfo.errorCode !== ''
      ? {
          error: {
            errorClass:
              errorInfo.instanceErrorClass === OUT_OF_RESOURCES
                ? ('out-of-resources' as const)
                : ('other' as const),
            code: errorInfo.errorCode,
            message: errorInfo.errorMessage,
          },
        }
      : {}),
  };
}

export function wireOptions(options: GroupOptions): WireOptions {
  return {
    scaleDownUtilizationThreshold: options.scaleDownUtilizationThreshold,
    scaleDownGpuUtilizationThreshold: options.scaleDownUtilizationThreshold,
    zeroOrMaxNodeScaling: false,
    ignoreDaemonSetsUtilization: options.ignoreDaemonSetsUtilization,
    scaleDownUnneededDuration: durationOf(options.scaleDownUnneededMs),
    scaleDownUnreadyDuration: durationOf(options.scaleDownUnreadyMs),
    MaxNodeProvisionDuration: durationOf(options.maxNodeProvisionMs),
  };
}

/** What is not said is as by default. */
export function optionsFrom(given: WireOptions, defaults: GroupOptions): GroupOptions {
  const { scaleDownUnneededDuration, scaleDownUnreadyDuration, MaxNodeProvisionDuration } = given;
  return {
    scaleDownUtilizationThreshold: given.scaleDownUtilizationThreshold,
    ignoreDaemonSetsUtilization: given.ignoreDaemonSetsUtilization,
    scaleDownUnneededMs: scaleDownUnneededDuration
      ? durationMs(scaleDownUnneededDuration)
      : defaults.scaleDownUnneededMs,
    scaleDownUnreadyMs: scaleDownUnreadyDuration
      ? durationMs(scaleDownUnreadyDuration)
      : defaults.scaleDownUnreadyMs,
    maxNodeProvisionMs: MaxNodeProvisionDuration
      ? durationMs(MaxNodeProvisionDuration)
      : defaults.maxNodeProvisionMs,
  };
}
