/** The server: any of our providers for upstream's cluster autoscaler, or for ours in another place. One caller at a time changes something, as the protocol assumes. */
import type { Node } from '#api/types.ts';
import { schemaOf } from '#api/schemas.ts';
import { GrpcError, serveTcp, type ServerTls } from '#grpc/server.ts';
import { encodeMessage } from '#machinery/codec/protobuf.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import {
  ProviderError,
  type GroupOptions,
  type Instance,
  type NodeProvider,
  type ProviderGroup,
} from '../autoscaler/provider.ts';
import {
  cloudProviderMethods,
  OTHER_ERROR,
  OUT_OF_RESOURCES,
  type WireGroup,
  type WireInstance,
  type WireNode,
  type WireOptions,
  type WireState,
} from './protocol.ts';
import { GROUP_LABEL } from '../node-groups.ts';
import { NODE_DEFINITION, optionsFrom, wireOptions } from './provider.ts';

interface ServingOptions {
  /** 'HOST:PORT' */
  readonly address: string;
  readonly tls: ServerTls | undefined;
  readonly provider: NodeProvider;
  readonly log: Logger;
}

/** Does not close the provider. Rejects when it cannot listen. */
export function serveExternalGrpc({
  address,
  tls,
  provider,
  log,
}: ServingOptions): Promise<{ readonly port: number; close(): void }> {
  const answers = answersOf(provider);
  return serveTcp({
    address,
    tls,
    methods: cloudProviderMethods,
    answers: Object.fromEntries(
      Object.entries(answers).map(([method, answer]) => [
        method,
        async (request: object) => {
          try {
            return await answer(request as never);
          } catch (error) {
            // What is optional is asked in each loop.
            if (!(error instanceof ProviderError && error.code === 'unsupported'))
              log.warn('error answering the cluster autoscaler', { method, error: errorMessage(error) });
            throw translated(error);
          }
        },
      ]),
    ),
  });
}

function translated(error: unknown): unknown {
  if (!(error instanceof ProviderError)) return error;
  const codes = {
    unsupported: 'UNIMPLEMENTED',
    timeout: 'DEADLINE_EXCEEDED',
    failed: 'UNKNOWN',
    'bad-answer': 'INTERNAL',
  } as const;
  return new GrpcError(codes[error.code], error.message);
}

interface OfGroup {
  readonly id: string;
}

interface Change extends OfGroup {
  readonly delta: number;
}

function answersOf(provider: NodeProvider) {
  const findGroup = async (id: string): Promise<WireGroup | undefined> => {
    const found = (await provider.groups()).find((group) => group.id === id);
    return found && wireGroup(found);
  };
  return {
    Refresh: async () => {
      await provider.refresh();
      return {};
    },
    Cleanup: () => Promise.resolve({}),
    NodeGroups: async () => ({ nodeGroups: (await provider.groups()).map(wireGroup) }),
    NodeGroupForNode: async ({ node }: { readonly node: WireNode }) => {
      const id = await provider.groupOf(node);
      // An empty ID: it is left alone.
      return { nodeGroup: (id === undefined ? undefined : await findGroup(id)) ?? { id: '' } };
    },
    PricingNodePrice: async ({ node }: { readonly node: WireNode }) => {
      // Mostly it is a template, which no machine has the name of.
      const group = node.labels[GROUP_LABEL] ?? (await provider.groupOf(node));
      const template: Node = { metadata: { name: node.name, labels: { ...node.labels } } };
      const price = group === undefined ? undefined : await provider.price?.(group, template);
      if (price === undefined) throw new ProviderError('unsupported', 'there is no price of this node');
      return { price };
    },
    GPULabel: () => Promise.resolve({ label: '' }),
    GetAvailableGPUTypes: () => Promise.resolve({ gpuTypes: {} }),
    NodeGroupTargetSize: async ({ id }: OfGroup) => ({ targetSize: await provider.targetSize(id) }),
    NodeGroupIncreaseSize: async ({ id, delta }: Change) => {
      if (delta <= 0) throw new ProviderError('failed', `delta is ${delta}; it should be above 0`);
      await provider.increase(id, delta);
      return {};
    },
    NodeGroupDeleteNodes: async ({ id, nodes }: OfGroup & { readonly nodes: readonly WireNode[] }) => {
      await provider.deleteNodes(id, nodes);
      return {};
    },
    NodeGroupDecreaseTargetSize: async ({ id, delta }: Change) => {
      if (delta >= 0) throw new ProviderError('failed', `delta is ${delta}; it should be below 0`);
      await provider.decreaseTarget(id, delta);
      return {};
    },
    NodeGroupNodes: async ({ id }: OfGroup) => ({
      instances: (await provider.instances(id)).map(wireInstance),
    }),
    NodeGroupTemplateNodeInfo: async ({ id }: OfGroup) => {
      const template = await provider.template(id);
      if (!template) throw new ProviderError('unsupported', `group ${id} has no template`);
      const message = encodeMessage(template as Readonly<Record<string, unknown>>, schemaOf(NODE_DEFINITION));
      return { nodeBytes: message };
    },
    NodeGroupGetOptions: async ({ id, defaults }: OfGroup & { readonly defaults?: WireOptions }) => {
      if (!provider.options || !defaults)
        throw new ProviderError('unsupported', `group ${id} has no options of its own`);
      const options = await provider.options(id, optionsFrom(defaults, NO_TIME));
      return { nodeGroupAutoscalingOptions: wireOptions(options) };
    },
  };
}

/** Upstream sends all of them. */
const NO_TIME: GroupOptions = {
  scaleDownUtilizationThreshold: 0,
  scaleDownUnneededMs: 0,
  scaleDownUnreadyMs: 0,
  maxNodeProvisionMs: 0,
  ignoreDaemonSetsUtilization: false,
};

function wireGroup({ id, minSize, maxSize }: ProviderGroup): WireGroup {
  return { id, minSize, maxSize, debug: `${id} (${minSize}:${maxSize})` };
}

const STATES: Readonly<Record<Instance['state'], WireState>> = {
  unknown: 'unspecified',
  running: 'instanceRunning',
  creating: 'instanceCreating',
  deleting: 'instanceDeleting',
};

function wireInstance({ id, state, error }: Instance): WireInstance {
  return {
    id,
    status: {
      instanceState: STATES[state],
      ...(error
        ? {
            errorInfo: {
              errorCode: error.code,
              errorMessage: error.message,
              instanceErrorClass: error.errorClass === 'out-of-resources' ? OUT_OF_RESOURCES : OTHER_ERROR,
            },
          }
        : {}),
    },
  };
}
