/** Check crash-loops: containers that end again and again, and images that cannot be pulled. */
import { pods } from '#client/refs.ts';
import { listAll } from '../list-all.ts';
import type { ReadinessCheck } from '../check.ts';

const BAD = new Set([
  'CrashLoopBackOff',
  'ImagePullBackOff',
  'ErrImagePull',
  'CreateContainerConfigError',
  'InvalidImageName',
]);

export const crashLoops: ReadinessCheck = {
  name: 'crash-loops',
  short: 'containers start and keep running',
  async run({ api }) {
    const { items } = await listAll(api, pods);
    return items.flatMap(({ metadata, status }) =>
      [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])].flatMap(
        ({ name, state, restartCount, lastState }) => {
          const waiting = state?.waiting;
          if (!BAD.has(waiting?.reason ?? '')) return [];
          const ended = lastState?.terminated;
          const why = ended
            ? `, last ended with ${ended.reason ?? 'no reason'} (exit code ${ended.exitCode})`
            : '';
          return [
            {
              severity: 'warning' as const,
              object: `Pod ${metadata.namespace}/${metadata.name}`,
              evidence: `container ${name} is in ${waiting?.reason} after ${restartCount} restarts${why}${waiting?.message ? `: ${waiting.message}` : ''}`,
              remedy: `kubectl logs --previous -n ${metadata.namespace} ${metadata.name} -c ${name}; kubectl describe pod -n ${metadata.namespace} ${metadata.name}`,
            },
          ];
        },
      ),
    );
  },
};
