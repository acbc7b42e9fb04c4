/** Content negotiation: which encoding and which view (the object, a Table, its metadata only) a client wants. Pure. */
import { parseAccept } from '#machinery/accept.ts';
import { statusErrors } from '#machinery/errors.ts';

export type Encoding = 'json' | 'yaml' | 'protobuf';
type View = 'object' | 'table' | 'metadata' | 'metadata-list';

export interface Accepted {
  readonly encoding: Encoding;
  readonly view: View;
  /** Of meta.k8s.io, for views other than 'object'. */
  readonly viewVersion: 'v1' | 'v1beta1';
  /** Parameters of the chosen clause, for discovery's g/v/as. */
  readonly parameters: Readonly<Record<string, string>>;
}

export const MEDIA_TYPES: Readonly<Record<Encoding, string>> = {
  json: 'application/json',
  yaml: 'application/yaml',
  protobuf: 'application/vnd.kubernetes.protobuf',
};
const ACCEPTED_TYPES = Object.values(MEDIA_TYPES);
/** What events come in. */
export const STREAM_TYPES: readonly string[] = [
  `${MEDIA_TYPES.json};stream=watch`,
  `${MEDIA_TYPES.protobuf};stream=watch`,
];

const ENCODING_OF: Readonly<Record<string, Encoding>> = {
  'application/json': 'json',
  'application/yaml': 'yaml',
  'application/vnd.kubernetes.protobuf': 'protobuf',
  '*/*': 'json',
  'application/*': 'json',
};

const PLAIN: Accepted = { encoding: 'json', view: 'object', viewVersion: 'v1', parameters: {} };
const VIEWS: Readonly<Record<string, View>> = {
  Table: 'table',
  PartialObjectMetadata: 'metadata',
  PartialObjectMetadataList: 'metadata-list',
};

/** Clients send very few different Accept headers; remembered up to this many. */
const MAX_REMEMBERED = 256,
  MAX_REMEMBERED_LENGTH = 1024;
const remembered = new Map<string, Accepted>();

/** For kinds that are in the generated tables. */
export function negotiate(accept: string | undefined): Accepted {
  if (accept === undefined || accept === 'application/json' || accept === '*/*' || accept === '')
    return PLAIN;
  let found = remembered.get(accept);
  if (found === undefined) {
    found = choose(accept);
    if (accept.length > MAX_REMEMBERED_LENGTH) return found;
    if (remembered.size >= MAX_REMEMBERED) remembered.clear();
    remembered.set(accept, found);
  }
  return found;
}

/** For custom resources, which have no protobuf form: clauses that ask for it are skipped, so that clients may offer both. */
export function negotiateWithoutWireForm(accept: string | undefined): Accepted {
  const found = negotiate(accept);
  return found.view === 'object' && found.encoding === 'protobuf'
    ? choose(accept ?? '', {
        serves: (view, encoding) => view !== 'object' || encoding !== 'protobuf',
        of: [MEDIA_TYPES.json, MEDIA_TYPES.yaml, MEDIA_TYPES.protobuf],
      })
    : found;
}

/** For resources without a table: clauses that ask for one are skipped. */
export function negotiateWithoutTable(accept: string | undefined): Accepted {
  const found = negotiate(accept);
  return found.view === 'table' ? choose(accept ?? '', { serves: (view) => view !== 'table' }) : found;
}

/** For responses with a fixed format: documents, and errors. */
export function negotiatePlainly(accept: string | undefined): Accepted {
  const found = negotiate(accept);
  return found.view === 'object' ? found : choose(accept ?? '', { serves: (view) => view === 'object' });
}

/**
 * Upstream's routes check Accept before its handlers do, and more simply: one of the produced types must be listed, or any type. Qualities, parameters
 * and ranges such as application/* are ignored.
 */
export function acceptsRoute(accept: string | undefined, produced: readonly string[]): boolean {
  if (accept === undefined || accept === '') return true;
  return accept.split(',').some((clause) => {
    const semicolon = clause.indexOf(';');
    const type = (semicolon < 0 ? clause : clause.slice(0, semicolon)).trim();
    return type === '*/*' || produced.includes(type);
  });
}

interface Offer {
  serves?(view: View, encoding: Encoding): boolean;
  /** Media types named where none fits. */
  readonly of?: readonly string[];
}

function choose(accept: string, { serves = () => true, of = ACCEPTED_TYPES }: Offer = {}): Accepted {
  for (const { type, parameters } of parseAccept(accept)) {
    const encoding = ENCODING_OF[type];
    if (encoding === undefined) continue;
    const { as, g, v, stream } = parameters;
    if (stream && (stream !== 'watch' || encoding === 'yaml')) continue;
    if (as === undefined && g === undefined && v === undefined) {
      if (serves('object', encoding)) return { encoding, view: 'object', viewVersion: 'v1', parameters };
      continue;
    }
    const view = VIEWS[as ?? ''];
    // A Table has no wire form.
    if (view === 'table' && encoding === 'protobuf') continue;
    if (
      view !== undefined &&
      serves(view, encoding) &&
      g === 'meta.k8s.io' &&
      (v === 'v1' || v === 'v1beta1')
    )
      return { encoding, view, viewVersion: v, parameters };
  }
  throw statusErrors.notAcceptable(of);
}

/** For error responses, which must not fail themselves. */
export function negotiateLeniently(accept: string | undefined): Encoding {
  try {
    return negotiatePlainly(accept).encoding;
  } catch {
    return 'json';
  }
}

export function encodingOfContentType(contentType: string | undefined): Encoding | undefined {
  if (contentType === undefined || contentType === '') return 'json';
  const semicolon = contentType.indexOf(';');
  const type = (semicolon < 0 ? contentType : contentType.slice(0, semicolon)).trim().toLowerCase();
  return ACCEPTED_TYPES.includes(type) ? ENCODING_OF[type] : undefined;
}

export function unsupportedMediaType(): Error {
  return statusErrors.unsupportedMediaType(ACCEPTED_TYPES);
}

/** Upstream prints prettily on request, and by default for interactive clients. */
export function wantsPretty(query: string | undefined, userAgent: string | undefined): boolean {
  if (query !== undefined) return query === '' || query === 'true' || query === '1';
  if (userAgent === undefined) return false;
  return userAgent.startsWith('curl') || userAgent.startsWith('Wget') || userAgent.startsWith('Mozilla/5.0');
}
