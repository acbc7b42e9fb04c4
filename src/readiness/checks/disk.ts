/** Check disk: file systems of this machine with little room left. */
import type { ReadinessCheck } from '../check.ts';

const LOW_PART = 0.1;
const LOW_BYTES = 2 ** 30;

export const disk: ReadinessCheck = {
  name: 'disk',
  short: 'the disks of this machine have room',
  onMachine: true,
  async run({ machine }) {
    return machine!.disks().flatMap(({ path, freeBytes, totalBytes }) => {
      if (freeBytes >= LOW_BYTES && freeBytes >= totalBytes * LOW_PART) return [];
      return [
        {
          severity: freeBytes < LOW_BYTES ? ('error' as const) : ('warning' as const),
          object: path,
          evidence: `${(freeBytes / 2 ** 30).toFixed(1)} GiB of ${(totalBytes / 2 ** 30).toFixed(1)} are free`,
          remedy:
            'remove what is not needed: unused images and logs; old backups with capstan backup prune; capstan etcd defrag gives space of etcd back',
        },
      ];
    });
  },
};
