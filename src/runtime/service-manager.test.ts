import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '#stdx/log.ts';
import { connectServiceManager, watchdogMs } from './service-manager.ts';

/** Node.js cannot receive on unix datagram sockets: uses Debian's Python, or skips. */
const RECEIVER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True: print(s.recv(4096).decode().replace('\\n', '|'), flush=True)
`;

test('notifications arrive at the socket, with a single-line status', async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-notify-'));
  const path = join(dir, 'socket');
  const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => {
    receiver.kill();
    rmSync(dir, { recursive: true });
  });
  const failed = await Promise.race([
    once(receiver, 'error').then(() => true),
    once(receiver.stdout, 'data').then(() => false),
  ]);
  if (failed) return t.skip('needs python3');
  let received = '';
  receiver.stdout.on('data', (text) => (received += String(text)));
  const manager = await connectServiceManager(silentLogger, { NOTIFY_SOCKET: path });
  manager.ready();
  manager.status('two\nlines');
  manager.alive();
  manager.stopping();
  while (received.split('\n').length < 5) await new Promise((again) => setTimeout(again, 10));
  assert.deepEqual(received.trim().split('\n'), [
    'READY=1|STATUS=Ready',
    'STATUS=two lines',
    'WATCHDOG=1',
    'STOPPING=1|STATUS=Stopping containers and components',
  ]);
});

test('does nothing without a service manager', async () => {
  (await connectServiceManager(silentLogger, {})).ready();
  (await connectServiceManager(silentLogger, { NOTIFY_SOCKET: '/nonexistent/socket' })).ready();
});

test('the watchdog applies only to the process that it names', () => {
  assert.equal(watchdogMs({}), undefined);
  assert.equal(watchdogMs({ WATCHDOG_USEC: '60000000' }), 60_000);
  assert.equal(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: String(process.pid) }), 60_000);
  assert.equal(watchdogMs({ WATCHDOG_USEC: '60000000', WATCHDOG_PID: '1' }), undefined);
});
