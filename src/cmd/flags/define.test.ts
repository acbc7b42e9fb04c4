import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Command } from 'commander';
import { addFlags } from '#cli/flag-options.ts';
import {
  fixed,
  flagKinds,
  readFlags,
  refused,
  collectSettings,
  shownFlags,
  type GivenFlags,
} from './define.ts';

interface Settings {
  readonly limits?: { readonly reads?: number; readonly timeoutMs?: number };
  readonly names?: readonly string[];
}

const flag = flagKinds<Settings>();
const TABLE = {
  reads: flag.number({ min: 1, max: 9, help: 'reads', default: 3, to: (reads) => ({ limits: { reads } }) }),
  'request-timeout': flag.duration({
    help: 'timeout',
    defaultText: '1m',
    to: (timeoutMs) => ({ limits: { timeoutMs } }),
  }),
  names: flag.list({ help: 'names', to: (names) => ({ names }) }),
  mapping: flag.repeated({ help: 'mapping' }),
  fair: flag.boolean({ help: 'fair' }),
  mode: flag.choice(['fast', 'slow'], { help: 'mode', default: 'slow' }),
  'cert-file': flag.file({ help: 'certificate' }),
  old: refused('use --reads', { accepts: 'true' }),
  'read-only-port': fixed('0', 'every port authenticates'),
};

function parse(...words: string[]): GivenFlags<typeof TABLE> {
  const command = addFlags(new Command().exitOverride().configureOutput({ writeErr: () => {} }), TABLE);
  return command.parse(words, { from: 'user' }).opts();
}

test('what is given is read, typed and goes to its setting; the rest has its default', () => {
  const given = parse(
    '--request-timeout',
    '2m',
    '--names=a,b',
    '--names',
    'c',
    '--mapping=x,y',
    '--mapping=z',
    '--fair',
  );
  assert.deepEqual(given, {
    requestTimeout: '2m',
    names: ['a', 'b', 'c'],
    mapping: ['x,y', 'z'],
    fair: true,
  });
  const values = readFlags(TABLE, given);
  const typed: { reads: number; mode: 'fast' | 'slow'; requestTimeout: number | undefined } = values;
  assert.deepEqual(
    [typed.reads, typed.mode, typed.requestTimeout, values.certFile],
    [3, 'slow', 120_000, undefined],
  );
  assert.deepEqual(collectSettings<Settings>(TABLE, given), {
    limits: { reads: 3, timeoutMs: 120_000 },
    names: ['a', 'b', 'c'],
  });
  assert.deepEqual(shownFlags(TABLE, given), {
    reads: '3',
    'request-timeout': '2m',
    names: '[a,b,c]',
    mapping: '[x,y,z]',
    fair: 'true',
    mode: 'slow',
  });
});

test('a wrong value is refused by its flag', () => {
  for (const [words, says] of [
    [['--reads=0'], /--reads is "0"; it should be a whole number from 1 to 9/],
    [['--reads=1e0'], /--reads is "1e0"/],
    [['--request-timeout=soon'], /--request-timeout is "soon"; it should be a duration/],
    [['--fair=maybe'], /--fair is "maybe"; it should be true or false/],
    [['--mode=odd'], /Allowed choices are fast, slow/],
    [['--cert-file='], /--cert-file is empty; it should name a file/],
    [['--old=false'], /--old is refused: use --reads/],
    [['--read-only-port=1'], /--read-only-port is "1"; it can only be 0: every port authenticates/],
  ] as const)
    assert.throws(() => parse(...words), says);
  parse('--old', '--read-only-port=0');
  assert.throws(() => readFlags(TABLE, { mode: 'odd' }), /--mode is "odd"; it should be one of fast, slow/);
});

test('help has each default once, and no hidden flag', () => {
  const help = addFlags(new Command(), TABLE).helpInformation();
  assert.match(help, /--reads <n>\s+reads \(default: 3\)/);
  assert.match(help, /timeout \(default: 1m\)/);
  assert.doesNotMatch(help, /--old|--read-only-port/);
});
