/**
 * Members of an etcd cluster over gRPC: list, learners, promotion, removal, and the maintenance of single members. A call whose outcome is
 * unknown is resolved by reading the member list, never sent again blindly. It decides nothing: the phases of join, leave and recover do.
 * Upstream's protocol: etcdserverpb.Cluster and .Maintenance.
 */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import type protobuf from 'protobufjs';
import {
  EtcdMembershipError,
  type EtcdAlarm,
  type EtcdAlarmType,
  type EtcdMember,
  type EtcdMembership,
  type EtcdMemberStatus,
} from '#machinery/etcd-membership.ts';
import { EtcdConnection, type ConnectionOptions } from './connection.ts';
import { EtcdCallError } from './failures.ts';
import { membershipError } from './membership-errors.ts';
import { int } from './protocol.ts';

/** Rewrites the whole file of a member, which answers nothing else meanwhile. */
const DEFRAGMENT_TIMEOUT_MS = 10 * 60_000;
const SNAPSHOT_TIMEOUT_MS = 30 * 60_000;
const MOVE_LEADER_TIMEOUT_MS = 15_000;
const SHA256_BYTES = 32;

interface WireMember extends Omit<EtcdMember, 'id'> {
  readonly ID: protobuf.Long;
}
interface MembersResponse {
  readonly members: readonly WireMember[];
}
interface WireStatus {
  readonly header: {
    readonly clusterId: protobuf.Long;
    readonly memberId: protobuf.Long;
    readonly revision: protobuf.Long;
  };
  readonly version: string;
  readonly dbSize: protobuf.Long;
  readonly dbSizeInUse: protobuf.Long;
  readonly leader: protobuf.Long;
  readonly raftIndex: protobuf.Long;
  readonly raftTerm: protobuf.Long;
  readonly raftAppliedIndex: protobuf.Long;
  readonly isLearner: boolean;
  readonly errors: readonly string[];
}

const ALARM_ACTION = { get: 0, deactivate: 2 };
const ALARM_TYPES: readonly EtcdAlarmType[] = ['alarm 0', 'NOSPACE', 'CORRUPT'];

/** Every call rejects with an EtcdMembershipError. Connects at the first call. */
export function createEtcdMembership(options: ConnectionOptions): EtcdMembership {
  return new Membership(options);
}

class Membership implements EtcdMembership {
  readonly #options: ConnectionOptions;
  readonly #cluster: EtcdConnection;
  readonly #single = new Map<string, EtcdConnection>();

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#cluster = new EtcdConnection(options);
  }

  async list({ local = false } = {}): Promise<readonly EtcdMember[]> {
    const { members } = await this.#ask<MembersResponse>('MemberList', {
      request: { linearizable: !local },
      doing: 'list the members of etcd',
      withoutLeader: local,
      idempotent: true,
    });
    return members.map(memberOf);
  }

  async addLearner(peerURLs: readonly string[]): Promise<EtcdMember> {
    const doing = `add the etcd learner ${peerURLs.join(', ')}`;
    try {
      const request = { peerURLs, isLearner: true };
      const { member } = await this.#ask<{ member: WireMember }>('MemberAdd', { request, doing });
      return memberOf(member);
    } catch (error) {
      const added = await this.#resolve(error, (members) =>
        members.find((one) => one.peerURLs.some((url) => peerURLs.includes(url))),
      );
      if (added) return added;
      throw error;
    }
  }

  async promote(id: string): Promise<void> {
    try {
      await this.#ask('MemberPromote', { request: { ID: wireId(id) }, doing: `promote etcd member ${id}` });
    } catch (error) {
      if (!(error instanceof EtcdMembershipError)) throw error;
      if (error.code === 'not-learner') return;
      // etcd asks first whether the member has caught up, also of one that votes already and lags for a moment.
      const isUnsure = !error.certain || error.code === 'learner-not-ready';
      const members = isUnsure ? await this.list() : [];
      if (!members.some((one) => one.id === id && !one.isLearner)) throw error;
    }
  }

  async remove(id: string): Promise<void> {
    try {
      await this.#ask('MemberRemove', { request: { ID: wireId(id) }, doing: `remove etcd member ${id}` });
    } catch (error) {
      if (error instanceof EtcdMembershipError && error.code === 'member-not-found') return;
      if (!(await this.#resolve(error, (members) => members.every((one) => one.id !== id)))) throw error;
    }
  }

  async status(endpoint: string): Promise<EtcdMemberStatus> {
    return statusOf(
      await this.#ask<WireStatus>('Status', {
        endpoint,
        doing: 'read the status',
        withoutLeader: true,
        idempotent: true,
      }),
    );
  }

  async alarms(): Promise<readonly EtcdAlarm[]> {
    const { alarms } = await this.#ask<{ alarms: readonly { memberID: protobuf.Long; alarm: number }[] }>(
      'Alarm',
      { request: { action: ALARM_ACTION.get }, doing: 'list the alarms of etcd', idempotent: true },
    );
    return alarms.map(({ memberID, alarm }) => ({
      memberId: hexId(memberID),
      type: ALARM_TYPES[alarm] ?? `alarm ${alarm}`,
    }));
  }

  async disarm({ memberId, type }: EtcdAlarm): Promise<void> {
    const alarm = ALARM_TYPES.indexOf(type);
    await this.#ask('Alarm', {
      request: { action: ALARM_ACTION.deactivate, memberID: wireId(memberId), alarm },
      doing: `disarm ${type} of etcd member ${memberId}`,
      idempotent: true,
    });
  }

  async defragment(endpoint: string): Promise<void> {
    await this.#ask('Defragment', { endpoint, doing: 'defragment', timeoutMs: DEFRAGMENT_TIMEOUT_MS });
  }

  async moveLeader(endpoint: string, targetId: string): Promise<void> {
    await this.#ask('MoveLeader', {
      endpoint,
      request: { targetID: wireId(targetId) },
      doing: `make ${targetId} the leader of etcd`,
      timeoutMs: MOVE_LEADER_TIMEOUT_MS,
    });
  }

  async snapshot(endpoint: string, file: string): Promise<number> {
    const part = `${file}.part`;
    const doing = 'save a snapshot';
    const check = new ChecksumAtEnd();
    try {
      const answers = await this.#at(endpoint).openServerStream<{ blob: Buffer }>('Snapshot', {
        doing,
        timeoutMs: SNAPSHOT_TIMEOUT_MS,
      });
      await pipeline(
        answers,
        async function* (source: AsyncIterable<{ blob: Buffer }>) {
          for await (const { blob } of source) yield check.take(blob);
        },
        createWriteStream(part, { mode: 0o600, flush: true }),
      );
      check.verify(endpoint);
      await rename(part, file);
      return check.bytes;
    } catch (error) {
      await rm(part, { force: true });
      throw error instanceof EtcdCallError ? membershipError(error) : error;
    }
  }

  close(): void {
    for (const connection of [this.#cluster, ...this.#single.values()]) connection.close();
  }

  async #ask<Response>(
    method: Parameters<EtcdConnection['call']>[0],
    { endpoint, request = {}, idempotent = false, ...options }: Asked,
  ): Promise<Response> {
    const connection = endpoint === undefined ? this.#cluster : this.#at(endpoint);
    try {
      return await connection.call<Response>(method, request, { idempotent, ...options });
    } catch (error) {
      throw error instanceof EtcdCallError ? membershipError(error) : error;
    }
  }

  /** What the member list says about a change whose outcome is unknown. */
  async #resolve<T>(error: unknown, find: (members: readonly EtcdMember[]) => T): Promise<T | undefined> {
    if (!(error instanceof EtcdMembershipError) || error.certain) return undefined;
    return find(await this.list());
  }

  #at(endpoint: string): EtcdConnection {
    const known = this.#single.get(endpoint);
    if (known) return known;
    const made = new EtcdConnection({ ...this.#options, endpoints: [endpoint] });
    this.#single.set(endpoint, made);
    return made;
  }
}

interface Asked {
  /** Default: any member. */
  readonly endpoint?: string;
  readonly request?: object;
  readonly doing: string;
  readonly idempotent?: boolean;
  readonly withoutLeader?: boolean;
  readonly timeoutMs?: number;
}

/** etcd's snapshot ends with the SHA-256 of all before. */
class ChecksumAtEnd {
  readonly #hash = createHash('sha256');
  #tail = Buffer.alloc(0);
  bytes = 0;

  take(chunk: Buffer): Buffer {
    const held = Buffer.concat([this.#tail, chunk]);
    const cut = Math.max(0, held.length - SHA256_BYTES);
    this.#hash.update(held.subarray(0, cut));
    this.#tail = Buffer.from(held.subarray(cut));
    this.bytes += chunk.length;
    return chunk;
  }

  verify(endpoint: string): void {
    if (this.bytes > SHA256_BYTES && this.#hash.digest().equals(this.#tail)) return;
    throw new EtcdMembershipError(
      'damaged',
      `The snapshot of etcd ${endpoint} is damaged: its SHA-256 is not the one at its end`,
    );
  }
}

function memberOf({ ID, name, peerURLs, clientURLs, isLearner }: WireMember): EtcdMember {
  return { id: hexId(ID), name, peerURLs, clientURLs, isLearner };
}

function statusOf({ header, dbSize, dbSizeInUse, leader, ...status }: WireStatus): EtcdMemberStatus {
  const leaderId = hexId(leader);
  return {
    id: hexId(header.memberId),
    clusterId: hexId(header.clusterId),
    revision: int(header.revision),
    version: status.version,
    dbSizeBytes: int(dbSize),
    dbSizeInUseBytes: int(dbSizeInUse),
    leaderId: /^0+$/.test(leaderId) ? '' : leaderId,
    raftTerm: int(status.raftTerm),
    raftIndex: int(status.raftIndex),
    raftAppliedIndex: int(status.raftAppliedIndex),
    isLearner: status.isLearner,
    errors: status.errors,
  };
}

function hexId(id: protobuf.Long | number): string {
  const { high, low } = typeof id === 'number' ? { high: 0, low: id } : id;
  return [high, low].map((half) => (half >>> 0).toString(16).padStart(8, '0')).join('');
}

function wireId(id: string): { readonly high: number; readonly low: number; readonly unsigned: true } {
  if (!/^[0-9a-f]{1,16}$/.test(id))
    throw new EtcdMembershipError(
      'member-not-found',
      `"${id}" is no etcd member ID: it should be hexadecimal`,
    );
  const digits = id.padStart(16, '0');
  return {
    high: Number.parseInt(digits.slice(0, 8), 16) | 0,
    low: Number.parseInt(digits.slice(8), 16) | 0,
    unsigned: true,
  };
}
