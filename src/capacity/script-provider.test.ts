/** The contract with a user's program, told by real programs. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import type { NodeProvider } from './autoscaler/provider.ts';
import { createScriptProvider, parseScriptConfig } from './script-provider.ts';

const GROUPS = {
  groups: [
    {
      id: 'small',
      minSize: 1,
      maxSize: 5,
      targetSize: 3,
      price: 0.5,
      instances: [
        { id: 'vm://1' },
        { id: 'vm://2', state: 'creating' },
        {
          id: 'vm://3',
          state: 'creating',
          error: { class: 'OutOfResources', code: 'QUOTA', message: 'no more' },
        },
      ],
    },
    { id: 'large', maxSize: 2 },
  ],
};
const TEMPLATE = {
  template: { labels: { size: 'small' }, allocatable: { cpu: '4', memory: '8Gi', pods: '110' } },
};

describe('the provider that is a program', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-script-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  let count = 0;
  function provider(body: string, timeout = '10s'): NodeProvider {
    const file = join(dir, `provider-${(count += 1)}`);
    writeFileSync(file, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
    const config = {
      apiVersion: 'capacity.capstan.dev/v1alpha1',
      kind: 'ScriptProvider',
      command: [file],
      env: { DIR: dir },
      timeout,
    };
    return createScriptProvider(parseScriptConfig(JSON.stringify(config)));
  }

  it('lists groups and instances, and tells of changes', async () => {
    const asked = provider(`
case $1 in
list) echo '${JSON.stringify(GROUPS)}' ;;
template) echo '${JSON.stringify(TEMPLATE)}' ;;
*) { echo "$1"; cat; } >> $DIR/changes ;;
esac`);
    await asked.refresh();
    assert.deepEqual(
      (await asked.groups()).map(({ id, minSize, maxSize }) => [id, minSize, maxSize]),
      [
        ['small', 1, 5],
        ['large', 0, 2],
      ],
    );
    assert.equal(await asked.targetSize('small'), 3);
    assert.equal(await asked.targetSize('large'), 0);
    assert.deepEqual((await asked.instances('small')).at(-1), {
      id: 'vm://3',
      state: 'creating',
      error: { errorClass: 'out-of-resources', code: 'QUOTA', message: 'no more' },
    });
    const node = { name: 'w-1', providerID: 'vm://1', labels: {}, annotations: {} };
    assert.equal(await asked.groupOf(node), 'small');
    assert.equal(await asked.groupOf({ ...node, providerID: '' }), undefined);
    const template = await asked.template('small');
    assert.equal(template?.metadata?.labels?.['size'], 'small');
    assert.equal(await asked.price?.('small', template!), 0.5);
    await asked.increase('small', 2);
    await asked.deleteNodes('small', [node]);
    await asked.decreaseTarget('small', -1);
    assert.deepEqual(readFileSync(join(dir, 'changes'), 'utf8').trim().split('\n'), [
      'increase',
      '{"group":"small","delta":2}',
      'delete',
      '{"group":"small","instances":[{"id":"vm://1","node":"w-1"}]}',
      'decrease-target',
      '{"group":"small","delta":-1}',
    ]);
  });

  it('says what is wrong', async () => {
    const fails = (body: string, words: RegExp, timeout?: string): Promise<void> =>
      assert.rejects(provider(body, timeout).refresh(), words);
    await fails('echo no such host >&2; exit 3', /list: exit status 3: no such host$/);
    await fails('sleep 60', /list: it did not end within 0\.2 s/, '200ms');
    await fails('echo hello', /the answer to list is wrong/);
    await fails(`echo '{"groups": [{"id": "a", "maxsize": 3}]}'`, /unknown field "groups\[0\]\.maxsize"/);
    await fails(`echo '{"groups": [{"id": "a"}]}'`, /groups\[0\] has minSize 0 and maxSize undefined/);
    await fails(
      `echo '{"groups": [{"id": "a", "maxSize": 1, "instances": [{"id": "b", "state": "up"}]}]}'`,
      /groups\[0\]\.instances\[0\]\.state is up; it should be one of creating, running/,
    );
  });

  it('refuses configurations that name no program', () => {
    const kind = '{"apiVersion": "capacity.capstan.dev/v1alpha1", "kind": "ScriptProvider"';
    assert.throws(() => parseScriptConfig(`${kind}}`), /command\[0\] is ""; it should be the path/);
    assert.throws(() => parseScriptConfig(`${kind}, "command": ["provider"]}`), /command\[0\] is "provider"/);
    assert.throws(() => parseScriptConfig(`${kind}, "command": ["/p"], "timeout": "0s"}`), /timeout is 0s/);
  });
});
