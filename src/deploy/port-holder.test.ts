import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { it } from 'node:test';
import { describePortHolder, portHolder } from './port-holder.ts';

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
    assert.deepEqual(portHolder(port), { pid: process.pid, name });
    assert.equal(describePortHolder(port), `the program ${name} (process ${process.pid})`);
    await new Promise((resolve) => server.close(resolve));
    assert.notEqual(portHolder(port)?.pid, process.pid);
  });
}
