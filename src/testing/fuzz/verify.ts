/** What must hold whatever was asked: of each answer, and of all that is stored afterwards. Each check answers what is wrong, in one sentence. */
import { validateHeaderValue } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { decodeCbor } from '#machinery/codec/cbor.ts';
import { decodeObject as decodeProtobuf } from '#machinery/codec/protobuf.ts';
import { decodeObject } from '#machinery/decode.ts';
import type { KubeObject } from '#machinery/object.ts';
import { parseSerialized } from '#machinery/serialize.ts';
import { parseYaml } from '#machinery/yaml.ts';
import { schemaForKind } from '#api/schemas.ts';
import { RESOURCES } from '#resources/registry.ts';
import type { Resource, ServedVersion } from '#resources/resource.ts';
import type { Store } from '#storage/store.ts';
import { ADMIN, type FuzzRequest } from './requests.ts';

export interface FuzzAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly bytes: Buffer;
  readonly streamed: boolean;
}

type Exchange = (request: FuzzRequest) => Promise<FuzzAnswer>;

const MAY_FAIL = new Set([501, 503, 504]);
/** Paths for people and probes, whose errors are texts. */
const PLAIN_PATHS = /^\/(healthz|livez|readyz|metrics|debug)(\/|$)/;

export function faultOfAnswer(
  { path, method }: Pick<FuzzRequest, 'path' | 'method'>,
  { status, headers, bytes, streamed }: FuzzAnswer,
): string | undefined {
  if (!Number.isInteger(status) || status < 200 || status > 599) return `status ${status}`;
  if (status >= 500 && !MAY_FAIL.has(status)) return `status ${status}: ${bytes.toString().slice(0, 300)}`;
  for (const [name, value] of Object.entries(headers)) {
    try {
      validateHeaderValue(name, value);
    } catch {
      return `header ${name} is ${JSON.stringify(value)}`;
    }
  }
  if (status < 400 || streamed || method === 'HEAD' || PLAIN_PATHS.test(path)) return undefined;
  if (isUnknownPage({ status, headers, bytes }) || isDocumentRefusal(path, bytes)) return undefined;
  // A target that is too long is refused before anything of it is read.
  if (status === 431) return undefined;
  return faultOfStatus(
    status,
    valueOf(
      headers['content-encoding'] === 'gzip' ? gunzipSync(bytes) : bytes,
      headers['content-type'] ?? '',
    ),
  );
}

/** What is no path of any API group gets. */
function isUnknownPage({
  status,
  headers,
  bytes,
}: Pick<FuzzAnswer, 'status' | 'headers' | 'bytes'>): boolean {
  return (
    status === 404 &&
    headers['content-type'] === 'text/plain; charset=utf-8' &&
    bytes.toString() === '404 page not found\n'
  );
}

/** OpenAPI is refused without a word. */
function isDocumentRefusal(path: string, bytes: Buffer): boolean {
  return path.startsWith('/openapi/') && bytes.length === 0;
}

function valueOf(bytes: Buffer, contentType: string): Record<string, unknown> | undefined {
  try {
    if (contentType.startsWith('application/json'))
      return JSON.parse(bytes.toString()) as Record<string, unknown>;
    if (contentType.startsWith('application/yaml'))
      return parseYaml(bytes.toString()).value as Record<string, unknown>;
    if (contentType.startsWith('application/vnd.kubernetes.protobuf'))
      return decodeProtobuf(bytes, { schemaFor: schemaForKind });
    if (contentType.startsWith('application/cbor')) return decodeCbor(bytes) as Record<string, unknown>;
  } catch {
    return undefined;
  }
  return undefined;
}

function faultOfStatus(code: number, value: Record<string, unknown> | undefined): string | undefined {
  if (value?.['kind'] !== 'Status' || value['apiVersion'] !== 'v1')
    return `a ${code} that is no Status: ${JSON.stringify(value)?.slice(0, 200)}`;
  if (value['status'] !== 'Failure' || value['code'] !== code)
    return `a ${code} whose Status says ${String(value['status'])} ${String(value['code'])}`;
  if (
    typeof value['message'] !== 'string' ||
    value['message'] === '' ||
    typeof value['reason'] !== 'string' ||
    value['reason'] === ''
  )
    return `a ${code} without message or reason: ${JSON.stringify(value).slice(0, 200)}`;
  return undefined;
}

export function request(method: string, path: string, rest: Partial<FuzzRequest> = {}): FuzzRequest {
  return { method, path, query: '', headers: {}, body: Buffer.alloc(0), user: ADMIN, ...rest };
}

interface StoredFault {
  readonly what: string;
  readonly example: string;
}

interface Verified {
  readonly objects: number;
  readonly faults: StoredFault[];
}

/** Everything stored, through the API in every served version, against the store's own bytes. Nothing else may write meanwhile. */
export async function verifyStored(store: Store, exchange: Exchange): Promise<Verified> {
  const faults: StoredFault[] = [];
  let objects = 0;
  for (const resource of RESOURCES) {
    if (resource.virtual || (resource.group === 'events.k8s.io' && resource.plural === 'events')) continue;
    const stored = await storedObjects(store, resource);
    objects += stored.length;
    for (const version of resource.versions)
      faults.push(...(await verifyVersion({ resource, version, stored, exchange })));
  }
  return { objects, faults };
}

async function storedObjects(store: Store, { storagePrefix }: Resource): Promise<KubeObject[]> {
  const { items } = await store.list(storagePrefix);
  return items.map(({ value, modRevision }) => parseSerialized(value, modRevision));
}

function pathOf(
  { group }: Resource,
  { version }: ServedVersion,
  plural: string,
  meta?: KubeObject['metadata'],
): string {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  if (!meta) return `${root}/${plural}`;
  return `${root}${meta.namespace ? `/namespaces/${encodeURIComponent(meta.namespace)}` : ''}/${plural}/${encodeURIComponent(meta.name!)}`;
}

interface Verifying {
  readonly resource: Resource;
  readonly version: ServedVersion;
  readonly stored: readonly KubeObject[];
  readonly exchange: Exchange;
}

async function verifyVersion({ resource, version, stored, exchange }: Verifying): Promise<StoredFault[]> {
  const faults: StoredFault[] = [];
  const schema = schemaForKind({ group: resource.group, version: version.version, kind: version.kind })!;
  const listed = await exchange(request('GET', pathOf(resource, version, resource.plural)));
  const items = (JSON.parse(listed.bytes.toString()) as { items?: KubeObject[] }).items ?? [];
  if (items.length !== stored.length)
    faults.push({
      what: `${pathOf(resource, version, resource.plural)} lists ${items.length} of ${stored.length} stored`,
      example: '',
    });
  const byKey = new Map(
    items.map((item) => [`${item.metadata?.namespace ?? ''}/${item.metadata?.name}`, item]),
  );
  for (const object of stored) {
    const path = pathOf(resource, version, resource.plural, object.metadata);
    const fault = (why: string): void =>
      void faults.push({
        what: `${version.apiVersion} ${version.kind}: ${why}`,
        example: `${path} ${JSON.stringify(object).slice(0, 3000)}`,
      });
    const got = await exchange(request('GET', path));
    if (got.status !== 200) {
      fault(`GET is ${got.status} ${got.bytes.toString().slice(0, 200)}`);
      continue;
    }
    const text = got.bytes.toString(),
      value = JSON.parse(text) as KubeObject;
    const {
      kind: _,
      apiVersion: __,
      ...item
    } = byKey.get(`${object.metadata?.namespace ?? ''}/${object.metadata?.name}`) ?? {};
    const { kind: ___, apiVersion: ____, ...own } = value;
    if (!same(item, own)) fault('the list shows another object than GET');
    if (version.apiVersion === resource.storageApiVersion && !same(object, value))
      fault(`stored is ${JSON.stringify(object).slice(0, 300)}, GET shows ${text.slice(0, 300)}`);
    const decoded = decodeObject(schema, JSON.parse(text), 'strict');
    if (decoded.problems.length > 0) fault(`strict decoding says ${decoded.problems.join(', ')}`);
    if (!sameButNull(decoded.object, value)) fault(`decodes to ${difference(decoded.object, value)}`);
    const wire = await exchange(
      request('GET', path, { headers: { accept: 'application/vnd.kubernetes.protobuf' } }),
    );
    try {
      const back = decodeObject(
        schema,
        decodeProtobuf(wire.bytes, { schemaFor: schemaForKind }),
        'ignore',
      ).object;
      if (!sameButEmpty(withoutInnerKinds(back), withoutInnerKinds(value)))
        fault(`protobuf shows ${difference(back, value)}`);
    } catch (error) {
      fault(`protobuf: ${String(error)}`);
    }
    if (version.verbs.includes('update')) await verifyPut({ path, text, value, exchange, fault });
  }
  return faults;
}

/** What is looked at when an object is changed, and not when it is new, here as upstream. */
const ONLY_OF_CHANGES =
  /Node "[^"]*" is invalid: status\.addresses\[\d+\]: Duplicate value|CustomResourceDefinition\.apiextensions\.k8s\.io "[^"]*" is invalid: \[?status\.storedVersions\[\d+\]: Invalid value/;

/** The very same object is no change. */
async function verifyPut({
  path,
  text,
  value,
  exchange,
  fault,
}: {
  readonly path: string;
  readonly text: string;
  readonly value: KubeObject;
  readonly exchange: Exchange;
  readonly fault: (why: string) => void;
}): Promise<void> {
  const put = await exchange(
    request('PUT', path, { headers: { 'content-type': 'application/json' }, body: Buffer.from(text) }),
  );
  if (
    put.status === 422 &&
    ONLY_OF_CHANGES.test((JSON.parse(put.bytes.toString()) as { readonly message: string }).message)
  )
    return;
  if (put.status !== 200)
    return fault(`PUT of what GET shows is ${put.status} ${put.bytes.toString().slice(0, 400)}`);
  const after = JSON.parse(put.bytes.toString()) as KubeObject;
  if (after.metadata?.resourceVersion !== value.metadata?.resourceVersion)
    fault(`PUT of what GET shows changes ${difference(after, value)}`);
}

/** Whatever the order of fields. */
function same(left: unknown, right: unknown): boolean {
  return canonical(left) === canonical(right);
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, item: unknown) =>
    typeof item === 'object' && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );
}

/** Times that are not set are null or absent, depending on the encoding they came in. */
function sameButNull(left: unknown, right: unknown): boolean {
  return (
    canonical(JSON.parse(JSON.stringify(left), dropNull)) ===
    canonical(JSON.parse(JSON.stringify(right), dropNull))
  );
}

function dropNull(this: unknown, key: string, value: unknown): unknown {
  return value === null && !Array.isArray(this) && key !== '' ? undefined : value;
}

/** The wire does not tell an empty list or map from none. */
function sameButEmpty(left: unknown, right: unknown): boolean {
  return JSON.stringify(withoutEmpty(left)) === JSON.stringify(withoutEmpty(right));
}

export function withoutEmpty(value: unknown): unknown {
  if (Array.isArray(value))
    return value.length === 0 ? undefined : value.map((item) => withoutEmpty(item) ?? null);
  if (typeof value !== 'object' || value === null) return value ?? undefined;
  const entries = Object.entries(value)
    .map(([key, item]) => [key, withoutEmpty(item)] as const)
    .filter(([, item]) => item !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

/** An object inside another has no kind on the wire. */
export function withoutInnerKinds(object: KubeObject): KubeObject {
  const copy = structuredClone(object),
    claims = (copy['spec'] as { volumeClaimTemplates?: KubeObject[] } | undefined)?.volumeClaimTemplates;
  for (const claim of claims ?? []) {
    delete claim.kind;
    delete claim.apiVersion;
  }
  return copy;
}

/** Where two values part, for people. */
function difference(left: unknown, right: unknown, path = ''): string {
  if (typeof left === 'object' && typeof right === 'object' && left !== null && right !== null) {
    // Who owns fields differs with the fields: those say more.
    const keys = [...new Set([...Object.keys(left), ...Object.keys(right)])].toSorted(
      (a, b) =>
        Number(a === 'managedFields' || a === 'metadata') - Number(b === 'managedFields' || b === 'metadata'),
    );
    for (const key of keys) {
      const a = (left as Record<string, unknown>)[key],
        b = (right as Record<string, unknown>)[key];
      if (!same(a, b) && `${path}.${key}` !== '.metadata.resourceVersion')
        return difference(a, b, `${path}.${key}`);
    }
  }
  return `${path}: ${JSON.stringify(left)?.slice(0, 200)} where ${JSON.stringify(right)?.slice(0, 200)} was`;
}
