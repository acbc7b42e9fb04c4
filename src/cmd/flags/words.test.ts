import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SCHEDULER_FLAGS } from '../scheduler/flags.ts';
import { DNS_FLAGS } from '../dns/flags.ts';
import { parseWords } from './words.ts';

const scheduler = (...words: string[]): object =>
  parseWords(SCHEDULER_FLAGS, { command: 'scheduler', words });

test('words as the command line reads them', () => {
  assert.deepEqual(scheduler('--kubeconfig=/a=b', '--leader-elect', '--log-level=warn'), {
    kubeconfig: '/a=b',
    leaderElect: true,
    logLevel: 'warn',
  });
  assert.deepEqual(
    parseWords(DNS_FLAGS, { command: 'dns', words: ['--listen=10.0.0.1:53', '--listen=10.0.0.2:53'] }),
    { listen: ['10.0.0.1:53', '10.0.0.2:53'] },
  );
});

test('refused by name', () => {
  assert.throws(() => scheduler('--nonsense=1'), /capstan scheduler has no flag --nonsense\./);
  assert.throws(() => scheduler('kubeconfig=/a'), /has no flag kubeconfig\./);
  assert.throws(() => scheduler('--kubeconfig'), /--kubeconfig of capstan scheduler needs a value/);
  assert.throws(() => scheduler('--logging-format=xml'), /should be one of text, json/);
  assert.throws(() => scheduler('--leader-elect-lease-duration=soon'), /should be a duration/);
});
