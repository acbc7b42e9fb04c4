/** The protocol of DRA drivers on nodes (dra v1, and v1beta1 with the same messages), as data, and its client. */
import type { MethodCodec } from '#grpc/codec.ts';
import { describeProtocol, type Messages, type Services } from '#grpc/describe.ts';
import { describeRpcError } from '#grpc/status.ts';
import { callUnary, connectUnixSocket } from '#grpc/unary.ts';

export interface DraClaim {
  readonly namespace: string;
  readonly uid: string;
  readonly name: string;
}

export interface PreparedDevice {
  readonly requestNames: readonly string[];
  readonly poolName: string;
  readonly deviceName: string;
  readonly cdiDeviceIds: readonly string[];
  /** '': the device is not shared. */
  readonly shareId: string;
}

/** error: '' when there is none. */
type Prepared = Readonly<
  Record<string, { readonly devices: readonly PreparedDevice[]; readonly error: string }>
>;
type Unprepared = Readonly<Record<string, { readonly error: string }>>;

/** Both by the claims' UIDs. Calls may be repeated. They reject with gRPC's words. */
export interface DraClient {
  prepare(claims: readonly DraClaim[]): Promise<Prepared>;
  unprepare(claims: readonly DraClaim[]): Promise<Unprepared>;
  close(): void;
}

const MESSAGES: Messages = {
  Claim: [
    ['namespace', 1, 'string'],
    ['uid', 2, 'string'],
    ['name', 3, 'string'],
  ],
  NodePrepareResourcesRequest: [['claims', 1, 'Claim', 'repeated']],
  NodePrepareResourcesResponse: [['claims', 1, 'map<string,NodePrepareResourceResponse>']],
  NodePrepareResourceResponse: [
    ['devices', 1, 'Device', 'repeated'],
    ['error', 2, 'string'],
  ],
  Device: [
    ['requestNames', 1, 'string', 'repeated'],
    ['poolName', 2, 'string'],
    ['deviceName', 3, 'string'],
    ['cdiDeviceIds', 4, 'string', 'repeated'],
    ['shareId', 5, 'string'],
  ],
  NodeUnprepareResourcesRequest: [['claims', 1, 'Claim', 'repeated']],
  NodeUnprepareResourcesResponse: [['claims', 1, 'map<string,NodeUnprepareResourceResponse>']],
  NodeUnprepareResourceResponse: [['error', 1, 'string']],
};

const SERVICES: Services = {
  DRAPlugin: {
    NodePrepareResources: ['NodePrepareResourcesRequest', 'NodePrepareResourcesResponse'],
    NodeUnprepareResources: ['NodeUnprepareResourcesRequest', 'NodeUnprepareResourcesResponse'],
  },
};

function methodsOf(version: string): ReadonlyMap<string, MethodCodec> {
  return describeProtocol(`k8s.io.kubelet.pkg.apis.dra.${version}`, {
    messages: MESSAGES,
    services: SERVICES,
  }).methods;
}

/** By what a driver lists as a supported version; the best first. */
export const DRA_SERVICES: ReadonlyMap<string, ReadonlyMap<string, MethodCodec>> = new Map(
  ['v1', 'v1beta1'].map((version) => [`${version}.DRAPlugin`, methodsOf(version)]),
);

/** Upstream's, also of drivers. */
const DEADLINE_MS = 45_000;
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

export function createDraClient(socketPath: string, methods: ReadonlyMap<string, MethodCodec>): DraClient {
  const connection = connectUnixSocket(socketPath, { maxMessageBytes: MAX_MESSAGE_BYTES });
  const call = async <Claims>(name: string, claims: readonly DraClaim[]): Promise<Claims> => {
    const codec = methods.get(name)!;
    const options = { deadlineMs: DEADLINE_MS };
    try {
      const answer = await callUnary<{ readonly claims: Claims }>(connection, {
        codec,
        request: { claims },
        options,
      });
      return answer.claims;
    } catch (error) {
      throw new Error(describeRpcError(error), { cause: error });
    }
  };
  return {
    prepare: (claims) => call('NodePrepareResources', claims),
    unprepare: (claims) => call('NodeUnprepareResources', claims),
    close: () => connection.close(),
  };
}
