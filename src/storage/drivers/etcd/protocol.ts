/**
 * The part of etcd's gRPC protocol (v3, package etcdserverpb) that the driver speaks, as data: fields are [name, number, type, label].
 * Not a client: connection.ts calls these methods.
 */
import protobuf from 'protobufjs';

type Field = readonly [name: string, id: number, type: string, label?: 'repeated'];

/** Messages of the protocol with the fields that are read or written here; others are skipped by the decoder. */
const MESSAGES: Readonly<Record<string, readonly Field[]>> = {
  KeyValue: [
    ['key', 1, 'bytes'],
    ['createRevision', 2, 'int64'],
    ['modRevision', 3, 'int64'],
    ['version', 4, 'int64'],
    ['value', 5, 'bytes'],
    ['lease', 6, 'int64'],
  ],
  Event: [
    ['type', 1, 'int32'],
    ['kv', 2, 'KeyValue'],
    ['prevKv', 3, 'KeyValue'],
  ],
  ResponseHeader: [
    ['clusterId', 1, 'fixed64text'],
    ['memberId', 2, 'fixed64text'],
    ['revision', 3, 'int64'],
    // A number of elections: 32 bits of its 64 are enough, and cost no Long.
    ['raftTerm', 4, 'uint32'],
  ],
  RangeRequest: [
    ['key', 1, 'bytes'],
    ['rangeEnd', 2, 'bytes'],
    ['limit', 3, 'int64'],
    ['revision', 4, 'int64'],
    ['serializable', 7, 'bool'],
    ['keysOnly', 8, 'bool'],
    ['countOnly', 9, 'bool'],
  ],
  RangeResponse: [
    ['header', 1, 'ResponseHeader'],
    ['kvs', 2, 'KeyValue', 'repeated'],
    ['more', 3, 'bool'],
    ['count', 4, 'int64'],
  ],
  PutRequest: [
    ['key', 1, 'bytes'],
    ['value', 2, 'bytes'],
    ['lease', 3, 'int64'],
  ],
  PutResponse: [['header', 1, 'ResponseHeader']],
  DeleteRangeRequest: [
    ['key', 1, 'bytes'],
    ['rangeEnd', 2, 'bytes'],
    ['prevKv', 3, 'bool'],
  ],
  DeleteRangeResponse: [
    ['header', 1, 'ResponseHeader'],
    ['deleted', 2, 'int64'],
    ['prevKvs', 3, 'KeyValue', 'repeated'],
  ],
  RequestOp: [
    ['requestRange', 1, 'RangeRequest'],
    ['requestPut', 2, 'PutRequest'],
    ['requestDeleteRange', 3, 'DeleteRangeRequest'],
  ],
  ResponseOp: [
    ['responseRange', 1, 'RangeResponse'],
    ['responsePut', 2, 'PutResponse'],
    ['responseDeleteRange', 3, 'DeleteRangeResponse'],
  ],
  Compare: [
    ['result', 1, 'int32'],
    ['target', 2, 'int32'],
    ['key', 3, 'bytes'],
    // Of a oneof, whose zero must be on the wire: written only where it is compared.
    ['version', 4, 'int64'],
    ['modRevision', 6, 'int64'],
  ],
  TxnRequest: [
    ['compare', 1, 'Compare', 'repeated'],
    ['success', 2, 'RequestOp', 'repeated'],
    ['failure', 3, 'RequestOp', 'repeated'],
  ],
  TxnResponse: [
    ['header', 1, 'ResponseHeader'],
    ['succeeded', 2, 'bool'],
    ['responses', 3, 'ResponseOp', 'repeated'],
  ],
  CompactionRequest: [
    ['revision', 1, 'int64'],
    ['physical', 2, 'bool'],
  ],
  CompactionResponse: [['header', 1, 'ResponseHeader']],
  WatchCreateRequest: [
    ['key', 1, 'bytes'],
    ['rangeEnd', 2, 'bytes'],
    ['startRevision', 3, 'int64'],
    ['progressNotify', 4, 'bool'],
    ['prevKv', 6, 'bool'],
    ['watchId', 7, 'int64'],
    ['fragment', 8, 'bool'],
  ],
  WatchProgressRequest: [],
  WatchRequest: [
    ['createRequest', 1, 'WatchCreateRequest'],
    ['progressRequest', 3, 'WatchProgressRequest'],
  ],
  WatchResponse: [
    ['header', 1, 'ResponseHeader'],
    ['watchId', 2, 'int64'],
    ['created', 3, 'bool'],
    ['canceled', 4, 'bool'],
    ['compactRevision', 5, 'int64'],
    ['cancelReason', 6, 'string'],
    ['fragment', 7, 'bool'],
    ['events', 11, 'Event', 'repeated'],
  ],
  LeaseGrantRequest: [
    ['TTL', 1, 'int64'],
    ['ID', 2, 'int64'],
  ],
  LeaseGrantResponse: [
    ['header', 1, 'ResponseHeader'],
    ['ID', 2, 'leaseid'],
    ['TTL', 3, 'int64'],
    ['error', 4, 'string'],
  ],
  LeaseTimeToLiveRequest: [['ID', 1, 'leaseid']],
  LeaseTimeToLiveResponse: [
    ['header', 1, 'ResponseHeader'],
    ['ID', 2, 'leaseid'],
    ['TTL', 3, 'int64'],
  ],
  StatusRequest: [],
  StatusResponse: [
    ['header', 1, 'ResponseHeader'],
    ['version', 2, 'string'],
    ['dbSize', 3, 'int64'],
    ['leader', 4, 'fixed64text'],
    ['raftIndex', 5, 'int64'],
    ['raftTerm', 6, 'int64'],
    ['raftAppliedIndex', 7, 'int64'],
    ['errors', 8, 'string', 'repeated'],
    ['dbSizeInUse', 9, 'int64'],
    ['isLearner', 10, 'bool'],
  ],
  Member: [
    ['ID', 1, 'fixed64text'],
    ['name', 2, 'string'],
    ['peerURLs', 3, 'string', 'repeated'],
    ['clientURLs', 4, 'string', 'repeated'],
    ['isLearner', 5, 'bool'],
  ],
  MemberListRequest: [['linearizable', 1, 'bool']],
  MemberAddRequest: [
    ['peerURLs', 1, 'string', 'repeated'],
    ['isLearner', 2, 'bool'],
  ],
  MemberAddResponse: [
    ['header', 1, 'ResponseHeader'],
    ['member', 2, 'Member'],
    ['members', 3, 'Member', 'repeated'],
  ],
  MemberIdRequest: [['ID', 1, 'fixed64text']],
  MembersResponse: [
    ['header', 1, 'ResponseHeader'],
    ['members', 2, 'Member', 'repeated'],
  ],
  AlarmMember: [
    ['memberID', 1, 'fixed64text'],
    ['alarm', 2, 'int32'],
  ],
  AlarmRequest: [
    ['action', 1, 'int32'],
    ['memberID', 2, 'fixed64text'],
    ['alarm', 3, 'int32'],
  ],
  AlarmResponse: [
    ['header', 1, 'ResponseHeader'],
    ['alarms', 2, 'AlarmMember', 'repeated'],
  ],
  MaintenanceRequest: [],
  HeaderResponse: [['header', 1, 'ResponseHeader']],
  MoveLeaderRequest: [['targetID', 1, 'fixed64text']],
  SnapshotResponse: [
    ['header', 1, 'ResponseHeader'],
    ['remainingBytes', 2, 'int64'],
    ['blob', 3, 'bytes'],
  ],
};

/** Names used above for 64-bit numbers that are only ids, which a JavaScript number cannot hold. */
const WIRE_TYPES: Readonly<Record<string, string>> = { fixed64text: 'uint64', leaseid: 'int64' };
/** Ids of leases are kept as Long, to be sent back as they came. */
export type LeaseId = protobuf.Long;

const METHODS = {
  Range: ['KV', 'RangeRequest', 'RangeResponse'],
  Txn: ['KV', 'TxnRequest', 'TxnResponse'],
  Compact: ['KV', 'CompactionRequest', 'CompactionResponse'],
  Watch: ['Watch', 'WatchRequest', 'WatchResponse'],
  LeaseGrant: ['Lease', 'LeaseGrantRequest', 'LeaseGrantResponse'],
  LeaseTimeToLive: ['Lease', 'LeaseTimeToLiveRequest', 'LeaseTimeToLiveResponse'],
  Status: ['Maintenance', 'StatusRequest', 'StatusResponse'],
  MemberList: ['Cluster', 'MemberListRequest', 'MembersResponse'],
  MemberAdd: ['Cluster', 'MemberAddRequest', 'MemberAddResponse'],
  MemberRemove: ['Cluster', 'MemberIdRequest', 'MembersResponse'],
  MemberPromote: ['Cluster', 'MemberIdRequest', 'MembersResponse'],
  Alarm: ['Maintenance', 'AlarmRequest', 'AlarmResponse'],
  Defragment: ['Maintenance', 'MaintenanceRequest', 'HeaderResponse'],
  MoveLeader: ['Maintenance', 'MoveLeaderRequest', 'HeaderResponse'],
  Snapshot: ['Maintenance', 'MaintenanceRequest', 'SnapshotResponse'],
} as const;

export type EtcdMethod = keyof typeof METHODS;

interface EtcdCall {
  readonly path: string;
  encode(message: object): Buffer;
  decode(wire: Buffer): object;
}

const root = protobuf.Root.fromJSON({
  nested: Object.fromEntries(
    Object.entries(MESSAGES).map(([name, fields]) => [
      name,
      {
        fields: Object.fromEntries(
          fields.map(([field, id, type, label]) => [
            field,
            { id, type: WIRE_TYPES[type] ?? type, ...(label ? { rule: label } : {}) },
          ]),
        ),
      },
    ]),
  ),
});

const calls = new Map<EtcdMethod, EtcdCall>(
  Object.entries(METHODS).map(([method, [service, request, response]]) => {
    const sent = root.lookupType(request);
    const received = root.lookupType(response);
    return [
      method as EtcdMethod,
      {
        path: `/etcdserverpb.${service}/${method}`,
        encode: (message) => Buffer.from(sent.encode(message).finish()),
        decode: (wire) => received.decode(wire),
      },
    ];
  }),
);

export function etcdCall(method: EtcdMethod): EtcdCall {
  return calls.get(method)!;
}

/** As protobufjs decodes 64-bit numbers: revisions and counts fit a number, which int() makes of them. */
type Int64 = number | protobuf.Long;

export function int(value: Int64 | undefined | null): number {
  if (value === undefined || value === null) return 0;
  return typeof value === 'number' ? value : value.high * 2 ** 32 + (value.low >>> 0);
}

export interface KeyValue {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly createRevision: Int64;
  readonly modRevision: Int64;
  readonly version: Int64;
  readonly lease: LeaseId;
}
interface Header {
  readonly header: { readonly revision: Int64; readonly raftTerm?: number | undefined };
}
export interface RangeResponse extends Header {
  readonly kvs: readonly KeyValue[];
  readonly more: boolean;
  readonly count: Int64;
}
export interface TxnResponse extends Header {
  readonly succeeded: boolean;
  readonly responses: readonly {
    readonly responseRange?: RangeResponse;
    readonly responseDeleteRange?: { readonly deleted: Int64; readonly prevKvs: readonly KeyValue[] };
  }[];
}
export interface WatchResponse extends Header {
  readonly watchId: Int64;
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compactRevision: Int64;
  readonly cancelReason: string;
  readonly fragment: boolean;
  readonly events: readonly {
    readonly type: number;
    readonly kv: KeyValue;
    readonly prevKv?: KeyValue | null;
  }[];
}
export interface LeaseTimeToLiveResponse extends Header {
  readonly TTL: Int64;
}
export interface StatusResponse extends Header {
  readonly version: string;
  readonly dbSize: Int64;
  readonly leader: protobuf.Long;
  readonly errors: readonly string[];
}

/** Compare.target and Compare.result; Event.type. */
export const COMPARE_VERSION = 0;
export const COMPARE_MOD_REVISION = 2;
export const COMPARE_EQUAL = 0;
export const EVENT_DELETE = 1;
