/** Which addresses the API server proxies to. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { isProxyable, requireProxyable } from './locations.ts';

it('refuses loopback, link-local, unspecified and mapped addresses in every form they are written in', () => {
  const refused = [
    '127.0.0.1',
    '127.1.2.3',
    '0.0.0.0',
    '169.254.169.254',
    '224.0.0.1',
    '::',
    '::1',
    '0:0:0:0:0:0:0:1',
    '0000:0000:0000:0000:0000:0000:0000:0001',
    '::0001',
    '0:0::1',
    'fe80::1',
    'FEBF:0:0:0:0:0:0:1',
    'ff02::1',
    'ff01:0:0:0:0:0:0:1',
    '::ffff:127.0.0.1',
    '0:0:0:0:0:ffff:7f00:1',
    'localhost',
    '',
  ];
  for (const address of refused) assert.equal(isProxyable(address), false, address);
  for (const address of ['10.244.0.7', '192.168.1.1', 'fd00::1', '2001:db8::1'])
    assert.equal(isProxyable(address), true, address);
});

it("resolves a node's name once, refuses it where any address is not allowed, and connects to the one it checked", async () => {
  const target = { url: new URL('http://node-1:8080/'), kubelet: false };
  const refused = /address not allowed/;
  await assert.rejects(
    requireProxyable(target, async () => ['127.0.0.1']),
    refused,
  );
  await assert.rejects(
    requireProxyable(target, async () => ['10.0.0.1', '::1']),
    refused,
  );
  await assert.rejects(
    requireProxyable(target, async () => []),
    refused,
  );
  const pinned = await requireProxyable(target, async () => ['10.0.0.1', '10.0.0.2']);
  assert.equal(pinned.url.href, 'http://10.0.0.1:8080/');
  const kubelet = { ...target, kubelet: true };
  assert.equal(
    await requireProxyable(kubelet, async () => ['127.0.0.1']).then(({ url }) => url.host),
    'node-1:8080',
  );
});
