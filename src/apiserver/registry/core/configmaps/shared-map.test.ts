/** What several servers add to one map, and how often each writes. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import { until } from '#testing/cluster.ts';
import { startTestServer, type TestServer } from '../../../testing/server.ts';
import type { InternalApi } from '../../loopback-client.ts';
import { SharedMap } from './shared-map.ts';

let server: TestServer;
let writes = 0;
const clock = new FakeClock();
before(async () => {
  server = await startTestServer();
});
after(() => server.stop());

function mapOf(name: string): SharedMap {
  const { internal } = server.server;
  const counting: InternalApi = Object.assign(Object.create(internal) as InternalApi, {
    get: internal.get.bind(internal),
    create: internal.create.bind(internal),
    modify: (...words: Parameters<InternalApi['modify']>) => {
      writes += 1;
      return internal.modify(...words);
    },
  });
  const map = new SharedMap({ name, clock, log: silentLogger });
  map.attach(counting);
  return map;
}

const inAnHour = (): number => clock.now() + 3_600_000;

test('additions of several servers are summed up, and each server writes them once a second', async () => {
  const [one, two] = [mapOf('sums'), mapOf('sums')];
  writes = 0;
  for (let i = 0; i < 50; i++)
    for (const map of [one, two]) map.add(`n${i % 5}`, { by: 1, endMs: inAnHour() });
  assert.equal(one.get('n0'), undefined, 'nothing was written yet');
  await clock.advance(0);
  await until('the sums', () => [0, 1, 2, 3, 4].every((n) => one.get(`n${n}`) === '20'));
  assert.equal(writes, 2);
  one.add('n0', { by: 1, endMs: inAnHour() });
  await clock.advance(999);
  assert.equal(writes, 2, 'not before the second is over');
  await clock.advance(1);
  await until('the last one', () => two.get('n0') === '21');
  assert.equal(writes, 3);
});

test('an entry is written at once, with what waits; an addition to it begins where it was', async () => {
  const map = mapOf('entries');
  map.set('lock', { value: 'x', endMs: inAnHour() });
  await until('the entry', () => map.get('lock') === 'x');
  map.set('n', { value: '5', endMs: inAnHour() });
  map.add('n', { by: 2, endMs: inAnHour() });
  await clock.advance(1000);
  await until('the sum', () => map.get('n') === '7');
  map.set('n', undefined);
  map.add('n', { by: 1, endMs: inAnHour() });
  await clock.advance(1000);
  await until('the new sum', () => map.get('n') === '1');
});
