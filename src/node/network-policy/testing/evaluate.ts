/** For tests only: what the content of a node's table does to the first packet of a connection. Knows exactly the expressions that the renderer writes; throws at any other. */
import assert from 'node:assert/strict';
import { cidrContains, parseCIDR, parseIP } from '#machinery/ip.ts';
import type { PolicyContent } from '../ruleset.ts';

interface Packet {
  readonly family: 'ip' | 'ip6';
  readonly saddr: string;
  readonly daddr: string;
  readonly protocol: 'tcp' | 'udp' | 'sctp' | 'icmp';
  readonly dport: number;
}

type Verdict = 'accept' | 'drop' | 'return' | undefined;

/** As the base chain of this direction. */
export function evaluate(
  content: PolicyContent,
  { direction, ...packet }: Packet & { readonly direction: 'egress' | 'ingress' },
): 'accept' | 'drop' {
  const { family, saddr, daddr } = packet;
  const element = (map: string, key: string): string | undefined => content.elements.get(map)?.get(key);
  const early = chain('link-local', { content, packet });
  if (early) return early;
  if (element(`self-${family}`, `${saddr} . ${daddr}`) !== undefined) return 'accept';
  const unknown = chain(`unknown-${direction}`, { content, packet });
  if (unknown) return unknown;
  const verdict = element(`${direction}-${family}`, direction === 'egress' ? saddr : daddr);
  return (
    (verdict === undefined ? undefined : chain(verdict.replace('goto ', ''), { content, packet })) ?? 'accept'
  );
}

interface Evaluation {
  readonly content: PolicyContent;
  readonly packet: Packet;
}

/** A verdict that ends the evaluation. */
function chain(name: string, { content, packet }: Evaluation): 'accept' | 'drop' | undefined {
  const rules = content.chains.get(name);
  assert.ok(rules, `the content has chain ${name}`);
  for (const rule of rules) {
    const verdict = apply(rule.replace(/ comment ".*"$/, ''), { content, packet });
    if (verdict === 'return') return undefined;
    if (verdict) return verdict;
  }
  return undefined;
}

function apply(rule: string, { content, packet }: Evaluation): Verdict {
  let rest = rule;
  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    const found = pattern.exec(rest);
    if (!found) return undefined;
    rest = rest.slice(found[0].length).trimStart();
    return found;
  };
  while (rest !== '') {
    let found: RegExpExecArray | undefined;
    if (rest === 'accept') return 'accept';
    if (rest === 'counter drop') return 'drop';
    if (rest === 'return') return 'return';
    if ((found = take(/^jump (\S+)/))) {
      const verdict = chain(found[1]!, { content, packet });
      if (verdict) return verdict;
    } else if ((found = take(/^meta nfproto ipv([46])/))) {
      if (packet.family !== (found[1] === '4' ? 'ip' : 'ip6')) return undefined;
    } else if ((found = take(/^meta l4proto (\w+)/))) {
      if (packet.protocol !== found[1]) return undefined;
    } else if ((found = take(/^(ip6?) daddr \. meta l4proto \. th dport @(\S+)/))) {
      if (packet.family !== found[1]) return undefined;
      const key = `${packet.daddr} . ${packet.protocol} . ${packet.dport}`;
      if (!content.elements.get(found[2]!)?.has(key)) return undefined;
    } else if ((found = take(/^(ip6?) (saddr|daddr) (!= )?@(\S+)/))) {
      if (packet.family !== found[1]) return undefined;
      const isIn = content.elements.get(found[4]!)?.has(packet[found[2] as 'saddr' | 'daddr']) ?? false;
      if (isIn === (found[3] !== undefined)) return undefined;
    } else if ((found = take(/^(ip6?) (saddr|daddr) \{ ([^}]*) \}/))) {
      if (packet.family !== found[1]) return undefined;
      const { bits } = parseIP(packet[found[2] as 'saddr' | 'daddr'])!;
      const isIn = found[3]!.split(', ').some((range) => {
        const [first = '', last = first] = range.split('-');
        return parseIP(first)!.bits <= bits && bits <= parseIP(last)!.bits;
      });
      if (!isIn) return undefined;
    } else if ((found = take(/^(ip6?) (saddr|daddr) (\S+\/\d+)/))) {
      if (packet.family !== found[1]) return undefined;
      if (!cidrContains(parseCIDR(found[3]!)!, parseIP(packet[found[2] as 'saddr' | 'daddr'])!))
        return undefined;
    } else if ((found = take(/^(tcp|udp|sctp) dport \{ ([^}]*) \}/))) {
      if (packet.protocol !== found[1]) return undefined;
      const isIn = found[2]!.split(', ').some((range) => {
        const [first = '', last = first] = range.split('-');
        return Number(first) <= packet.dport && packet.dport <= Number(last);
      });
      if (!isIn) return undefined;
    } else assert.fail(`an expression that the renderer does not write: ${rest}`);
  }
  return undefined;
}
