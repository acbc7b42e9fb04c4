/**
 * What stands between a rotation and its next phase, looked up where it is true: API servers and etcd are asked with certificates of the new authority, nodes
 * say what they trust and use (their annotation), other control planes how far they are (the ConfigMap). One clause for each that is not there yet.
 */
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto';
import { CONTROL_PLANE_ROLE } from '#component-helpers/node-roles.ts';
import { request } from 'node:https';
import { connect } from 'node:tls';
import type { Node } from '#api/types.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createHttpsTransport, type HttpsOptions } from '#client/https.ts';
import { configMaps, endpointSlices, namespaces, nodes, selfSubjectReviews } from '#client/refs.ts';
import { parseReport, AUTHORITY_REPORT } from '#component-helpers/authority-report.ts';
import { isStatusError } from '#machinery/errors.ts';
import { issueCertificate, type KeyPair } from '#pki/certificate.ts';
import { isIssuedBy } from '#pki/chain.ts';
import { publicKeyHash } from '#pki/keys.ts';
import { certificatesIn } from '#pki/pem.ts';
import { errorMessage } from '#stdx/log.ts';
import { hostPort } from '../../config/endpoint.ts';
import type { Generations, RotatedName } from './authorities.ts';

export interface Rotating {
  readonly name: RotatedName;
  readonly generations: Generations;
  /** The new private key, PEM. */
  readonly newKey: string;
}

export interface Surroundings {
  readonly api: Client;
  /** How this machine's administrator gets in. */
  readonly connection: HttpsOptions;
  /** This machine, whose files are the rotation's own. */
  readonly machineName: string;
  /** Nodes inside the cluster's program, which read its files. */
  readonly ownNodes: readonly string[];
  readonly nowMs: number;
}

const PROBE_TIMEOUT_MS = 5_000;
const PROBE_LIFETIME_MS = 600_000;
const SIMULATED = 'capstan.dev/simulated';
const ETCD_PORT = 2379;

/** Before the new authorities sign: components that do not trust them. */
export async function trustGaps(rotating: readonly Rotating[], around: Surroundings): Promise<string[]> {
  const all = await nodesOf(around);
  const servers = await apiServers(around);
  const gaps = await Promise.all(
    rotating.map((one) => {
      if (one.name === 'ca') return clusterTrustGaps(one, { around, servers, all });
      if (one.name === 'front-proxy-ca') return frontProxyGaps(one, around);
      if (one.name === 'sa') return each(servers, (server) => tokenKeyGap(one, { server, around }));
      return each(etcdAddresses(all, around), (address) => etcdGap(one, address, around));
    }),
  );
  return gaps.flat();
}

/** Before the old authorities are dropped: who still shows a certificate of theirs. */
export async function useGaps(rotating: readonly Rotating[], around: Surroundings): Promise<string[]> {
  const ca = rotating.find(({ name }) => name === 'ca');
  if (!ca) return [];
  const old = certificatesIn(ca.generations.old);
  const hashes = old.map(publicKeyHash);
  const servers = await apiServers(around);
  const all = await nodesOf(around);
  return [
    ...(await each(servers, (server) => servingGap(old, server))),
    ...all.flatMap((node) => {
      const report = reportOf(node);
      if (!report) return [`node ${nameOf(node)} does not report which certificates it uses`];
      return report.used.some((hash) => hashes.includes(hash))
        ? [`node ${nameOf(node)} still uses a certificate of the old authority`]
        : [];
    }),
  ];
}

/** Control planes beside this machine. */
export async function otherControlPlanes(
  around: Pick<Surroundings, 'api' | 'machineName'>,
): Promise<string[]> {
  const { items } = await around.api.list(nodes, { labelSelector: CONTROL_PLANE_ROLE });
  return items.map(nameOf).filter((name) => name !== around.machineName);
}

async function clusterTrustGaps(
  { generations, newKey }: Rotating,
  {
    around,
    servers,
    all,
  }: { readonly around: Surroundings; readonly servers: readonly string[]; readonly all: readonly Node[] },
): Promise<string[]> {
  const [next] = certificatesIn(generations.new);
  const hash = publicKeyHash(next!);
  const client = probeCertificate({ certificatePem: generations.new, keyPem: newKey }, around.nowMs);
  return [
    ...(await each(servers, (server) => clientTrustGap(client, { server, around }))),
    ...all.flatMap((node) => {
      const report = reportOf(node);
      if (!report) return [`node ${nameOf(node)} does not report which authorities it trusts`];
      return report.trusted.includes(hash) ? [] : [`node ${nameOf(node)} does not trust the new authority`];
    }),
    ...(await publishedGaps(next!, around)),
  ];
}

/** A client that only this probe has, of the new authority. */
function probeCertificate(authority: KeyPair, nowMs: number): KeyPair {
  return issueCertificate(authority, {
    subject: { commonName: `capstan:ca-rotation:${randomBytes(4).toString('hex')}` },
    usages: ['clientAuth'],
    nowMs,
    lifetimeMs: PROBE_LIFETIME_MS,
  });
}

async function clientTrustGap(
  client: KeyPair,
  { server, around }: { readonly server: string; readonly around: Surroundings },
): Promise<string | undefined> {
  const problem = await withServer(
    { server, ...trustOf(around), cert: client.certificatePem, key: client.keyPem },
    (api) => api.create(selfSubjectReviews, {}),
  );
  return problem && `API server ${server} does not accept a client of the new authority: ${problem}`;
}

/** The ConfigMaps that pods trust the API server by. */
async function publishedGaps(next: X509Certificate, { api }: Surroundings): Promise<string[]> {
  const { items } = await api.list(configMaps, { fieldSelector: 'metadata.name=kube-root-ca.crt' });
  if (items.length === 0) return [];
  const { items: spaces } = await api.list(namespaces);
  const ending = new Set(
    spaces.filter(({ metadata }) => metadata?.deletionTimestamp).map(({ metadata }) => metadata!.name!),
  );
  return items
    .filter(({ metadata, data }) => !ending.has(metadata!.namespace!) && !holds(data?.['ca.crt'], next))
    .map(({ metadata }) => `ConfigMap ${metadata!.namespace}/kube-root-ca.crt lacks the new authority`);
}

async function frontProxyGaps({ generations }: Rotating, { api }: Surroundings): Promise<string[]> {
  const { data } = await api.get(configMaps, {
    name: 'extension-apiserver-authentication',
    namespace: 'kube-system',
  });
  return holds(data?.['requestheader-client-ca-file'], certificatesIn(generations.new)[0]!)
    ? []
    : ['the API server does not trust the new front-proxy authority'];
}

function holds(bundle: string | undefined, certificate: X509Certificate): boolean {
  try {
    return certificatesIn(bundle ?? '').some((other) => other.raw.equals(certificate.raw));
  } catch {
    return false;
  }
}

/** The keys that a server accepts tokens of are public: /openid/v1/jwks. */
async function tokenKeyGap(
  { generations }: Rotating,
  { server, around }: { readonly server: string; readonly around: Surroundings },
): Promise<string | undefined> {
  const { x, n } = createPublicKey(generations.new).export({ format: 'jwk' });
  let isThere = false;
  const problem = await withServer({ ...around.connection, server }, async ({ transport }) => {
    const response = await transport.request({ method: 'GET', path: '/openid/v1/jwks' });
    const { keys = [] } = JSON.parse(String(await response.bytes())) as {
      keys?: readonly { readonly x?: string; readonly n?: string }[];
    };
    isThere = keys.some((key) => (x !== undefined && key.x === x) || (n !== undefined && key.n === n));
  });
  if (problem !== undefined) return `API server ${server} does not tell its service account keys: ${problem}`;
  return isThere ? undefined : `API server ${server} does not accept tokens of the new key`;
}

/** undefined, or what went wrong. */
async function withServer(
  options: HttpsOptions,
  work: (api: Client) => Promise<unknown>,
): Promise<string | undefined> {
  const transport = createHttpsTransport({ ...options, timeoutMs: PROBE_TIMEOUT_MS });
  const api = createClient(transport, { userAgent: 'capstan-certs' });
  try {
    await work(api);
    return undefined;
  } catch (error) {
    return isStatusError(error, 'Unauthorized') ? 'Unauthorized' : errorMessage(error);
  } finally {
    await api.close();
    await transport.close();
  }
}

function trustOf({
  connection: { ca, caFile, serverName, insecureSkipVerify },
}: Surroundings): Partial<HttpsOptions> {
  return {
    ...(ca ? { ca } : {}),
    ...(caFile ? { caFile } : {}),
    ...(serverName ? { serverName } : {}),
    ...(insecureSkipVerify ? { insecureSkipVerify } : {}),
  };
}

/** One of the user's own is of neither authority. */
async function servingGap(old: readonly X509Certificate[], server: string): Promise<string | undefined> {
  const certificate = await servedBy(server).catch((error: unknown) => errorMessage(error));
  if (typeof certificate === 'string') return `API server ${server} does not answer: ${certificate}`;
  return old.some((authority) => isIssuedBy(certificate, authority))
    ? `API server ${server} still shows a certificate of the old authority`
    : undefined;
}

function servedBy(server: string): Promise<X509Certificate> {
  const { hostname, port } = new URL(server);
  const host = hostname.replace(/^\[|\]$/g, '');
  return new Promise((resolve, reject) => {
    // Whatever server it is: only its certificate counts.
    const socket = connect({
      host,
      port: Number(port || 443),
      rejectUnauthorized: false,
      timeout: PROBE_TIMEOUT_MS,
    });
    socket.once('secureConnect', () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate) resolve(certificate);
      else reject(new Error('it showed no certificate'));
    });
    socket.once('timeout', () => socket.destroy(new Error('no answer in time')));
    socket.once('error', reject);
  });
}

/** Every API server that there is an endpoint of, and the one that the kubeconfig leads to. */
async function apiServers({ api, connection }: Surroundings): Promise<readonly string[]> {
  const { items } = await api.list(endpointSlices, {
    namespace: 'default',
    labelSelector: 'kubernetes.io/service-name=kubernetes',
  });
  const found = items.flatMap(({ endpoints, ports }) =>
    (endpoints ?? []).flatMap(({ addresses }) =>
      addresses.flatMap((address) =>
        (ports ?? []).map(({ port = 443 }) => `https://${hostPort(address, port)}`),
      ),
    ),
  );
  return [...new Set([new URL(connection.server).origin, ...found])];
}

/** All that have to say something: not simulated ones, nor those that live in the cluster's own program. */
async function nodesOf({ api, ownNodes }: Surroundings): Promise<readonly Node[]> {
  const { items } = await api.list(nodes);
  return items.filter(
    (node) => node.metadata?.annotations?.[SIMULATED] !== 'true' && !ownNodes.includes(nameOf(node)),
  );
}

function nameOf({ metadata }: Node): string {
  return metadata?.name ?? '';
}

function reportOf({ metadata }: Node): ReturnType<typeof parseReport> {
  return parseReport(metadata?.annotations?.[AUTHORITY_REPORT]);
}

function etcdAddresses(all: readonly Node[], { machineName }: Surroundings): readonly string[] {
  const others = all.filter(
    (node) => nameOf(node) !== machineName && node.metadata?.labels?.[CONTROL_PLANE_ROLE] !== undefined,
  );
  const addresses = others.flatMap(
    ({ status }) => status?.addresses?.find(({ type }) => type === 'InternalIP')?.address ?? [],
  );
  return ['127.0.0.1', ...addresses];
}

/** etcd reads its authorities when it starts: that it accepts a client of the new one shows that it was started since. */
async function etcdGap(
  { generations, newKey }: Rotating,
  address: string,
  { nowMs }: Surroundings,
): Promise<string | undefined> {
  const client = probeCertificate({ certificatePem: generations.new, keyPem: newKey }, nowMs);
  const problem = await answers({
    host: address,
    port: ETCD_PORT,
    ca: generations.old + generations.new,
    cert: client.certificatePem,
    key: client.keyPem,
  });
  return (
    problem &&
    `etcd at ${hostPort(address, ETCD_PORT)} does not accept a client of the new authority (it reads its authorities when it starts: restart it): ${problem}`
  );
}

function answers(options: {
  readonly host: string;
  readonly port: number;
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}): Promise<string | undefined> {
  return new Promise((resolve) => {
    const call = request(
      { ...options, path: '/version', timeout: PROBE_TIMEOUT_MS, agent: false },
      (response) => {
        response.resume();
        resolve(undefined);
      },
    );
    call.on('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', (error) => resolve(error.message));
    call.end();
  });
}

async function each<T>(
  items: readonly T[],
  gap: (item: T) => Promise<string | undefined>,
): Promise<string[]> {
  return (await Promise.all(items.map(gap))).filter((text) => text !== undefined);
}
