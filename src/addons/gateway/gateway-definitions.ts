/**
 * The CustomResourceDefinitions of Gateway API v1.5, standard channel, as far as this cluster serves them; installed unless an administrator has installed others.
 * Fields that only other channels or implementations know are not in the schemas and are pruned.
 */
import type { CustomResourceDefinition, JSONSchemaProps } from '#api/types.ts';
import type { Client, ResourceRef } from '#client/client.ts';
import { customResourceDefinitions } from '#client/refs.ts';
import type { Clock } from '#stdx/clock.ts';
import {
  CONDITIONS,
  customResource,
  DEFINITION_MANAGER,
  installDefinitions,
  integer,
  LABEL_SELECTOR,
  listOf,
  mapOf,
  oneOf,
  record,
  text,
} from '../definitions/custom-resource.ts';
import {
  GATEWAY_GROUP,
  gatewayClasses,
  gateways,
  grpcRoutes,
  httpRoutes,
  referenceGrants,
  tlsRoutes,
} from './gateway-api.ts';

type Schema = JSONSchemaProps;

const ANNOTATIONS = {
  'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/gateway-api/pull/4530',
  'gateway.networking.k8s.io/bundle-version': 'v1.5.0',
  'gateway.networking.k8s.io/channel': 'standard',
};
const LABEL = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const DOMAIN = `${LABEL}(\\.${LABEL})*`;
const TOKEN = "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$";

const withDefault = (schema: Schema, value: unknown): Schema => ({ ...schema, default: value as never });
const rule = (expression: string, message: string): { rule: string; message: string } => ({
  rule: expression,
  message,
});
const checks = (...rules: readonly { rule: string; message: string }[]): Schema => ({
  'x-kubernetes-validations': [...rules],
});
const byKey = (...keys: readonly string[]): Schema => ({
  'x-kubernetes-list-type': 'map',
  'x-kubernetes-list-map-keys': [...keys],
});

const NAME = text({ minLength: 1, maxLength: 253 });
const NAMESPACE = text({ minLength: 1, maxLength: 63, pattern: `^${LABEL}$` });
const SECTION = text({ minLength: 1, maxLength: 253, pattern: `^${DOMAIN}$` });
const GROUP = text({ maxLength: 253, pattern: `^$|^${DOMAIN}$` });
const KIND = text({ minLength: 1, maxLength: 63, pattern: '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$' });
const PORT = integer({ minimum: 1, maximum: 65_535 });
const HOSTNAME = text({ minLength: 1, maxLength: 253, pattern: `^(\\*\\.)?${DOMAIN}$` });
const PRECISE_HOSTNAME = text({ minLength: 1, maxLength: 253, pattern: `^${DOMAIN}$` });
const DURATION = text({ pattern: '^([0-9]{1,5}(h|m|s|ms)){1,4}$' });

const PARENT_FIELDS = {
  group: withDefault(GROUP, GATEWAY_GROUP),
  kind: withDefault(KIND, 'Gateway'),
  namespace: NAMESPACE,
  name: NAME,
  sectionName: SECTION,
  port: PORT,
};
const PARENT = record(PARENT_FIELDS, { required: ['name'] });
const PARENTS = listOf(PARENT, { maxItems: 32, 'x-kubernetes-list-type': 'atomic' });
const ROUTE_STATUS = record(
  {
    parents: listOf(
      record(
        {
          parentRef: PARENT,
          controllerName: text({ minLength: 1, maxLength: 253 }),
          conditions: { ...CONDITIONS, minItems: 1, maxItems: 8 },
        },
        { required: ['parentRef', 'controllerName', 'conditions'] },
      ),
      { maxItems: 32, 'x-kubernetes-list-type': 'atomic' },
    ),
  },
  { required: ['parents'] },
);
const HEADER = record(
  {
    name: text({ minLength: 1, maxLength: 256, pattern: TOKEN }),
    value: text({ minLength: 1, maxLength: 4096 }),
  },
  { required: ['name', 'value'] },
);
const HEADER_FILTER = record({
  set: listOf(HEADER, { maxItems: 16, ...byKey('name') }),
  add: listOf(HEADER, { maxItems: 16, ...byKey('name') }),
  remove: listOf(text(), { maxItems: 16, 'x-kubernetes-list-type': 'set' }),
});
const PATH_MODIFIER = record(
  {
    type: oneOf('ReplaceFullPath', 'ReplacePrefixMatch'),
    replaceFullPath: text({ maxLength: 1024 }),
    replacePrefixMatch: text({ maxLength: 1024 }),
  },
  {
    required: ['type'],
    ...checks(
      rule(
        "has(self.replaceFullPath) == (self.type == 'ReplaceFullPath')",
        'replaceFullPath must be specified when type is ReplaceFullPath, and only then',
      ),
      rule(
        "has(self.replacePrefixMatch) == (self.type == 'ReplacePrefixMatch')",
        'replacePrefixMatch must be specified when type is ReplacePrefixMatch, and only then',
      ),
    ),
  },
);

const FILTER_FIELDS = {
  requestHeaderModifier: HEADER_FILTER,
  responseHeaderModifier: HEADER_FILTER,
  requestMirror: record(
    {
      backendRef: record(
        {
          group: withDefault(GROUP, ''),
          kind: withDefault(KIND, 'Service'),
          name: NAME,
          namespace: NAMESPACE,
          port: PORT,
        },
        { required: ['name'] },
      ),
      percent: integer({ minimum: 0, maximum: 100 }),
      fraction: record(
        {
          numerator: integer({ minimum: 0 }),
          denominator: withDefault(integer({ minimum: 1 }), 100),
        },
        { required: ['numerator'] },
      ),
    },
    { required: ['backendRef'] },
  ),
  requestRedirect: record({
    scheme: oneOf('http', 'https'),
    hostname: PRECISE_HOSTNAME,
    path: PATH_MODIFIER,
    port: PORT,
    statusCode: withDefault({ ...integer(), enum: [301, 302, 303, 307, 308] as never }, 302),
  }),
  urlRewrite: record({ hostname: PRECISE_HOSTNAME, path: PATH_MODIFIER }),
  extensionRef: record({ group: GROUP, kind: KIND, name: NAME }, { required: ['group', 'kind', 'name'] }),
};
type FilterField = keyof typeof FILTER_FIELDS;

/** A list of filters of those types, each at most once as far as they exclude each other. */
function filters(fields: readonly FilterField[]): Schema {
  const typeOf = (field: FilterField): string =>
    field === 'urlRewrite' ? 'URLRewrite' : `${field[0]!.toUpperCase()}${field.slice(1)}`;
  const item = record(
    {
      type: oneOf(...fields.map(typeOf)),
      ...Object.fromEntries(fields.map((field) => [field, FILTER_FIELDS[field]])),
    },
    {
      required: ['type'],
      ...checks(
        ...fields.map((field) =>
          rule(
            `has(self.${field}) == (self.type == '${typeOf(field)}')`,
            `filter.${field} must be specified for the filter type ${typeOf(field)}, and only then`,
          ),
        ),
      ),
    },
  );
  const once = fields.filter((field) => field !== 'requestMirror' && field !== 'extensionRef');
  return listOf(item, {
    maxItems: 16,
    'x-kubernetes-list-type': 'atomic',
    ...checks(
      ...once.map((field) =>
        rule(
          `self.filter(f, f.type == '${typeOf(field)}').size() <= 1`,
          `${typeOf(field)} filter cannot be repeated`,
        ),
      ),
      ...(fields.includes('urlRewrite')
        ? [
            rule(
              "!(self.exists(f, f.type == 'RequestRedirect') && self.exists(f, f.type == 'URLRewrite'))",
              'May specify either requestRedirect or urlRewrite, but not both',
            ),
          ]
        : []),
    ),
  });
}

const HTTP_FILTERS = filters([
  'requestHeaderModifier',
  'responseHeaderModifier',
  'requestMirror',
  'requestRedirect',
  'urlRewrite',
  'extensionRef',
]);
const GRPC_FILTERS = filters([
  'requestHeaderModifier',
  'responseHeaderModifier',
  'requestMirror',
  'extensionRef',
]);

function backends(more: Readonly<Record<string, Schema>> = {}): Schema {
  return listOf(
    record(
      {
        group: withDefault(GROUP, ''),
        kind: withDefault(KIND, 'Service'),
        name: NAME,
        namespace: NAMESPACE,
        port: PORT,
        weight: withDefault(integer({ minimum: 0, maximum: 1_000_000 }), 1),
        ...more,
      },
      {
        required: ['name'],
        ...checks(
          rule(
            "(size(self.group) == 0 && self.kind == 'Service') ? has(self.port) : true",
            'Must have port for Service reference',
          ),
        ),
      },
    ),
    { maxItems: 16, 'x-kubernetes-list-type': 'atomic' },
  );
}

/** Headers or parameters of a query. */
function named(types: readonly string[], maxLength: number): Schema {
  return listOf(
    record(
      {
        type: withDefault(oneOf(...types), 'Exact'),
        name: text({ minLength: 1, maxLength: 256, pattern: TOKEN }),
        value: text({ minLength: 1, maxLength }),
      },
      { required: ['name', 'value'] },
    ),
    { maxItems: 16, ...byKey('name') },
  );
}

const MATCH_TYPES = ['Exact', 'RegularExpression'];
const PATH = withDefault(
  record(
    {
      type: withDefault(oneOf('Exact', 'PathPrefix', 'RegularExpression'), 'PathPrefix'),
      value: withDefault(text({ maxLength: 1024 }), '/'),
    },
    checks(
      rule(
        "self.type == 'RegularExpression' || self.value.startsWith('/')",
        "value must be an absolute path and start with '/' when type one of ['Exact', 'PathPrefix']",
      ),
      ...['//', '/./', '/../', '%2f', '%2F', '#'].map((part) =>
        rule(
          `self.type == 'RegularExpression' || !self.value.contains('${part}')`,
          `must not contain '${part}' when type one of ['Exact', 'PathPrefix']`,
        ),
      ),
      ...['/..', '/.'].map((part) =>
        rule(
          `self.type == 'RegularExpression' || !self.value.endsWith('${part}')`,
          `must not end with '${part}' when type one of ['Exact', 'PathPrefix']`,
        ),
      ),
    ),
  ),
  { type: 'PathPrefix', value: '/' },
);
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'];
const HTTP_RULE = record(
  {
    name: SECTION,
    matches: withDefault(
      listOf(
        record({
          path: PATH,
          headers: named(MATCH_TYPES, 4096),
          queryParams: named(MATCH_TYPES, 1024),
          method: oneOf(...METHODS),
        }),
        { maxItems: 64, 'x-kubernetes-list-type': 'atomic' },
      ),
      [{ path: { type: 'PathPrefix', value: '/' } }],
    ),
    filters: HTTP_FILTERS,
    backendRefs: backends({ filters: HTTP_FILTERS }),
    timeouts: record(
      { request: DURATION, backendRequest: DURATION },
      checks(
        rule(
          "!(has(self.request) && has(self.backendRequest) && duration(self.request) != duration('0s') && duration(self.backendRequest) > duration(self.request))",
          'backendRequest timeout cannot be longer than request timeout',
        ),
      ),
    ),
  },
  checks(
    rule(
      "!(has(self.backendRefs) && self.backendRefs.size() > 0 && has(self.filters) && self.filters.exists(f, f.type == 'RequestRedirect'))",
      'RequestRedirect filter must not be used together with backendRefs',
    ),
    rule(
      "!(has(self.filters) && self.filters.exists(f, (has(f.requestRedirect) && has(f.requestRedirect.path) && f.requestRedirect.path.type == 'ReplacePrefixMatch') || (has(f.urlRewrite) && has(f.urlRewrite.path) && f.urlRewrite.path.type == 'ReplacePrefixMatch'))) || (has(self.matches) && self.matches.size() == 1 && has(self.matches[0].path) && self.matches[0].path.type == 'PathPrefix')",
      'When using a filter with path.replacePrefixMatch, exactly one PathPrefix match must be specified',
    ),
  ),
);

const GRPC_RULE = record({
  name: SECTION,
  matches: listOf(
    record({
      method: record(
        {
          type: withDefault(oneOf(...MATCH_TYPES), 'Exact'),
          service: text({ maxLength: 1024 }),
          method: text({ maxLength: 1024 }),
        },
        checks(
          rule(
            'has(self.service) || has(self.method)',
            "One or both of 'service' or 'method' must be specified",
          ),
        ),
      ),
      headers: named(MATCH_TYPES, 4096),
    }),
    { maxItems: 64, 'x-kubernetes-list-type': 'atomic' },
  ),
  filters: GRPC_FILTERS,
  backendRefs: backends({ filters: GRPC_FILTERS }),
});

function route(
  ref: ResourceRef,
  {
    hostnames,
    rules,
    required,
  }: { readonly hostnames: Schema; readonly rules: Schema; readonly required?: readonly string[] },
): CustomResourceDefinition {
  return customResource({
    ref,
    singular: ref.kind.toLowerCase(),
    categories: ['gateway-api'],
    columns: ['Hostnames:.spec.hostnames'],
    annotations: ANNOTATIONS,
    spec: record({ parentRefs: PARENTS, hostnames, rules }, required ? { required } : {}),
    status: ROUTE_STATUS,
  });
}

const HOSTNAMES = listOf(HOSTNAME, { maxItems: 16, 'x-kubernetes-list-type': 'atomic' });
const ATOMIC: Schema = { 'x-kubernetes-list-type': 'atomic' };
const ROUTE_KINDS = listOf(
  record({ group: withDefault(GROUP, GATEWAY_GROUP), kind: KIND }, { required: ['kind'] }),
  {
    maxItems: 8,
    ...ATOMIC,
  },
);

const LISTENER = record(
  {
    name: SECTION,
    hostname: HOSTNAME,
    port: PORT,
    protocol: text({ minLength: 1, maxLength: 255 }),
    tls: record(
      {
        mode: withDefault(oneOf('Terminate', 'Passthrough'), 'Terminate'),
        certificateRefs: listOf(
          record(
            {
              group: withDefault(GROUP, ''),
              kind: withDefault(KIND, 'Secret'),
              name: NAME,
              namespace: NAMESPACE,
            },
            { required: ['name'] },
          ),
          { maxItems: 64, ...ATOMIC },
        ),
        options: { ...mapOf(text({ maxLength: 4096 })), maxProperties: 16 },
      },
      checks(
        rule(
          "self.mode == 'Terminate' ? (has(self.certificateRefs) && size(self.certificateRefs) > 0) || (has(self.options) && size(self.options) > 0) : true",
          'certificateRefs or options must be specified when mode is Terminate',
        ),
      ),
    ),
    allowedRoutes: withDefault(
      record({
        namespaces: withDefault(
          record({
            from: withDefault(oneOf('All', 'Selector', 'Same'), 'Same'),
            selector: LABEL_SELECTOR,
          }),
          { from: 'Same' },
        ),
        kinds: ROUTE_KINDS,
      }),
      { namespaces: { from: 'Same' } },
    ),
  },
  { required: ['name', 'port', 'protocol'] },
);
const LISTENERS = listOf(LISTENER, {
  minItems: 1,
  maxItems: 64,
  ...byKey('name'),
  ...checks(
    rule(
      "self.all(l, l.protocol in ['HTTP', 'TCP', 'UDP'] ? !has(l.tls) : true)",
      "tls must not be specified for protocols ['HTTP', 'TCP', 'UDP']",
    ),
    rule(
      "self.all(l, (l.protocol == 'HTTPS' && has(l.tls)) ? l.tls.mode == 'Terminate' : true)",
      'tls mode must be Terminate for protocol HTTPS',
    ),
    rule(
      "self.all(l, l.protocol in ['TCP', 'UDP'] ? !has(l.hostname) : true)",
      "hostname must not be specified for protocols ['TCP', 'UDP']",
    ),
    rule(
      'self.all(l1, self.exists_one(l2, l1.port == l2.port && l1.protocol == l2.protocol && (has(l1.hostname) && has(l2.hostname) ? l1.hostname == l2.hostname : !has(l1.hostname) && !has(l2.hostname))))',
      'Combination of port, protocol and hostname must be unique for each listener',
    ),
  ),
});

const GATEWAY_STATUS = record({
  addresses: listOf(
    record(
      {
        type: withDefault(text({ maxLength: 253 }), 'IPAddress'),
        value: text({ minLength: 1, maxLength: 253 }),
      },
      { required: ['value'] },
    ),
    { maxItems: 16, ...ATOMIC },
  ),
  conditions: { ...CONDITIONS, maxItems: 8 },
  listeners: listOf(
    record(
      {
        name: SECTION,
        supportedKinds: ROUTE_KINDS,
        attachedRoutes: integer(),
        conditions: { ...CONDITIONS, maxItems: 8 },
      },
      { required: ['name', 'attachedRoutes', 'conditions'] },
    ),
    { maxItems: 64, ...byKey('name') },
  ),
});

const PARAMETERS = record(
  { group: GROUP, kind: KIND, name: NAME, namespace: NAMESPACE },
  { required: ['group', 'kind', 'name'] },
);

export const GATEWAY_DEFINITIONS = [
  customResource({
    ref: gatewayClasses,
    singular: 'gatewayclass',
    shortNames: ['gc'],
    categories: ['gateway-api'],
    columns: [
      'Controller:.spec.controllerName',
      'Accepted:.status.conditions[?(@.type=="Accepted")].status',
      'Description:.spec.description',
    ],
    annotations: ANNOTATIONS,
    spec: record(
      {
        controllerName: text({
          minLength: 1,
          maxLength: 253,
          pattern: `^${DOMAIN}\\/[A-Za-z0-9\\/\\-._~%!$&'()*+,;=:]+$`,
          ...checks(rule('self == oldSelf', 'Value is immutable')),
        }),
        parametersRef: PARAMETERS,
        description: text({ maxLength: 64 }),
      },
      { required: ['controllerName'] },
    ),
    status: record({ conditions: { ...CONDITIONS, maxItems: 8 } }),
  }),
  customResource({
    ref: gateways,
    singular: 'gateway',
    shortNames: ['gtw'],
    categories: ['gateway-api'],
    columns: [
      'Class:.spec.gatewayClassName',
      'Address:.status.addresses[*].value',
      'Programmed:.status.conditions[?(@.type=="Programmed")].status',
    ],
    annotations: ANNOTATIONS,
    spec: record(
      {
        gatewayClassName: NAME,
        listeners: LISTENERS,
        addresses: listOf(
          record({
            type: withDefault(text({ minLength: 1, maxLength: 253 }), 'IPAddress'),
            value: text({ maxLength: 253 }),
          }),
          { maxItems: 16, ...ATOMIC },
        ),
        infrastructure: record({
          labels: { ...mapOf(text({ maxLength: 63 })), maxProperties: 8 },
          annotations: { ...mapOf(text({ maxLength: 4096 })), maxProperties: 16 },
          parametersRef: record(
            { group: GROUP, kind: KIND, name: NAME },
            { required: ['group', 'kind', 'name'] },
          ),
        }),
      },
      { required: ['gatewayClassName', 'listeners'] },
    ),
    status: GATEWAY_STATUS,
  }),
  route(httpRoutes, {
    hostnames: HOSTNAMES,
    rules: withDefault(listOf(HTTP_RULE, { minItems: 1, maxItems: 16, ...ATOMIC }), [
      { matches: [{ path: { type: 'PathPrefix', value: '/' } }] },
    ]),
  }),
  route(grpcRoutes, { hostnames: HOSTNAMES, rules: listOf(GRPC_RULE, { maxItems: 16, ...ATOMIC }) }),
  route(tlsRoutes, {
    hostnames: { ...HOSTNAMES, minItems: 1 },
    rules: listOf(
      record({ name: SECTION, backendRefs: { ...backends(), minItems: 1 } }, { required: ['backendRefs'] }),
      {
        minItems: 1,
        maxItems: 1,
        ...ATOMIC,
      },
    ),
    required: ['hostnames', 'rules'],
  }),
  customResource({
    ref: referenceGrants,
    singular: 'referencegrant',
    shortNames: ['refgrant'],
    categories: ['gateway-api'],
    annotations: ANNOTATIONS,
    spec: record(
      {
        from: listOf(
          record(
            { group: GROUP, kind: KIND, namespace: NAMESPACE },
            { required: ['group', 'kind', 'namespace'] },
          ),
          { minItems: 1, maxItems: 16, ...ATOMIC },
        ),
        to: listOf(record({ group: GROUP, kind: KIND, name: NAME }, { required: ['group', 'kind'] }), {
          minItems: 1,
          maxItems: 16,
          ...ATOMIC,
        }),
      },
      { required: ['from', 'to'] },
    ),
  }),
];

interface Installing {
  readonly api: Client;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Resolves with the names of the definitions that serve what this cluster reads. None of ours is installed beside those of an administrator: a bundle is one version. */
export async function installGatewayDefinitions(context: Installing): Promise<ReadonlySet<string>> {
  const { items } = await context.api.list(customResourceDefinitions);
  const names = new Set(GATEWAY_DEFINITIONS.map(({ metadata }) => metadata?.name));
  const found = items.filter(({ metadata }) => names.has(metadata.name));
  if (!found.some(isForeign)) {
    await installDefinitions(context, GATEWAY_DEFINITIONS);
    return new Set(GATEWAY_DEFINITIONS.map(({ metadata }) => metadata?.name ?? ''));
  }
  const wanted = new Map(
    GATEWAY_DEFINITIONS.map(({ metadata, spec }) => [metadata?.name, spec?.versions?.[0]?.name]),
  );
  return new Set(
    found
      .filter(({ metadata, spec }) =>
        spec?.versions?.some(({ name, served }) => served && name === wanted.get(metadata.name)),
      )
      .map(({ metadata }) => metadata.name),
  );
}

/** Somebody else has written its spec. */
function isForeign({ metadata }: CustomResourceDefinition): boolean {
  return (metadata?.managedFields ?? []).some(
    ({ manager, subresource, fieldsV1 }) =>
      manager !== DEFINITION_MANAGER && !subresource && 'f:spec' in ((fieldsV1 ?? {}) as object),
  );
}
