import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toStructural } from '#machinery/structural.ts';
import { compileExpression } from './expression.ts';
import { declaredSizes } from './declared-sizes.ts';

const text = { type: 'string', maxLength: 10 };
const schema = toStructural({
  type: 'object',
  properties: {
    a: { type: 'integer' },
    s: text,
    u: { type: 'string' },
    e: { type: 'string', enum: ['abc', 'ü'] },
    list: { type: 'array', maxItems: 7, items: text },
    ul: { type: 'array', items: { type: 'string' } },
    ints: { type: 'array', maxItems: 9, items: { type: 'integer' } },
    ll: { type: 'array', maxItems: 3, items: { type: 'array', maxItems: 4, items: { type: 'integer' } } },
    m: { type: 'object', maxProperties: 5, additionalProperties: text },
    q: { 'x-kubernetes-int-or-string': true },
    dt: { type: 'string', format: 'date-time' },
    by: { type: 'string', format: 'byte', maxLength: 30 },
    o: {
      type: 'object',
      properties: {
        l: {
          type: 'array',
          items: {
            type: 'object',
            required: ['k', 'w'],
            properties: { k: { type: 'string' }, w: { type: 'boolean' } },
          },
        },
      },
    },
  },
});
const variables = { self: schema };
const cost = (source: string): number =>
  compileExpression(source, { variables, binds: true }).maxCost(declaredSizes(schema, { isRoot: false }));

/** As upstream's estimator, version 1.36, has them. */
test('what expressions may cost at most', () => {
  for (const [source, expected] of Object.entries({
    'self.a > 1': 3,
    'self.s == self.u': 8,
    'self.u + self.u == self.u': 943_725,
    'self.e == "abcdef"': 3,
    'self.list.all(x, x == "a")': 38,
    'self.ul.exists(x, x.contains("abc"))': 329_858_626_353,
    'self.list.map(x, x == "a", x + "y").all(z, z == self.s)': 196,
    'self.list.filter(x, x == "a")[0] == self.u': 125,
    'self.m.all(k, self.m[k] == self.u)': 68,
    'self.u in self.ul': 1_048_579,
    'has(self.a) && self.a in [1, 2]': 15,
    'self.s.split(",").join("-") == self.u': 1.84467440737127e18,
    'self.s.split(",").map(x, x.size()).sum() > 1': 622,
    'self.s.replace("a", "bb") == self.u': 20,
    'self.list.isSorted()': 37,
    'self.u.matches("^a+$")': 314_575,
    'string(self.a) == self.u': 314_578,
    'string(self.by) == self.u': 10,
    'cidr(self.s).containsIP(self.u)': 314_585,
    '!format.dns1123Label().validate(self.s).hasValue()': 133,
    'sets.equivalent(self.list, self.list)': 103,
    'self.ints.sort() == self.ints': 178,
    'self.list.sortBy(x, x.size()) == self.ul': 239,
    'self.o.?l.optMap(v, v.size()).orValue(0) > 1': 23,
    'self.m.transformMap(k, v, k == "a", v + "x").size() > 1': 85,
    'self.ll.map(x, x.sum()).sum() > 1': 68,
    'self.o.l.all(x, x.k == "a" && x.w)': 1_324_516,
    'self.q + 1 > 1': 4,
    'self.dt == self.dt': 8,
  }))
    assert.ok(Math.abs(cost(source) - expected!) <= expected! * 1e-12, `${source}: ${cost(source)}`);
});
