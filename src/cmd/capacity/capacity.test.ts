/** The command against a real API server: what is printed of nodes, and of Deployments that are there and that are not. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { deployments } from '#client/refs.ts';
import { NAMESPACE, worldFor } from '#scheduler/testing/cluster.ts';
import { askCapacity, runCapacity, type CapacityFlags } from './capacity.ts';

const SPEC = {
  replicas: 6,
  selector: { matchLabels: { app: 'web' } },
  template: {
    metadata: { labels: { app: 'web' } },
    spec: { containers: [{ name: 'web', image: 'web:1', resources: { requests: { cpu: '2' } } }] },
  },
};

it('answers from the live cluster', async (t) => {
  const world = await worldFor(t);
  await world.node('n1', { cpu: '4' });
  await world.node('n2', { cpu: '4' });
  await world.pod('busy', { cpu: '3', memory: '1Gi', on: 'n1' });
  const ask = async (flags: CapacityFlags): Promise<{ code: number; lines: readonly string[] }> => {
    const lines: string[] = [];
    return { code: await askCapacity(world.api, { flags, print: (line) => lines.push(line) }), lines };
  };

  const whole = await ask({});
  assert.equal(whole.code, 0);
  const [, , , first] = whole.lines;
  assert.match(first ?? '', /^n1 +3 of 4 \(75 %\) +1Gi of 8Gi \(13 %\) +1 of 110 \(1 %\)/);
  assert.ok(whole.lines.includes('Any one Node can fail: its pods fit on the others.'));

  await world.api.create(deployments, {
    metadata: { name: 'web', namespace: NAMESPACE },
    spec: SPEC,
  });
  assert.deepEqual(await ask({ deployment: 'default/web' }), {
    code: 1,
    lines: [
      'Deployment default/web: 6 more pods.',
      '  2 fit on the Nodes there are.',
      '  4 need 2 more Nodes like n1.',
    ],
  });
  assert.equal((await ask({ deployment: 'default/web', replicas: 2 })).code, 0);

  const directory = await mkdtemp(join(tmpdir(), 'capacity-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'plan.yaml');
  const manifest = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'planned' }, spec: SPEC };
  await writeFile(file, JSON.stringify(manifest));
  const planned = await ask({ file, like: 'n2', json: true });
  assert.deepEqual(JSON.parse(planned.lines.join('\n')), {
    deployment: 'default/planned',
    count: 6,
    like: 'n2',
    onPresent: 2,
    onAdded: 4,
    addedNodes: 2,
  });

  const groups = join(directory, 'groups.yaml');
  const allocatable = { cpu: '4', memory: '8Gi', pods: '110' };
  const group = {
    name: 'rack-a',
    selector: 'rack=a',
    maxSize: 3,
    template: { labels: { rack: 'a' }, allocatable },
  };
  const version = { apiVersion: 'capacity.capstan.dev/v1alpha1', kind: 'NodeGroups' };
  await writeFile(groups, JSON.stringify({ ...version, groups: [group] }));
  assert.deepEqual(await ask({ deployment: 'default/web', groups, replicas: 9 }), {
    code: 1,
    lines: [
      '9 pods: 2 fit on the Nodes there are, 6 on more Nodes of these groups:',
      '  rack-a 0->3 (max: 3)',
      'In no group fit 1:',
      '  default/web-planned-8: rack-a: max node group size reached',
    ],
  });
  await writeFile(groups, JSON.stringify(version));
  await assert.rejects(ask({ groups }), /groups has 0 entries/);

  await assert.rejects(ask({ deployment: 'web' }), /--deployment is web; it should be NAMESPACE\/NAME/);
  await assert.rejects(ask({ deployment: 'default/none' }), /There is no Deployment default\/none/);
  await assert.rejects(ask({ file, like: 'n9' }), /--like is n9, which is no Node/);
});

it('refuses flags that do not go together', async () => {
  const print = (): void => {};
  await assert.rejects(runCapacity({ deployment: 'a/b', file: 'c' }, print), /it should be one of them/);
  await assert.rejects(runCapacity({ like: 'n1' }, print), /are about a Deployment/);
});
