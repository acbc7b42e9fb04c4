import assert from 'node:assert/strict';
import { test } from 'node:test';
import { peersFrom } from './peers.ts';

const readPem = (_flag: string, path: string): string => `PEM of ${path}`;
const able = { isOn: true, hasProxyClient: true, readPem };

test('requests are passed on once --peer-ca-file is given', () => {
  assert.equal(peersFrom({}, able), undefined);
  assert.deepEqual(peersFrom({ peerCaFile: 'ca.crt' }, able), {
    ca: 'PEM of ca.crt',
    advertise: { ip: undefined, port: undefined },
  });
  assert.deepEqual(
    peersFrom({ peerCaFile: 'ca.crt', peerAdvertiseIp: 'fd00::1', peerAdvertisePort: '7443' }, able)
      ?.advertise,
    { ip: 'fd00::1', port: 7443 },
  );
});

test('what can have no effect is refused', () => {
  assert.throws(
    () => peersFrom({ peerAdvertiseIp: '10.0.0.1' }, able),
    /--peer-advertise-ip needs --peer-ca-file/,
  );
  assert.throws(
    () => peersFrom({ peerCaFile: 'ca.crt' }, { ...able, isOn: false }),
    /--peer-ca-file needs the feature gate UnknownVersionInteroperabilityProxy, which is off/,
  );
  assert.throws(
    () => peersFrom({ peerCaFile: 'ca.crt' }, { ...able, hasProxyClient: false }),
    /needs --proxy-client-cert-file/,
  );
  assert.throws(
    () => peersFrom({ peerCaFile: 'ca.crt', peerAdvertiseIp: 'here' }, able),
    /--peer-advertise-ip is "here"; it should be an IP address/,
  );
});
