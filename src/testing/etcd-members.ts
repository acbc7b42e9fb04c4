/** Several members of one etcd for tests, on loopback without TLS: each can be started, killed and started again. */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEtcdMembership } from '#storage/drivers/etcd/membership.ts';
import { freePorts, unpackedEtcd35 } from '#storage/drivers/etcd/test-etcd.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';

export interface TestMember {
  readonly name: string;
  readonly clientURL: string;
  readonly peerURL: string;
  readonly dataDir: string;
  start(options: {
    /** The members it knows, or the text of --initial-cluster. */
    readonly members: readonly TestMember[] | string;
    readonly state: 'new' | 'existing';
    readonly flags?: readonly string[];
  }): void;
  kill(): Promise<void>;
}

export interface TestEtcdCluster {
  readonly members: readonly TestMember[];
  close(): Promise<void>;
}

/** Members that are not started yet. */
export async function createTestMembers(program: string, count: number): Promise<TestEtcdCluster> {
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'capstan-etcds-'));
  const ports = await freePorts(2 * count);
  const members = Array.from({ length: count }, (_, index) =>
    testMember({
      program,
      name: `m${index + 1}`,
      dataDir: join(dir, `m${index + 1}`),
      ports: ports.slice(2 * index),
    }),
  );
  return {
    members,
    async close() {
      await Promise.all(members.map((member) => member.kill()));
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

function testMember({
  program,
  name,
  dataDir,
  ports,
}: {
  readonly program: string;
  readonly name: string;
  readonly dataDir: string;
  readonly ports: readonly number[];
}): TestMember {
  const [clientURL, peerURL] = ports.map((port) => `http://127.0.0.1:${port}`) as [string, string];
  let child: ChildProcess | undefined;
  return {
    name,
    clientURL,
    peerURL,
    dataDir,
    start({ members, state, flags = [] }) {
      child = spawn(
        program,
        [
          `--name=${name}`,
          `--data-dir=${dataDir}`,
          `--listen-client-urls=${clientURL}`,
          `--advertise-client-urls=${clientURL}`,
          `--listen-peer-urls=${peerURL}`,
          `--initial-advertise-peer-urls=${peerURL}`,
          `--initial-cluster=${typeof members === 'string' ? members : members.map((one) => `${one.name}=${one.peerURL}`).join(',')}`,
          `--initial-cluster-state=${state}`,
          '--heartbeat-interval=50',
          '--election-timeout=500',
          '--logger=zap',
          '--log-level=error',
          ...flags,
        ],
        { stdio: 'ignore' },
      );
    },
    async kill() {
      const killed = child;
      child = undefined;
      if (!killed || killed.exitCode !== null || killed.signalCode !== null) return;
      const ended = new Promise((resolve) => killed.once('exit', resolve));
      killed.kill('SIGKILL');
      await ended;
    },
  };
}

/** etcd 3.5, where it can be had. */
export const etcdProgram: string | undefined = unpackedEtcd35();

export function openMembership(members: readonly TestMember[]): EtcdMembership {
  return createEtcdMembership({ endpoints: members.map(({ clientURL }) => clientURL) });
}

/** Its methods as properties, so that a test can replace some. */
export function bound(membership: EtcdMembership): EtcdMembership {
  return {
    list: (options) => membership.list(options),
    addLearner: (urls) => membership.addLearner(urls),
    promote: (id) => membership.promote(id),
    remove: (id) => membership.remove(id),
    status: (endpoint) => membership.status(endpoint),
    alarms: () => membership.alarms(),
    disarm: (alarm) => membership.disarm(alarm),
    defragment: (endpoint) => membership.defragment(endpoint),
    snapshot: (endpoint, file) => membership.snapshot(endpoint, file),
    moveLeader: (endpoint, id) => membership.moveLeader(endpoint, id),
    close: () => membership.close(),
  };
}
