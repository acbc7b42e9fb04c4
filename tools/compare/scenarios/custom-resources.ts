/** CustomResourceDefinitions with good and bad schemas, and what becomes of objects under them. */
import { widgetSchema } from '../objects/extensions.ts';
import { steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';

interface Shape {
  readonly token: string;
  readonly group: string;
  readonly kind: string;
  readonly version?: object;
  readonly spec?: object;
  readonly schema: unknown;
}

function crd({ group, kind, version = {}, spec = {}, schema }: Shape): object {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          ...(schema === undefined ? {} : { schema: { openAPIV3Schema: schema } }),
          ...version,
        },
      ],
      ...spec,
    },
  };
}

const object = (properties: object, more: object = {}): object => ({ type: 'object', properties, ...more });
const spec = (properties: object, more: object = {}): object => object({ spec: object(properties, more) });

/** Schemas that are refused, or that are just not. */
const SCHEMAS: Readonly<Record<string, unknown>> = {
  none: undefined,
  empty: {},
  noType: { properties: { a: { type: 'string' } } },
  badType: { type: 'nope' },
  rootString: { type: 'string' },
  propertyWithoutType: object({ a: {} }),
  nullableRoot: { type: 'object', nullable: true },
  arrayWithoutItems: object({ a: { type: 'array' } }),
  arrayOfArrays: object({ a: { type: 'array', items: [{ type: 'string' }] } }),
  additionalFalse: object({ a: { type: 'object', additionalProperties: false } }),
  additionalTrue: object({ a: { type: 'object', additionalProperties: true } }),
  both: object({ a: { type: 'object', properties: {}, additionalProperties: { type: 'string' } } }),
  ref: object({ a: { $ref: '#/x' } }),
  definitions: object({ a: { type: 'string' } }, { definitions: { a: { type: 'string' } } }),
  dependencies: object({ a: { type: 'object', dependencies: { a: ['b'] } } }),
  patternProperties: object({ a: { type: 'object', patternProperties: { '^a': { type: 'string' } } } }),
  uniqueItems: object({ a: { type: 'array', uniqueItems: true, items: { type: 'string' } } }),
  additionalItems: object({ a: { type: 'array', items: { type: 'string' }, additionalItems: true } }),
  deprecatedId: object({ a: { type: 'string', id: 'x' } }),
  schemaKey: { ...object({}), $schema: 'http://json-schema.org/draft-04/schema#' },
  badSchemaKey: { ...object({}), $schema: 'x:::y' },
  externalDocs: { ...object({}), externalDocs: { url: 'x' } },
  metadataTyped: object({ metadata: { type: 'string' } }),
  metadataRules: object({
    metadata: {
      type: 'object',
      properties: { name: { type: 'string', pattern: '^a' }, generateName: { type: 'string' } },
    },
  }),
  metadataLabels: object({ metadata: { type: 'object', properties: { labels: { type: 'object' } } } }),
  apiVersionNumber: object({ apiVersion: { type: 'integer' } }),
  kindPattern: object({ kind: { type: 'string', pattern: 'x' } }),
  anyOfType: object({ a: { type: 'integer', anyOf: [{ type: 'integer' }] } }),
  intOrString: object({ a: { 'x-kubernetes-int-or-string': true } }),
  intOrStringTyped: object({ a: { type: 'integer', 'x-kubernetes-int-or-string': true } }),
  intOrStringAnyOf: object({
    a: { 'x-kubernetes-int-or-string': true, anyOf: [{ type: 'integer' }, { type: 'string' }] },
  }),
  intOrStringAnyOfOrder: object({
    a: { 'x-kubernetes-int-or-string': true, anyOf: [{ type: 'string' }, { type: 'integer' }] },
  }),
  allOfDescription: object({ a: { type: 'string', allOf: [{ description: 'x' }] } }),
  allOfDefault: object({ a: { type: 'string', allOf: [{ default: 'x' }] } }),
  allOfProperties: object({
    a: object({ b: { type: 'string' } }, { allOf: [{ properties: { c: { minLength: 1 } } }] }),
  }),
  oneOfRequired: object({
    a: object(
      { b: { type: 'string' }, c: { type: 'string' } },
      { oneOf: [{ required: ['b'] }, { required: ['c'] }] },
    ),
  }),
  notNullable: object({ a: { type: 'string', not: { nullable: true } } }),
  notExtension: object({ a: { type: 'object', not: { 'x-kubernetes-preserve-unknown-fields': true } } }),
  preserve: object({ a: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }),
  preserveFalse: object({ a: { type: 'object', 'x-kubernetes-preserve-unknown-fields': false } }),
  preserveUntyped: object({ a: { 'x-kubernetes-preserve-unknown-fields': true } }),
  preserveString: object({ a: { type: 'string', 'x-kubernetes-preserve-unknown-fields': true } }),
  embedded: object({ a: { type: 'object', 'x-kubernetes-embedded-resource': true } }),
  embeddedOk: object({
    a: {
      type: 'object',
      'x-kubernetes-embedded-resource': true,
      'x-kubernetes-preserve-unknown-fields': true,
    },
  }),
  embeddedString: object({ a: { type: 'string', 'x-kubernetes-embedded-resource': true } }),
  listMap: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: object({ k: { type: 'string' } }),
    },
  }),
  listMapRequired: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: object({ k: { type: 'string' } }, { required: ['k'] }),
    },
  }),
  listMapNoKeys: object({ a: { type: 'array', 'x-kubernetes-list-type': 'map', items: object({}) } }),
  listMapUnknownKey: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['z'],
      items: object({ k: { type: 'string' } }),
    },
  }),
  listMapObjectKey: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: object({ k: { type: 'object' } }, { required: ['k'] }),
    },
  }),
  listMapTwice: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k', 'k'],
      items: object({ k: { type: 'string' } }, { required: ['k'] }),
    },
  }),
  listMapStrings: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: { type: 'string' },
    },
  }),
  keysWithoutMap: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'set',
      'x-kubernetes-list-map-keys': ['k'],
      items: { type: 'string' },
    },
  }),
  setObjects: object({ a: { type: 'array', 'x-kubernetes-list-type': 'set', items: object({}) } }),
  setAtomicObjects: object({
    a: {
      type: 'array',
      'x-kubernetes-list-type': 'set',
      items: object({}, { 'x-kubernetes-map-type': 'atomic' }),
    },
  }),
  setNullable: object({
    a: { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'string', nullable: true } },
  }),
  listTypeBad: object({ a: { type: 'array', 'x-kubernetes-list-type': 'nope', items: { type: 'string' } } }),
  listTypeOnObject: object({ a: { type: 'object', 'x-kubernetes-list-type': 'set' } }),
  mapType: object({ a: { type: 'object', 'x-kubernetes-map-type': 'nope' } }),
  mapTypeOnString: object({ a: { type: 'string', 'x-kubernetes-map-type': 'atomic' } }),
  defaults: spec({
    a: { type: 'string', default: 'x' },
    b: { type: 'integer', default: 5 },
    c: { type: 'object', default: {}, properties: { d: { type: 'boolean', default: true } } },
  }),
  defaultType: object({ a: { type: 'string', default: 5 } }),
  defaultEnum: object({ a: { type: 'string', enum: ['x'], default: 'y' } }),
  defaultPruned: object({ a: object({ b: { type: 'string' } }, { default: { zz: 1 } }) }),
  defaultMinimum: object({ a: { type: 'integer', minimum: 5, default: 1 } }),
  defaultRequired: object({ a: object({ b: { type: 'string' } }, { required: ['b'], default: {} }) }),
  defaultNull: object({ a: { type: 'string', default: null } }),
  defaultNullable: object({ a: { type: 'string', nullable: true, default: null } }),
  defaultRoot: { ...object({}), default: {} },
  defaultMetadata: object({ metadata: { type: 'object', default: {} } }),
  defaultInItems: object({ a: { type: 'array', items: object({ b: { type: 'string', default: 'x' } }) } }),
  defaultInAllOf: object({ a: { type: 'object', allOf: [{ properties: { b: { default: 'x' } } }] } }),
  defaultRule: object({
    a: { type: 'integer', default: 1, 'x-kubernetes-validations': [{ rule: 'self > 5' }] },
  }),
  defaultFormat: object({ a: { type: 'string', format: 'date-time', default: 'x' } }),
  formats: spec(
    Object.fromEntries(
      [
        'bsonobjectid',
        'uri',
        'email',
        'hostname',
        'ipv4',
        'ipv6',
        'cidr',
        'mac',
        'uuid',
        'uuid3',
        'uuid4',
        'uuid5',
        'isbn',
        'isbn10',
        'isbn13',
        'creditcard',
        'ssn',
        'hexcolor',
        'rgbcolor',
        'byte',
        'password',
        'date',
        'duration',
        'datetime',
        'date-time',
        'int32',
        'int64',
        'nope',
        'k8s-short-name',
        'k8s-long-name',
      ].map((format) => [format.replaceAll('-', ''), { type: 'string', format }]),
    ),
  ),
  formatOnNumber: object({ a: { type: 'integer', format: 'date-time' } }),
  patternBad: object({ a: { type: 'string', pattern: '(' } }),
  patternLookahead: object({ a: { type: 'string', pattern: '(?=a)' } }),
  minAboveMax: object({ a: { type: 'integer', minimum: 5, maximum: 1 } }),
  negativeLength: object({ a: { type: 'string', minLength: -1 } }),
  multipleOf: object({ a: { type: 'number', multipleOf: 0 } }),
  multipleNegative: object({ a: { type: 'number', multipleOf: -5 } }),
  exclusive: object({ a: { type: 'integer', exclusiveMinimum: true, minimum: 1 } }),
  exclusiveNumber: object({ a: { type: 'integer', exclusiveMinimum: 5 } }),
  enumEmpty: object({ a: { type: 'string', enum: [] } }),
  enumTwice: object({ a: { type: 'string', enum: ['a', 'a'] } }),
  enumTypes: object({ a: { type: 'integer', enum: ['x'] } }),
  requiredTwice: object({ a: { type: 'string' } }, { required: ['a', 'a'] }),
  requiredUnknown: object({ a: { type: 'string' } }, { required: ['z'] }),
  requiredMetadata: object({ a: { type: 'string' } }, { required: ['metadata'] }),
  maxProperties: object({ a: { type: 'object', maxProperties: -1 } }),
  unknownKey: object({ a: { type: 'string', nope: 1 } }),
  unknownExtension: object({ a: { type: 'string', 'x-kubernetes-nope': true } }),
  foreignExtension: object({ a: { type: 'string', 'x-other': true } }),
  dotted: object({ 'a.b': { type: 'string' }, 'c-d': { type: 'string' }, $e: { type: 'string' } }),
  typeList: object({ a: { type: ['string', 'null'] } }),
  booleanProperty: object({ a: true }),
  titleExample: object({ a: { type: 'string', title: 't', example: 'x', description: 'd' } }),
  deep: object({
    a: object({
      b: object({
        c: object({
          d: {
            type: 'array',
            items: {
              type: 'array',
              items: object({ e: { type: 'object', additionalProperties: { type: 'array', items: {} } } }),
            },
          },
        }),
      }),
    }),
  }),
};

const rule = (text: string, more: object = {}): object => ({ rule: text, ...more });
const withRules = (...rules: object[]): object =>
  spec(
    {
      a: { type: 'integer' },
      s: { type: 'string' },
      list: { type: 'array', items: { type: 'string' } },
      m: { type: 'object', additionalProperties: { type: 'string' } },
      q: { 'x-kubernetes-int-or-string': true },
      free: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
      'dash-ed': { type: 'string' },
      in: { type: 'string' },
      dt: { type: 'string', format: 'date-time' },
      du: { type: 'string', format: 'duration' },
      by: { type: 'string', format: 'byte' },
    },
    { 'x-kubernetes-validations': rules },
  );
const RULES: readonly (readonly object[])[] = [
  [rule('self.a > 1')],
  [rule('self.a >')],
  [rule('')],
  [rule('  ')],
  [rule('self.nope')],
  [rule('self.a')],
  [rule('self.s > 5')],
  [rule('oldSelf.a == self.a')],
  [rule('oldSelf.a == self.a', { optionalOldSelf: true })],
  [rule('!oldSelf.hasValue() || oldSelf.value().a == self.a', { optionalOldSelf: true })],
  [rule('self.a > 1', { optionalOldSelf: true })],
  [rule('self.a > 1', { optionalOldSelf: false })],
  [rule('self.a > 1', { message: '' })],
  [rule('self.a > 1', { message: 'a\nb' })],
  [rule('self.a > 1', { message: 'x'.repeat(3000) })],
  [rule('self.a > 1\n&& true')],
  [rule('self.a > 1\n&& true', { message: 'm' })],
  [rule('self.a > 1', { messageExpression: 'self.a' })],
  [rule('self.a > 1', { messageExpression: '"x" +' })],
  [rule('self.a > 1', { messageExpression: '"a is " + string(self.a)' })],
  [rule('self.a > 1', { messageExpression: ' ' })],
  [rule('self.a > 1', { messageExpression: 'oldSelf.s' })],
  [rule('self.a > 1', { reason: 'Nope' })],
  [rule('self.a > 1', { reason: 'FieldValueRequired' })],
  [rule('self.a > 1', { fieldPath: '.a' })],
  [rule('self.a > 1', { fieldPath: '.nope' })],
  [rule('self.a > 1', { fieldPath: 'a' })],
  [rule('self.a > 1', { fieldPath: '' })],
  [rule('self.a > 1', { fieldPath: '.list[0]' })],
  [rule('self.a > 1', { fieldPath: ".m['x']" })],
  [rule('self.a > 1', { fieldPath: '.a b' })],
  [rule('self.list.all(x, self.list.all(y, x == y))')],
  [rule('self.list.all(x, self.list.all(y, self.list.all(z, x == y)))')],
  [rule('self.s.contains("x")')],
  [rule('self.s.matches("(")')],
  [rule('self.s.matches("^a+$")')],
  [rule('has(self.a)')],
  [rule('has(self.nope)')],
  [rule('self.__in__ == "x"')],
  [rule('self.in == "x"')],
  [rule('self.dash__dash__ed == "x"')],
  [rule('self.free.x == 1')],
  [rule('self.m["a"] == "b"')],
  [rule('type(self.q) == int')],
  [rule('isQuantity(self.s)')],
  [rule('quantity(self.s).isGreaterThan(quantity("1"))')],
  [rule('url(self.s).getHost() == "x"')],
  [rule('ip(self.s).family() == 4')],
  [rule('cidr(self.s).containsIP("10.0.0.1")')],
  [rule('self.dt > timestamp("2020-01-01T00:00:00Z")')],
  [rule('self.du < duration("1h")')],
  [rule('self.by == b"x"')],
  [rule('self.list.isSorted()')],
  [rule('self.list.sum() > 1')],
  [rule('self.s.find("a") == ""')],
  [rule('self.s.lowerAscii() == "a"')],
  [rule('[1,2].exists_one(x, x == self.a)')],
  [rule('self.a == 1.0')],
  [rule('self.a / 0 == 1')],
  [rule('true')],
  [rule('1')],
  [rule('"x"')],
  [rule('null')],
  [rule('self')],
  [rule('unknownVar')],
  [rule('unknownFn(self)')],
  [rule('self.a > 1'), rule('self.a > 1')],
  [rule('self.?a.orValue(1) > 0')],
  [rule('self.all(k, k != "x")')],
  [rule('format.dns1123Label().validate(self.s).hasValue()')],
  [rule('sets.contains(self.list, ["a"])')],
  [rule('semver(self.s).major() == 1')],
  [rule('self.a in [1,2]')],
  [rule('cel.bind(x, self.a, x > 1)')],
  [rule('"%d".format([self.a]) == "1"')],
  [rule('self.list.map(x, x.size()).sum() < 10')],
  [rule('self.s == "é☃"')],
  [rule('a'.repeat(10_000))],
  [rule('optional.of(1).hasValue()')],
  [rule('self.list.transformList(i, v, v) == []')],
  [rule('math.greatest(1,2) == 2')],
  [rule('strings.quote(self.s) == ""')],
  [rule('self.s.jsonpatch.escapeKey() == ""')],
  [rule('authorizer.path("/x").check("get").allowed()')],
  [rule('namespaceObject.metadata.name == "x"')],
  [rule('request.name == "x"')],
];

const SPECS: Readonly<Record<string, object>> = {
  scope: { scope: 'Nope' },
  groupEmpty: { group: '' },
  groupBad: { group: 'bad_group' },
  groupPlain: { group: 'plain' },
  protectedGroup: { group: 'x.k8s.io' },
  noVersions: { versions: [] },
  preserve: { preserveUnknownFields: true },
  names: { names: { plural: 'Bad', kind: 'bad-kind', singular: 'X Y', listKind: 'l' } },
  namesMissing: { names: {} },
  sameKinds: { names: { plural: 'a', singular: 'a', kind: 'A', listKind: 'A' } },
  shortNames: {
    names: {
      plural: 'a',
      singular: 'a',
      kind: 'A',
      listKind: 'AList',
      shortNames: ['Bad!', 'a'],
      categories: ['Bad!'],
    },
  },
  conversionNone: { conversion: { strategy: 'None' } },
  conversionBad: { conversion: { strategy: 'Nope' } },
  conversionWebhook: { conversion: { strategy: 'Webhook' } },
  conversionNoneWithHook: { conversion: { strategy: 'None', webhook: { conversionReviewVersions: ['v1'] } } },
  conversionUrl: {
    conversion: {
      strategy: 'Webhook',
      webhook: { clientConfig: { url: 'http://x' }, conversionReviewVersions: ['v9'] },
    },
  },
  conversionBoth: {
    conversion: {
      strategy: 'Webhook',
      webhook: {
        clientConfig: { url: 'https://x', service: { namespace: 'a', name: 'b' } },
        conversionReviewVersions: [],
      },
    },
  },
  conversionCa: {
    conversion: {
      strategy: 'Webhook',
      webhook: { clientConfig: { url: 'https://x', caBundle: 'AAEC' }, conversionReviewVersions: ['v1'] },
    },
  },
};
const VERSIONS: Readonly<Record<string, object>> = {
  notServed: { served: false },
  notStored: { storage: false },
  deprecated: { deprecated: true },
  deprecatedWarning: { deprecated: true, deprecationWarning: 'gone soon' },
  warningOnly: { deprecationWarning: 'x' },
  warningBad: { deprecated: true, deprecationWarning: 'a\nb' },
  warningLong: { deprecated: true, deprecationWarning: 'x'.repeat(300) },
  warningEmpty: { deprecated: true, deprecationWarning: '' },
  badName: { name: 'V1' },
  longName: { name: 'v'.repeat(64) },
  status: { subresources: { status: {} } },
  scale: {
    subresources: { scale: { specReplicasPath: '.spec.replicas', statusReplicasPath: '.status.replicas' } },
  },
  scaleBad: {
    subresources: {
      scale: { specReplicasPath: 'spec.replicas', statusReplicasPath: '.status[0]', labelSelectorPath: '.x' },
    },
  },
  scaleEmpty: { subresources: { scale: {} } },
  scaleMetadata: {
    subresources: {
      scale: {
        specReplicasPath: '.metadata.x',
        statusReplicasPath: '.spec.x',
        labelSelectorPath: '.metadata.y',
      },
    },
  },
  columns: { additionalPrinterColumns: [{ name: 'A', type: 'string', jsonPath: '.spec.a' }] },
  columnsBad: {
    additionalPrinterColumns: [
      { name: '', type: 'nope', jsonPath: 'spec.a' },
      { name: 'B', type: 'integer', format: 'nope', jsonPath: '.spec[' },
      { name: 'B', type: 'integer', jsonPath: '' },
      { name: 'C', type: 'date', jsonPath: '{.spec.a}' },
      { name: 'D', type: 'string', jsonPath: ".spec.list[?(@.a=='b')].c", priority: -1 },
    ],
  },
  selectable: { selectableFields: [{ jsonPath: '.spec.s' }] },
  selectableBad: {
    selectableFields: [
      { jsonPath: '.spec.nope' },
      { jsonPath: 'spec.s' },
      { jsonPath: '.spec.list' },
      { jsonPath: '.metadata.name' },
      { jsonPath: '' },
      { jsonPath: '.spec.s' },
      { jsonPath: '.spec.s' },
      { jsonPath: '.spec.list[0]' },
      { jsonPath: '.spec.o' },
    ],
  },
  selectableMany: { selectableFields: Array.from({ length: 9 }, () => ({ jsonPath: '.spec.s' })) },
  unknown: { zz: 1 },
};

export function customResources({ token, namespace }: RunNames): Scenario[] {
  const group = `${token}.example.com`;
  const refused = (about: string, body: object): Scenario => ({
    name: `crd/${about}`,
    area: 'apiextensions.k8s.io',
    steps: [steps.post(`${CRDS}?dryRun=All&fieldValidation=Strict`, body)],
  });
  const fields = spec({
    s: { type: 'string' },
    list: { type: 'array', items: { type: 'string' } },
    o: { type: 'object' },
    replicas: { type: 'integer' },
  });
  const plain: Shape = { token, group, kind: 'Trial', schema: fields };
  return [
    ...Object.entries(SCHEMAS).map(([about, schema]) =>
      refused(`schema ${about}`, crd({ ...plain, schema })),
    ),
    ...RULES.map((rules) =>
      refused(`rule ${JSON.stringify(rules).slice(0, 120)}`, crd({ ...plain, schema: withRules(...rules) })),
    ),
    ...Object.entries(SPECS).map(([about, more]) => refused(`spec ${about}`, crd({ ...plain, spec: more }))),
    ...Object.entries(VERSIONS).map(([about, version]) =>
      refused(`version ${about}`, crd({ ...plain, version })),
    ),
    refused('name', { ...crd(plain), metadata: { name: 'other' } }),
    refused('approved', {
      ...crd({ ...plain, group: 'x.k8s.io' }),
      metadata: {
        name: 'trials.x.k8s.io',
        annotations: { 'api-approved.kubernetes.io': 'https://github.com/kubernetes/kubernetes/pull/1' },
      },
    }),
    refused('unapproved', {
      ...crd({ ...plain, group: 'x.k8s.io' }),
      metadata: { name: 'trials.x.k8s.io', annotations: { 'api-approved.kubernetes.io': 'nope' } },
    }),
    objects(token, namespace),
    ratcheting(token, namespace),
    columns(token, namespace),
    versions(token, namespace),
    changes(token, namespace),
    formatValues(token, namespace),
    ruleEffects(token, namespace),
    defaulting(token, namespace),
  ];
}

/** A definition that is served, then steps on its objects; the definition goes at the end. */
function served(
  about: string,
  shape: Shape & { readonly namespace: string },
  list: (collection: string, make: (name: string, more: object) => object) => readonly Step[],
): Scenario {
  const { group, kind, namespace } = shape;
  const plural = `${kind.toLowerCase()}s`;
  const collection = `/apis/${group}/v1/namespaces/${namespace}/${plural}`;
  const make = (name: string, more: object): object => ({
    apiVersion: `${group}/v1`,
    kind,
    metadata: { name },
    ...more,
  });
  const definition = `${CRDS}/${plural}.${group}`;
  return {
    name: `custom/${about}`,
    area: 'custom resources',
    steps: [
      steps.post(CRDS, crd(shape), { must: true }),
      ...waiting(definition),
      steps.get(definition),
      ...waiting(collection),
      steps.get(collection),
      ...list(collection, make),
      steps.get(`/apis/${group}`),
      steps.get(`/apis/${group}/v1`),
      steps.get(definition),
      steps.remove(definition),
      ...waiting(definition),
      steps.get(definition),
      steps.get(collection),
      steps.get(`/apis/${group}`),
    ],
  };
}

/** Names become established, and are served, soon after rather than at once: watches pass the time. */
function waiting(path: string): Step[] {
  return [
    steps.get('/api/v1/namespaces?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Dnone', {
      quiet: true,
    }),
    steps.get(path, { quiet: true }),
    steps.get('/api/v1/namespaces?watch=1&timeoutSeconds=2&fieldSelector=metadata.name%3Dnone', {
      quiet: true,
    }),
  ];
}

function objects(token: string, namespace: string): Scenario {
  return served(
    'objects',
    {
      token,
      namespace,
      group: `objects-${token}.example.com`,
      kind: 'Widget',
      schema: widgetSchema,
      version: {
        subresources: {
          status: {},
          scale: {
            specReplicasPath: '.spec.size',
            statusReplicasPath: '.status.replicas',
            labelSelectorPath: '.status.phase',
          },
        },
        selectableFields: [{ jsonPath: '.spec.color' }],
      },
    },
    (collection, make) => {
      const specs: readonly unknown[] = [
        undefined,
        {},
        null,
        'x',
        { size: 1 },
        { size: -1 },
        { size: 'x' },
        { size: 1.5 },
        { size: 100 },
        { size: 1, color: 'green' },
        { size: 1, color: null },
        { size: 1, pattern: 'b' },
        { size: 1, pattern: 'a'.repeat(30) },
        { size: 1, parts: [{}] },
        { size: 1, parts: [{ name: 'a' }, { name: 'a' }] },
        {
          size: 1,
          parts: [
            { name: 'a', n: 1.5 },
            { name: 'b', n: true },
            { name: 'c', n: 'x' },
          ],
        },
        { size: 1, parts: Array.from({ length: 6 }, (_, at) => ({ name: `p${at}` })) },
        { size: 1, set: ['a', 'a'] },
        { size: 1, set: [5] },
        { size: 1, free: { any: [1, { thing: null }] } },
        { size: 1, free: 'x' },
        { size: 1, map: { a: 'x', b: null, c: 1.5 } },
        { size: 1, at: 'x' },
        { size: 1, ip: 'x' },
        { size: 1, one: 4 },
        { size: 1, one: 5 },
        { size: 1, embedded: {} },
        { size: 1, embedded: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'Bad Name' } } },
        { size: 1, embedded: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'a', zz: 1 }, x: 1 } },
        { size: 1, zz: 1 },
        { size: 1, parts: 'x' },
        { size: 1, parts: [null] },
        { size: 5_000_000_000 },
        { size: 1, map: [] },
        { size: null },
        { size: 1, set: null },
      ];
      const path = `${collection}/w`;
      return [
        ...specs.flatMap((value) =>
          ['Strict', 'Warn', 'Ignore'].map((mode) =>
            steps.post(
              `${collection}?dryRun=All&fieldValidation=${mode}`,
              make('w', value === undefined ? {} : { spec: value }),
            ),
          ),
        ),
        steps.post(`${collection}?dryRun=All`, {
          ...make('w', { spec: { size: 1 } }),
          metadata: { name: 'Bad Name', labels: { 'a b': 'c' }, zz: 1 },
        }),
        steps.post(`${collection}?dryRun=All`, {
          ...make('w', { spec: { size: 1 } }),
          metadata: { name: 'w', labels: { a: 5 } },
        }),
        steps.post(`${collection}?dryRun=All`, { ...make('w', { spec: { size: 1 } }), metadata: 'x' }),
        steps.post(`${collection}?dryRun=All`, { ...make('w', { spec: { size: 1 } }), apiVersion: 'v1' }),
        steps.post(`${collection}?dryRun=All`, { ...make('w', { spec: { size: 1 } }), kind: 'Other' }),
        steps.post(
          `${collection}?dryRun=All`,
          `{"apiVersion":"objects-${token}.example.com/v1","kind":"Widget","metadata":{"name":"w","name":"v"},"spec":{"size":1,"size":2}}`,
        ),
        steps.post(
          `${collection}?dryRun=All&fieldValidation=Strict`,
          `{"apiVersion":"objects-${token}.example.com/v1","kind":"Widget","metadata":{"name":"w","name":"v"},"spec":{"size":1,"size":2}}`,
        ),
        steps.post(`${collection}?dryRun=All`, '{'),
        steps.post(`${collection}?dryRun=All`, '{}'),
        steps.post(`${collection}?dryRun=All`, make('w', { spec: { size: 1 } }), { encode: 'yaml' }),
        steps.post(`${collection}?dryRun=All`, make('w', { spec: { size: 1 } }), { encode: 'cbor' }),
        steps.post(`${collection}?dryRun=All`, make('w', { spec: { size: 1 } }), {
          headers: { 'content-type': 'application/vnd.kubernetes.protobuf' },
        }),
        steps.post(collection, make('w', { spec: { size: 3 }, status: { replicas: 5 } })),
        steps.get(path),
        ...[
          'application/json;as=Table;v=v1;g=meta.k8s.io',
          'application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
          'application/vnd.kubernetes.protobuf',
          'application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io',
          'application/yaml',
          'application/cbor',
        ].map((accept) => steps.get(path, { headers: { accept } })),
        steps.get(collection),
        steps.get(`${collection}?fieldSelector=spec.color%3Dred`),
        steps.get(`${collection}?fieldSelector=spec.size%3D3`),
        steps.get(`${collection}?fieldSelector=spec.color%3Dblue`),
        steps.put(path, make('w', { spec: { size: 4 }, status: { replicas: 9 } })),
        steps.put(path, {
          ...make('w', { spec: { size: 4 } }),
          metadata: { name: 'w', resourceVersion: '1' },
        }),
        steps.get(path, { as: 'w' }),
        steps.put(path, {
          ...make('w', { spec: { size: 5 } }),
          metadata: { name: 'w', resourceVersion: '{{w.metadata.resourceVersion}}' },
        }),
        steps.put(`${path}/status`, {
          ...make('w', { spec: { size: 9 }, status: { replicas: 2, phase: 'a=b' } }),
          metadata: { name: 'w', labels: { x: 'y' }, resourceVersion: '{{w.metadata.resourceVersion}}' },
        }),
        steps.patch('merge', `${path}/status`, {
          body: {
            spec: { size: 9 },
            metadata: { labels: { x: 'y' } },
            status: { replicas: 2, phase: 'a=b' },
          },
        }),
        steps.patch('merge', `${path}/status`, { body: { status: { replicas: 'x' } } }),
        steps.get(`${path}/scale`),
        steps.put(`${path}/scale`, {
          apiVersion: 'autoscaling/v1',
          kind: 'Scale',
          metadata: { name: 'w' },
          spec: { replicas: 7 },
        }),
        steps.put(`${path}/scale`, {
          apiVersion: 'autoscaling/v1',
          kind: 'Scale',
          metadata: { name: 'w' },
          spec: { replicas: -7 },
        }),
        steps.put(`${path}/scale`, {
          apiVersion: 'autoscaling/v1',
          kind: 'Scale',
          metadata: { name: 'w' },
          spec: { replicas: 700 },
        }),
        steps.patch('merge', `${path}/scale`, { body: { spec: { replicas: 8 } } }),
        steps.patch('strategic', path, { body: {} }),
        steps.patch('merge', path, { body: { spec: { size: 1 } } }),
        steps.patch('merge', path, { body: { spec: { zz: 1 } } }),
        steps.patch('merge', `${path}?fieldValidation=Strict`, { body: { spec: { zz: 1 } } }),
        steps.patch('json', path, { body: [{ op: 'replace', path: '/spec/size', value: 10 }] }),
        steps.patch('apply', `${path}?fieldManager=m`, {
          body: make('w', { spec: { size: 20, parts: [{ name: 'a', n: 1 }], set: ['x'] } }),
        }),
        steps.patch('apply', `${path}?fieldManager=m&force=true`, {
          body: make('w', { spec: { size: 20, parts: [{ name: 'a', n: 1 }], set: ['x'] } }),
        }),
        steps.patch('apply', `${path}?fieldManager=n`, {
          body: make('w', { spec: { size: 20, parts: [{ name: 'b', n: 1 }], set: ['y'] } }),
        }),
        steps.patch('apply', `${path}?fieldManager=n`, { body: make('w', { spec: { zz: 1 } }) }),
        steps.patch('apply', `${path}?fieldManager=n`, { body: make('w', { spec: { parts: [{ n: 1 }] } }) }),
        steps.get(path),
        steps.get(`${collection}?watch=1&timeoutSeconds=1`),
        steps.get(`${collection}?limit=1`),
        steps.remove(collection),
        steps.get(path),
        steps.get(`${path}/nope`),
        steps.post(`${path}/status`, {}),
        steps.put(`${path}x`, make('wx', { spec: { size: 1 } })),
      ];
    },
  );
}

function ratcheting(token: string, namespace: string): Scenario {
  const group = `ratchet-${token}.example.com`;
  const loose = spec({
    a: { type: 'string' },
    n: { type: 'integer' },
    list: {
      type: 'array',
      'x-kubernetes-list-type': 'map',
      'x-kubernetes-list-map-keys': ['k'],
      items: object({ k: { type: 'string' }, v: { type: 'string' } }, { required: ['k'] }),
    },
  });
  const tight = spec(
    {
      a: { type: 'string', maxLength: 3, enum: ['x', 'abc'] },
      n: { type: 'integer', minimum: 5, 'x-kubernetes-validations': [{ rule: 'self > 5' }] },
      list: {
        type: 'array',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['k'],
        items: object({ k: { type: 'string' }, v: { type: 'string', pattern: '^a' } }, { required: ['k'] }),
      },
    },
    { 'x-kubernetes-validations': [{ rule: 'self.n > 10' }] },
  );
  return served(
    'ratcheting',
    { token, namespace, group, kind: 'Ratchet', schema: loose },
    (collection, make) => [
      steps.post(collection, make('r', { spec: { a: 'long value', n: 1, list: [{ k: 'a', v: 'zz' }] } })),
      steps.put(`${CRDS}/ratchets.${group}`, { ...crd({ token, group, kind: 'Ratchet', schema: tight }) }),
      ...waiting(collection),
      steps.patch('merge', `${collection}/r`, { body: { metadata: { labels: { a: 'b' } } } }),
      steps.patch('merge', `${collection}/r`, { body: { spec: { n: 2 } } }),
      steps.patch('merge', `${collection}/r`, { body: { spec: { a: 'other long' } } }),
      steps.patch('merge', `${collection}/r`, {
        body: {
          spec: {
            list: [
              { k: 'a', v: 'zz' },
              { k: 'b', v: 'zz' },
            ],
          },
        },
      }),
      steps.patch('merge', `${collection}/r`, {
        body: {
          spec: {
            list: [
              { k: 'b', v: 'ab' },
              { k: 'a', v: 'zz' },
            ],
          },
        },
      }),
      steps.patch('merge', `${collection}/r`, { body: { spec: { n: 20, a: 'x' } } }),
      steps.get(`${collection}/r`),
    ],
  );
}

function columns(token: string, namespace: string): Scenario {
  const additionalPrinterColumns = [
    { name: 'Str', type: 'string', jsonPath: '.spec.s', description: 'd' },
    { name: 'Num', type: 'integer', jsonPath: '.spec.replicas', priority: 1 },
    { name: 'Bool', type: 'boolean', jsonPath: '.spec.b' },
    { name: 'Date', type: 'date', jsonPath: '.metadata.creationTimestamp' },
    { name: 'Old', type: 'date', jsonPath: '.spec.d' },
    { name: 'List', type: 'string', jsonPath: '.spec.list' },
    { name: 'First', type: 'string', jsonPath: '.spec.list[0]' },
    { name: 'All', type: 'string', jsonPath: '.spec.list[*]' },
    { name: 'Filter', type: 'string', jsonPath: '.spec.items[?(@.k=="a")].v' },
    { name: 'Obj', type: 'string', jsonPath: '.spec.o' },
    { name: 'Float', type: 'number', jsonPath: '.spec.f' },
    { name: 'Label', type: 'string', jsonPath: '.metadata.labels.a\\.b' },
    { name: 'Wrong', type: 'integer', jsonPath: '.spec.s' },
  ];
  const schema = spec({
    s: { type: 'string' },
    replicas: { type: 'integer' },
    b: { type: 'boolean' },
    d: { type: 'string' },
    list: { type: 'array', items: { type: 'string' } },
    o: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true },
    f: { type: 'number' },
    items: { type: 'array', items: object({ k: { type: 'string' }, v: { type: 'string' } }) },
  });
  const accept = 'application/json;as=Table;v=v1;g=meta.k8s.io';
  return served(
    'columns',
    {
      token,
      namespace,
      group: `columns-${token}.example.com`,
      kind: 'Column',
      schema,
      version: { additionalPrinterColumns },
    },
    (collection, make) => [
      steps.post(
        collection,
        make('full', {
          metadata: { name: 'full', labels: { 'a.b': 'l' } },
          spec: {
            s: 'x',
            replicas: 5,
            b: true,
            d: '2001-02-03T04:05:06Z',
            list: ['a', 'b'],
            o: { a: [1] },
            f: 1.5,
            items: [
              { k: 'a', v: '1' },
              { k: 'b', v: '2' },
              { k: 'a', v: '3' },
            ],
          },
        }),
      ),
      steps.post(collection, make('none', { spec: {} })),
      steps.post(collection, make('bare', {})),
      steps.post(
        collection,
        make('odd', { spec: { s: '', replicas: 0, b: false, d: 'nonsense', list: [], f: 1e21 } }),
      ),
      steps.get(collection, { headers: { accept } }),
      steps.get(`${collection}/full`, { headers: { accept } }),
      steps.get(`${collection}?includeObject=Object`, { headers: { accept } }),
      steps.get(`${collection}?watch=1&timeoutSeconds=1`, { headers: { accept } }),
    ],
  );
}

function versions(token: string, namespace: string): Scenario {
  const group = `versions-${token}.example.com`;
  const both = [
    {
      name: 'v1',
      served: true,
      storage: true,
      schema: { openAPIV3Schema: spec({ a: { type: 'string' }, only1: { type: 'string' } }) },
    },
    {
      name: 'v2beta1',
      served: true,
      storage: false,
      deprecated: true,
      schema: { openAPIV3Schema: spec({ a: { type: 'string', default: 'd' }, only2: { type: 'string' } }) },
    },
    { name: 'v3', served: false, storage: false, schema: { openAPIV3Schema: { type: 'object' } } },
  ];
  return served(
    'versions',
    { token, namespace, group, kind: 'Version', schema: {}, spec: { versions: both } },
    (collection, make) => {
      const second = collection.replace('/v1/', '/v2beta1/');
      const two = {
        ...make('two', { spec: { a: 'x', only1: '1', only2: '2' } }),
        apiVersion: `${group}/v2beta1`,
      };
      return [
        steps.post(collection, make('one', { spec: { only1: 'a', only2: 'b' } })),
        steps.get(`${second}/one`),
        steps.post(second, two),
        steps.get(`${collection}/two`),
        steps.get(second),
        steps.get(collection.replace('/v1/', '/v3/')),
        steps.get(`/apis/${group}/v3`),
        steps.put(`${second}/one`, make('one', { spec: {} })),
        steps.patch('apply', `${second}/one?fieldManager=m`, {
          body: { ...make('one', { spec: { a: 'x' } }), apiVersion: `${group}/v2beta1` },
        }),
        steps.patch('apply', `${collection}/one?fieldManager=n`, { body: make('one', { spec: { a: 'y' } }) }),
        steps.get(`${collection}/one`),
        steps.get(`${second}?watch=1&timeoutSeconds=1`),
        steps.get(`/openapi/v3/apis/${group}/v1`),
        steps.get(`/openapi/v3/apis/${group}/v2beta1`),
      ];
    },
  );
}

/** Changes of a definition that is there. */
function changes(token: string, namespace: string): Scenario {
  const group = `changes-${token}.example.com`;
  const shape: Shape = { token, group, kind: 'Change', schema: object({}) };
  const put = (more: object, version: object = {}): Step =>
    steps.put(`${CRDS}/changes.${group}?dryRun=All`, crd({ ...shape, spec: more, version }));
  return served('changes', { ...shape, namespace }, () => [
    put({ scope: 'Cluster' }),
    put({ group: 'other.example.com' }),
    put({ names: { plural: 'others', singular: 'x', kind: 'X', listKind: 'XList' } }),
    put({ names: { plural: 'changes', singular: 'x', kind: 'X', listKind: 'XList', shortNames: ['po'] } }),
    put({}, { storage: false }),
    put({}, { name: 'v2' }),
    put({}, { schema: { openAPIV3Schema: { type: 'string' } } }),
    put({ conversion: { strategy: 'Nope' } }),
    steps.patch('merge', `${CRDS}/changes.${group}/status`, { body: { status: { storedVersions: [] } } }),
    steps.patch('merge', `${CRDS}/changes.${group}/status`, {
      body: { status: { storedVersions: ['nope'] } },
    }),
    steps.patch('merge', `${CRDS}/changes.${group}/status`, {
      body: { spec: { scope: 'Cluster' }, status: { conditions: [] } },
    }),
    steps.get(`${CRDS}/changes.${group}`, {
      headers: { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    }),
    steps.post(
      CRDS,
      crd({
        ...shape,
        kind: 'Changes',
        spec: { names: { plural: 'changess', singular: 'change', kind: 'Change', listKind: 'ChangeList' } },
      }),
    ),
    ...waiting(CRDS),
    steps.get(`${CRDS}/changess.${group}`),
    steps.remove(`${CRDS}/changess.${group}`),
  ]);
}

function formatValues(token: string, namespace: string): Scenario {
  const tries: Readonly<Record<string, readonly string[]>> = {
    'date-time': [
      '2020-01-01T00:00:00Z',
      '2020-01-01 00:00:00Z',
      '2020-13-01T00:00:00Z',
      '2020-01-01T00:00:00',
      '2020-01-01T00:00:00.123+01:00',
      '',
    ],
    date: ['2020-01-01', '2020-02-30', '20-1-1'],
    duration: ['1h', '1h30m', '5', 'x', '1d', '-1h', ''],
    email: ['a@b.c', 'a', 'A <a@b.c>'],
    uri: ['http://a', 'a', '::', '/x'],
    hostname: ['a.b', '-a', 'a_b', 'A', `${'a'.repeat(64)}`],
    ipv4: ['1.2.3.4', '1.2.3', '01.2.3.4', '::1'],
    ipv6: ['::1', '1.2.3.4', '::ffff:1.2.3.4'],
    cidr: ['10.0.0.0/8', '10.0.0.0', '10.0.0.1/8', '::/0'],
    mac: ['00:00:00:00:00:00', 'x'],
    uuid: ['5f2a2d1e-0000-4000-8000-000000000001', 'x', '5F2A2D1E000040008000000000000001'],
    uuid4: ['5f2a2d1e-0000-4000-8000-000000000001', '5f2a2d1e-0000-3000-8000-000000000001'],
    uuid3: ['5f2a2d1e-0000-3000-8000-000000000001', 'x'],
    uuid5: ['5f2a2d1e-0000-5000-8000-000000000001', 'x'],
    byte: ['AAEC', '***', ''],
    bsonobjectid: ['507f1f77bcf86cd799439011', 'x'],
    isbn: ['0321751043', '978-0321751041', 'x'],
    isbn10: ['0321751043', 'x'],
    isbn13: ['978-0321751041', 'x'],
    creditcard: ['4111111111111111', '4111', 'x'],
    ssn: ['111-11-1111', 'x'],
    hexcolor: ['#FFF', '#ff0000', 'x'],
    rgbcolor: ['rgb(1,2,3)', 'rgb(300,2,3)', 'x'],
    password: ['x', ''],
    'k8s-short-name': ['a', 'A', 'a.b'],
    'k8s-long-name': ['a.b', 'A'],
    nope: ['x'],
    int64: ['x'],
  };
  const key = (format: string): string => format.replaceAll('-', '');
  return served(
    'formats',
    {
      token,
      namespace,
      group: `formats-${token}.example.com`,
      kind: 'Format',
      schema: spec(
        Object.fromEntries(Object.keys(tries).map((format) => [key(format), { type: 'string', format }])),
      ),
    },
    (collection, make) =>
      Object.entries(tries).flatMap(([format, values]) =>
        values.map((value) =>
          steps.post(`${collection}?dryRun=All`, make('f', { spec: { [key(format)]: value } })),
        ),
      ),
  );
}

function ruleEffects(token: string, namespace: string): Scenario {
  const schema = spec(
    {
      a: { type: 'integer' },
      s: { type: 'string', maxLength: 20 },
      list: {
        type: 'array',
        maxItems: 5,
        items: {
          type: 'string',
          maxLength: 10,
          'x-kubernetes-validations': [{ rule: 'self != "bad"', reason: 'FieldValueForbidden' }],
        },
      },
      m: {
        type: 'object',
        maxProperties: 3,
        additionalProperties: {
          type: 'integer',
          'x-kubernetes-validations': [{ rule: 'self > 0', messageExpression: '"got " + string(self)' }],
        },
      },
      frozen: {
        type: 'string',
        'x-kubernetes-validations': [{ rule: 'self == oldSelf', message: 'frozen' }],
      },
      once: {
        type: 'string',
        'x-kubernetes-validations': [
          { rule: '!oldSelf.hasValue()', optionalOldSelf: true, message: 'only once' },
        ],
      },
    },
    {
      'x-kubernetes-validations': [
        {
          rule: '!has(self.a) || self.a < 10',
          message: 'a is too big',
          fieldPath: '.a',
          reason: 'FieldValueInvalid',
        },
        { rule: '!has(self.a) || self.a != 5', reason: 'FieldValueRequired' },
        {
          rule: '!has(self.a) || self.a != 6',
          reason: 'FieldValueDuplicate',
          messageExpression: 'string(1 / (self.a - 6))',
          message: 'fallback',
        },
        { rule: '!has(self.a) || 10 / self.a > 0' },
        { rule: '!has(self.s) || self.s.startsWith("a")', messageExpression: '""' },
      ],
    },
  );
  return served(
    'rules',
    { token, namespace, group: `rules-${token}.example.com`, kind: 'Rule', schema },
    (collection, make) => [
      ...[
        { a: 10 },
        { a: 5 },
        { a: 6 },
        { a: 0 },
        { s: 'b' },
        { list: ['ok', 'bad'] },
        { m: { x: 0, 'y.z': -1 } },
        { a: 12, list: ['bad'], s: 'zz' },
        { a: 'x', list: ['bad'] },
        {},
      ].map((value) => steps.post(`${collection}?dryRun=All`, make('r', { spec: value }))),
      steps.post(collection, make('r', { spec: { frozen: 'x', once: 'y' } })),
      steps.patch('merge', `${collection}/r`, { body: { spec: { frozen: 'z' } } }),
      steps.patch('merge', `${collection}/r`, { body: { spec: { once: 'z' } } }),
      steps.patch('merge', `${collection}/r`, { body: { spec: { frozen: null } } }),
      steps.patch('merge', `${collection}/r`, { body: { spec: { a: 11 } } }),
    ],
  );
}

function defaulting(token: string, namespace: string): Scenario {
  const schema = spec(
    {
      a: { type: 'string', default: 'x' },
      n: { type: 'string', nullable: true, default: 'n' },
      o: {
        type: 'object',
        default: { p: 'q' },
        properties: { p: { type: 'string' }, r: { type: 'string', default: 's' } },
      },
      list: { type: 'array', items: object({ d: { type: 'integer', default: 5 } }) },
      m: { type: 'object', additionalProperties: object({ d: { type: 'integer', default: 6 } }) },
    },
    { default: {} },
  );
  return served(
    'defaults',
    { token, namespace, group: `defaults-${token}.example.com`, kind: 'Default', schema },
    (collection, make) =>
      [
        undefined,
        {},
        null,
        { a: null },
        { n: null },
        { o: {} },
        { o: null },
        { list: [{}, { d: null }] },
        { m: { x: {}, y: { d: 1 } } },
        { list: [null] },
      ].map((value) =>
        steps.post(`${collection}?dryRun=All`, make('d', value === undefined ? {} : { spec: value })),
      ),
  );
}
