import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { linkContainerLog, removeDeadLinks } from './container-log-links.ts';

const DIR = mkdtempSync(join(tmpdir(), 'capstan-log-links-'));
after(() => rmSync(DIR, { recursive: true, force: true }));

test('a link a container, named as log agents expect; one without its log goes, those of others stay', async () => {
  const logsDir = join(DIR, 'pods');
  const containerLogsDir = join(DIR, 'containers');
  const pod = { metadata: { name: 'web', namespace: 'shop', uid: 'u1' } };
  const started = { pod, name: 'c', containerId: 'abc', restartCount: 2 };
  await linkContainerLog({ logsDir }, started);
  await linkContainerLog({ logsDir, containerLogsDir }, started);
  await linkContainerLog({ logsDir, containerLogsDir }, started);
  const link = join(containerLogsDir, 'web_shop_c-abc.log');
  assert.equal(readlinkSync(link), join(logsDir, 'shop_web_u1', 'c', '2.log'));
  symlinkSync('/nonexistent', join(containerLogsDir, 'other.log'));
  mkdirSync(dirname(readlinkSync(link)), { recursive: true });
  writeFileSync(readlinkSync(link), '');
  await removeDeadLinks({ logsDir, containerLogsDir });
  assert.deepEqual(readdirSync(containerLogsDir), ['other.log', 'web_shop_c-abc.log']);
  rmSync(logsDir, { recursive: true });
  await removeDeadLinks({ logsDir, containerLogsDir });
  assert.deepEqual(readdirSync(containerLogsDir), ['other.log']);
});

test('a name that is too long for the file system keeps its end', async () => {
  const containerLogsDir = join(DIR, 'long');
  const pod = { metadata: { name: 'n'.repeat(253), namespace: 'shop', uid: 'u1' } };
  await linkContainerLog(
    { logsDir: DIR, containerLogsDir },
    { pod, name: 'c', containerId: 'abc', restartCount: 0 },
  );
  const [name = ''] = readdirSync(containerLogsDir);
  assert.equal(name.length, 255);
  assert.match(name, /-abc\.log$/);
});
