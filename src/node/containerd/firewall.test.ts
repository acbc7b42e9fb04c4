import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { describeBlocking, filterChains, isBlocking, type FirewallChain } from './firewall.ts';

const names = { bridge: 'cap-0a1b2c3d', podCIDRs: ['10.244.0.0/24'] };
const input: FirewallChain = { family: 'inet', table: 'filter', chain: 'input', hook: 'input' };

function table(...body: readonly string[]): string {
  return [
    'table inet filter {',
    '\tchain input {',
    ...body.map((line) => `\t\t${line}`),
    '\t}',
    '',
    '\tchain other {',
    '\t}',
    '}',
    '',
  ].join('\n');
}

describe('a firewall', () => {
  const hook = (policy: string): string => `type filter hook input priority filter; policy ${policy};`;
  const cases: readonly [what: string, text: string, blocking: boolean][] = [
    ['with policy drop', table(hook('drop'), 'ct state established accept'), true],
    ['with policy accept', table(hook('accept'), 'tcp dport 22 accept'), false],
    ['that rejects at its end', table(hook('accept'), 'reject with icmpx admin-prohibited'), true],
    ['that counts and drops at its end', table(hook('accept'), 'counter packets 12 bytes 900 drop'), true],
    ['that drops something at its end', table(hook('accept'), 'tcp dport 25 drop'), false],
    ['that names the bridge', table(hook('drop'), 'iifname "cap-0a1b2c3d" accept'), false],
    ["that names the pods' range", table(hook('drop'), 'ip saddr 10.244.0.0/24 accept'), false],
  ];
  for (const [what, text, blocking] of cases)
    it(`${what} ${blocking ? 'cuts pods off' : 'does not cut pods off'}`, () =>
      assert.equal(isBlocking(input, { text, ...names }), blocking));

  it('is looked for in the chains that packets of pods pass, but not in ours', () => {
    const chain = (table: string, hook?: string): object => ({
      chain: { family: 'inet', table, name: 'c', hook, policy: 'drop' },
    });
    const json = {
      nftables: [
        { metainfo: {} },
        chain('filter', 'input'),
        chain('filter', 'output'),
        chain('filter'),
        chain('capstan-1', 'forward'),
      ],
    };
    assert.deepEqual(filterChains(JSON.stringify(json), names), [{ ...input, chain: 'c' }]);
    const listed = JSON.stringify({ nftables: [chain('filter', 'input')] }).replace('"inet"', '"ip6"');
    assert.deepEqual(filterChains(listed, names), [], 'pods have no IPv6');
    assert.equal(filterChains(listed, { podCIDRs: ['fd00::/64'] }).length, 1);
  });

  it('is reported with the rule that opens it', () => {
    const text = describeBlocking([input, { ...input, chain: 'fwd', hook: 'forward' }], names);
    assert.match(
      text,
      /nft insert rule inet filter input iifname "cap-0a1b2c3d" accept\. inet filter fwd drops/,
    );
    assert.match(
      text,
      /nft insert rule inet filter fwd iifname "cap-0a1b2c3d" accept; nft insert rule inet filter fwd oifname "cap-0a1b2c3d" accept/,
    );
  });
});
