/**
 * Validation rules of custom resources: which functions there are, what rules may cost, and what becomes of objects under them: nullable values, rules of
 * allOf, lists in any order, warnings of what was wrong before, budgets; and versions whose conversion fails.
 */
import { steps } from '../paths.ts';
import type { RunNames, Scenario, Step } from '../scenario.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const text = { type: 'string', maxLength: 10 },
  number = { type: 'integer' };
const list = (items: object, more: object = {}): object => ({ type: 'array', items, ...more });
const map = (values: object, more: object = {}): object => ({
  type: 'object',
  additionalProperties: values,
  ...more,
});
const object = (properties: object, more: object = {}): object => ({ type: 'object', properties, ...more });

/** s…: with bounds; u…: without. */
const FIELDS = {
  a: number,
  d: { type: 'number' },
  b: { type: 'boolean' },
  s: text,
  u: { type: 'string' },
  e: { type: 'string', enum: ['abc', 'ü'] },
  list: list(text, { maxItems: 7 }),
  ul: list({ type: 'string' }),
  ints: list(number, { maxItems: 9 }),
  ll: list(list(number, { maxItems: 4 }), { maxItems: 3 }),
  m: map(text, { maxProperties: 5 }),
  um: map(number),
  q: { 'x-kubernetes-int-or-string': true },
  dt: { type: 'string', format: 'date-time' },
  du: { type: 'string', format: 'duration' },
  by: { type: 'string', format: 'byte', maxLength: 30 },
  o: object({
    x: number,
    y: text,
    l: list(object({ k: { type: 'string' }, w: { type: 'boolean' } }, { required: ['k', 'w'] })),
  }),
  nn: { type: 'integer', nullable: true },
  no: object({ x: number }, { nullable: true }),
  set: list(text, { 'x-kubernetes-list-type': 'set', maxItems: 5 }),
  keyed: list(object({ k: text, v: text }, { required: ['k'] }), {
    'x-kubernetes-list-type': 'map',
    'x-kubernetes-list-map-keys': ['k'],
    maxItems: 5,
  }),
};

const RULES: readonly string[] = [
  // Functions.
  'self.list.existsOne(x, x == "a")',
  'self.s.reverse() == "a"',
  'self.list.reverse() == self.list',
  'cel.bind(x, self.a, x > 1)',
  'jsonpatch.escapeKey(self.s) == "a"',
  'math.greatest(1, 2) == 2',
  'sign(quantity(self.s)) == 1',
  'quantity(self.s).sign() == 1',
  '[optional.of(1)].unwrapOpt() == [1]',
  'optional.unwrap([optional.of(1)]) == [1]',
  'self.s.quote() == "a"',
  'strings.quote(self.s) == "a"',
  'self.list.first().value() == "a"',
  'self.list.sortBy(x, x.size()) == self.list',
  'self.list.distinct() == self.list',
  'self.list.slice(0, 1) == self.list',
  'self.ll.flatten() == self.ints',
  'lists.range(3).all(i, i < 3)',
  'self.m.transformMapEntry(k, v, {v: k}).size() > 1',
  'self.m.all(k, v, k != v)',
  'format.dns1123Label().validate(self.s).hasValue()',
  'format.dns1123Label() == format.uuid()',
  'isIP(self.s) && ip.isCanonical(self.s)',
  'cidr(self.s).containsIP(self.s)',
  'semver(self.s, true).isGreaterThan(semver("1.0.0"))',
  'isSemver(self.s)',
  'url(self.s) == url("http://x")',
  'base64.encode(self.by) == ""',
  'authorizer.path("/").check("get").allowed()',
  'self.by.json() == {}',
  'self.s.json() == {}',
  'self.list.at(0) == "a"',
  'string(self.dt) == ""',
  'self.dt.getDayOfYear() == 1',
  'duration(self.s) > self.du',
  'hash(self.s) == 1',
  'self.s.trimPrefix("a") == ""',
  'self.list.contains("a")',
  'self.?o.?y.optMap(v, v + "x").hasValue()',
  'self.o.?y.optFlatMap(v, optional.of(v)).orValue("") == ""',
  'has(self.o.y.z)',
  'has(self.m.anything)',
  'has(self.a)',
  'has(self)',
  // Types.
  'self.nn == null',
  'self.no == null',
  'self.nn > 1',
  'self.s == null',
  'self.set == oldSelf.set',
  'self.set + ["a"] == self.set',
  'self.keyed + oldSelf.keyed == self.keyed',
  'self.q',
  'dyn(self.b)',
  'self.b ? 1 : "x"',
  '[1, "x"].size() == 2',
  '{"a": 1, "b": "x"}.size() == 2',
  'self.list[0]',
  'self.o.l.map(x, x.k) == ["a"]',
  'self.s in self.m',
  'self.a in self.list',
  '!self.a',
  '-self.s == "a"',
  'self.s[0] == "a"',
  'self.a.b == 1',
  'self.list.all(x, x)',
  'self.list.map(x, y) == []',
  'self.list.all(self.s, true)',
  'timestamp("x") == self.dt',
  'duration("x") == self.du',
  // Costs.
  'self.ul.all(x, x == self.u)',
  'self.ul.exists(x, x.startsWith("abc"))',
  'self.u.contains(self.s)',
  'self.u.matches("^(abc|def|ghi|jkl|mno|pqr|stu)+$")',
  'self.u.find("(abc|def|ghi|jkl)+") == ""',
  'self.u.split(",").join("-") == self.u',
  'self.u.replace("a", "bb").size() > 1',
  'self.ul.join(",").size() > 1',
  'self.ul.isSorted()',
  'self.ul.map(x, x.size()).sum() > 1',
  'self.ul.filter(x, x == "a").size() > 1',
  'self.um.all(k, self.um[k] > 1)',
  'self.um.exists(k, v, v > 1)',
  'self.o.l.all(x, x.k == "a" && x.w)',
  'self.ul.distinct().size() > 1',
  'sets.contains(self.ul, self.list)',
  'self.ul.all(x, self.list.exists(y, y == x))',
  'self.ul.sort() == self.ul',
  'self.u + self.u == self.u',
  'string(self.a) == self.u',
  '"%s".format([self.u]) == self.u',
  'cidr(self.u).containsCIDR(self.u)',
  'self.q == self.u',
  'self.ul.transformList(i, v, v + "x").size() > 1',
  'self.?u == optional.of(self.u)',
  'self.list.all(x, self.list.all(y, self.list.all(z, self.list.all(w, w == x))))',
  'self.ul == self.ul && self.u == self.u && self.um == self.um',
  // What cannot be read.
  'self.size(',
  'self.a ==',
  'self.a == == 1',
  '[1,',
  '(self.a',
  'self.a ? 1',
  'self.',
  'self.a)',
  '"abc',
  'self.a = 1',
  '1 +* 2',
  'self.if == 1',
  'self.a /* x */ > 1',
  'self.a > 1 // x',
];
/** Places that there may be many of, and few. */
const PLACES: Readonly<Record<string, (rule: object) => object>> = {
  bounded: (rule) => list(object({ s: text }, { 'x-kubernetes-validations': [rule] }), { maxItems: 2000 }),
  unbounded: (rule) =>
    list(object({ s: text, r: number }, { required: ['s', 'r'], 'x-kubernetes-validations': [rule] })),
  mapped: (rule) =>
    map({ type: 'string', maxLength: 5, 'x-kubernetes-validations': [rule] }, { maxProperties: 3000 }),
  nested: (rule) =>
    list(map(object({ s: text }, { 'x-kubernetes-validations': [rule] }), { maxProperties: 100 }), {
      maxItems: 100,
    }),
  embedded: (rule) => ({
    type: 'object',
    'x-kubernetes-embedded-resource': true,
    'x-kubernetes-preserve-unknown-fields': true,
    'x-kubernetes-validations': [rule],
  }),
  allOf: (rule) =>
    object({ s: text }, { allOf: [{ properties: { s: { 'x-kubernetes-validations': [rule] } } }] }),
};
const PLACED: readonly string[] = [
  'self == oldSelf',
  'self.s == oldSelf.s',
  'self.s.startsWith("a")',
  'self.startsWith("a")',
  'self.s.matches("^a+(b|c)+$")',
  'self.matches("^a+(b|c)+$")',
  'self.metadata.name == self.kind',
  'self.metadata.labels.size() > 1',
  'self.apiVersion.startsWith(self.metadata.generateName)',
];

function definition(group: string, kind: string, versions: readonly object[], more: object = {}): object {
  const plural = `${kind.toLowerCase()}s`;
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      versions,
      ...more,
    },
  };
}

const version = (schema: object, more: object = {}): object => ({
  name: 'v1',
  served: true,
  storage: true,
  schema: { openAPIV3Schema: schema },
  ...more,
});
const spec = (properties: object, rules: readonly object[]): object =>
  object({ spec: object(properties, { 'x-kubernetes-validations': rules }) });

export function validationRules({ token, namespace }: RunNames): Scenario[] {
  const group = `${token}.example.com`;
  const tried = (about: string, schema: object): Scenario => ({
    name: `rules/${about}`,
    area: 'validation rules',
    steps: [steps.post(`${CRDS}?dryRun=All`, definition(group, 'Ruled', [version(schema)]))],
  });
  return [
    ...RULES.map((rule) => tried(rule, spec(FIELDS, [{ rule }]))),
    ...RULES.slice(-14, -8).map((messageExpression) =>
      tried(`message ${messageExpression}`, spec(FIELDS, [{ rule: 'true', messageExpression }])),
    ),
    ...['self.s', 'self.u', 'self.q', '"a" + string(self.a)', '"a" + self.s', 'self.?s', 'oldSelf.s'].map(
      (messageExpression) =>
        tried(
          `message ${messageExpression}`,
          spec(FIELDS, [{ rule: 'self.a == oldSelf.a', messageExpression }]),
        ),
    ),
    ...Object.entries(PLACES).flatMap(([place, at]) =>
      PLACED.map((rule) => tried(`${place} ${rule}`, object({ spec: object({ p: at({ rule }) }) }))),
    ),
    tried(
      'many',
      spec(
        FIELDS,
        Array.from({ length: 12 }, () => ({ rule: 'self.ul.all(x, x.size() > 1)' })),
      ),
    ),
    effects(token, namespace),
    conversions(token, namespace),
  ];
}

/** Names become established, and are served, soon after rather than at once. */
const pause = (): Step =>
  steps.get('/api/v1/namespaces?watch=1&timeoutSeconds=3&fieldSelector=metadata.name%3Dnone', {
    quiet: true,
  });

function effects(token: string, namespace: string): Scenario {
  const group = `effects-${token}.example.com`,
    plural = 'effects',
    collection = `/apis/${group}/v1/namespaces/${namespace}/${plural}`;
  const loose = spec({ ...FIELDS, big: list(number, { maxItems: 3000 }) }, []);
  const rules = [
    { rule: '!has(self.a) || self.a != 1', message: 'one' },
    { rule: '!has(self.s) || self.s != "bad"', fieldPath: '.s', reason: 'FieldValueInvalid' },
    { rule: '!has(self.m) || !("k" in self.m)', fieldPath: ".m['k']", reason: 'FieldValueDuplicate' },
    { rule: '!has(self.nn) || self.nn > 1', message: 'nn' },
    { rule: '!has(self.set) || !has(oldSelf.set) || self.set == oldSelf.set', message: 'set' },
    { rule: '!has(self.big) || self.big.all(x, self.big.all(y, x + y >= 0))', message: 'big' },
    { rule: '!has(self.q) || self.q > 3', message: 'q' },
    { rule: '!has(self.d) || self.d < 2.0', messageExpression: '"d is " + string(self.d)' },
    { rule: '!has(self.b) || self.b', messageExpression: '[1, 2].map(x, "line\\n").join()' },
  ];
  const tight = object({
    spec: object(
      {
        ...FIELDS,
        big: list(number, { maxItems: 800 }),
        list: list({ ...text, 'x-kubernetes-validations': [{ rule: 'self != "bad"' }] }, { maxItems: 7 }),
      },
      {
        'x-kubernetes-validations': rules,
        allOf: [
          {
            properties: {
              u: { 'x-kubernetes-validations': [{ rule: 'self != "bad"', message: 'of allOf' }] },
            },
          },
        ],
      },
    ),
  });
  const make = (name: string, value: object): object => ({
    apiVersion: `${group}/v1`,
    kind: 'Effect',
    metadata: { name },
    spec: value,
  });
  const values: readonly object[] = [
    { a: 1 },
    { s: 'bad' },
    { m: { k: 'v' } },
    { nn: null },
    { nn: 1 },
    { q: 1 },
    { q: 'x' },
    { d: 2.5 },
    { b: false },
    { list: ['ok', 'bad'] },
    { u: 'bad' },
    { big: Array.from({ length: 800 }, () => 1) },
    { set: ['a', 'b'] },
  ];
  return {
    name: 'rules/in force',
    area: 'validation rules',
    steps: [
      steps.post(CRDS, definition(group, 'Effect', [version(loose)]), { must: true }),
      pause(),
      steps.post(collection, make('old', { a: 1, s: 'bad', list: ['bad'], u: 'bad', set: ['a', 'b'] })),
      steps.put(`${CRDS}/${plural}.${group}`, definition(group, 'Effect', [version(tight)]), { must: true }),
      pause(),
      ...values.map((value) => steps.post(`${collection}?dryRun=All`, make('x', value))),
      steps.patch('merge', `${collection}/old`, { body: { spec: { e: 'abc' } } }),
      steps.patch('merge', `${collection}/old`, { body: { metadata: { labels: { x: 'y' } } } }),
      steps.patch('merge', `${collection}/old`, { body: { spec: { list: ['bad', 'b'] } } }),
      steps.patch('merge', `${collection}/old`, { body: { spec: { set: ['b', 'a'] } } }),
      steps.patch('merge', `${collection}/old`, { body: { spec: { set: ['c'] } } }),
      steps.patch('merge', `${collection}/old`, { body: { spec: { u: 'bad', a: 2 } } }),
      steps.remove(`${CRDS}/${plural}.${group}`),
    ],
  };
}

/** Nobody is there to convert. */
function conversions(token: string, namespace: string): Scenario {
  const group = `converted-${token}.example.com`,
    collection = (name: string): string => `/apis/${group}/${name}/namespaces/${namespace}/converteds`;
  const versions = [
    version(object({ spec: object({ a: text }) })),
    version(object({ spec: object({ a: text }) }), { name: 'v2', storage: false }),
  ];
  const make = (apiVersion: string, name: string): object => ({
    apiVersion: `${group}/${apiVersion}`,
    kind: 'Converted',
    metadata: { name },
    spec: { a: 'x' },
  });
  const of = (clientConfig: object): Step =>
    steps.patch('merge', `${CRDS}/converteds.${group}`, {
      body: {
        spec: {
          conversion: { strategy: 'Webhook', webhook: { clientConfig, conversionReviewVersions: ['v1'] } },
        },
      },
    });
  const used = (): Step[] => [
    pause(),
    steps.get(`${collection('v2')}/one`),
    steps.get(collection('v2')),
    steps.post(collection('v2'), make('v2', 'two')),
    steps.patch('merge', `${collection('v2')}/one`, { body: { spec: { a: 'y' } } }),
    steps.get(`${collection('v1')}/one`),
    steps.get(`${collection('v2')}?watch=1&timeoutSeconds=1&resourceVersion=0`),
    steps.remove(`${collection('v2')}/none`),
  ];
  return {
    name: 'rules/conversion',
    area: 'conversion',
    steps: [
      steps.post(CRDS, definition(group, 'Converted', versions), { must: true }),
      pause(),
      steps.post(collection('v1'), make('v1', 'one'), { must: true }),
      of({ url: 'https://127.0.0.1:1/convert' }),
      ...used(),
      of({ url: null, service: { namespace: 'absent', name: 'absent', path: '/convert' } }),
      ...used(),
      steps.patch('merge', `${CRDS}/converteds.${group}`, {
        body: { spec: { conversion: { strategy: 'None', webhook: null } } },
      }),
      pause(),
      steps.get(`${collection('v2')}/one`),
      steps.remove(`${CRDS}/converteds.${group}`),
    ],
  };
}
