/**
 * Documents of extension servers: discovery, OpenAPI v3's index and OpenAPI v2. Fetched when an APIService appears or becomes available and every
 * minute; the last version stays, marked Stale, when a server cannot be read. Their content is untrusted.
 */
import { createHash } from 'node:crypto';
import type { Clock, Timer } from '#stdx/clock.ts';
import { errorMessage, type Logger } from '#stdx/log.ts';
import { isJsonObject, type JsonObject } from '#machinery/json.ts';
import { queryValues } from '../http/request-info.ts';
import { fetchFromExtension, type ExtensionAnswer, type ExtensionService } from './extension-service.ts';
import { openapiV3FromV2, partOfV2, type V2Part } from './extension-openapi.ts';

const REFRESH_MS = 60_000;
const DISCOVERY_TIMEOUT_MS = 5000;
const OPENAPI_TIMEOUT_MS = 30_000;
const MAX_DISCOVERY_BYTES = 16 * 1024 * 1024;
const MAX_OPENAPI_BYTES = 64 * 1024 * 1024;
const AGGREGATED = ['v2', 'v2beta1']
  .map((version) => `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`)
  .join(',');

/** Entries of aggregated discovery (APIResourceDiscovery). */
export type DiscoveredResource = Readonly<Record<string, unknown>>;

interface OpenapiV3Source {
  /** Of the document, for the index; changes when it does. */
  readonly hash: string;
  /** The query of the server's own URL; undefined: there is none, the document was made from OpenAPI v2. */
  readonly query: string | undefined;
  readonly bytes?: Buffer;
}

interface ExtensionDocuments {
  readonly resources: readonly DiscoveredResource[];
  readonly freshness: 'Current' | 'Stale';
  readonly openapiV3: OpenapiV3Source | undefined;
  readonly openapiV2: V2Part | undefined;
}

const NOTHING: ExtensionDocuments = {
  resources: [],
  freshness: 'Stale',
  openapiV3: undefined,
  openapiV2: undefined,
};

interface DocumentsReaderOptions {
  readonly clock: Clock;
  readonly log: Logger;
  serviceOf(name: string): ExtensionService | undefined;
  changed(): void;
}

export class DocumentsReader {
  readonly #options: DocumentsReaderOptions;
  readonly #documents = new Map<string, ExtensionDocuments>();
  readonly #timers = new Map<string, Timer>();
  readonly #busy = new Map<string, { again: boolean }>();
  readonly #working = new Set<Promise<void>>();
  readonly #etags = new Map<string, { readonly etag: string; readonly hash: string }>();
  #stopped = false;

  constructor(options: DocumentsReaderOptions) {
    this.#options = options;
  }

  of(name: string): ExtensionDocuments {
    return this.#documents.get(name) ?? NOTHING;
  }

  refresh(name: string): void {
    if (this.#stopped) return;
    this.#timers.get(name)?.cancel();
    const busy = this.#busy.get(name);
    if (busy) {
      busy.again = true;
      return;
    }
    const work = this.#run(name);
    this.#working.add(work);
    void work.finally(() => this.#working.delete(work));
  }

  /** moved: the APIService has another target now, so that earlier documents do not apply. */
  forget(name: string): void {
    this.#timers.get(name)?.cancel();
    this.#timers.delete(name);
    this.#documents.delete(name);
    this.#etags.delete(name);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) timer.cancel();
    await Promise.all(this.#working);
  }

  async #run(name: string): Promise<void> {
    const { serviceOf, clock, log, changed } = this.#options;
    const state = { again: false };
    this.#busy.set(name, state);
    try {
      do {
        state.again = false;
        const service = serviceOf(name);
        if (!service || this.#stopped) return;
        const before = this.of(name);
        let next: ExtensionDocuments;
        try {
          const resources = await readDiscovery(service);
          const { openapiV3, openapiV2 } = await this.#readOpenapi(service, before);
          next = { resources, freshness: 'Current', openapiV3, openapiV2 };
        } catch (error) {
          log.debug('the discovery of an extension server could not be read', {
            apiservice: name,
            error: errorMessage(error),
          });
          next = { ...before, freshness: 'Stale' };
        }
        if (serviceOf(name) === undefined) return;
        this.#documents.set(name, next);
        if (isDifferent(before, next)) changed();
      } while (state.again);
    } finally {
      this.#busy.delete(name);
      if (!this.#stopped && serviceOf(name))
        this.#timers.set(
          name,
          clock.after(REFRESH_MS, () => this.refresh(name)),
        );
    }
  }

  /** A server without OpenAPI, or with damaged OpenAPI, is one whose types are not known. */
  async #readOpenapi(
    service: ExtensionService,
    before: ExtensionDocuments,
  ): Promise<Pick<ExtensionDocuments, 'openapiV2' | 'openapiV3'>> {
    const { log } = this.#options;
    let openapiV2 = before.openapiV2;
    try {
      openapiV2 = await this.#readV2(service, before.openapiV2);
    } catch (error) {
      log.debug('the OpenAPI v2 of an extension server could not be read', {
        apiservice: service.name,
        error: errorMessage(error),
      });
    }
    try {
      const own = await readV3(service);
      if (own) return { openapiV2, openapiV3: own };
    } catch (error) {
      log.debug('the OpenAPI v3 of an extension server could not be read', {
        apiservice: service.name,
        error: errorMessage(error),
      });
    }
    if (!openapiV2) return { openapiV2, openapiV3: undefined };
    const bytes = Buffer.from(JSON.stringify(openapiV3FromV2(openapiV2)));
    return {
      openapiV2,
      openapiV3: {
        hash: createHash('sha512').update(bytes).digest('hex').toUpperCase(),
        query: undefined,
        bytes,
      },
    };
  }

  async #readV2(service: ExtensionService, before: V2Part | undefined): Promise<V2Part | undefined> {
    const known = this.#etags.get(service.name);
    const answer = await fetchFromExtension(service, {
      path: '/openapi/v2',
      accept: 'application/json',
      timeoutMs: OPENAPI_TIMEOUT_MS,
      maxBytes: MAX_OPENAPI_BYTES,
      etag: before && (known?.etag || undefined),
    });
    if (answer.status === 304) return before;
    if (answer.status === 404) return undefined;
    const hash = createHash('sha256').update(answer.body).digest('hex');
    if (before && hash === known?.hash) return before;
    const part = partOfV2(parsed(answer), `/${service.path}/`);
    this.#etags.set(service.name, { etag: String(answer.headers.etag ?? ''), hash });
    return part;
  }
}

function isDifferent(left: ExtensionDocuments, right: ExtensionDocuments): boolean {
  return (
    left.freshness !== right.freshness ||
    left.openapiV2 !== right.openapiV2 ||
    left.openapiV3?.hash !== right.openapiV3?.hash ||
    JSON.stringify(left.resources) !== JSON.stringify(right.resources)
  );
}

function parsed({ status, body }: ExtensionAnswer): JsonObject {
  if (status < 200 || status > 299) throw new Error(`the server answered ${status}`);
  const value = JSON.parse(body.toString()) as unknown;
  if (!isJsonObject(value)) throw new Error('the answer is no JSON object');
  return value;
}

// ------------------------------------------------------------------------------------------------------------- discovery

async function readDiscovery(service: ExtensionService): Promise<DiscoveredResource[]> {
  const { group, version } = service;
  const aggregated = await fetchFromExtension(service, {
    path: '/apis',
    accept: `${AGGREGATED},application/json`,
    timeoutMs: DISCOVERY_TIMEOUT_MS,
    maxBytes: MAX_DISCOVERY_BYTES,
  });
  if (
    aggregated.status === 200 &&
    String(aggregated.headers['content-type'] ?? '').includes('as=APIGroupDiscoveryList')
  ) {
    const groups = listOf(parsed(aggregated)['items']).filter(isJsonObject);
    const found = groups.find(({ metadata }) => isJsonObject(metadata) && metadata['name'] === group);
    const versions = listOf(found?.['versions']).filter(isJsonObject);
    const own = versions.find((one) => one['version'] === version);
    if (!own) throw new Error(`its discovery has no ${group}/${version}`);
    return listOf(own['resources']).map(discovered);
  }
  const classic = parsed(
    await fetchFromExtension(service, {
      path: `/${service.path}`,
      accept: 'application/json',
      timeoutMs: DISCOVERY_TIMEOUT_MS,
      maxBytes: MAX_DISCOVERY_BYTES,
    }),
  );
  if (classic['kind'] !== 'APIResourceList' || !Array.isArray(classic['resources']))
    throw new Error('its discovery is no APIResourceList');
  return fromClassic(classic['resources'], { group, version });
}

function listOf(value: unknown): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error('its discovery has something else in place of a list');
  return value;
}

/** Only what clients are to see, of the types they rely on. */
function discovered(value: unknown): DiscoveredResource {
  if (!isJsonObject(value)) throw new Error('its discovery has an entry that is no resource');
  const { resource, scope } = value;
  if (typeof resource !== 'string' || resource === '' || (scope !== 'Namespaced' && scope !== 'Cluster'))
    throw new Error('its discovery has a resource without name or scope');
  const shortNames = strings(value['shortNames']),
    categories = strings(value['categories']);
  const subresources = listOf(value['subresources'])
    .filter(isJsonObject)
    .map((sub) => ({
      subresource: text(sub['subresource']),
      ...(isJsonObject(sub['responseKind']) ? { responseKind: kindOf(sub['responseKind']) } : {}),
      ...(Array.isArray(sub['acceptedTypes'])
        ? { acceptedTypes: sub['acceptedTypes'].filter(isJsonObject).map(kindOf) }
        : {}),
      verbs: strings(sub['verbs']),
    }));
  return {
    resource,
    ...(isJsonObject(value['responseKind']) ? { responseKind: kindOf(value['responseKind']) } : {}),
    scope,
    singularResource: text(value['singularResource']),
    verbs: strings(value['verbs']),
    ...(shortNames.length > 0 ? { shortNames } : {}),
    ...(categories.length > 0 ? { categories } : {}),
    ...(subresources.length > 0 ? { subresources } : {}),
  };
}

function kindOf(value: JsonObject): {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
} {
  return { group: text(value['group']), version: text(value['version']), kind: text(value['kind']) };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/** An APIResourceList has subresources beside resources. */
function fromClassic(
  entries: readonly unknown[],
  gv: { readonly group: string; readonly version: string },
): DiscoveredResource[] {
  const resources = entries.filter(isJsonObject);
  const responseKind = (entry: JsonObject): object => ({
    group: text(entry['group']) || gv.group,
    version: text(entry['version']) || gv.version,
    kind: text(entry['kind']),
  });
  return resources
    .filter(({ name }) => typeof name === 'string' && name !== '' && !name.includes('/'))
    .map((entry) =>
      discovered({
        resource: entry['name'],
        responseKind: responseKind(entry),
        scope: entry['namespaced'] === true ? 'Namespaced' : 'Cluster',
        singularResource: entry['singularName'],
        verbs: entry['verbs'],
        shortNames: entry['shortNames'],
        categories: entry['categories'],
        subresources: resources
          .filter(({ name }) => typeof name === 'string' && name.startsWith(`${String(entry['name'])}/`))
          .map((sub) => ({
            subresource: text(sub['name']).slice(String(entry['name']).length + 1),
            responseKind: responseKind(sub),
            verbs: sub['verbs'],
          })),
      }),
    );
}

// ------------------------------------------------------------------------------------------------------------ OpenAPI v3

/** Undefined: the server has none. */
async function readV3(service: ExtensionService): Promise<OpenapiV3Source | undefined> {
  const answer = await fetchFromExtension(service, {
    path: '/openapi/v3',
    accept: 'application/json',
    timeoutMs: OPENAPI_TIMEOUT_MS,
    maxBytes: MAX_DISCOVERY_BYTES,
  });
  if (answer.status === 404) return undefined;
  const { paths } = parsed(answer);
  const entry = isJsonObject(paths) ? paths[service.path] : undefined;
  const url = isJsonObject(entry) ? text(entry['serverRelativeURL']) : '';
  if (!url.startsWith('/')) return undefined;
  const query = url.includes('?') ? url.slice(url.indexOf('?') + 1) : '';
  return { hash: queryValues(query, 'hash')[0] ?? '', query };
}
