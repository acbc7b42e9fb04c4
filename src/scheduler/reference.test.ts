/** Random clusters: the scheduler accepts the same nodes as a slow reference, refuses the others for the same plugin, and chooses a node with the best score. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { defaultPlugins } from './plugins/list.ts';
import { choose, findCandidates } from './schedule.ts';
import { referenceVerdicts } from './testing/reference.ts';
import { randomNode, randomPod } from './testing/random-cluster.ts';
import { podInfo, world } from './testing/snapshot.ts';

const WORLDS = 300;
const profile = { schedulerName: 'default-scheduler', plugins: defaultPlugins };
const below = (random: Random, most: number): number => Math.floor(random() * most);

test('decisions agree with the reference', () => {
  let placed = 0;
  let refused = 0;
  for (let seed = 1; seed <= WORLDS; seed += 1) {
    const random = seededRandom(seed);
    const nodes = Array.from({ length: 2 + below(random, 6) }, (_, index) => randomNode(random, index));
    const { cache, snapshot } = world({ nodes });
    const pods: Pod[] = [];
    for (let index = 0; index < 12; index += 1) {
      const incoming = randomPod(random, index);
      const expected = referenceVerdicts(incoming, { nodes, pods });
      const shown = `seed ${seed}, pod ${index}: ${JSON.stringify({ incoming: incoming.spec, pods: pods.map(({ metadata, spec }) => [metadata?.labels, spec?.nodeName]) })}`;
      const info = podInfo(incoming);
      const found = findCandidates({ pod: info, snapshot, profile, random });
      const refusals = found.kind === 'candidates' ? found.refusals : found.failure.refusals;
      for (const { name } of snapshot.nodes) {
        const own = refusals.get(name)?.plugin;
        assert.equal(own, expected.refusedBy.get(name), `${name}, ${shown}`);
        refused += own === undefined ? 0 : 1;
      }
      if (found.kind !== 'candidates') continue;
      const { node: chosen } = choose(found, { profile, random });
      const best = Math.max(...expected.scores.values());
      assert.equal(
        expected.scores.get(chosen),
        best,
        `${chosen} of ${JSON.stringify([...expected.scores])}, ${shown}`,
      );
      const there = { ...incoming, spec: { ...incoming.spec!, nodeName: chosen } };
      pods.push(there);
      cache.setPod(there);
      placed += 1;
    }
  }
  assert.ok(placed > WORLDS * 3 && refused > WORLDS * 3, `${placed} placed, ${refused} refusals`);
});
