/**
 * Keeps the annotation node.alpha.kubernetes.io/ttl of each Node: how many seconds kubelets may keep Secrets and ConfigMaps before they read them again, the longer
 * the more nodes there are. Capstan's node agents watch what they use; kubelets with `configMapAndSecretChangeDetectionStrategy: Cache` read it. After upstream's
 * pkg/controller/ttl: nodes that are there already follow a new size with their next change.
 */
import { nodes } from '#client/refs.ts';
import { isStatusError } from '#machinery/errors.ts';
import { defineController, watch, type ReconcileContext } from '#runtime/controller.ts';

const ANNOTATION = 'node.alpha.kubernetes.io/ttl';

/** Upstream's steps. They overlap, so that a cluster whose size varies does not change all its nodes again and again. */
const STEPS = [
  { least: 0, most: 100, seconds: 0 },
  { least: 90, most: 500, seconds: 15 },
  { least: 450, most: 1_000, seconds: 30 },
  { least: 900, most: 2_000, seconds: 60 },
  { least: 1_800, most: Infinity, seconds: 300 },
] as const;

export const ttlController = defineController({
  name: 'ttl-controller',
  watches: [watch(nodes)],
  reconcile,
});

async function reconcile(context: ReconcileContext): Promise<void> {
  const { key, api, informer } = context;
  const seconds = currentSeconds(context);
  const node = informer(nodes).get(key);
  if (!node || node.metadata.annotations?.[ANNOTATION] === String(seconds)) return;
  await api
    .patch(
      nodes,
      { name: key },
      {
        type: 'strategic',
        patch: { metadata: { annotations: { [ANNOTATION]: String(seconds) } } },
      },
    )
    .catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound')) throw error;
    });
}

/** The step that this run of the controller is at, moved by the number of nodes. */
function currentSeconds({ informer, memory }: ReconcileContext): number {
  const step = nextStep((memory.get('step') as number | undefined) ?? 0, informer(nodes).list().length);
  memory.set('step', step);
  return STEPS[step]!.seconds;
}

/** From one step to that of a number of nodes. */
export function nextStep(step: number, count: number): number {
  let next = step;
  while (next < STEPS.length - 1 && count > STEPS[next]!.most) next++;
  while (next > 0 && count < STEPS[next]!.least) next--;
  return next;
}
