/**
 * The rules of one policy in one direction as nft's text, and the sets that they need. Pure. A rule of a policy becomes at most a line for each family, kind of
 * peer and kind of port, however many peers and ports it has: these are elements of sets.
 */
import { createHash } from 'node:crypto';
import { FAMILIES, isWholeFamily, rangeText, type Family } from './address-ranges.ts';
import type { Action, Direction, Peers, PodSelection, PolicyRule, PortMatch } from './compiled-policy.ts';

/** A set whose elements follow the cluster. */
export interface ViewNeed {
  readonly name: string;
  readonly pods?: readonly PodSelection[];
  readonly port?: Pick<PortMatch, 'protocol' | 'name'>;
}

export interface RenderedRules {
  readonly lines: readonly string[];
  readonly needs: readonly ViewNeed[];
}

/** return: to the chain of the pod, which goes on with the next tier. */
const VERDICTS: Readonly<Record<Action, string>> = { Accept: 'accept', Deny: 'counter drop', Pass: 'return' };

export function renderRules(rules: readonly PolicyRule[], direction: Direction): RenderedRules {
  const needs = new Map<string, ViewNeed>();
  const field = direction === 'ingress' ? 'saddr' : 'daddr';
  const lines = rules.flatMap(({ action, peers, ports }) =>
    (peers ? peerMatches(peers, { field, needs }) : [{ match: '', family: undefined }]).flatMap(
      ({ match, family }) =>
        portMatches(ports, { families: family ? [family] : FAMILIES, needs }).map((port) =>
          [match, port, VERDICTS[action]].filter(Boolean).join(' '),
        ),
    ),
  );
  return { lines: [...new Set(lines)], needs: [...needs.values()] };
}

export function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

interface Match {
  readonly match: string;
  /** undefined: of either. */
  readonly family: Family | undefined;
}

interface PeerOptions {
  readonly field: 'saddr' | 'daddr';
  readonly needs: Map<string, ViewNeed>;
}

function peerMatches({ pods, ranges }: Peers, { field, needs }: PeerOptions): Match[] {
  const blocks = FAMILIES.flatMap((family): Match[] => {
    const ofFamily = ranges[family];
    if (ofFamily.length === 0) return [];
    if (isWholeFamily(ofFamily, family))
      return [{ family, match: `meta nfproto ${family === 'ip' ? 'ipv4' : 'ipv6'}` }];
    return [
      {
        family,
        match: `${family} ${field} { ${ofFamily.map((range) => rangeText(range, family)).join(', ')} }`,
      },
    ];
  });
  if (pods.length === 0) return blocks;
  const name = `peers-${hash([...new Set(pods.map(({ key }) => key))].sort().join('\n'))}`;
  needs.set(name, { name, pods });
  return [
    ...FAMILIES.map((family) => ({ family, match: `${family} ${field} @${name}-${family}` })),
    ...blocks,
  ];
}

interface PortOptions {
  readonly families: readonly Family[];
  readonly needs: Map<string, ViewNeed>;
}

/** A named port is the destination pod's, in both directions. */
function portMatches(
  ports: readonly PortMatch[] | undefined,
  { families, needs }: PortOptions,
): readonly string[] {
  if (!ports) return [''];
  const protocols = [...new Set(ports.flatMap(({ protocol }) => protocol ?? []))];
  const named = ports.filter(
    ({ name, protocol }) => name !== undefined && !(protocol && isWholeProtocol(ports, protocol)),
  );
  return [
    ...protocols.flatMap((protocol) => {
      if (isWholeProtocol(ports, protocol)) return [`meta l4proto ${protocol}`];
      const numbers = mergePorts(ports.filter((port) => port.protocol === protocol));
      return numbers.length > 0 ? [`${protocol} dport { ${numbers.join(', ')} }`] : [];
    }),
    ...named.flatMap((port) => {
      const name = `ports-${hash(`${port.protocol ?? '*'}/${port.name}`)}`;
      needs.set(name, { name, port });
      return families.map((family) => `${family} daddr . meta l4proto . th dport @${name}-${family}`);
    }),
  ];
}

function isWholeProtocol(ports: readonly PortMatch[], protocol: PortMatch['protocol']): boolean {
  return ports.some(
    (port) => port.protocol === protocol && port.name === undefined && port.first === undefined,
  );
}

/** nft refuses elements that overlap. */
function mergePorts(ports: readonly PortMatch[]): string[] {
  const ranges = ports
    .flatMap(({ first, last = first }) => (first === undefined ? [] : [{ first, last: last ?? first }]))
    .sort((a, b) => a.first - b.first);
  const merged: { first: number; last: number }[] = [];
  for (const range of ranges) {
    const previous = merged.at(-1);
    if (previous && range.first <= previous.last + 1) previous.last = Math.max(previous.last, range.last);
    else merged.push({ ...range });
  }
  return merged.map(({ first, last }) => (first === last ? String(first) : `${first}-${last}`));
}
