/**
 * Discovers the cluster's authorities with a bootstrap token and a pin of the authority, as kubeadm does:
 *
 *   GET cluster-info, nothing trusted ─► signed with the token? ─► authority pinned? ─► GET again over TLS by the pinned authority ─► the same?
 *
 * The signature only proves knowledge of the token, which every joined machine has; the pin identifies the cluster. Of several authorities in cluster-info
 * only pinned ones are trusted for the second request, so that no others can be added.
 * After kubeadm's app/discovery/token.
 */
import type { HttpsOptions } from '#client/https.ts';
import type { Logger } from '#stdx/log.ts';
import type { Clock } from '#stdx/clock.ts';
import { UserError } from '../data-dir.ts';
import { isSignedBy, parseBootstrapToken, type BootstrapTokenParts } from './bootstrap-token.ts';
import { askForClusterInfo, type ClusterInfo, type ClusterInfoAnswer } from './cluster-info.ts';
import { parseClusterInfo, type DiscoveredCluster } from './discovered-cluster.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { parsePins } from './pins.ts';

/** As kubeadm's timeouts.discovery. */
export const DISCOVERY_TIMEOUT_MS = 5 * 60_000;
/** A token that was made just now is signed with within seconds, or once other controllers lead: the Lease of lost ones is over after 15 s. */
const SIGNING_TIMEOUT_MS = 30_000;
const RETRY_MS = 1_000;
/** Certificates of a new cluster are valid from an hour or less before their creation. */
const TOLERATED_SKEW_MS = 5 * 60_000;

interface TokenDiscovery {
  /** 'HOST:PORT' of any API server. */
  readonly apiServerEndpoint: string;
  readonly token: string;
  readonly caCertHashes: readonly string[];
  readonly unsafeSkipCAVerification?: boolean | undefined;
}

export interface DiscoveryContext {
  readonly clock: Clock;
  readonly log: Logger;
  /** Timeout of the first response. Default: DISCOVERY_TIMEOUT_MS. */
  readonly timeoutMs?: number | undefined;
  /** For the token's signature to be there. Default: SIGNING_TIMEOUT_MS. */
  readonly signingTimeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** UserError for each way it can fail. */
export async function discoverByToken(
  request: TokenDiscovery,
  context: DiscoveryContext,
): Promise<DiscoveredCluster> {
  const token = parseBootstrapToken(request.token);
  const pins = parsePins(request.caCertHashes);
  if (pins.size === 0 && !request.unsafeSkipCAVerification)
    throw new UserError(
      'Discovery with a token needs --discovery-token-ca-cert-hash sha256:…, which `capstan token create --print-join-command` prints. Without it nothing shows that the server is the cluster; to do so all the same: --discovery-token-unsafe-skip-ca-verification.',
    );
  const server = serverOf(request.apiServerEndpoint);
  const first = await signedInfo({ server, insecureSkipVerify: true }, { token, context });
  const cluster = parseClusterInfo(first.kubeconfig);
  if (pins.size === 0) {
    context.log.warn(
      'the authority of the cluster was not verified (--discovery-token-unsafe-skip-ca-verification): any holder of the token could have responded',
    );
    return cluster;
  }
  refuseWrongClock(first.clockSkewMs, server);
  const ca = pinnedOf(cluster, { pins, server });
  const second = await signedInfo({ server, ca }, { token, context, skewMs: first.clockSkewMs });
  if (second.kubeconfig !== first.kubeconfig)
    throw new UserError(
      `${server} answers without trust otherwise than over its verified certificate: somebody is between this machine and the cluster, or cluster-info was changed this moment. Nothing was written; try again.`,
    );
  return cluster;
}

/** Certificates and tokens would be taken as expired, or as not valid yet, by this machine or by the others. */
function refuseWrongClock(skewMs: number | undefined, server: string): void {
  const text = skewText(skewMs);
  if (text === '') return;
  throw new UserError(
    `The clock of this machine is ${text} that of ${server}, so certificates and tokens would not be accepted: set it (chrony and systemd-timesyncd keep it right), and join again.`,
  );
}

/** 'https://HOST:PORT'; UserError for anything else. */
export function serverOf(endpoint: string): string {
  const match = /^(?:https:\/\/)?(\[[0-9a-fA-F:.%]+\]|[^/:\s[\]]+):(\d{1,5})\/?$/.exec(endpoint);
  if (!match || Number(match[2]) > 65_535 || Number(match[2]) === 0)
    throw new UserError(
      `The API server "${endpoint}" should be HOST:PORT, like 10.0.0.1:6443 or [2001:db8::1]:6443.`,
    );
  return `https://${match[1]}:${match[2]}`;
}

/** PEM of those authorities that are pinned. */
function pinnedOf(
  { caPem }: DiscoveredCluster,
  { pins, server }: { readonly pins: ReadonlySet<string>; readonly server: string },
): string {
  const certificates = certificatesIn(caPem);
  const pinned = certificates.filter((certificate) => pins.has(publicKeyHash(certificate)));
  if (pinned.length > 0) return pinned.map(String).join('');
  throw new UserError(
    `The authority of the cluster at ${server} is ${certificates.map(publicKeyHash).join(', ')}, and --discovery-token-ca-cert-hash is ${[...pins].join(', ')}: the hash is of another cluster, or the server is not the one you mean.`,
  );
}

interface Asking {
  readonly token: BootstrapTokenParts;
  readonly context: DiscoveryContext;
  /** From the unauthenticated response: explains a rejected certificate. */
  readonly skewMs?: number | undefined;
}

/** Polls until it exists and is signed with the token, at most for the timeouts. */
async function signedInfo(options: HttpsOptions, asking: Asking): Promise<ClusterInfo> {
  const { token, context } = asking;
  const { clock, log, timeoutMs = DISCOVERY_TIMEOUT_MS } = context;
  const { signingTimeoutMs = SIGNING_TIMEOUT_MS } = context;
  const begin = clock.monotonic();
  let answeredAt: number | undefined;
  let said: string | undefined;
  for (;;) {
    const answer = await askForClusterInfo(options, { nowMs: () => clock.now() });
    const signature = answer.kind === 'found' ? answer.info.signatures.get(token.id) : undefined;
    if (answer.kind === 'found' && signature !== undefined)
      return verified(answer.info, { token, signature, server: options.server });
    const problem = problemOf(answer, { server: options.server, ...asking });
    if (answer.kind === 'untrusted' || answer.kind === 'foreign') throw problem;
    const now = clock.monotonic();
    if (answer.kind !== 'unreachable') answeredAt ??= now;
    const late = answeredAt === undefined ? now - begin > timeoutMs : now - answeredAt > signingTimeoutMs;
    if (late) throw problem;
    // Once each: who waits for minutes is to know for what.
    if (problem.message !== said)
      log.warn(
        `${problem.message} Trying again for up to ${describeWait(answeredAt === undefined ? timeoutMs : signingTimeoutMs)}.`,
      );
    said = problem.message;
    await clock.sleep(RETRY_MS, context.signal);
  }
}

function describeWait(ms: number): string {
  return ms < 120_000 ? `${Math.round(ms / 1000)} s` : `${Math.round(ms / 60_000)} minutes`;
}

function verified(
  info: ClusterInfo,
  {
    token,
    signature,
    server,
  }: { readonly token: BootstrapTokenParts; readonly signature: string; readonly server: string },
): ClusterInfo {
  if (isSignedBy(token, { content: info.kubeconfig, signature })) return info;
  throw new UserError(
    `What ${server} says about the cluster is not signed with the token ${token.id}.…: the second half of the token is wrong, or somebody is between this machine and the cluster.`,
  );
}

function problemOf(
  answer: ClusterInfoAnswer,
  { server, token, skewMs }: Asking & { readonly server: string },
): UserError {
  switch (answer.kind) {
    case 'found':
      return new UserError(
        `The token ${token.id}.… is not one of the cluster at ${server}, or it has expired${skewNote(answer.info.clockSkewMs)}. Make one on a control plane with: capstan token create --print-join-command`,
      );
    case 'absent':
      return new UserError(
        `${server} does not show who its cluster is (${answer.why}): it was not made by init, or its phase bootstrap-token is not done. Do it on a control plane with: capstan init phase bootstrap-token`,
      );
    case 'unreachable':
      return new UserError(
        `The API server ${server} cannot be reached (${answer.why}): is the address right, does the server run, and does a firewall let this machine through?`,
      );
    case 'untrusted':
      return new UserError(
        `The certificate of ${server} was not accepted (${answer.why})${skewNote(skewMs)}${/altnames|hostname/i.test(answer.why) ? ': join by an address or name that the certificate has, or add this one to certSANs' : ''}.`,
      );
    case 'foreign':
      return new UserError(`${answer.why}. Is ${server} the address of a control plane?`);
  }
}

/** 'N s behind', where it matters; else ''. */
function skewText(skewMs: number | undefined): string {
  if (skewMs === undefined || Math.abs(skewMs) < TOLERATED_SKEW_MS) return '';
  return `${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? 'behind' : 'ahead of'}`;
}

function skewNote(skewMs: number | undefined): string {
  const text = skewText(skewMs);
  return text === '' ? '' : `; note that this machine's clock is ${text} the server's`;
}
