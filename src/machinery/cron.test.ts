import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cronProblem, isTimeZone, parseCron } from './cron.ts';

const problems: readonly (readonly [schedule: string, problem: string | undefined])[] = [
  ['*/5 0-6/2 1,15 jan-MAR sun', undefined],
  ['? * * * *', undefined],
  ['1,,2 * * * *', undefined],
  ['@daily', undefined],
  ['@every 1h30m', undefined],
  ['TZ=Asia/Tokyo 0 0 * * *', undefined],
  ['', 'empty spec string'],
  ['* * * *', 'expected exactly 5 fields, found 4: [* * * *]'],
  ['60 * * * *', 'end of range (60) above maximum (59): 60'],
  ['* * 0 * *', 'beginning of range (0) below minimum (1): 0'],
  ['* * * * 7', 'end of range (7) above maximum (6): 7'],
  ['5-3 * * * *', 'beginning of range (5) beyond end of range (3): 5-3'],
  ['1-2-3 * * * *', 'too many hyphens: 1-2-3'],
  ['1/2/3 * * * *', 'too many slashes: 1/2/3'],
  ['*/0 * * * *', 'step of range should be a positive number: */0'],
  ['x * * * *', 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'],
  ['@reboot', 'unrecognized descriptor: @reboot'],
  ['@constructor', 'unrecognized descriptor: @constructor'],
  ['@every soon', 'failed to parse duration @every soon: time: invalid duration "soon"'],
  ['CRON_TZ=Mars/Olympus * * * * *', 'provided bad location Mars/Olympus: unknown time zone Mars/Olympus'],
];

for (const [schedule, problem] of problems)
  test(`cron: ${JSON.stringify(schedule)}`, () => assert.equal(cronProblem(schedule), problem));

test('valid schedules', () => {
  const { fields } = parseCron('10/20 * 1-3 */6 *');
  assert.deepEqual(
    [[...fields!.minutes.values], [...fields!.days.values], [...fields!.months.values]],
    [
      [10, 30, 50],
      [1, 2, 3],
      [1, 7],
    ],
  );
  assert.deepEqual([fields!.hours.isAny, fields!.months.isAny], [true, false]);
  assert.equal(parseCron('@every 90.5s').everyMs, 90_000);
  assert.equal(parseCron('@every 10ms').everyMs, 1000);
});

test('time zones must be in the time zone database', () => {
  for (const [name, known] of [
    ['UTC', true],
    ['Europe/Berlin', true],
    ['America/Argentina/Buenos_Aires', true],
    ['Mars/Olympus', false],
    ['+01:00', false],
  ] as const)
    assert.equal(isTimeZone(name), known, name);
});
