/**
 * The configuration of BIRD 2 for a node's sessions. Pure. Routes are in BIRD's own tables alone, none is taken from peers or put into the kernel:
 *
 *   protocol static (all prefixes) ─► table ─► export filter of each peer (its prefixes, with its attributes) ─► peer
 */
import { createHash } from 'node:crypto';
import type { BfdSettings, BgpSession } from './sessions.ts';
import type { RouteAttributes } from './routes.ts';

interface RenderOptions {
  readonly routerId: string;
}

/** Reconnection after an error: BIRD's own default is minutes. */
const ERROR_WAIT = '1, 10';
/** How long a daemon that was started again waits for its peers before it announces. */
const RESTART_WAIT_SECONDS = 10;

/** The peer's name in BIRD: its own words are not all allowed there. */
export function protocolName(peer: string): string {
  return `peer_${createHash('sha256').update(peer).digest('hex').slice(0, 12)}`;
}

export function renderBirdConfig(sessions: readonly BgpSession[], { routerId }: RenderOptions): string {
  const prefixes = [...new Set(sessions.flatMap(({ routes }) => [...routes.keys()]))].sort();
  return [
    '# Written by Capstan from BGPPeers and BGPAdvertisements; changes are lost.',
    `router id ${routerId};`,
    'log stderr { warning, error, fatal, bug };',
    `graceful restart wait ${RESTART_WAIT_SECONDS};`,
    'protocol device { }',
    ...(sessions.some(({ bfd }) => bfd) ? ['protocol bfd { }'] : []),
    ...([4, 6] as const).flatMap((family) => [
      `protocol static addresses${family} {`,
      `  ipv${family};`,
      ...prefixes
        .filter((prefix) => familyOf(prefix) === family)
        .map((prefix) => `  route ${prefix} blackhole;`),
      '}',
    ]),
    ...sessions.flatMap(renderSession),
    '',
  ].join('\n');
}

function renderSession(session: BgpSession): string[] {
  const name = protocolName(session.name);
  const { families } = session;
  return [
    ...families.flatMap((family) => renderFilter(`${name}_${family}`, { family, routes: session.routes })),
    `protocol bgp ${name} {`,
    ...(session.routerId === undefined ? [] : [`  router id ${session.routerId};`]),
    `  local ${session.sourceAddress === undefined ? '' : `${session.sourceAddress} `}as ${session.myASN};`,
    `  neighbor ${session.address}${session.port === undefined ? '' : ` port ${session.port}`} ${neighborASN(session)};`,
    ...(session.password === undefined ? [] : [`  password "${session.password}";`]),
    `  hold time ${session.holdSeconds};`,
    ...(session.holdSeconds === 0 ? [] : [`  keepalive time ${Math.max(1, session.keepaliveSeconds)};`]),
    `  connect retry time ${session.connectSeconds ?? 5};`,
    '  connect delay time 1;',
    `  error wait time ${ERROR_WAIT};`,
    ...(session.isMultiHop ? ['  multihop;'] : []),
    `  graceful restart ${session.restartsGracefully ? 'yes' : 'no'};`,
    ...(session.bfd ? [renderBfd(session.bfd)] : []),
    ...families.map(
      (family) => `  ipv${family} { import none; export filter ${name}_${family}; next hop self; };`,
    ),
    '}',
  ];
}

function neighborASN({ peerASN }: BgpSession): string {
  return typeof peerASN === 'number' ? `as ${peerASN}` : peerASN;
}

function renderBfd({ receiveMs, transmitMs, multiplier, isPassive }: BfdSettings): string {
  return `  bfd { min rx interval ${receiveMs} ms; min tx interval ${transmitMs} ms; multiplier ${multiplier}; passive ${isPassive ? 'yes' : 'no'}; };`;
}

interface FilterInput {
  readonly family: 4 | 6;
  readonly routes: ReadonlyMap<string, RouteAttributes>;
}

/** Prefixes with the same attributes in one set. */
function renderFilter(name: string, { family, routes }: FilterInput): string[] {
  const groups = new Map<string, string[]>();
  for (const [prefix, attributes] of [...routes].sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (familyOf(prefix) !== family) continue;
    const settings = renderAttributes(attributes);
    const group = groups.get(settings);
    if (group) group.push(prefix);
    else groups.set(settings, [prefix]);
  }
  return [
    `filter ${name} {`,
    ...[...groups].map(
      ([settings, prefixes]) => `  if net ~ [ ${prefixes.join(', ')} ] then { ${settings}accept; }`,
    ),
    '  reject;',
    '}',
  ];
}

function renderAttributes({ localPref, communities }: RouteAttributes): string {
  return [
    ...(localPref === undefined ? [] : [`bgp_local_pref = ${localPref}; `]),
    ...communities.map((text) => {
      const numbers = text.replace('large:', '').split(':');
      const kind = numbers.length === 3 ? 'bgp_large_community' : 'bgp_community';
      return `${kind}.add((${numbers.join(',')})); `;
    }),
  ].join('');
}

function familyOf(prefix: string): 4 | 6 {
  return prefix.includes(':') ? 6 : 4;
}
