/** The controller on a real API server, as its own account: what it publishes, and when it says so. */
import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { configMaps, events } from '#client/refs.ts';
import { startTestWorld, type TestWorld } from '#controllers/testing/world.ts';
import { ReadinessMetrics, readinessController } from './readiness-controller.ts';

const NAME = { name: 'capstan-readiness-status', namespace: 'kube-system' };
const MINUTE_MS = 60_000;

interface Status {
  readonly percent: number;
  readonly conditions: readonly {
    readonly type: string;
    readonly status: string;
    readonly message: string;
  }[];
  readonly rows: readonly {
    readonly name: string;
    readonly verdict: string;
    readonly evidence: readonly string[];
  }[];
}

let world: TestWorld;
const metrics = new ReadinessMetrics();
before(async () => {
  world = await startTestWorld([readinessController({ metrics })]);
});
after(() => world?.stop());

async function status(): Promise<Status | undefined> {
  const found = await world.find(configMaps, NAME);
  return found && (JSON.parse(found.data!['status']!) as Status);
}

it('publishes a condition, rows with evidence, an event and metrics after a minute', async () => {
  assert.equal(await status(), undefined);
  await world.pass(MINUTE_MS);
  const first = await world.until('the status', status);
  assert.equal(first.conditions[0]?.type, 'ProductionReady');
  assert.equal(first.conditions[0].status, 'False');
  assert.match(first.conditions[0].message, /^\d+ %: .*node-validation is not met/);
  const verdicts = new Map(first.rows.map(({ name, verdict }) => [name, verdict]));
  assert.equal(verdicts.get('node-validation'), 'not met');
  assert.equal(verdicts.get('authorization'), 'met');
  assert.equal(verdicts.get('certificates'), 'unknown');
  // What it may not read would be unknown here.
  const unseen = first.rows.filter(({ evidence }) => evidence.some((text) => /forbidden/.test(text)));
  assert.deepEqual(unseen, []);
  await world.until('the event', async () => {
    const { items } = await world.api.list(events, { fieldSelector: `involvedObject.name=${NAME.name}` });
    return items.some(({ reason, type }) => reason === 'RowsNotMet' && type === 'Warning');
  });
  const lines = metrics.render().join('\n');
  assert.match(lines, /^capstan_readiness_percent \d+$/m);
  assert.match(lines, /^capstan_readiness_row\{row="node-validation",verdict="not met"\} 1$/m);
  assert.match(lines, /^capstan_readiness_row\{row="node-validation",verdict="met"\} 0$/m);
});

it('looks again every ten minutes', async () => {
  await world.node('n1');
  await world.pass(11 * MINUTE_MS);
  await world.until('the row', async () =>
    (await status())?.rows.some(({ name, verdict }) => name === 'node-validation' && verdict === 'met'),
  );
});
