import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CelCompileError, CelRuntimeError } from '../errors.ts';
import { compileExpression } from '../expression.ts';
import { Timestamp } from '../timestamp.ts';

const evaluate = (source: string): unknown =>
  compileExpression(source, { variables: { text: 'string' } }).evaluate({ text: '' });
const fails = (source: string, message: string): void =>
  assert.throws(() => evaluate(source), new CelRuntimeError(message), source);

/** Facts of cel-spec's conformance tests, and answers of kube-apiserver 1.36.2. */
test('texts of timestamps keep nanoseconds and the offset', () => {
  for (const [text, expected] of [
    ['2009-02-13T23:31:30Z', '2009-02-13T23:31:30Z'],
    ['2009-02-13T23:31:30.120Z', '2009-02-13T23:31:30.12Z'],
    ['2009-02-13T23:31:30.000000001Z', '2009-02-13T23:31:30.000000001Z'],
    ['2009-02-13T23:31:20.1234567899Z', '2009-02-13T23:31:20.123456789Z'],
    ['9999-12-31T23:59:59.999999999Z', '9999-12-31T23:59:59.999999999Z'],
    ['0001-01-01T00:00:00.5Z', '0001-01-01T00:00:00.5Z'],
    ['1969-12-31T23:59:59.000000001Z', '1969-12-31T23:59:59.000000001Z'],
    ['2009-02-13T23:31:30+00:00', '2009-02-13T23:31:30Z'],
    ['2009-02-13T23:31:30.5-07:30', '2009-02-13T23:31:30.5-07:30'],
    ['0000-12-31T23:30:00-01:00', '0000-12-31T23:30:00-01:00'],
  ] as const)
    assert.equal(evaluate(`string(timestamp("${text}"))`), expected, text);
  assert.equal(
    evaluate('timestamp("2009-02-13T23:31:30+02:00") + duration("1ns")'),
    '2009-02-13T23:31:30.000000001+02:00',
  );
  assert.equal(
    evaluate('timestamp("9999-12-31T23:30:00+01:00") + duration("1h")'),
    '10000-01-01T00:30:00+01:00',
  );
});

test('arithmetic and order of timestamps and durations are exact', () => {
  for (const source of [
    'timestamp("0001-01-01T00:00:01.000000001Z") + duration("-999999999ns") == timestamp("0001-01-01T00:00:00.000000002Z")',
    'timestamp("0001-01-01T00:00:01.999999999Z") + duration("999999999ns") == timestamp("0001-01-01T00:00:02.999999998Z")',
    'duration("120s") + timestamp("2009-02-13T23:01:00Z") == timestamp("2009-02-13T23:03:00Z")',
    'timestamp("2009-02-13T23:10:00Z") - duration("600s") == timestamp("2009-02-13T23:00:00Z")',
    'timestamp("2009-02-13T23:31:20.123456789Z") - timestamp("2009-02-13T23:31:20Z") == duration("123456789ns")',
    'timestamp("2009-02-13T23:31:30.000000001Z") > timestamp("2009-02-13T23:31:30Z")',
    'timestamp("2009-02-13T23:31:30.000000001Z") != timestamp("2009-02-13T23:31:30Z")',
    'timestamp("2009-02-13T23:31:30+01:00") == timestamp("2009-02-13T22:31:30Z")',
    '[timestamp("2009-02-13T23:31:30.000000002Z"), timestamp("2009-02-13T23:31:30.000000001Z")].sort()[0] == timestamp("2009-02-13T23:31:30.000000001Z")',
    'timestamp(1234567890) == timestamp("2009-02-13T23:31:30Z")',
    'int(timestamp("2009-02-13T23:31:30Z")) == 1234567890',
    'int(timestamp("1969-12-31T23:59:59.5Z")) == -1',
    'type(timestamp(0)) == google.protobuf.Timestamp',
    'duration("900s") - duration("42s") == duration("858s")',
    '!optional.ofNonZeroValue(timestamp("0001-01-01T00:00:00Z")).hasValue()',
    'optional.ofNonZeroValue(timestamp(0)).hasValue()',
  ])
    assert.equal(evaluate(source), true, source);
});

test('timestamps are of the years 1 to 9999, durations of 64 bits', () => {
  const year1 = 'timestamp("0001-01-01T00:00:00Z")',
    year9999 = 'timestamp("9999-12-31T23:59:59.999999999Z")';
  for (const source of [
    `${year9999} + duration("1ns")`,
    `${year1} + duration("-1ns")`,
    `${year1} - duration("1ns")`,
    'timestamp("0000-01-01T00:00:00Z" + text)',
    'timestamp("9999-12-31T23:59:59-01:00" + text)',
    'timestamp(253402300799 + 1)',
    'timestamp(-62135596800 - 1)',
  ])
    fails(source, 'timestamp overflow');
  for (const source of [
    `${year9999} - ${year1}`,
    `${year1} - ${year9999}`,
    'timestamp(0) - duration("-9223372036854775808ns")',
    'duration("9200000000s") + duration("9200000000s")',
    'duration("-9200000000s") - duration("9200000000s")',
  ])
    fails(source, 'integer overflow');
  for (const text of ['10000-01-01T00:00:00Z', '2009-02-30T23:31:20Z', '2009-02-13T24:00:00Z', 'x'])
    fails(
      `timestamp("${text}" + text)`,
      "type conversion error from 'string' to 'google.protobuf.Timestamp'",
    );
  for (const text of ['-320000000000s', '320000000000s', 'x'])
    fails(`duration("${text}" + text)`, "type conversion error from 'string' to 'google.protobuf.Duration'");
});

test('literals outside of the range do not compile', () => {
  for (const [source, message] of [
    ['timestamp(253402300800)', '1:11: invalid timestamp argument'],
    ['timestamp(-62135596801)', '1:11: invalid timestamp argument'],
    ['timestamp("2009-02-30T23:31:20Z")', '1:11: invalid timestamp argument'],
    ['duration("200000000000000ms")', '1:10: invalid duration argument'],
    ['duration(1)', "found no matching overload for 'duration' applied to '(int)'"],
  ] as const)
    assert.throws(
      () => evaluate(source),
      (error) => error instanceof CelCompileError && error.message.includes(message),
      source,
    );
});

test('parts of timestamps are in UTC, or in the given zone', () => {
  const at = 'timestamp("2009-02-13T23:31:30.123456789Z")';
  for (const [call, expected] of [
    ['getDate()', 13],
    ['getDayOfMonth()', 12],
    ['getDayOfWeek()', 5],
    ['getDayOfYear()', 43],
    ['getFullYear()', 2009],
    ['getHours()', 23],
    ['getMilliseconds()', 123],
    ['getMinutes()', 31],
    ['getMonth()', 1],
    ['getSeconds()', 30],
    ['getDate("Australia/Sydney")', 14],
    ['getDayOfMonth("US/Central")', 12],
    ['getDayOfMonth("+11:00")', 13],
    ['getDayOfYear("US/Central")', 43],
    ['getFullYear("-09:30")', 2009],
    ['getHours("02:00")', 1],
    ['getHours("+2:00")', 1],
    ['getHours("")', 23],
    ['getMinutes("Asia/Kathmandu")', 16],
    ['getMilliseconds("Asia/Kathmandu")', 123],
    ['getMinutes("-00:30")', 1],
  ] as const)
    assert.equal(evaluate(`${at}.${call}`), expected, call);
  for (const [source, expected] of [
    ['timestamp("2009-02-13T23:31:30+02:00").getHours()', 21],
    ['timestamp("2009-02-13T02:00:00Z").getDayOfMonth("America/St_Johns")', 11],
    ['timestamp("0001-01-01T00:00:00Z").getFullYear("-01:00")', 0],
    ['timestamp("0001-01-01T00:00:00Z").getFullYear("America/New_York")', 0],
    ['timestamp("0050-06-01T00:00:00Z").getFullYear("Europe/Berlin")', 50],
    ['timestamp("0050-06-01T00:00:00Z").getDayOfYear()', 151],
    ['timestamp("2026-12-31T00:00:00Z").getDayOfYear("Europe/Berlin")', 364],
    ['timestamp("1969-12-31T23:59:59.9999Z").getMilliseconds()', 999],
  ] as const)
    assert.equal(evaluate(source), expected, source);
  fails(`${at}.getHours("nowhere")`, 'unknown time zone nowhere');
  fails(`${at}.getHours("+0530")`, 'unknown time zone +0530');
  fails(`${at}.getHours("utc")`, 'unknown time zone utc');
  fails(`${at}.getHours("+xx:00")`, 'strconv.Atoi: parsing "+xx": invalid syntax');
  fails(`${at}.getHours("+02:0x")`, 'strconv.Atoi: parsing "0x": invalid syntax');
  fails(
    `${at}.getHours("${'9'.repeat(40)}:00")`,
    `strconv.Atoi: parsing "${'9'.repeat(40)}": value out of range`,
  );
});

test('durations are whole numbers of their units, and texts in seconds', () => {
  for (const [source, expected] of [
    ['duration("10000s").getHours()', 2],
    ['duration("3730s").getMinutes()', 62],
    ['duration("1.5h").getMinutes()', 90],
    ['duration("3730s").getSeconds()', 3730],
    ['duration("-1500ms").getSeconds()', -1],
    ['duration("-1500ms").getMilliseconds()', -1500],
    ['duration("3661.123456789s").getMilliseconds()', 3_661_123],
    ['int(duration("1.5s"))', 1_500_000_000],
    ['string(duration("1000000s"))', '1000000s'],
    ['string(duration("1m30.5s"))', '90.5s'],
    ['string(duration("1ns"))', '0.000000001s'],
    ['string(duration("-1500ns"))', '-0.0000015s'],
    ['string(duration("0s"))', '0s'],
    ['string(duration("3661.000000001s"))', '3661.000000001s'],
    // As Go's Duration.Seconds: a double.
    ['string(duration("9223372036.854775807s"))', '9223372036.854776s'],
  ] as const)
    assert.equal(evaluate(source), expected, source);
});

test('each timestamp is read back from its text', () => {
  const seconds = fc.bigInt({ min: -62_135_510_400n, max: 253_402_214_400n });
  fc.assert(
    fc.property(
      seconds,
      fc.bigInt({ min: 0n, max: 999_999_999n }),
      fc.integer({ min: -1439, max: 1439 }),
      (second, fraction, offset) => {
        const value = new Timestamp(second * 1_000_000_000n + fraction, offset),
          read = Timestamp.parse(String(value));
        return read.nanoseconds === value.nanoseconds && read.offsetMinutes === offset;
      },
    ),
  );
});
