/** Checks shared by init and join: requirements of every control plane, and of a node with real containers. */
import { errorMessage } from '#stdx/log.ts';
import { findEtcd } from '../packages/etcd.ts';
import type { Check } from './check.ts';
import { bridgeNetfilter, cgroup2, ipForward, noOtherKubelet, portFree, programs, swap } from './checks.ts';

export const MINIMUM_MEMORY_BYTES = 1700 * 2 ** 20;
export const MINIMUM_DISK_BYTES = 2 * 2 ** 30;

/** ours: this machine's own supervisor may hold the port. */
export function realNodeChecks(ours: Parameters<typeof portFree>[1]): readonly Check[] {
  return [
    portFree(10250, ours),
    programs(),
    cgroup2(),
    ipForward(),
    bridgeNetfilter(),
    swap(),
    noOtherKubelet(),
  ];
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
        return remark === undefined ? undefined : { warnings: [remark] };
      } catch (error) {
        return { errors: [errorMessage(error)] };
      }
    },
  };
}
