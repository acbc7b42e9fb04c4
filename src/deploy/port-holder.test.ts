import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { it } from 'node:test';
import { describePortHolder, portHolder, unitIn } from './port-holder.ts';

const LINUX = { skip: process.platform === 'linux' ? false : 'reads /proc' };

for (const host of ['127.0.0.1', '::1']) {
  it(`says who listens on ${host}, while it does`, LINUX, async (t) => {
    const server = createServer();
    const listening = await new Promise<boolean>((resolve) =>
      server.once('error', () => resolve(false)).listen(0, host, () => resolve(true)),
    );
    if (!listening) return t.skip(`${host} is no address here`);
    const { port } = server.address() as AddressInfo;
    const name = basename(readFileSync('/proc/self/cmdline', 'utf8').split('\0')[0] ?? '');
    const { unit: _, ...holder } = portHolder(port) ?? {};
    assert.deepEqual(holder, { pid: process.pid, name });
    assert.equal(describePortHolder(port), `the program ${name} (process ${process.pid})`);
    await new Promise((resolve) => server.close(resolve));
    assert.notEqual(portHolder(port)?.pid, process.pid);
  });
}

it('names the unit that a process is in', () => {
  assert.equal(unitIn('0::/system.slice/etcd.service\n'), 'etcd.service');
  assert.equal(unitIn('0::/capstan.slice/capstan.service/sub\n'), 'capstan.service');
  for (const none of ['', '0::/\n', '0::/init.scope\n', '0::/user.slice/user-0.slice/session-1.scope\n'])
    assert.equal(unitIn(none), undefined, none);
  assert.equal(unitIn('0::/user.slice/user-1.slice/user@1.service/app.slice/x.service\n'), undefined);
});
