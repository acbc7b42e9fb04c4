/** The BGP sessions of one node, and what it announces in each, from the cluster's objects. Pure; knows no daemon. */
import { goDurationMs } from '#machinery/go-duration.ts';
import { formatIP, parseIP } from '#machinery/ip.ts';
import type { Stored } from '#machinery/object.ts';
import type { BFDProfile, BGPPeer } from '../../bgp-api.ts';
import type { RouteAttributes } from './routes.ts';

export interface BfdSettings {
  readonly receiveMs: number;
  readonly transmitMs: number;
  readonly multiplier: number;
  readonly isPassive: boolean;
}

export interface BgpSession {
  /** Of the BGPPeer. */
  readonly name: string;
  readonly myASN: number;
  /** A number, or any that is or is not the own. */
  readonly peerASN: number | 'internal' | 'external';
  readonly address: string;
  readonly port: number | undefined;
  readonly sourceAddress: string | undefined;
  readonly holdSeconds: number;
  readonly keepaliveSeconds: number;
  readonly connectSeconds: number | undefined;
  readonly routerId: string | undefined;
  readonly password: string | undefined;
  readonly isMultiHop: boolean;
  readonly restartsGracefully: boolean;
  readonly families: readonly (4 | 6)[];
  readonly bfd: BfdSettings | undefined;
  /** By prefix, '192.0.2.10/32'. */
  readonly routes: ReadonlyMap<string, RouteAttributes>;
}

interface SessionInput {
  readonly profiles: readonly Stored<BFDProfile>[];
  /** What the peer's Secret says, where it has one; undefined: it is not known. */
  readonly secretPassword: string | undefined;
  readonly routes: ReadonlyMap<string, RouteAttributes>;
}

type SessionOrProblem = BgpSession | { readonly problem: string };

const DEFAULT_HOLD_MS = 90_000;
const SHORTEST_HOLD_MS = 3_000;
const BFD_INTERVAL_MS = 300;
const BFD_MULTIPLIER = 3;

/** The session, or why there is none. Nothing is guessed: a session without the password that its peer asks for is not tried. */
export function sessionOf(peer: Stored<BGPPeer>, input: SessionInput): SessionOrProblem {
  try {
    return readSession(peer, input);
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

function readSession(
  { metadata, spec }: Stored<BGPPeer>,
  { profiles, secretPassword, routes }: SessionInput,
): BgpSession {
  const address = requireAddress('peerAddress', spec.peerAddress);
  const family = address.includes(':') ? 6 : 4;
  const holdMs = spec.holdTime === undefined ? DEFAULT_HOLD_MS : duration('holdTime', spec.holdTime);
  if (holdMs !== 0 && holdMs < SHORTEST_HOLD_MS)
    throw new Error(`holdTime is "${spec.holdTime}"; it should be 0s or at least 3s`);
  const keepaliveMs =
    spec.keepaliveTime === undefined ? holdMs / 3 : duration('keepaliveTime', spec.keepaliveTime);
  if (keepaliveMs > holdMs)
    throw new Error(`keepaliveTime is "${spec.keepaliveTime}"; it should be at most holdTime`);
  if ((spec.peerASN ? 1 : 0) + (spec.dynamicASN ? 1 : 0) !== 1)
    throw new Error('one of peerASN and dynamicASN should be set');
  const peerASN = spec.peerASN || spec.dynamicASN!;
  if (spec.ebgpMultiHop && (peerASN === spec.myASN || peerASN === 'internal'))
    throw new Error('ebgpMultiHop is set; it is only for peers of another ASN');
  if (spec.routerID !== undefined && parseIP(spec.routerID)?.family !== 4)
    throw new Error(`routerID is "${spec.routerID}"; it should be an IPv4 address`);
  if (spec.password !== undefined && spec.passwordSecret)
    throw new Error('only one of password and passwordSecret should be set');
  if (spec.passwordSecret && secretPassword === undefined)
    throw new Error(
      `the Secret ${spec.passwordSecret.namespace ?? 'kube-system'}/${spec.passwordSecret.name} cannot be read, is not of type kubernetes.io/basic-auth, or has no password`,
    );
  const password = spec.password ?? secretPassword;
  if (password !== undefined && /["\n\r]/.test(password))
    throw new Error('the password has a quote or a line break, which cannot be configured');
  return {
    name: metadata.name,
    myASN: spec.myASN,
    peerASN,
    address,
    port: spec.peerPort,
    sourceAddress:
      spec.sourceAddress === undefined ? undefined : requireAddress('sourceAddress', spec.sourceAddress),
    holdSeconds: Math.ceil(holdMs / 1_000),
    keepaliveSeconds: Math.ceil(keepaliveMs / 1_000),
    connectSeconds:
      spec.connectTime === undefined
        ? undefined
        : Math.max(1, Math.ceil(duration('connectTime', spec.connectTime) / 1_000)),
    routerId: spec.routerID,
    password: password === '' ? undefined : password,
    isMultiHop: spec.ebgpMultiHop === true,
    restartsGracefully: spec.enableGracefulRestart === true,
    families: spec.dualStackAddressFamily ? [4, 6] : [family],
    bfd: spec.bfdProfile === undefined ? undefined : bfdOf(spec.bfdProfile, profiles),
    routes,
  };
}

function requireAddress(field: string, value: string): string {
  const parsed = parseIP(value);
  if (!parsed) throw new Error(`${field} is "${value}"; it should be an IP address`);
  return formatIP(parsed);
}

function duration(field: string, value: string): number {
  try {
    const ms = goDurationMs(value);
    if (ms >= 0) return ms;
  } catch {
    // Said below.
  }
  throw new Error(`${field} is "${value}"; it should be a duration as 90s`);
}

function bfdOf(name: string, profiles: readonly Stored<BFDProfile>[]): BfdSettings {
  const profile = profiles.find(({ metadata }) => metadata.name === name);
  if (!profile) throw new Error(`bfdProfile is "${name}"; there is no BFDProfile of that name`);
  const { receiveInterval, transmitInterval, detectMultiplier, passiveMode } = profile.spec ?? {};
  return {
    receiveMs: receiveInterval ?? BFD_INTERVAL_MS,
    transmitMs: transmitInterval ?? BFD_INTERVAL_MS,
    multiplier: detectMultiplier ?? BFD_MULTIPLIER,
    isPassive: passiveMode === true,
  };
}
