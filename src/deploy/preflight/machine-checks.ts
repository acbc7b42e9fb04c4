/** Checks shared by init and join: requirements of every control plane, and of a node with real containers. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { errorMessage } from '#stdx/log.ts';
import { isOwnManifest } from '../machine/static-pods.ts';
import { findEtcd } from '../packages/etcd.ts';
import { failure, warning, type Check, type Problem } from './check.ts';
import { cgroupControllers, kernelVersion } from './node-check/kernel.ts';
import { bridgeNetfilter, cgroup2, ipForward, noOtherKubelet, portFree, programs, swap } from './checks.ts';

export const MINIMUM_MEMORY_BYTES = 1700 * 2 ** 20;
export const MINIMUM_DISK_BYTES = 2 * 2 ** 30;

/** Of kubeadm's manifests. */
const CONTROL_PLANE_PODS = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'etcd'];

/** Of others: the node agent would run them beside what init and join set up. */
export function controlPlaneManifests(dir: string): readonly Check[] {
  return CONTROL_PLANE_PODS.map((name) => {
    const path = join(dir, `${name}.yaml`);
    return {
      name: `FileAvailable-${path.replaceAll('/', '-')}`,
      run: () =>
        existsSync(path) && !isOwnManifest(path)
          ? failure(
              `${path} already exists, and is not of init or join: its component would run twice on this machine`,
              'move it out of that directory, or clean this machine with capstan reset',
            )
          : undefined,
    };
  });
}

interface RealNode {
  /** This machine's own supervisor may hold the port. */
  readonly ours: Parameters<typeof portFree>[1];
  /** Directory of static pods. */
  readonly manifests: string;
}

export function realNodeChecks({ ours, manifests }: RealNode): readonly Check[] {
  return [
    portFree(10250, ours),
    kernelVersion(),
    programs(),
    cgroup2(),
    cgroupControllers(),
    ipForward(),
    bridgeNetfilter(),
    swap(),
    noOtherKubelet(),
    ...controlPlaneManifests(manifests),
  ];
}

interface ExternalEtcdOptions {
  readonly endpoints: readonly string[];
  /** Files that have to be there. */
  readonly files: readonly (string | undefined)[];
  /** Opens a connection to its members; the check closes it. */
  connect(): EtcdMembership;
}

/** Its members answer with the files that the API server will use, and are of a version that it works with. */
export function externalEtcdCheck({ endpoints, files, connect }: ExternalEtcdOptions): Check {
  return {
    name: 'ExternalEtcd',
    async run() {
      const missing = files.filter((path) => path !== undefined && !existsSync(path));
      if (missing.length > 0)
        return failure(`${missing.join(', ')} of etcd.external not found`, 'put the files there first');
      let membership: EtcdMembership | undefined;
      try {
        const etcd = (membership = connect());
        const problems = await Promise.all(endpoints.map((endpoint) => memberProblem(etcd, endpoint)));
        const found = problems.filter((problem) => problem !== undefined);
        // The others have the quorum, or the API server says that there is none.
        return found.length === endpoints.length ? { errors: found } : { warnings: found };
      } catch (error) {
        return failure(
          `etcd.external cannot be used (${errorMessage(error)})`,
          'correct its endpoints and files in the configuration',
        );
      } finally {
        membership?.close();
      }
    },
  };
}

async function memberProblem(etcd: EtcdMembership, endpoint: string): Promise<Problem | undefined> {
  try {
    const { version } = await etcd.status(endpoint);
    const [major = 0, minor = 0] = version.split('.').map(Number);
    if (major === 3 && minor >= 4) return undefined;
    return {
      problem: `the etcd member at ${endpoint} is of version ${version}`,
      remedy: 'it should be 3.4 or later (3.5 is recommended)',
    };
  } catch (error) {
    return {
      problem: `the etcd member at ${endpoint} does not answer (${errorMessage(error)})`,
      remedy: 'start it, and let this machine reach it',
    };
  }
}

interface EtcdCheckOptions {
  /** Of --etcd-binary. */
  readonly given: string | undefined;
  /** Directory of a fetched etcd. */
  readonly kept: string;
  readonly mayFetch: boolean;
}

/** One that may be fetched need not be there yet. */
export function etcdCheck({ given, kept, mayFetch }: EtcdCheckOptions): Check {
  return {
    name: 'Etcd',
    async run() {
      if (mayFetch) return undefined;
      try {
        const { remark } = await findEtcd({ given, kept, mayFetch: false });
        return remark === undefined ? undefined : warning(remark, 'its members and learners are safer then');
      } catch (error) {
        return failure(
          errorMessage(error).replace(/\.$/, ''),
          given === undefined
            ? 'install it, or name it with --etcd-binary'
            : 'name the program etcd, or leave --etcd-binary out and the one on the PATH is taken',
        );
      }
    },
  };
}
