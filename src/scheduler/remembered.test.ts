/** Random clusters that change between decisions: what earlier cycles left (node-answers.ts, node-sums.ts) never changes a decision. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod } from '#api/types.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { NodeAnswers } from './node-answers.ts';
import { NodeSums } from './node-sums.ts';
import { defaultPlugins } from './plugins/list.ts';
import { schedule, type Decision } from './schedule.ts';
import { randomNode, randomPod } from './testing/random-cluster.ts';
import { podInfo, world } from './testing/snapshot.ts';

const WORLDS = 60;
const STEPS = 80;
const NODES = 6;
const profile = { schedulerName: 'default-scheduler', plugins: defaultPlugins };
const below = (random: Random, most: number): number => Math.floor(random() * most);

/** Another pod of the same template. */
function replica(template: Pod, index: number): Pod {
  const name = `${template.metadata?.name}-${index}`;
  return { ...template, metadata: { ...template.metadata, name, uid: name } };
}

function shown(decision: Decision): unknown {
  if (decision.kind === 'fits') return [decision.node, decision.evaluated, decision.feasible];
  const { refusals, everywhere, others } = decision.failure;
  return [[...refusals.entries()], everywhere, others];
}

test('decisions are those of a scheduler that remembers nothing', () => {
  const kinds = { fits: 0, none: 0 };
  for (let seed = 1; seed <= WORLDS; seed += 1) {
    const random = seededRandom(seed);
    const nodes = Array.from({ length: NODES }, (_, index) => randomNode(random, index));
    const { cache, snapshot } = world({ nodes });
    const templates = Array.from({ length: 5 }, (_, index) => randomPod(random, index));
    const placed: string[] = [];
    const nominated = podInfo(randomPod(random, 99));
    let promisedTo = '';
    const live = Object.create(snapshot, {
      nominated: { value: (node: string) => (node === promisedTo ? [nominated] : []) },
    }) as typeof snapshot;
    for (let step = 0; step < STEPS; step += 1) {
      const pod = podInfo(replica(templates[below(random, templates.length)]!, step));
      const forgetful = Object.create(live, {
        answers: { value: new NodeAnswers() },
        sums: { value: new NodeSums() },
      }) as typeof snapshot;
      const input = { pod, profile, startIndex: below(random, NODES) };
      const expected = schedule({ ...input, snapshot: forgetful, random: seededRandom(step) });
      const decision = schedule({ ...input, snapshot: live, random: seededRandom(step) });
      assert.deepEqual(shown(decision), shown(expected), `seed ${seed}, step ${step}`);
      kinds[decision.kind] += 1;
      if (decision.kind === 'fits') {
        cache.assume(pod, decision.node);
        placed.push(pod.uid);
      }
      const chance = random();
      if (chance < 0.35 && placed.length > 0)
        cache.removePod(placed.splice(below(random, placed.length), 1)[0]!);
      else if (chance < 0.45) cache.setNode(randomNode(random, below(random, NODES)));
      else if (chance < 0.5) cache.removeNode(`n${below(random, NODES)}`);
      promisedTo = random() < 0.2 ? `n${below(random, NODES)}` : '';
    }
  }
  assert.ok(kinds.fits > WORLDS * 10 && kinds.none > WORLDS * 5, JSON.stringify(kinds));
});
