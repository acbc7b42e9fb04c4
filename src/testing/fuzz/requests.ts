/**
 * One random request after another: mostly almost right, since what is all wrong is refused at the door. Names come from small sets, so that
 * requests meet each other's objects and the store stays small. Nothing here makes the server speak to others: no proxied paths of objects that
 * exist, and what would make it call out or shut everybody out (webhooks, extension servers, flow control) is only tried by dry run.
 */
import { encodeCbor } from '#machinery/codec/cbor.ts';
import { encodeObject as encodeProtobuf } from '#machinery/codec/protobuf.ts';
import { parseApiVersion, type KubeObject, type UserInfo } from '#machinery/object.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { schemaForKind } from '#api/schemas.ts';
import { RESOURCES } from '#resources/registry.ts';
import type { Resource, ServedVersion } from '#resources/resource.ts';
import type { Random } from '#stdx/random.ts';
import { longText, mutateBytes, mutateText, mutateValue } from './mutate.ts';
import { below, pick, randomObject } from './random-values.ts';
import { seedOf, WIDGET_SEED } from './seeds.ts';

export interface FuzzRequest {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  readonly user: UserInfo | undefined;
}

export const ADMIN: UserInfo = { name: 'admin', groups: ['system:masters', 'system:authenticated'] };
const NOBODY: UserInfo = { name: 'jane', groups: ['system:authenticated'] };

interface Place {
  readonly resource: Resource | undefined;
  readonly version: ServedVersion | undefined;
  readonly group: string;
  readonly versionName: string;
  readonly plural: string;
  readonly namespaced: boolean;
  readonly subresources: readonly string[];
  readonly key: string;
}

const DRY_RUN_ONLY = new Set([
  'admissionregistration.k8s.io/mutatingwebhookconfigurations',
  'admissionregistration.k8s.io/validatingwebhookconfigurations',
  'admissionregistration.k8s.io/validatingadmissionpolicybindings',
  'admissionregistration.k8s.io/mutatingadmissionpolicybindings',
  'apiregistration.k8s.io/apiservices',
  'flowcontrol.apiserver.k8s.io/flowschemas',
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations',
]);
/** These reach for a node or a pod. */
const CONNECTING = new Set(['proxy', 'log', 'exec', 'attach', 'portforward']);

const PLACES: readonly Place[] = [
  ...RESOURCES.flatMap((resource) =>
    resource.versions.map((version) => ({
      resource,
      version,
      group: resource.group,
      versionName: version.version,
      plural: resource.plural,
      namespaced: resource.namespaced,
      subresources: [...version.subresources.keys()],
      key: `${resource.group}/${resource.plural}`,
    })),
  ),
  ...['v1', 'v2', 'v1', 'v2'].map((versionName) => ({
    resource: undefined,
    version: undefined,
    group: 'fuzz.example.com',
    versionName,
    plural: 'widgets',
    namespaced: true,
    subresources: ['status', 'scale'],
    key: 'fuzz.example.com/widgets',
  })),
];

const NAMES = ['a', 'b', 'c'],
  NAMESPACES = ['default', 'default', 'fuzz', 'fuzz', 'other'];
const ODD_SEGMENTS = [
  '',
  '.',
  '..',
  '%2e%2e',
  '%2F',
  '%00',
  '%',
  '%zz',
  '%ff',
  '%c3%28',
  'é',
  '%C3%A9',
  'A',
  ' ',
  '*',
  '$',
  'a:b',
  'https:a:1',
  '[',
  '-',
  '_',
  'a'.repeat(300),
  '%252e',
  ';a=b',
  '__proto__',
  'constructor',
  'watch',
  'namespaces',
  'proxy',
  '%0d%0a',
  'a%20b',
  '\\',
  '&',
  '%F0%9F%98%80',
];
const PATHS = [
  '/',
  '/api',
  '/apis',
  '/api/v1',
  '/apis/apps',
  '/apis/apps/v1',
  '/openapi/v2',
  '/openapi/v3',
  '/openapi/v3/api/v1',
  '/openapi/v3/apis/apps/v1',
  '/version',
  '/healthz',
  '/livez',
  '/readyz',
  '/readyz/ping',
  '/metrics',
  '/.well-known/openid-configuration',
  '/openid/v1/jwks',
  '/debug/api_priority_and_fairness/dump_queues',
  '/logs',
  '/swagger.json',
  '/apis/fuzz.example.com/v1',
];
const METHODS = [
  'GET',
  'GET',
  'GET',
  'GET',
  'POST',
  'POST',
  'POST',
  'PUT',
  'PUT',
  'PATCH',
  'PATCH',
  'PATCH',
  'DELETE',
  'HEAD',
];
const ODD_METHODS = ['OPTIONS', 'TRACE', 'CONNECT', 'get', 'PROPFIND', 'X'.repeat(40), 'PRI', '__proto__'];
const LABEL_SELECTORS = [
  'app=a',
  'app!=a',
  'app in (a,b)',
  'app notin (a)',
  'app',
  '!app',
  'a in ()',
  'a in (',
  '=',
  ',',
  'a=b,',
  'a==b=c',
  `${'a,'.repeat(200)}b`,
  'a>5',
  'a<x',
  'é=1',
  'a.b/c=d',
  `x=${'a'.repeat(64)}`,
  ' a = b ',
  'a in (a,,b)',
  '((((',
  '!',
  '!!a',
  'a b',
  '\u0000',
];
const FIELD_SELECTORS = [
  'metadata.name=a',
  'metadata.namespace=default',
  'metadata.name!=a',
  'spec.nodeName=',
  'status.phase=Running',
  'spec.color=red',
  'a=b',
  '=',
  'metadata.name',
  'metadata.name=a=b',
  'metadata.name=a\\,b',
  'metadata.name=a\\',
  ',',
  'metadata.name==a,metadata.name==b',
  'type=Opaque',
  'reason=R',
  '\\',
  'x in (a)',
];
const ACCEPTS = [
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  'application/vnd.kubernetes.protobuf,application/json',
  'application/cbor',
  '*/*',
  'text/html',
  '',
  ';',
  'application/json;q=0',
  'application/json;q=x,*/*;q=0.1',
  ',,,',
  'application/json;as=Table;v=v1;g=meta.k8s.io',
  'application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json',
  'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  'application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
  'application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
  'application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io',
  'application/yaml;as=Table;v=v1;g=meta.k8s.io',
  'application/json;as=Table;v=v9;g=meta.k8s.io',
  'application/json;as=Nothing;v=v1;g=meta.k8s.io',
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList',
  'application/json;stream=watch',
  'application/cbor-seq',
  'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
  'application/cbor;as=Table;v=v1;g=meta.k8s.io',
];
const PATCH_TYPES = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
  'application/apply-patch+cbor',
];
const CONTENT_TYPES = [
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
  'application/cbor',
  'text/plain',
  '',
  'application/json; charset=utf-8',
  'APPLICATION/JSON',
  ';',
  'application/x-www-form-urlencoded',
  ...PATCH_TYPES,
];
const REVISIONS = [
  '',
  '0',
  '1',
  '5',
  '100',
  '999999999',
  '-1',
  'x',
  '1.5',
  '01',
  '9223372036854775807',
  '%00',
  ' 1',
];
const NUMBERS = ['0', '1', '2', '500', '-1', 'x', '', '1e3', '99999999999', '9223372036854775808', '0.5'];
const BOOLEANS = ['true', 'false', '1', '0', '', 'x', 'True'];

/** Continue tokens and resourceVersions the server has given, for later use in other places. */
export interface Remembered {
  readonly tokens: string[];
  readonly revisions: string[];
}

export class RequestGenerator {
  readonly #random: Random;
  readonly #remembered: Remembered;

  constructor(random: Random, remembered: Remembered) {
    this.#random = random;
    this.#remembered = remembered;
  }

  #pick<T>(items: readonly T[]): T {
    return pick(this.#random, items);
  }
  #chance(chance: number): boolean {
    return this.#random() < chance;
  }

  next(): FuzzRequest {
    const place = this.#pick(PLACES);
    const method = this.#chance(0.01) ? this.#pick(ODD_METHODS) : this.#pick(METHODS);
    const isPath = this.#chance(0.03);
    const { path, subresource, named } = isPath
      ? { path: this.#pick(PATHS), subresource: '', named: false }
      : this.#path(place, method);
    const patchType = method === 'PATCH' ? this.#pick(PATCH_TYPES) : undefined;
    const query = this.#query({ method, place, patchType, named });
    const headers: Record<string, string> = {};
    if (this.#chance(0.25)) headers['accept'] = this.#pick(ACCEPTS);
    let body: Buffer = Buffer.alloc(0);
    if (method !== 'GET' && method !== 'HEAD')
      body = this.#body(place, { method, subresource, patchType, headers });
    else if (this.#chance(0.02)) body = Buffer.from('{"a":1}');
    this.#oddHeaders(headers);
    return {
      method,
      path: this.#chance(0.03) ? this.#oddPath(path) : path,
      query,
      headers,
      body,
      user: this.#chance(0.96) ? ADMIN : this.#chance(0.5) ? NOBODY : undefined,
    };
  }

  #path(
    place: Place,
    method: string,
  ): { readonly path: string; readonly subresource: string; readonly named: boolean } {
    const { group, versionName, plural, namespaced } = place;
    const root = group === '' ? `/api/${versionName}` : `/apis/${group}/${versionName}`;
    const watch = method === 'GET' && this.#chance(0.02) ? '/watch' : '';
    const scope =
      namespaced && (method === 'POST' || this.#chance(0.85)) ? `/namespaces/${this.#pick(NAMESPACES)}` : '';
    const collection = `${root}${watch}${scope}/${plural}`;
    const subresource =
      place.subresources.length > 0 && this.#chance(0.2)
        ? this.#pick(place.subresources)
        : this.#chance(0.01)
          ? this.#pick(['status', 'scale', 'x'])
          : '';
    if (
      subresource === '' &&
      (method === 'POST' || this.#chance(method === 'DELETE' ? 0.1 : method === 'GET' ? 0.5 : 0.02))
    )
      return { path: collection, subresource: '', named: false };
    const name = CONNECTING.has(subresource) ? 'absent' : this.#name(place);
    return {
      path: `${collection}/${name}${subresource === '' ? '' : `/${subresource}`}`,
      subresource,
      named: true,
    };
  }

  #name({ resource, key }: Place): string {
    const fixed = resource && seedOf(resource)?.object.metadata?.name;
    if (fixed !== undefined && fixed !== 'a') return fixed;
    // Namespaces that requests are made in come and go, but seldom.
    if (key === '/namespaces' && this.#chance(0.02)) return this.#pick(['fuzz', 'other']);
    return this.#pick(NAMES);
  }

  #oddPath(path: string): string {
    const segments = path.split('/');
    const at = 1 + below(this.#random, segments.length);
    if (this.#chance(0.5)) segments.splice(at, 1, this.#pick(ODD_SEGMENTS));
    else segments.splice(at, 0, this.#pick(ODD_SEGMENTS));
    const odd = segments.join('/');
    // What would be passed on to a pod or a node stays out.
    return odd.includes('proxy') ? path : odd;
  }

  #query({
    method,
    place,
    patchType,
    named,
  }: {
    readonly method: string;
    readonly place: Place;
    readonly patchType: string | undefined;
    readonly named: boolean;
  }): string {
    const parts: string[] = [];
    const put = (name: string, value: string): void =>
      void parts.push(`${name}=${this.#chance(0.95) ? encodeURIComponent(value.toWellFormed()) : value}`);
    // Without any range of addresses, no Service can be made: 500, as upstream has it.
    if (DRY_RUN_ONLY.has(place.key) || (method === 'DELETE' && isDry(place)) || this.#chance(0.05))
      parts.push('dryRun=All');
    if (patchType?.includes('apply') && this.#chance(0.9)) put('fieldManager', this.#pick(['m', 'n', 'o']));
    if (this.#chance(0.1)) put('fieldValidation', this.#pick(['Strict', 'Strict', 'Warn', 'Ignore', 'x']));
    if (this.#chance(0.05)) put('pretty', this.#pick(BOOLEANS));
    if (method === 'GET' || method === 'HEAD' || method === 'DELETE') {
      if (this.#chance(0.15)) put('labelSelector', this.#pick(LABEL_SELECTORS));
      if (this.#chance(0.15)) put('fieldSelector', this.#pick(FIELD_SELECTORS));
      if (this.#chance(0.2)) put('limit', this.#pick(NUMBERS));
      if (this.#chance(0.15))
        put(
          'resourceVersion',
          this.#chance(0.5) && this.#remembered.revisions.length > 0
            ? this.#pick(this.#remembered.revisions)
            : this.#pick(REVISIONS),
        );
      if (this.#chance(0.06)) put('resourceVersionMatch', this.#pick(['Exact', 'NotOlderThan', 'x', '']));
      if (this.#chance(0.08)) put('continue', this.#token());
      if (!named && method !== 'DELETE' && this.#chance(0.15)) put('watch', this.#pick(BOOLEANS));
      if (this.#chance(0.06)) put('allowWatchBookmarks', this.#pick(BOOLEANS));
      if (this.#chance(0.06)) put('sendInitialEvents', this.#pick(BOOLEANS));
      if (this.#chance(0.06)) put('timeoutSeconds', this.#pick(NUMBERS));
      if (this.#chance(0.03)) put('includeObject', this.#pick(['None', 'Metadata', 'Object', 'x']));
    }
    if (method === 'DELETE') {
      if (this.#chance(0.2)) put('gracePeriodSeconds', this.#pick(NUMBERS));
      if (this.#chance(0.15))
        put('propagationPolicy', this.#pick(['Orphan', 'Background', 'Foreground', 'x']));
    }
    if (this.#chance(0.05)) put('force', this.#pick(BOOLEANS));
    if (this.#chance(0.001))
      put(
        this.#pick([
          'labelSelector',
          'fieldSelector',
          'continue',
          'resourceVersion',
          'limit',
          'fieldManager',
          'timeout',
          'x',
        ]),
        longText(this.#random),
      );
    if (this.#chance(0.02))
      parts.push(
        this.#pick([
          '&&',
          '=',
          '%',
          '%zz=1',
          '__proto__=1',
          'a',
          `${'a=b&'.repeat(300)}`,
          'dryRun=All',
          'dryRun=x',
          'timeout=1s',
          'timeout=x',
          'fieldManager=',
          `fieldManager=${'x'.repeat(200)}`,
          '\u00e9',
          'verbose',
          'exclude=ping',
        ]),
      );
    return parts.join('&');
  }

  #token(): string {
    const { tokens } = this.#remembered;
    const token =
      tokens.length > 0 && this.#chance(0.7)
        ? this.#pick(tokens)
        : Buffer.from(
            this.#pick([
              '{}',
              'null',
              '{"v":"meta.k8s.io/v1","rv":1,"start":"a"}',
              '{"v":"meta.k8s.io/v1","rv":-1,"start":"default/a\\u0000"}',
              '{"v":"meta.k8s.io/v1","rv":1e99,"start":"../../x"}',
              '[]',
            ]),
          ).toString('base64url');
    return this.#chance(0.3) ? mutateBytes(Buffer.from(token), this.#random).toString('latin1') : token;
  }

  #oddHeaders(headers: Record<string, string>): void {
    if (this.#chance(0.1))
      headers['accept-encoding'] = this.#pick(['gzip', 'gzip, br', 'identity', '*', 'gzip;q=0', '']);
    if (this.#chance(0.05))
      headers['user-agent'] = this.#pick([
        'curl/8',
        'kubectl/v1.35 (linux/amd64) x',
        '',
        'é',
        'a'.repeat(500),
        'Mozilla/5.0',
      ]);
    if (this.#chance(0.02))
      headers['impersonate-user'] = this.#pick([
        'jane',
        '',
        'system:serviceaccount:default:default',
        'system:anonymous',
        'a'.repeat(300),
        'system:node:n',
      ]);
    if (this.#chance(0.01)) headers['impersonate-group'] = this.#pick(['system:masters', '', 'a, b']);
    if (this.#chance(0.01)) headers[`impersonate-extra-${this.#pick(['a', '%2f', '%', ''])}`] = 'x';
    if (this.#chance(0.01)) headers['impersonate-uid'] = 'u';
    if (this.#chance(0.02))
      headers['authorization'] = this.#pick([
        'Bearer',
        'Bearer x',
        'Bearer a.b.c',
        `Bearer ${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`,
        'Basic eDp5',
        'Negotiate x',
        '',
        'é',
      ]);
    if (this.#chance(0.02)) headers['audit-id'] = this.#pick(['a', '', 'é', 'x'.repeat(1000)]);
    if (this.#chance(0.02)) headers['if-none-match'] = this.#pick(['*', '"x"', 'x']);
    if (this.#chance(0.01)) headers['x-remote-user'] = 'admin';
    if (this.#chance(0.01)) headers['expect'] = '100-continue';
  }

  // ----------------------------------------------------------------------------------------------------------------- bodies

  #body(
    place: Place,
    {
      method,
      subresource,
      patchType,
      headers,
    }: {
      readonly method: string;
      readonly subresource: string;
      readonly patchType: string | undefined;
      readonly headers: Record<string, string>;
    },
  ): Buffer {
    // Options of a body stand in for those of the query: dry runs have none.
    if (method === 'DELETE' && (isDry(place) || this.#chance(0.8))) return Buffer.alloc(0);
    let value: unknown =
      method === 'DELETE'
        ? this.#deleteOptions()
        : patchType === 'application/json-patch+json'
          ? this.#jsonPatch(place)
          : this.#object(place, subresource);
    if (
      patchType === 'application/merge-patch+json' ||
      patchType === 'application/strategic-merge-patch+json'
    )
      value = this.#partOf(value, patchType);
    // Half are right, so that there is something to work on.
    for (let faults = this.#chance(0.5) ? 0 : 1 + below(this.#random, 3); faults > 0; faults--)
      value = mutateValue(value, this.#random);
    const encoding = patchType
      ? patchType.endsWith('cbor')
        ? 'cbor'
        : this.#chance(0.1)
          ? 'yaml'
          : 'json'
      : this.#pick(['json', 'json', 'json', 'json', 'yaml', 'protobuf', 'cbor'] as const);
    headers['content-type'] = this.#chance(0.02)
      ? this.#pick(CONTENT_TYPES)
      : (patchType ??
        {
          json: 'application/json',
          yaml: 'application/yaml',
          protobuf: 'application/vnd.kubernetes.protobuf',
          cbor: 'application/cbor',
        }[encoding]);
    const bytes = this.#encoded(value, encoding, headers);
    return this.#chance(0.06) ? mutateBytes(bytes, this.#random) : bytes;
  }

  #encoded(
    value: unknown,
    encoding: 'json' | 'yaml' | 'protobuf' | 'cbor',
    headers: Record<string, string>,
  ): Buffer {
    try {
      if (encoding === 'yaml')
        return Buffer.from(
          this.#chance(0.1) ? mutateText(stringifyYaml(value), this.#random) : stringifyYaml(value),
        );
      if (encoding === 'cbor') return encodeCbor(value, undefined);
      if (encoding === 'protobuf') {
        const object = value as KubeObject,
          { group, version } = parseApiVersion(object.apiVersion ?? ''),
          schema = schemaForKind({ group, version, kind: object.kind ?? '' });
        if (schema) return encodeProtobuf(object, schema);
      }
    } catch {
      // A value that cannot be written so goes as JSON.
    }
    if (encoding === 'protobuf' || encoding === 'cbor')
      headers['content-type'] = headers['content-type']!.includes('patch')
        ? headers['content-type']!
        : 'application/json';
    const text = JSON.stringify(value) ?? 'null';
    return Buffer.from(this.#chance(0.08) ? mutateText(text, this.#random) : text);
  }

  #object(place: Place, subresource: string): unknown {
    const name = this.#name(place);
    if (subresource === 'scale')
      return {
        apiVersion: 'autoscaling/v1',
        kind: 'Scale',
        metadata: { name },
        spec: { replicas: this.#pick([0, 1, 5, -1]) },
      };
    if (subresource === 'eviction')
      return {
        apiVersion: 'policy/v1',
        kind: 'Eviction',
        metadata: { name },
        ...(this.#chance(0.3) ? { deleteOptions: this.#deleteOptions() } : {}),
      };
    if (subresource === 'binding' || place.plural === 'bindings')
      return {
        apiVersion: 'v1',
        kind: 'Binding',
        metadata: { name },
        target: { kind: 'Node', name: this.#pick(['a', '', 'b']) },
      };
    if (subresource === 'token')
      return {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: ['x'], expirationSeconds: this.#pick([600, 3600, 1, -1, 2 ** 33]) },
      };
    const { resource, version, group, versionName } = place;
    const apiVersion = group === '' ? versionName : `${group}/${versionName}`;
    let object: KubeObject;
    const seed = resource && seedOf(resource);
    const schema = version && schemaForKind({ group, version: versionName, kind: version.kind });
    if (seed && this.#chance(0.9)) object = { ...resource.convert(seed.object, apiVersion) };
    else if (schema && version)
      object = randomObject(
        schema,
        { apiVersion, kind: version.kind },
        { random: this.#random, density: 0.3 },
      );
    else object = { apiVersion, kind: 'Widget', ...structuredClone(WIDGET_SEED) };
    const meta: Record<string, unknown> = { ...(this.#chance(0.3) ? object.metadata : {}), name };
    if (place.namespaced && this.#chance(0.2)) meta['namespace'] = this.#pick(NAMESPACES);
    if (this.#chance(0.1)) meta['labels'] = { app: this.#pick(['a', 'b', '']), 'x/y': 'z' };
    if (this.#chance(0.05))
      meta['resourceVersion'] = this.#pick([...REVISIONS, ...this.#remembered.revisions.slice(0, 5)]);
    if (this.#chance(0.03))
      meta['finalizers'] = [this.#pick(['foregroundDeletion', 'orphan', 'example.com/f', 'x'])];
    if (this.#chance(0.03))
      meta['ownerReferences'] = [
        {
          apiVersion: 'v1',
          kind: 'Pod',
          name: 'a',
          uid: 'u',
          ...(this.#chance(0.5) ? { controller: true, blockOwnerDeletion: true } : {}),
        },
      ];
    if (this.#chance(0.02))
      meta['managedFields'] = this.#pick([
        [],
        [{}],
        [
          {
            manager: 'm',
            operation: 'Apply',
            apiVersion,
            fieldsType: 'FieldsV1',
            fieldsV1: { 'f:spec': {}, 'k:{"a":1}': {}, 'v:1': {}, 'i:0': {}, x: {} },
          },
        ],
      ]);
    if (this.#chance(0.02)) meta['generateName'] = 'g-';
    if (place.plural === 'horizontalpodautoscalers' && this.#chance(0.3)) {
      meta['annotations'] = {
        [`autoscaling.alpha.kubernetes.io/${this.#pick(['metrics', 'behavior', 'conditions', 'current-metrics'])}`]:
          this.#pick([
            '[null]',
            '[{"type":1}]',
            '{',
            '{"scaleUp":{"x":1}}',
            '[{"type":"Resource","evil":1,"resource":{"name":"cpu"}}]',
            '"x"',
            '[[]]',
            'null',
            '[{"type":"Ready"}]',
          ]),
      };
    }
    if (place.plural === 'daemonsets' && this.#chance(0.1))
      meta['annotations'] = {
        'deprecated.daemonset.template.generation': this.#pick([
          'x',
          '0x7f',
          '1e3',
          '-1',
          '99999999999999999999',
        ]),
      };
    return { ...object, metadata: meta };
  }

  #partOf(value: unknown, patchType: string): unknown {
    const { apiVersion: _, kind: __, metadata, ...rest } = value as Record<string, unknown>;
    const part: Record<string, unknown> = this.#chance(0.5)
      ? structuredClone(rest)
      : { metadata: { labels: { app: this.#pick(['a', 'b']), x: null } } };
    if (this.#chance(0.2))
      part['metadata'] = {
        annotations: { a: this.#pick(['1', '2']) },
        ...(this.#chance(0.1) ? (metadata as object) : {}),
      };
    if (patchType.includes('strategic') && this.#chance(0.4)) {
      part[
        this.#pick([
          '$patch',
          '$retainKeys',
          '$setElementOrder/containers',
          '$deleteFromPrimitiveList/finalizers',
          'spec',
          'metadata',
        ])
      ] = this.#pick<unknown>([
        'delete',
        'replace',
        'merge',
        'x',
        ['a'],
        [{ name: 'c' }],
        { $patch: 'delete' },
        { $patch: 'replace' },
        { $retainKeys: ['a'] },
        {
          template: {
            spec: {
              containers: [{ name: 'c', $patch: 'delete' }],
              '$setElementOrder/containers': [{ name: 'z' }, { name: 'c' }],
            },
          },
        },
        { finalizers: ['a'], '$deleteFromPrimitiveList/finalizers': ['a'] },
        { ports: [{ port: 80, $patch: 'delete' }, { $patch: 'replace' }] },
      ]);
    }
    return part;
  }

  #jsonPatch(place: Place): unknown {
    const paths = [
      '',
      '/',
      '/metadata',
      '/metadata/labels',
      '/metadata/labels/x',
      '/metadata/name',
      '/metadata/annotations',
      '/spec',
      '/spec/replicas',
      '/spec/template/spec/containers/0',
      '/spec/template/spec/containers/-',
      '/spec/ports/0/port',
      '/data/a',
      '/a~1b',
      '/a~0',
      '/a~2',
      '/__proto__',
      '/__proto__/x',
      '/constructor/prototype/x',
      '/spec/containers/01',
      '/spec/containers/-1',
      '/status',
      'x',
      '/metadata/managedFields',
      '/kind',
    ];
    return Array.from({ length: this.#chance(0.02) ? 200 : 1 + below(this.#random, 3) }, () => ({
      op: this.#pick(['add', 'replace', 'remove', 'test', 'copy', 'move', 'add', 'replace', 'x']),
      path: this.#pick(paths),
      ...(this.#chance(0.8)
        ? { value: this.#pick<unknown>(['a', 1, null, { a: 'b' }, ['a'], valueOf(this.#object(place, ''))]) }
        : {}),
      ...(this.#chance(0.4) ? { from: this.#pick(paths) } : {}),
    }));
  }

  #deleteOptions(): unknown {
    return {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      ...(this.#chance(0.4) ? { gracePeriodSeconds: this.#pick([0, 1, 30, -1]) } : {}),
      ...(this.#chance(0.3)
        ? { propagationPolicy: this.#pick(['Orphan', 'Background', 'Foreground', 'x']) }
        : {}),
      ...(this.#chance(0.2)
        ? { preconditions: this.#pick([{ uid: 'x' }, { resourceVersion: '1' }, {}]) }
        : {}),
      ...(this.#chance(0.1) ? { orphanDependents: true } : {}),
      ...(this.#chance(0.05) ? { dryRun: ['All'] } : {}),
    };
  }
}

function isDry({ key, plural }: Place): boolean {
  return DRY_RUN_ONLY.has(key) || plural === 'servicecidrs';
}

function valueOf(object: unknown): unknown {
  const { spec, data } = object as Record<string, unknown>;
  return spec ?? data ?? {};
}
