/** CNI's files after a power cut, in a directory of the test; that containerd deletes such sandboxes is shown by the suite vm. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cachedAttachments, removeDamagedAttachments } from './cached-attachments.ts';

const dir = mkdtempSync(join(tmpdir(), 'capstan-cni-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const layout = { networkName: 'capstan-1' };
const WHOLE = JSON.stringify({ containerId: 'aa', result: { interfaces: [{ sandbox: '/run/netns/x' }] } });

test('attachments whose files a power cut left empty or cut off are listed by their names, and removed', async () => {
  for (const [name, text] of Object.entries({
    'capstan-1-aa-eth0': WHOLE,
    'capstan-1-bb-eth0': '',
    'capstan-1-cc-eth0': WHOLE.slice(0, 20),
    'capstan-1-dd-eth0': 'null',
    'cni-loopback-aa-lo': '{}',
    'cni-loopback-bb-lo': '',
    'cni-loopback-ee-lo': '',
    'cni-loopback-of-another-runtime-lo': '',
    'capstan-2-ff-eth0': '',
  }))
    writeFileSync(join(dir, name), text);
  const found = await cachedAttachments(layout, dir);
  assert.deepEqual(found.map(({ containerId, ifName, netns }) => [containerId, ifName, netns]).toSorted(), [
    ['aa', 'eth0', '/run/netns/x'],
    ['bb', 'eth0', ''],
    ['cc', 'eth0', ''],
    ['dd', 'eth0', ''],
  ]);
  assert.equal(await removeDamagedAttachments(layout, { sandboxIds: ['aa', 'ee'], dir }), 5);
  assert.deepEqual(readdirSync(dir).toSorted(), [
    'capstan-1-aa-eth0',
    'capstan-2-ff-eth0',
    'cni-loopback-aa-lo',
    'cni-loopback-of-another-runtime-lo',
  ]);
});
