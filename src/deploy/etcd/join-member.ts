/**
 * Makes this machine a voting member of the cluster's etcd, continuing any earlier attempt. The state is etcd's member list, the data directory and the
 * recorded ID of the added learner; nothing is kept in memory.
 *
 *   not in the list ─ add as learner ─► not started ─ start etcd ─► started ─ in sync ─► promoted
 *        ▲                                  │ two minutes without progress    │
 *        └───────────── removed ◄───────────┴─────────────────────────────────┘
 *
 * Another machine's learner that stays unstarted longer than its own join would allow is removed, so that a dead one does not block a join.
 */
import { isMembershipError, type EtcdMember, type EtcdMembership } from '#machinery/etcd-membership.ts';
import { pollDelayMs } from '#stdx/backoff.ts';
import type { Clock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { UserError } from '../data-dir.ts';

/** For a learner to be started, and between two steps of its catching up. */
const PROGRESS_TIMEOUT_MS = 2 * 60_000;
/** Longer than any machine leaves its own learner unstarted. */
const DEAD_LEARNER_MS = PROGRESS_TIMEOUT_MS + 30_000;
/** Timeout for etcd to become healthy, such as after the previous member. */
const HEALTH_TIMEOUT_MS = 60_000;
/** A member that is alone with a few megabytes has caught up in less than the longest wait. */
const LOOK = { minimumMs: 50, maximumMs: 300 };
/** Rounds of looking and acting: each goes at least one step on, a lost data directory costs two more. */
const MAX_STEPS = 12;

/** etcd of this machine, whoever started it. */
export interface LocalEtcd {
  readonly name: string;
  readonly peerURL: string;
  readonly clientURL: string;
  hasData(): boolean;
  removeData(): Promise<void>;
  /** ID of the learner that was added for this machine; stored on disk. */
  recordedId(): string | undefined;
  record(memberId: string | undefined): void;
  /** Starts it, or lets it run. */
  start(initialCluster: string): Promise<void>;
  stop(): Promise<void>;
}

interface JoinEtcd {
  readonly local: LocalEtcd;
  /** Client of the existing members; not of this machine's. */
  readonly membership: EtcdMembership;
  readonly clock: Clock;
  print(line: string): void;
}

type Step = 'add' | 'start' | 'promote' | 'run' | 'remove-data' | 'remove-member';

/** UserError: what does not pass by itself. Afterwards no learner of this machine is left. */
export async function joinEtcd(join: JoinEtcd): Promise<void> {
  for (let steps = 0; steps < MAX_STEPS; steps++) {
    const members = await patiently(join, () => join.membership.list());
    const step = nextStep(members, join.local);
    await STEPS[step](join, members);
    if (step === 'run') return;
  }
  throw new UserError(
    `etcd of this machine did not become a member: its list of members changes all the time. Look at it on a control plane: capstan etcd members`,
  );
}

/** Throws a UserError where this machine must not continue. */
function nextStep(members: readonly EtcdMember[], local: LocalEtcd): Step {
  const own = ownMember(members, local);
  const recorded = local.recordedId();
  if (!own) {
    requireFreeName(members, local);
    if (!local.hasData()) return 'add';
    if (recorded !== undefined) return 'remove-data';
    throw new UserError(
      'The data directory of etcd is not empty, and not of this cluster: clean this machine with `capstan reset`, then join again.',
    );
  }
  // It was removed and added again meanwhile: etcd refuses data of another ID.
  if (recorded !== undefined && recorded !== own.id && local.hasData()) return 'remove-data';
  // A member that lost its data must not come back under its ID: it has promised things to others.
  if (own.name !== '' && !local.hasData()) return 'remove-member';
  if (own.isLearner) return own.name === '' ? 'start' : 'promote';
  return own.name === '' && !local.hasData() ? 'start' : 'run';
}

const STEPS: Readonly<Record<Step, (join: JoinEtcd, members: readonly EtcdMember[]) => Promise<void>>> = {
  add,
  start,
  promote,
  run: ({ local }, members) => local.start(initialClusterOf(members, local)),
  async 'remove-data'({ local, print }) {
    print("[etcd] Removing the data of this machine's former member");
    await local.stop();
    await local.removeData();
    local.record(undefined);
  },
  async 'remove-member'(join, members) {
    const { id } = ownMember(members, join.local)!;
    join.print(`[etcd] Removing the member ${id}, whose data this machine has lost`);
    await patiently(join, () => join.membership.remove(id));
  },
};

async function add(join: JoinEtcd): Promise<void> {
  const { local, membership, print } = join;
  print(`[etcd] Adding etcd member: ${local.peerURL}`);
  const stalled = new StalledLearners(join);
  try {
    const { id } = await patiently(join, () =>
      stalled.addWhenFree(() => membership.addLearner([local.peerURL])),
    );
    local.record(id);
  } catch (error) {
    // Of this machine: the member list shows its progress.
    if (!isMembershipError(error, 'duplicate-peer-url')) throw asUserError(error);
  }
}

async function start(join: JoinEtcd, members: readonly EtcdMember[]): Promise<void> {
  const { local, membership, clock, print } = join;
  const own = ownMember(members, local)!;
  local.record(own.id);
  try {
    print('[etcd] Starting etcd on this machine');
    await local.start(initialClusterOf(members, local));
    const look = new Looks(clock);
    for (const deadline = clock.monotonic() + PROGRESS_TIMEOUT_MS; ; await look.pause()) {
      const now = await membership.list().catch(passing);
      if (now === undefined || ownMember(now, local)?.name === '') {
        if (clock.monotonic() < deadline) continue;
        throw new UserError(
          `etcd of this machine was not seen started by the other members within ${PROGRESS_TIMEOUT_MS / 1000} s: can it reach ${othersOf(members, local)}, and they ${local.peerURL}? Its log is in the logs of this machine.`,
        );
      }
      return;
    }
  } catch (error) {
    throw await takenBack(join, { id: own.id, error });
  }
}

async function promote(join: JoinEtcd, members: readonly EtcdMember[]): Promise<void> {
  const { local, membership, clock, print } = join;
  const { id } = ownMember(members, local)!;
  try {
    await local.start(initialClusterOf(members, local));
    print('[etcd] Waiting for the learner to be in sync with the leader');
    const progress = new Progress(join);
    const look = new Looks(clock);
    for (; ; await look.pause()) {
      try {
        return await membership.promote(id);
      } catch (error) {
        if (!isMembershipError(error, 'learner-not-ready', 'unhealthy', 'unavailable', 'no-quorum'))
          throw error;
        if (await progress.isStalled())
          throw new UserError(
            `The learner got no further within ${PROGRESS_TIMEOUT_MS / 1000} s: ${errorMessage(error)}.`,
            error,
          );
      }
    }
  } catch (error) {
    throw await takenBack(join, { id, error });
  }
}

/** At something that may be there soon: often at first. */
class Looks {
  readonly #clock: Clock;
  readonly #beginMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#beginMs = clock.monotonic();
  }

  pause(): Promise<void> {
    return this.#clock.sleep(pollDelayMs(this.#clock.monotonic() - this.#beginMs, LOOK));
  }
}

/** How far the learner is, by its own word. */
class Progress {
  readonly #join: JoinEtcd;
  #index = -1;
  #sinceMs: number;

  constructor(join: JoinEtcd) {
    this.#join = join;
    this.#sinceMs = join.clock.monotonic();
  }

  async isStalled(): Promise<boolean> {
    const { membership, local, clock } = this.#join;
    const status = await membership.status(local.clientURL).catch(passing);
    const now = clock.monotonic();
    if (status && status.raftAppliedIndex > this.#index) {
      this.#index = status.raftAppliedIndex;
      this.#sinceMs = now;
    }
    return now - this.#sinceMs > PROGRESS_TIMEOUT_MS;
  }
}

/** etcd has room for one learner: waits for that of another machine, or removes it when it stays unstarted for too long. */
class StalledLearners {
  readonly #join: JoinEtcd;
  readonly #unstartedSince = new Map<string, number>();
  #told = false;

  constructor(join: JoinEtcd) {
    this.#join = join;
  }

  async addWhenFree<T>(addLearner: () => Promise<T>): Promise<T> {
    const look = new Looks(this.#join.clock);
    for (; ; await look.pause()) {
      try {
        return await addLearner();
      } catch (error) {
        if (!isMembershipError(error, 'too-many-learners')) throw error;
        await this.#look();
      }
    }
  }

  async #look(): Promise<void> {
    const { membership, clock, print } = this.#join;
    const learners = (await membership.list()).filter(({ isLearner }) => isLearner);
    if (!this.#told)
      print(
        `[etcd] Waiting for another machine that is joining: ${learners.flatMap((one) => one.peerURLs).join(', ')}`,
      );
    this.#told = true;
    const now = clock.monotonic();
    for (const { id, name, peerURLs } of learners) {
      if (name !== '') this.#unstartedSince.delete(id);
      else if (!this.#unstartedSince.has(id)) this.#unstartedSince.set(id, now);
      else if (now - this.#unstartedSince.get(id)! > DEAD_LEARNER_MS) {
        print(`[etcd] Removing the learner ${peerURLs.join(', ')}, which was never started`);
        await membership.remove(id);
      }
    }
  }
}

/** Ensures that no learner of this machine is left after a failure; returns the error to throw. */
async function takenBack(
  { membership, local, print }: JoinEtcd,
  { id, error }: { readonly id: string; readonly error: unknown },
): Promise<Error> {
  print(`[etcd] Taking the learner ${id} back`);
  try {
    await membership.remove(id);
    await local.stop();
    await local.removeData();
    local.record(undefined);
  } catch (second) {
    return new UserError(
      `${errorMessage(asUserError(error))} Its learner could not be removed either (${errorMessage(second)}): run join again, or remove it on a control plane with: capstan etcd remove ${id}`,
      error,
    );
  }
  return asUserError(error);
}

/** Repeats what fails while etcd has no leader, or a member has just come. */
async function patiently<T>({ clock }: JoinEtcd, work: () => Promise<T>): Promise<T> {
  const look = new Looks(clock);
  for (const deadline = clock.monotonic() + HEALTH_TIMEOUT_MS; ; await look.pause()) {
    try {
      return await work();
    } catch (error) {
      const passes = isMembershipError(error, 'unhealthy', 'unavailable', 'no-quorum');
      if (!passes || clock.monotonic() > deadline) throw asUserError(error);
    }
  }
}

function passing(error: unknown): undefined {
  if (!isMembershipError(error, 'unhealthy', 'unavailable', 'no-quorum', 'refused')) throw error;
}

function asUserError(error: unknown): Error {
  if (isMembershipError(error, 'duplicate-peer-url')) return error;
  if (isMembershipError(error)) return new UserError(`${error.message}.`, error);
  return error as Error;
}

function ownMember(members: readonly EtcdMember[], { peerURL }: LocalEtcd): EtcdMember | undefined {
  return members.find(({ peerURLs }) => peerURLs.includes(peerURL));
}

function requireFreeName(members: readonly EtcdMember[], { name }: LocalEtcd): void {
  const taken = members.find((member) => member.name === name);
  if (taken)
    throw new UserError(
      `etcd has a member ${name} at ${taken.peerURLs.join(', ')}, which is not this machine: give this one another name (--node-name), or remove that member on a control plane with: capstan etcd remove ${taken.id}`,
    );
}

/** 'm1=https://…,m2=https://…': every member, since etcd compares their number. */
function initialClusterOf(members: readonly EtcdMember[], local: LocalEtcd): string {
  return members
    .flatMap(({ id, name, peerURLs }) =>
      peerURLs.map((url) => `${url === local.peerURL ? local.name : name || `unstarted-${id}`}=${url}`),
    )
    .join(',');
}

function othersOf(members: readonly EtcdMember[], { peerURL }: LocalEtcd): string {
  return members
    .flatMap(({ peerURLs }) => peerURLs)
    .filter((url) => url !== peerURL)
    .join(', ');
}
