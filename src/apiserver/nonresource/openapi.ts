/**
 * OpenAPI v2 (JSON and protobuf) and v3 of the whole API: built-in, custom and of extension servers. Documents are built on request, cached as bytes
 * and identified by an ETag; v3 documents requested by hash are cacheable for ever.
 */
import { createHash } from 'node:crypto';
import { httpDate } from '#stdx/dates.ts';
import { openapiV3Document, openapiV3Hash, openapiV3Paths } from '#openapi/v3.ts';
import { encodeOpenapiV2 } from '#openapi/v2-protobuf.ts';
import { encodeOpenapiV3 } from '#openapi/v3-protobuf.ts';
import type { JsonObject } from '#machinery/json.ts';
import type { GroupVersion } from '#machinery/object.ts';
import type { ExtensionOpenapi } from '../aggregation/aggregator.ts';
import { mergeV2, type V2Part } from '../aggregation/extension-openapi.ts';
import type { CustomOpenapi } from '../apiextensions/openapi.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import { parseAccept } from '#machinery/accept.ts';
import { servedV2, servedV3, UNSERVED_DOCUMENT, type ServedFeatures } from './served-openapi.ts';

/** Of extension API servers. */
export interface ExtensionOpenapiSource {
  readonly revision: number;
  openapiV2(): readonly V2Part[];
  openapiV3(): readonly ExtensionOpenapi[];
}

interface OpenapiOptions {
  readonly isEnabled: (gv: GroupVersion) => boolean;
  readonly custom: CustomOpenapi;
  readonly extensions: ExtensionOpenapiSource;
  readonly features: ServedFeatures;
}

interface Document {
  readonly bytes: Buffer;
  readonly hash: string;
}

export const OPENAPI_V3 = '/openapi/v3';
const YEAR_SECONDS = 31_536_000;
/** 'v2@v1.0' is returned as 'v2.v1.0': media types have no at sign. */
const V2_PROTOBUF = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
const V3_PROTOBUF = 'application/com.github.proto-openapi.spec.v3.v1.0+protobuf';

type Form = 'json' | 'protobuf';
const V2_FORMS = formsOf(V2_PROTOBUF, 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf');
const V3_FORMS = formsOf(V3_PROTOBUF, 'application/com.github.proto-openapi.spec.v3@v1.0+protobuf');

function formsOf(...protobuf: readonly string[]): Readonly<Record<string, Form>> {
  return {
    'application/json': 'json',
    '*/*': 'json',
    'application/*': 'json',
    ...Object.fromEntries(protobuf.map((type) => [type, 'protobuf' as const])),
  };
}

export class OpenapiDocuments {
  readonly #options: OpenapiOptions;
  readonly #builtin = new Map<string, Document>();
  readonly #protobuf = new Map<string, Document>();
  readonly #whole = new Map<'v2 json' | 'v2 protobuf' | 'v3', Document>();
  #revision = '';

  constructor(options: OpenapiOptions) {
    this.#options = options;
  }

  v2(context: RequestContext): ApiResponse {
    const form = formOf(context.request.headers['accept'], V2_FORMS);
    if (form === undefined) return notAcceptable();
    this.#refresh();
    const document = this.#of(`v2 ${form}`, () => {
      if (form === 'protobuf')
        return encodeOpenapiV2(JSON.parse(this.#v2Json().bytes.toString()) as Record<string, unknown>);
      return this.#v2Json().bytes;
    });
    return respond(context, document, { contentType: form === 'json' ? 'application/json' : V2_PROTOBUF });
  }

  #v2Json(): Document {
    const { custom, extensions, features, isEnabled } = this.#options;
    return this.#of('v2 json', () =>
      Buffer.from(JSON.stringify(mergeV2(servedV2(custom.v2(isEnabled), features), extensions.openapiV2()))),
    );
  }

  /** name: '' is the index, else 'api/v1', 'apis/apps/v1', …. Documents of extension servers are not included. */
  v3(context: RequestContext, name: string): ApiResponse {
    this.#refresh();
    if (context.info.path === `${OPENAPI_V3}/`) return missing();
    if (name === '')
      return {
        status: 200,
        headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-cache, private' },
        body: this.#of('v3', () => Buffer.from(JSON.stringify(this.#index()))).bytes,
      };
    const document = this.#options.custom.document(name) ?? this.#ofExtension(name) ?? this.#ofBuiltin(name);
    if (!document) return missing();
    const form = formOf(context.request.headers['accept'], V3_FORMS);
    if (form === undefined) return notAcceptable();
    const wanted = context.info.query['hash'];
    if (wanted !== undefined && wanted !== document.hash) {
      const location = `${OPENAPI_V3}/${name}?hash=${document.hash}`;
      return {
        status: 301,
        headers: {
          location,
          etag: `"${document.hash}"`,
          vary: 'Accept',
          'cache-control': 'no-cache, private',
        },
        body: Buffer.alloc(0),
      };
    }
    const cache: Record<string, string> =
      wanted === undefined
        ? { 'cache-control': 'no-cache, private' }
        : {
            'cache-control': 'public, immutable',
            expires: httpDate(Date.now() + YEAR_SECONDS * 1000),
          };
    return respond(context, form === 'json' ? document : this.#asProtobuf(name, document), {
      contentType: form === 'json' ? 'application/json' : V3_PROTOBUF,
      cache,
    });
  }

  /** Discards documents of an older state of the registry. */
  #refresh(): void {
    const { custom, extensions } = this.#options;
    const revision = `${custom.revision} ${extensions.revision}`;
    if (this.#revision === revision) return;
    this.#revision = revision;
    this.#whole.clear();
  }

  #of(key: 'v2 json' | 'v2 protobuf' | 'v3', build: () => Buffer): Document {
    let document = this.#whole.get(key);
    if (!document) {
      const bytes = build();
      document = { bytes, hash: createHash('sha512').update(bytes).digest('hex').toUpperCase() };
      this.#whole.set(key, document);
    }
    return document;
  }

  /** Kept until the document changes. Both encodings share one hash, which the URL contains. */
  #asProtobuf(name: string, { bytes, hash }: Document): Document {
    let found = this.#protobuf.get(name);
    if (found?.hash !== hash) {
      found = { bytes: encodeOpenapiV3(JSON.parse(bytes.toString()) as JsonObject), hash };
      this.#protobuf.set(name, found);
    }
    return found;
  }

  #ofBuiltin(name: string): Document | undefined {
    const [root, group = '', version] = name.split('/') as [string, string?, string?];
    const gv = root === 'api' ? { group: '', version: group } : { group, version: version ?? '' };
    // Of a version that is switched off there is no document.
    if (
      (root === 'apis' && version !== undefined && !this.#options.isEnabled(gv)) ||
      name === UNSERVED_DOCUMENT
    )
      return undefined;
    let found = this.#builtin.get(name);
    if (!found) {
      const document = openapiV3Document(name);
      if (!document) return undefined;
      found = {
        bytes: Buffer.from(JSON.stringify(servedV3(document, this.#options.features))),
        hash: this.#builtinHash(name),
      };
      this.#builtin.set(name, found);
    }
    return found;
  }

  /** Hash inputs: the published document and the parts removed here. */
  #builtinHash(name: string): string {
    const { cbor, version } = this.#options.features;
    return createHash('sha256')
      .update(`${openapiV3Hash(name)} ${cbor} ${version}`)
      .digest('hex')
      .toUpperCase();
  }

  /** Converted here from v2, since its server has no v3. */
  #ofExtension(name: string): Document | undefined {
    const own = this.#options.extensions.openapiV3().find(({ path }) => path === name);
    return own?.bytes && { bytes: own.bytes, hash: own.hash };
  }

  #index(): object {
    const { custom, extensions, isEnabled } = this.#options;
    const paths: Record<string, { serverRelativeURL: string }> = {};
    for (const path of openapiV3Paths(isEnabled))
      if (path !== UNSERVED_DOCUMENT)
        paths[path] = { serverRelativeURL: `${OPENAPI_V3}/${path}?hash=${this.#builtinHash(path)}` };
    for (const path of custom.paths())
      paths[path] = { serverRelativeURL: `${OPENAPI_V3}/${path}?hash=${custom.document(path)!.hash}` };
    for (const { path, hash, query } of extensions.openapiV3()) {
      const search = query ?? `hash=${hash}`;
      paths[path] = { serverRelativeURL: `${OPENAPI_V3}/${path}${search === '' ? '' : `?${search}`}` };
    }
    return {
      paths: Object.fromEntries(Object.entries(paths).toSorted(([left], [right]) => (left < right ? -1 : 1))),
    };
  }
}

function respond(
  { request }: RequestContext,
  { bytes, hash }: Document,
  { contentType, cache = {} }: { readonly contentType: string; readonly cache?: Record<string, string> },
): ApiResponse {
  const etag = `"${hash}"`;
  const headers: Record<string, string> = { etag, vary: 'Accept', ...cache };
  const known = request.headers['if-none-match'];
  if (
    known !== undefined &&
    (known === '*' || known.split(',').some((one) => one.trim().replace(/^W\//, '') === etag))
  )
    return { status: 304, headers, body: Buffer.alloc(0) };
  return { status: 200, headers: { ...headers, 'content-type': contentType }, body: bytes };
}

function missing(): ApiResponse {
  return { status: 404, headers: { 'cache-control': 'no-cache, private' }, body: Buffer.alloc(0) };
}

/** Without a word: these documents are for programs, which offer what there is. */
function notAcceptable(): ApiResponse {
  return {
    status: 406,
    headers: { 'cache-control': 'no-cache, private', vary: 'Accept' },
    body: Buffer.alloc(0),
  };
}

function formOf(accept: string | undefined, forms: Readonly<Record<string, Form>>): Form | undefined {
  if (accept === undefined || accept === '') return 'json';
  for (const { type } of parseAccept(accept)) {
    const form = forms[type];
    if (form) return form;
  }
  return undefined;
}
