import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient } from '#client/create.ts';
import { createDirectTransport } from '#client/direct.ts';
import { nodes } from '#client/refs.ts';
import { createFakeApi } from '#client/testing/fake-api.ts';
import { silentLogger } from '#stdx/log.ts';
import { FakeClock } from '#stdx/testing/fake-clock.ts';
import type { FirewallChain } from '../../containerd/firewall.ts';
import { createFirewallCondition } from './firewall-condition.ts';

const CHAIN: FirewallChain = { family: 'inet', table: 'wall', chain: 'input', hook: 'input' };

test('a firewall is reported once, when it appears and when it is gone', async () => {
  const api = createClient(createDirectTransport(createFakeApi().handler), { userAgent: 'test' });
  await api.create(nodes, { apiVersion: 'v1', kind: 'Node', metadata: { name: 'one' } });
  const clock = new FakeClock();
  const told: string[] = [];
  let chains: FirewallChain[] = [];
  let looked = 0;
  const condition = createFirewallCondition({
    api,
    clock,
    log: silentLogger,
    nodeName: 'one',
    network: { bridge: 'cap-1', podCIDRs: ['10.244.0.0/24'] },
    events: { event: (_node, { message }) => void told.push(message) },
    find: async () => {
      looked += 1;
      return chains;
    },
  });
  const look = async (): Promise<readonly [status: string | undefined, events: number]> => {
    const before = looked;
    for (let tries = 0; tries < 200 && looked < before + 2; tries += 1) {
      clock.advance(30_000);
      await new Promise((again) => setTimeout(again, 5));
    }
    const { status } = await api.get(nodes, { name: 'one' });
    return [status?.conditions?.find(({ type }) => type === 'FirewallBlocksPods')?.status, told.length];
  };
  await condition.start();
  assert.deepEqual(await look(), [undefined, 0]);
  chains = [CHAIN];
  assert.deepEqual(await look(), ['True', 1]);
  assert.deepEqual(await look(), ['True', 1]);
  chains = [];
  assert.deepEqual(await look(), ['False', 1]);
  await condition.stop();
});
