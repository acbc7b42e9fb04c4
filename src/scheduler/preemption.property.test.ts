/** Random clusters: preemption finds the same candidates, and the same best one, as a slow reference that asks about whole clusters. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Pod, PodDisruptionBudget } from '#api/types.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { defaultPlugins } from './plugins/list.ts';
import { bestPreemption, preemptionCandidates } from './preemption.ts';
import { findCandidates } from './schedule.ts';
import { referenceVerdicts } from './testing/reference.ts';
import { randomNode, randomPod } from './testing/random-cluster.ts';
import { podInfo, world } from './testing/snapshot.ts';

const WORLDS = 400;
const profile = { schedulerName: 'default-scheduler', plugins: defaultPlugins };
const below = (random: Random, most: number): number => Math.floor(random() * most);

interface Wanted {
  readonly node: string;
  readonly victims: readonly Pod[];
  readonly violations: number;
}

const nameOf = (pod: Pod): string => pod.metadata?.name ?? '';
const priorityOf = (pod: Pod): number => pod.spec?.priority ?? 0;
const startOf = (pod: Pod): string => pod.status?.startTime ?? '';

function byImportance(a: Pod, b: Pod): number {
  return priorityOf(b) - priorityOf(a) || startOf(a).localeCompare(startOf(b));
}

/** Budgets of the test select by the label app in the namespace default. */
function violatingNames(pods: readonly Pod[], budgets: readonly PodDisruptionBudget[]): Set<string> {
  const left = budgets.map(({ status }) => status?.disruptionsAllowed ?? 0);
  const names = new Set<string>();
  for (const pod of pods)
    for (const [index, budget] of budgets.entries()) {
      if (pod.metadata?.namespace !== 'default') continue;
      if (pod.metadata.labels?.['app'] !== budget.spec?.selector?.matchLabels?.['app']) continue;
      if (--left[index]! < 0) names.add(nameOf(pod));
    }
  return names;
}

interface Question {
  readonly incoming: Pod;
  readonly nodes: ReturnType<typeof randomNode>[];
  readonly pods: readonly Pod[];
  readonly budgets: readonly PodDisruptionBudget[];
}

function wantedOn(node: string, { incoming, nodes, pods, budgets }: Question): Wanted | undefined {
  const lower = pods
    .filter((pod) => pod.spec?.nodeName === node && priorityOf(pod) < priorityOf(incoming))
    .sort(byImportance);
  const fits = (gone: readonly Pod[]): boolean =>
    !referenceVerdicts(incoming, { nodes, pods: pods.filter((pod) => !gone.includes(pod)) }).refusedBy.get(
      node,
    );
  let victims = lower;
  if (lower.length === 0 || !fits(victims)) return undefined;
  const violating = violatingNames(lower, budgets);
  const isViolating = (pod: Pod): boolean => violating.has(nameOf(pod));
  for (const pod of [...lower.filter(isViolating), ...lower.filter((one) => !isViolating(one))]) {
    const fewer = victims.filter((victim) => victim !== pod);
    if (fits(fewer)) victims = fewer;
  }
  return { node, victims, violations: victims.filter(isViolating).length };
}

/** Upstream's five criteria as one text that sorts; later starts are better. */
function isBetter(one: Wanted, other: Wanted): boolean {
  const keys = ({ victims, violations }: Wanted): (number | string)[] => {
    const highest = priorityOf(victims[0]!);
    const starts = victims.filter((pod) => priorityOf(pod) === highest).map(startOf);
    const sum = victims.reduce((total, pod) => total + priorityOf(pod) + 2 ** 31, 0);
    return [violations, highest, sum, victims.length, starts.sort()[0]!];
  };
  const [a, b] = [keys(one), keys(other)];
  const at = a.findIndex((key, index) => key !== b[index]);
  if (at < 0) return false;
  return at === 4 ? a[at]! > b[at]! : a[at]! < b[at]!;
}

function randomPlaced(random: Random, index: number): Pod {
  const pod = randomPod(random, index);
  const minute = String(below(random, 60)).padStart(2, '0');
  const second = String(index).padStart(2, '0');
  return {
    ...pod,
    spec: { ...pod.spec!, priority: below(random, 4) },
    status: { startTime: `2026-01-01T00:${minute}:${second}Z` },
  };
}

function randomBudget(random: Random, app: string): PodDisruptionBudget {
  return {
    metadata: { name: app, namespace: 'default' },
    spec: { selector: { matchLabels: { app } } },
    status: { disruptionsAllowed: below(random, 2) },
  } as PodDisruptionBudget;
}

test('preemption agrees with the reference', () => {
  let preempted = 0;
  let none = 0;
  for (let seed = 1; seed <= WORLDS; seed += 1) {
    const random = seededRandom(seed);
    const nodes = Array.from({ length: 2 + below(random, 5) }, (_, index) => randomNode(random, index));
    const budgets = ['web', 'db'].filter(() => random() < 0.5).map((app) => randomBudget(random, app));
    const { cache, snapshot } = world({ nodes });
    const pods: Pod[] = [];
    for (let index = 0; index < 25; index += 1) {
      const made = randomPlaced(random, index);
      const incoming: Pod = random() < 0.3 ? { ...made, spec: { ...made.spec!, priority: 9 } } : made;
      const found = findCandidates({ pod: podInfo(incoming), snapshot, profile, random });
      if (found.kind === 'candidates') {
        const nodeName = found.feasible[below(random, found.feasible.length)]!.name;
        const there = { ...incoming, spec: { ...incoming.spec!, nodeName } };
        pods.push(there);
        cache.setPod(there);
        continue;
      }
      const before = JSON.stringify(snapshot.nodes.map(({ requested, pods: { size } }) => [requested, size]));
      const own = preemptionCandidates({ cycle: found.cycle, failure: found.failure, budgets, random });
      const after = JSON.stringify(snapshot.nodes.map(({ requested, pods: { size } }) => [requested, size]));
      assert.equal(after, before, `seed ${seed}: the nodes are as before`);
      assert.ok('candidates' in own);
      const potential = [...found.failure.refusals.entries()].filter(([, { resolvable }]) => resolvable);
      const question = { incoming, nodes, pods, budgets };
      const wanted = potential.flatMap(([node]) => wantedOn(node, question) ?? []);
      const shown = (list: readonly { node: string; violations: number; victims: readonly unknown[] }[]) =>
        list.map(({ node, violations, victims }) => [
          node,
          violations,
          victims.map((victim) => nameOf(((victim as { pod?: Pod }).pod ?? victim) as Pod)),
        ]);
      assert.deepEqual(
        shown(own.candidates).sort(),
        shown(wanted).sort(),
        `seed ${seed}, pod ${index}: ${JSON.stringify(incoming.spec)}`,
      );
      const best = bestPreemption(own);
      if (!('node' in best)) {
        none += 1;
        continue;
      }
      preempted += 1;
      const chosen = wanted.find(({ node }) => node === best.node)!;
      assert.ok(!wanted.some((other) => isBetter(other, chosen)), `seed ${seed}, pod ${index}: ${best.node}`);
      for (const victim of best.victims) {
        cache.removePod(victim.uid);
        pods.splice(
          pods.findIndex((pod) => pod.metadata?.uid === victim.uid),
          1,
        );
      }
    }
  }
  assert.ok(preempted > WORLDS && none > WORLDS / 4, `${preempted} preempted, ${none} not`);
});
