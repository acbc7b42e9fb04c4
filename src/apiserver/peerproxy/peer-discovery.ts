/** What a peer serves itself, from its aggregated discovery. Its content is checked: a peer may run another version. */
import { readBody, type HttpsClient, type Destination } from '#stdx/https-client.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { formatApiVersion, type UserInfo } from '#machinery/object.ts';
import { identityHeaders } from '../aggregation/extension-service.ts';
import { PEER_PROXIED } from './peer-proxied.ts';

const TIMEOUT_MS = 5_000;
const MAX_BYTES = 16 * 1024 * 1024;
/** Only its own: without what its peers serve. Then what servers before 1.36 understand. */
const ACCEPT = [
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer',
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
  'application/json',
].join(',');
/** Upstream's user for it. */
const API_SERVER_USER: UserInfo = {
  name: 'system:apiserver',
  uid: 'system:apiserver',
  groups: ['system:authenticated'],
};

interface PeerVersion {
  readonly version: string;
  /** Entries of aggregated discovery, by the name of the resource. */
  readonly resources: ReadonlyMap<string, JsonObject>;
  readonly freshness: string;
}

export interface PeerGroup {
  readonly name: string;
  readonly versions: readonly PeerVersion[];
}

interface Asking {
  readonly client: HttpsClient;
  readonly to: Destination;
  readonly host: string;
  /** Of each answer. */
  readonly answered: (status: number) => void;
}

/** Of /api and /apis. Throws when either cannot be read. */
export async function readPeerDiscovery(asking: Asking): Promise<readonly PeerGroup[]> {
  const core = await ask(asking, '/api');
  return [...core, ...(await ask(asking, '/apis'))];
}

async function ask({ client, to, host, answered }: Asking, path: string): Promise<PeerGroup[]> {
  const answer = await client.request({
    to,
    method: 'GET',
    path,
    headers: {
      accept: ACCEPT,
      host,
      'user-agent': 'capstan-peer-proxy',
      [PEER_PROXIED]: 'true',
      ...identityHeaders(API_SERVER_USER),
    },
    signal: AbortSignal.timeout(TIMEOUT_MS),
    repeats: true,
  });
  answered(answer.status);
  const tooLong = (): Error => new Error(`the answer is longer than ${MAX_BYTES} bytes`);
  const body = await readBody(answer, { maximumBytes: MAX_BYTES, tooLong });
  if (answer.status !== 200) throw new Error(`discovery request failed with status: ${answer.status}`);
  return parseGroups(JSON.parse(body.toString()));
}

/** Throws for something else than an APIGroupDiscoveryList; entries that are none are dropped. */
export function parseGroups(document: unknown): PeerGroup[] {
  if (!isJsonObject(document) || document['kind'] !== 'APIGroupDiscoveryList')
    throw new Error('the discovery of the peer is not aggregated');
  return objects(document['items']).map(({ metadata, versions }) => ({
    name: isJsonObject(metadata) && typeof metadata['name'] === 'string' ? metadata['name'] : '',
    versions: objects(versions).flatMap(({ version, resources, freshness }) => {
      if (typeof version !== 'string' || version === '') return [];
      const named = objects(resources).flatMap((entry): [string, JsonObject][] =>
        typeof entry['resource'] === 'string' ? [[entry['resource'], entry]] : [],
      );
      return {
        version,
        resources: new Map(named),
        freshness: freshness === 'Stale' ? 'Stale' : 'Current',
      };
    }),
  }));
}

/** Without the versions that are excluded. */
export function withoutVersions(
  groups: readonly PeerGroup[],
  isExcluded: (groupVersion: string) => boolean,
): readonly PeerGroup[] {
  return groups.flatMap(({ name, versions }) => {
    const kept = versions.filter(({ version }) => !isExcluded(formatApiVersion({ group: name, version })));
    return kept.length === 0 ? [] : { name, versions: kept };
  });
}

function objects(value: unknown): JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}
