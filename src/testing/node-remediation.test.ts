/** The controller as its own service account on a real API server: steps, budgets, false alarms, and a change of leadership. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, afterEach, describe, it } from 'node:test';
import { nodeRemediationController } from '#addons/node-remediation/node-remediation-controller.ts';
import { parseRemediation } from '#addons/node-remediation/policies.ts';
import type { Node } from '#api/types.ts';
import { configMaps, events, nodes, podDisruptionBudgets, pods } from '#client/refs.ts';
import { nodeIdentity } from '#cmd/all-in-one/identities.ts';
import { createRebootCommand } from '#cmd/node/reboot-command.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { formatTime } from '#machinery/time.ts';
import { realClock } from '#stdx/clock.ts';
import { silentLogger } from '#stdx/log.ts';

const HEADER = 'apiVersion: remediation.capstan.dev/v1alpha1\nkind: NodeRemediation\n';
const ALL = `
policies:
- name: disks
  condition: {type: ReadonlyFilesystem, for: 30s}
  steps: [{taint: {effect: NoSchedule}}, {drain: {timeout: 5m}}, {reboot: {timeout: 2m}}, {replace: {}}]
`;

describe('remediation of nodes', () => {
  let world: TestWorld;
  beforeEach(async () => {
    world = await startTestWorld([nodeRemediationController]);
    await world.namespace('shop');
  });
  afterEach(() => world?.stop());

  async function createNodes(count: number, labels: Record<string, string> = {}): Promise<void> {
    for (let index = 1; index <= count; index++)
      await world.node(`n${index}`, (node) => {
        node.metadata!.labels = labels;
        Object.assign((node as Node).status!, { nodeInfo: { bootID: `boot-${index}` } });
      });
  }
  const configure = (more: string) =>
    world.api.create(configMaps, {
      metadata: { name: 'node-remediation', namespace: 'kube-system' },
      data: { 'remediation.yaml': HEADER + more },
    });
  const find = (name: string): Promise<Node> => world.api.get(nodes, { name });
  async function setStatus(name: string, status: 'True' | 'False'): Promise<void> {
    const now = formatTime(world.clock.now());
    const condition = { type: 'ReadonlyFilesystem', status, lastTransitionTime: now, lastHeartbeatTime: now };
    const patch = { status: { conditions: [condition] } };
    await world.api.patch(nodes, { name }, { type: 'strategic', subresource: 'status', patch });
  }
  const boot = (name: string, bootID: string) =>
    world.api.patch(
      nodes,
      { name },
      { type: 'merge', subresource: 'status', patch: { status: { nodeInfo: { bootID } } } },
    );
  async function createPod(name: string, nodeName: string, more: object = {}): Promise<void> {
    const pod = await world.api.create(pods, {
      metadata: { name, namespace: 'shop', labels: { app: 'web' }, ...more },
      spec: { nodeName, containers: [{ name: 'c', image: 'i' }] },
    });
    await world.setPod(pod, {});
  }
  const isEnding = async (name: string): Promise<boolean> =>
    (await world.api.get(pods, { name, namespace: 'shop' })).metadata.deletionTimestamp !== undefined;
  const eventsOf = async (name: string): Promise<string[]> =>
    (await world.api.list(events, { fieldSelector: `involvedObject.name=${name}` })).items.map(
      ({ reason, message }) => `${reason}: ${message}`,
    );
  const event = (name: string, words: RegExp): Promise<unknown> =>
    world.until(`${name}: ${words}`, async () => (await eventsOf(name)).some((one) => words.test(one)));

  it('taints, drains, reboots, replaces, and takes all of it back', async () => {
    await createNodes(10);
    await createPod('web', 'n1');
    await createPod('agent', 'n1', {
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'd', uid: 'u', controller: true }],
    });
    await world.api.create(podDisruptionBudgets, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { minAvailable: 0, selector: { matchLabels: { app: 'web' } } },
    });
    await world.api.patch(
      podDisruptionBudgets,
      { name: 'web', namespace: 'shop' },
      {
        type: 'merge',
        subresource: 'status',
        patch: {
          status: {
            disruptionsAllowed: 1,
            currentHealthy: 1,
            desiredHealthy: 0,
            expectedPods: 1,
            observedGeneration: 1,
          },
        },
      },
    );
    await configure(ALL);
    await setStatus('n1', 'True');
    await event(
      'n1',
      /^RemediationStarted: Policy disks, for ReadonlyFilesystem=True: taint, drain, reboot, replace/,
    );
    await world.until('the taint', async () =>
      (await find('n1')).spec?.taints?.some(
        ({ key }) => key === 'node-problem.capstan.dev/ReadonlyFilesystem',
      ),
    );
    await world.until('the pod is evicted', () => isEnding('web'));
    assert.equal((await find('n1')).spec?.unschedulable, true);
    assert.equal(await isEnding('agent'), false);
    assert.equal(
      (await find('n1')).metadata?.annotations?.['remediation.capstan.dev/reboot-requested'],
      undefined,
    );
    await world.finishPod(await world.api.get(pods, { name: 'web', namespace: 'shop' }));
    await world.until(
      'a reboot is asked for',
      async () =>
        (await find('n1')).metadata?.annotations?.['remediation.capstan.dev/reboot-requested'] === 'boot-1',
    );
    await boot('n1', 'boot-1-again');
    await event('n1', /^RemediationStep: Policy disks: reboot is done/);
    await world.until(
      'a replacement is asked for',
      async () => (await find('n1')).metadata?.annotations?.['remediation.capstan.dev/replace-requested'],
    );
    await setStatus('n1', 'False');
    await event('n1', /^RemediationEnded/);
    const { metadata, spec } = await find('n1');
    assert.deepEqual(metadata?.annotations ?? {}, {});
    assert.equal(spec?.unschedulable, undefined);
    assert.deepEqual(spec?.taints ?? [], []);
  });

  it('a false alarm of the whole fleet empties nothing', async () => {
    await createNodes(10);
    for (let index = 1; index <= 10; index++) await createPod(`web-${index}`, `n${index}`);
    await configure(`budget: {maxNodes: 3, maxPercent: 50}\n${ALL}`);
    for (let index = 1; index <= 10; index++) await setStatus(`n${index}`, 'True');
    await event('n10', /^RemediationHalted: Policy disks: 10 of 10 Nodes have the condition at once/);
    await world.pass(5 * 60_000);
    for (let index = 1; index <= 10; index++) {
      assert.equal((await find(`n${index}`)).spec?.unschedulable, undefined, `n${index}`);
      assert.equal(await isEnding(`web-${index}`), false);
    }
  });

  it('no more nodes at once than the budget allows, those that are not Ready counted', async () => {
    await createNodes(20);
    await configure(`budget: {maxNodes: 3, maxPercent: 10, haltPercent: 100}\n${ALL}`);
    for (const name of ['n1', 'n2', 'n3', 'n4']) await setStatus(name, 'True');
    await event('n4', /^RemediationHeld: .*the budget allows 2 of 20/);
    await world.pass(2 * 60_000);
    const { items } = await world.api.list(nodes);
    assert.equal(items.filter(({ spec }) => spec?.unschedulable).length, 2);
    await setStatus('n1', 'False');
    await event('n3', /^RemediationStarted/);
  });

  it('a drain that a budget refuses fails, and nothing is rebooted', async () => {
    await createNodes(10);
    await createPod('web', 'n1');
    await world.api.create(podDisruptionBudgets, {
      metadata: { name: 'web', namespace: 'shop' },
      spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } },
    });
    await configure(ALL);
    await setStatus('n1', 'True');
    await world.until('it is cordoned', async () => (await find('n1')).spec?.unschedulable === true);
    await world.pass(6 * 60_000);
    await event(
      'n1',
      /^RemediationFailed: Policy disks: drain: after 300 s 1 pods are still there, shop\/web/,
    );
    await world.pass(60_000);
    assert.equal(await isEnding('web'), false);
    assert.equal(
      (await find('n1')).metadata?.annotations?.['remediation.capstan.dev/reboot-requested'],
      undefined,
    );
  });

  it('control planes are left alone, and a wrong configuration is reported', async () => {
    await createNodes(10, { 'node-role.kubernetes.io/control-plane': '' });
    await configure('policies: [{name: a, condition: {type: X}, steps: [{reboot: {}}]}]');
    await event('node-remediation', /^InvalidConfiguration: .*have no drain; it should come before reboot/);
    await world.api.patch(
      configMaps,
      { name: 'node-remediation', namespace: 'kube-system' },
      { type: 'merge', patch: { data: { 'remediation.yaml': HEADER + ALL } } },
    );
    await setStatus('n1', 'True');
    await world.pass(2 * 60_000);
    assert.equal((await find('n1')).spec?.unschedulable, undefined);
  });
});

describe('the reboot command', () => {
  let world: TestWorld;
  let dir: string;
  before(async () => {
    world = await startTestWorld([]);
    dir = mkdtempSync(join(tmpdir(), 'capstan-reboot-'));
  });
  after(async () => {
    await world?.stop();
    rmSync(dir, { recursive: true, force: true });
  });

  it('runs once, for this boot alone', async () => {
    await world.node('n1');
    const file = join(dir, 'rebooted');
    const component = createRebootCommand({
      api: world.test.clientAs(nodeIdentity('n1')),
      clock: world.clock,
      log: silentLogger,
      nodeName: 'n1',
      command: `echo once >> ${file}`,
      bootID: 'this',
    });
    await component.start();
    const ask = (bootID: string) =>
      world.api.patch(
        nodes,
        { name: 'n1' },
        {
          type: 'merge',
          patch: { metadata: { annotations: { 'remediation.capstan.dev/reboot-requested': bootID } } },
        },
      );
    await ask('another');
    await world.pass(30_000);
    assert.ok(!existsSync(file));
    await ask('this');
    await world.until('it ran', () => existsSync(file));
    await world.pass(30_000);
    await realClock.sleep(100);
    assert.equal(readFileSync(file, 'utf8'), 'once\n');
    await component.stop();
  });
});

it('configurations that cannot be', () => {
  const refuses = (more: string, problem: RegExp): void => {
    assert.throws(() => parseRemediation(HEADER + more), problem);
  };
  const policy = (steps: string): string => `policies: [{name: a, condition: {type: X}, steps: ${steps}}]`;
  refuses('budget: {maxPercent: 120}', /maxPercent is 120; it should be between 0 and 100/);
  refuses(policy('[]'), /steps is empty/);
  refuses(policy('[{drain: {}}, {taint: {}}]'), /are drain, taint; they should be in the order taint, drain/);
  refuses(policy('[{drain: {}, taint: {}}]'), /has taint and drain|has drain and taint/);
  refuses(policy('[{taint: {effect: Never}}]'), /effect is Never; it should be one of/);
  refuses('policies: [{name: a}]', /condition\.type is missing/);
  refuses('polices: []', /unknown field "polices"/);
});
