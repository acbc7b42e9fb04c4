import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { parseEnvFile } from './env-file.ts';

/** The variables that a shell reads from the file. */
function shellValue(text: string, key: string): string {
  const { status, stdout, stderr } = spawnSync('sh', ['-c', `${text}\nprintf %s "$${key}"`], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('values are what a shell reads', () => {
  for (const [text, value] of [
    ["A='1'\nB='2'", '2'],
    ["\n  # a comment\n\t B='two words' # and why\n", 'two words'],
    ["B=''", ''],
    ["A='1'", ''],
    ["B='  as  it is  '  ", '  as  it is  '],
    ['B=\'$HOME ${A} `x` \\n "q" # = ==\'', '$HOME ${A} `x` \\n "q" # = =='],
    ["A='x\nB=2'\nB='first\n\n  third'\n", 'first\n\n  third'],
    ["B='中文 🌍'", '中文 🌍'],
    ["B='found'\nB='later'", 'found'],
  ] as const) {
    assert.equal(parseEnvFile(text, 'B'), value, text);
    if (!text.includes('later')) assert.equal(shellValue(text, 'B'), value, text);
  }
});

test('what a shell would read in another way is refused, with its line', () => {
  for (const [text, why] of [
    ["A ='1'", /at line 1: whitespace before '=' is not allowed$/],
    ["A= '1'", /at line 1: value must be enclosed in single quotes$/],
    ["A='1'\nB=2", /at line 2: value must be enclosed in single quotes$/],
    ['B="2"', /value must be enclosed in single quotes$/],
    ["='1'", /at line 1$/],
    ["A='1'\nnonsense", /at line 2$/],
    ["B='1''2'", /unexpected content after closing quote$/],
    ["B='1'#2", /unexpected content after closing quote$/],
    ["A='1'\nB='2\nC='3'", /at line 2: unexpected content after closing quote$/],
    ["B='2", /at line 1: unclosed single quote$/],
  ] as const)
    assert.throws(() => parseEnvFile(text, 'B'), { name: 'ConfigError', message: why }, text);
});
