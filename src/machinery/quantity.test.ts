import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalQuantity, compareQuantities, parseQuantity, QuantityError } from './quantity.ts';

test('canonical texts', () => {
  const cases: [string, string][] = [
    ['0', '0'],
    ['0Mi', '0'],
    ['100m', '100m'],
    ['1000m', '1'],
    ['0.5', '500m'],
    ['1.5Gi', '1536Mi'],
    ['1024Mi', '1Gi'],
    ['1024', '1024'],
    ['1000', '1k'],
    ['1e3', '1e3'],
    ['12e1', '120'],
    ['1E3', '1E3'],
    ['1E', '1E'],
    ['0.1n', '1n'],
    ['-0.1n', '-1n'],
    ['1.5', '1500m'],
    ['0.5Mi', '512Ki'],
    ['0.5Ki', '512'],
    ['100Ei', '9223372036854775807'],
    ['1023', '1023'],
    ['512Ki', '512Ki'],
    ['1048576Ki', '1Gi'],
    ['.5', '500m'],
    ['5.', '5.'],
    ['1.1e2', '110'],
    ['123456789123456789123', '123456789123456789123'],
    ['0.000000001', '1n'],
    ['1e-9', '1e-9'],
    ['1e-10', '1e-9'],
    ['0.3Ki', '307200m'],
    ['-1Gi', '-1Gi'],
    ['1500E', '1500E'],
  ];
  for (const [given, expected] of cases) assert.equal(canonicalQuantity(given), expected, given);
  assert.equal(canonicalQuantity(2), '2');
  assert.equal(canonicalQuantity(0.1), '100m');
});

test('invalid quantities', () => {
  for (const bad of ['', 'abc', '1 Gi', '1.2.3', '1GiB', '--1', '1e', '0x10', '1e99999'])
    assert.throws(() => parseQuantity(bad), QuantityError, bad);
  assert.throws(() => parseQuantity('1x'), {
    message: "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
  });
  assert.throws(() => parseQuantity('1Kii'), { message: "unable to parse quantity's suffix" });
});

test('arithmetic keeps the format and is exact', () => {
  assert.equal(parseQuantity('1Gi').add(parseQuantity('512Mi')).toString(), '1536Mi');
  assert.equal(parseQuantity('0').add(parseQuantity('1Gi')).toString(), '1Gi');
  assert.equal(parseQuantity('1').sub(parseQuantity('900m')).toString(), '100m');
  assert.equal(parseQuantity('1Gi').sub(parseQuantity('1Gi')).toString(), '0');
  assert.equal(parseQuantity('1Gi').value(), 2 ** 30);
  assert.equal(parseQuantity('1100m').value(), 2);
  assert.equal(parseQuantity('-1100m').value(), -2);
  assert.equal(parseQuantity('1n').milliValue(), 1);
  assert.equal(compareQuantities('1Gi', '1G'), 1);
  assert.equal(compareQuantities('1000m', 1), 0);
});

const quantityText = fc
  .tuple(
    fc.constantFrom('', '-', '+'),
    fc.nat(10 ** 9),
    fc.option(fc.nat(99999)),
    fc.constantFrom('', 'n', 'u', 'm', 'k', 'M', 'G', 'T', 'Ki', 'Mi', 'Gi', 'e3', 'e-2', 'E6'),
  )
  .map(
    ([sign, whole, fraction, suffix]) => `${sign}${whole}${fraction === null ? '' : `.${fraction}`}${suffix}`,
  );

test('canonical texts have the same amount and are stable', () => {
  fc.assert(
    fc.property(quantityText, (text) => {
      const quantity = parseQuantity(text);
      const again = parseQuantity(quantity.toString());
      assert.equal(again.compare(quantity), 0, `${text} → ${quantity}`);
      const computed = quantity.add(parseQuantity('0')).toString();
      assert.equal(parseQuantity(computed).add(parseQuantity('0')).toString(), computed);
    }),
    { numRuns: 2000 },
  );
});

test('addition and comparison agree with numbers', () => {
  fc.assert(
    fc.property(quantityText, quantityText, (left, right) => {
      const a = parseQuantity(left);
      const b = parseQuantity(right);
      assert.equal(a.add(b).sub(b).compare(a), 0);
      assert.equal(a.compare(b), -b.compare(a) + 0);
      assert.equal(a.sub(b).sign, a.compare(b));
    }),
  );
});
