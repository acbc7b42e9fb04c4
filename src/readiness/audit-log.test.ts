import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { scanAuditLogs } from './audit-log.ts';

let dir: string;
before(() => (dir = mkdtempSync(join(tmpdir(), 'capstan-audit-log-'))));
after(() => rmSync(dir, { recursive: true, force: true }));

function event(username: string, more: object = {}): string {
  return JSON.stringify({
    kind: 'Event',
    apiVersion: 'audit.k8s.io/v1',
    stage: 'ResponseComplete',
    user: { username },
    objectRef: { apiGroup: 'storage.k8s.io', apiVersion: 'v1beta1', resource: 'volumeattributesclasses' },
    requestReceivedTimestamp: '2026-12-01T10:00:00.000000Z',
    annotations: { 'k8s.io/deprecated': 'true', 'k8s.io/removed-release': '1.37' },
    ...more,
  });
}

function write(name: string, content: string | Buffer, day: number): string {
  const path = join(dir, name);
  writeFileSync(path, content);
  utimesSync(path, day, day);
  return path;
}

test('who requested deprecated versions, from the log and its packed predecessors', async () => {
  const old = write('audit-1.log.gz', gzipSync(`${event('ann')}\n${event('bob')}\n`), 1);
  const other = event('eve', { annotations: {} });
  const received = event('ann', { stage: 'RequestReceived' });
  const now = write('audit.log', `${other}\n${received}\n${event('ann')}\n${event('cut').slice(0, 90)}`, 2);
  const { uses, unread } = await scanAuditLogs([old, now]);
  assert.deepEqual(unread, []);
  assert.deepEqual(uses, [
    {
      name: 'storage.k8s.io/v1beta1 volumeattributesclasses',
      removedRelease: '1.37',
      requests: 3,
      users: new Set(['ann', 'bob']),
      lastMs: Date.parse('2026-12-01T10:00:00Z'),
    },
  ]);
});

test('bounded, and it says what it did not read', async () => {
  const line = `${event('ann')}\n`;
  const older = write('older.log', line, 1);
  const newer = write('newer.log', line.repeat(10), 2);
  const damaged = write('damaged.log.gz', 'no gzip', 3);
  const bound = line.length * 4 + 10;
  const { uses, unread } = await scanAuditLogs([older, newer, damaged, join(dir, 'gone.log')], {
    maximumBytes: bound,
  });
  assert.equal(uses[0]!.requests, 4, 'the end of the newer one');
  assert.match(unread.join('\n'), /gone\.log: ENOENT.*/);
  assert.match(unread.join('\n'), /damaged\.log\.gz: incorrect header check/);
  assert.match(unread.join('\n'), /newer\.log: its first 1 MiB/);
  assert.match(unread.join('\n'), /older\.log: older than the newest 1 MiB/);
});

test('a line without an end takes no memory', async () => {
  const path = write('long.log', `${'x'.repeat(9 * 2 ** 20)}\n${event('ann')}\n`, 1);
  const { uses, unread } = await scanAuditLogs([path]);
  assert.equal(uses[0]!.requests, 1);
  assert.match(unread[0]!, /long\.log: 1 events of more than 4 MiB/);
});
