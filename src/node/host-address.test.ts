import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseHostAddress } from './host-address.ts';

const HEADER = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n';
const DEFAULT4 = (name: string): string =>
  `${name}\t00000000\t0202000A\t0003\t0\t0\t1024\t00000000\t0\t0\t0\n`;
const LOCAL4 = (name: string): string => `${name}\t0002000A\t00000000\t0001\t0\t0\t1024\t00FFFFFF\t0\t0\t0\n`;
const ZERO = '0'.repeat(32);
const DEFAULT6 = (name: string): string =>
  `${ZERO} 00 ${ZERO} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 ${name}\n`;
const REJECT6 = `${ZERO} 00 ${ZERO} 00 ${ZERO} ffffffff 00000001 00000000 00200200       lo\n`;
const ADDRESSES: Readonly<Record<string, readonly string[]>> = {
  lo: ['127.0.0.1', '::1'],
  eth0: ['169.254.3.4', '192.0.2.10', 'fe80::1', '2001:db8::10'],
  eth1: ['198.51.100.7'],
  wlan0: ['fe80::2', '2001:db8::20'],
};

function choose(ipv4Routes: string, ipv6Routes = ''): string | undefined {
  return chooseHostAddress({
    ipv4Routes: HEADER + ipv4Routes,
    ipv6Routes,
    addresses: (name) => ADDRESSES[name] ?? [],
  });
}

describe('the address of this machine', () => {
  it("is the default route's, not a link-local one", () =>
    assert.equal(choose(LOCAL4('eth1') + DEFAULT4('eth0')), '192.0.2.10'));
  it('is that of the first default route', () =>
    assert.equal(choose(DEFAULT4('eth1') + DEFAULT4('eth0')), '198.51.100.7'));
  it('is IPv6 where there is nothing else', () => {
    assert.equal(choose('', DEFAULT6('wlan0')), '2001:db8::20');
    assert.equal(choose(DEFAULT4('wlan0'), DEFAULT6('wlan0')), '2001:db8::20');
  });
  it('is IPv4 on an interface with an IPv6 default route alone', () =>
    assert.equal(choose('', DEFAULT6('eth0')), '192.0.2.10'));
  it('is unknown without a default route', () => {
    assert.equal(choose(LOCAL4('eth0'), REJECT6), undefined);
    assert.equal(choose(DEFAULT4('gone')), undefined);
  });
});
