/** The rules that a model becomes, and that nft itself takes them (in a network namespace of the test). */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it } from 'node:test';
import type { EndpointSlice, Service } from '#api/types.ts';
import { buildModel } from './model.ts';
import { emptyContent, renderBase, renderContent, renderDifference } from './nft.ts';

const options = {
  family: 'ip' as const,
  table: 'capstan-services-test',
  podCIDR: '10.244.0.0/16',
  mark: 0x4000,
};

function service(name: string, spec: Partial<NonNullable<Service['spec']>>): Service {
  return {
    metadata: { name, namespace: 'default' },
    spec: {
      type: 'ClusterIP',
      clusterIP: '10.96.0.20',
      clusterIPs: ['10.96.0.20'],
      ports: [{ port: 80, protocol: 'TCP' }],
      ...spec,
    },
  };
}

function slice(
  addresses: readonly string[],
  conditions: { ready?: boolean; serving?: boolean; terminating?: boolean } = { ready: true },
): EndpointSlice {
  return {
    metadata: { name: 's', namespace: 'default' },
    addressType: 'IPv4',
    ports: [{ name: '', port: 8080, protocol: 'TCP' }],
    endpoints: addresses.map((address) => ({ addresses: [address], conditions, nodeName: 'here' })),
  };
}

function contentOf(one: Service, slices: readonly EndpointSlice[]): ReturnType<typeof renderContent> {
  return renderContent(
    buildModel({ family: 'IPv4', services: [one], slicesOf: () => slices, nodeName: 'here' }).values(),
    {
      ...options,
      serviceCIDRs: ['10.96.0.0/16'],
    },
  );
}

const six = { ...options, family: 'ip6' as const, podCIDR: 'fd00:1::/48' };

function sixOf(addresses: readonly string[]): ReturnType<typeof renderContent> {
  const spec = {
    type: 'LoadBalancer',
    sessionAffinity: 'ClientIP',
    externalTrafficPolicy: 'Local',
    clusterIPs: ['fd00::20'],
    externalIPs: ['2001:db8::77'],
    loadBalancerSourceRanges: ['2001:db8::/32'],
    ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }],
  };
  const one = { ...service('six', spec), status: { loadBalancer: { ingress: [{ ip: '2001:db8::78' }] } } };
  const model = buildModel({
    family: 'IPv6',
    services: [one],
    slicesOf: () => [{ ...slice(addresses), addressType: 'IPv6' }],
    nodeName: 'here',
  });
  return renderContent(model.values(), { ...six, serviceCIDRs: ['fd00::/112'] });
}

describe('service rules', () => {
  it('sends a cluster address to its endpoints at random', () => {
    const content = contentOf(service('web', {}), [slice(['10.244.0.5', '10.244.0.6'])]);
    const [key, verdict] = [...(content.elements.get('service-ips') ?? [])][0] ?? [];
    assert.equal(key, '10.96.0.20 . tcp . 80');
    const chain = content.chains.get((verdict ?? '').replace('goto ', ''));
    assert.equal(chain?.[0], 'ip saddr != 10.244.0.0/16 jump mark-for-masquerade');
    assert.match(chain?.[1] ?? '', /^numgen random mod 2 vmap \{ 0 : goto ep-[0-9a-f-]+, 1 : goto ep-/);
    // For packets under way while the map is replaced.
    assert.match(chain?.[2] ?? '', /^goto ep-[0-9a-f-]+$/);
  });

  it('refuses connections to a service without endpoints', () => {
    const content = contentOf(
      service('web', { type: 'NodePort', ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }] }),
      [slice(['10.244.0.5'], { ready: false })],
    );
    assert.deepEqual(
      [...(content.elements.get('no-endpoints') ?? [])],
      [['10.96.0.20 . tcp . 80', 'goto refuse']],
    );
    assert.deepEqual(
      [...(content.elements.get('no-endpoints-nodeports') ?? [])],
      [['tcp . 30080', 'goto refuse']],
    );
  });

  it('uses endpoints that end but still serve only when no other is ready', () => {
    const ending = slice(['10.244.0.5'], { ready: false, serving: true, terminating: true });
    assert.equal(contentOf(service('web', {}), [ending]).elements.get('service-ips')?.size, 1);
    const both = contentOf(service('web', {}), [ending, slice(['10.244.0.6'])]);
    assert.ok([...both.chains.values()].flat().every((rule) => !rule.includes('10.244.0.5')));
  });

  it('ignores headless, external-name and foreign-proxy services', () => {
    for (const spec of [{ clusterIP: 'None', clusterIPs: ['None'] }, { type: 'ExternalName' }]) {
      assert.equal(
        contentOf(service('web', spec), [slice(['10.244.0.5'])]).elements.get('cluster-ips')?.size,
        0,
      );
    }
  });

  it('drops what goes to addresses of the ranges that no service has, and follows the ranges', () => {
    const [none, one] = [emptyContent(), contentOf(service('web', {}), [])];
    assert.deepEqual(one.chains.get('unallocated'), ['ip daddr 10.96.0.0/16 drop']);
    const { script, cleanup } = renderDifference(options, { from: one, to: none });
    assert.match(script, /^flush chain ip capstan-services-test unallocated$/m);
    assert.equal(cleanup, '');
  });

  it('says only what changed', () => {
    const one = contentOf(service('web', {}), [slice(['10.244.0.5', '10.244.0.6'])]);
    const two = contentOf(service('web', {}), [slice(['10.244.0.6'])]);
    assert.equal(renderDifference(options, { from: one, to: one }).script, '');
    const { script, cleanup } = renderDifference(options, { from: one, to: two });
    assert.ok(!script.includes('element'), 'the address keeps its chain');
    assert.match(cleanup, /^delete chain ip capstan-services-test ep-\S+\n$/);
  });

  it('has the same rules for IPv6, but for the loopback', () => {
    const [content, base] = [sixOf(['fd00:1::5', 'fd00:1::6']), renderBase(six)];
    assert.deepEqual([...(content.elements.get('service-ips') ?? [])][0]?.[0], 'fd00::20 . tcp . 80');
    const rules = [...content.chains.values()].flat();
    assert.ok(rules.includes('meta l4proto tcp dnat to [fd00:1::5]:8080'), rules.join('\n'));
    assert.ok(rules.includes('ip6 saddr != fd00:1::/48 jump mark-for-masquerade'));
    assert.deepEqual(content.chains.get('unallocated'), ['ip6 daddr fd00::/112 drop']);
    assert.doesNotMatch(`${base}${rules.join('\n')}`, /\bip [sd]addr|127\.0\.0|ipv4/);
  });

  const namespace = `capstan-nft-${process.pid}`;
  const able = process.getuid?.() === 0 && spawnSync('ip', ['netns', 'add', namespace]).status === 0;
  it('is taken by nft, step by step', { skip: able ? false : 'needs root and ip netns' }, () => {
    const nft = (script: string): void => {
      const result = spawnSync('ip', ['netns', 'exec', namespace, 'nft', '-f', '-'], {
        input: script,
        encoding: 'utf8',
      });
      assert.equal(result.status, 0, `${result.stderr}\n${script}`);
    };
    try {
      const node = service('web', {
        type: 'NodePort',
        sessionAffinity: 'ClientIP',
        externalTrafficPolicy: 'Local',
        externalIPs: ['192.0.2.77'],
        ports: [{ port: 80, nodePort: 30080, protocol: 'TCP' }],
      });
      const states = [
        emptyContent(),
        contentOf(service('web', {}), [slice(['10.244.0.5', '10.244.0.6'])]),
        contentOf(node, [slice(['10.244.0.6'])]),
        contentOf(node, []),
        emptyContent(),
      ];
      nft(renderBase(options));
      for (let index = 1; index < states.length; index += 1) {
        const { script, cleanup } = renderDifference(options, {
          from: states[index - 1] ?? emptyContent(),
          to: states[index] ?? emptyContent(),
        });
        nft(script);
        nft(cleanup);
      }
      nft(renderBase(options));
      const all = [emptyContent(), sixOf(['fd00:1::5', 'fd00:1::6']), sixOf([]), emptyContent()];
      nft(renderBase(six));
      for (const [index, to] of all.entries()) {
        const { script, cleanup } = renderDifference(six, { from: all[index - 1] ?? to, to });
        nft(script);
        nft(cleanup);
      }
    } finally {
      spawnSync('ip', ['netns', 'delete', namespace]);
    }
  });
});
