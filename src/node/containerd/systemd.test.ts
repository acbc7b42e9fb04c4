import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderNetworkFile } from './systemd.ts';

test("the bridge and CNI's links are unmanaged, and nothing else", () => {
  const lines = renderNetworkFile('cap-0a1b2c3d').split('\n');
  assert.ok(lines.includes('Name=cap-0a1b2c3d veth????????'));
  assert.ok(lines.includes('Unmanaged=yes'));
});
