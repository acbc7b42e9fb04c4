import assert from 'node:assert/strict';
import { it } from 'node:test';
import { readFrame, renderFrame, solicitedNodeGroup } from './frames.ts';

const MAC = '02:00:00:00:00:01';
const OTHER = '02:00:00:00:00:02';

it('answers ARP requests, and announces by a request for its own address', () => {
  const request = Buffer.from(
    `ffffffffffff0200000000020806${'0001080006040001'}020000000002c0000202${'000000000000'}c0000201`,
    'hex',
  );
  assert.deepEqual(readFrame(request), {
    kind: 'asked',
    address: '192.0.2.1',
    mac: OTHER,
    from: '192.0.2.2',
  });
  const reply = renderFrame({ address: '192.0.2.1', mac: MAC, to: { mac: OTHER, address: '192.0.2.2' } });
  assert.equal(
    reply.toString('hex'),
    '020000000002020000000001080600010800060400020200000000 01c0000201020000000002c0000202'.replace(' ', ''),
  );
  assert.deepEqual(readFrame(renderFrame({ address: '192.0.2.1', mac: MAC })), {
    kind: 'claimed',
    address: '192.0.2.1',
    mac: MAC,
    from: '192.0.2.1',
  });
});

it('answers solicitations of neighbors, also of those that have no address yet', () => {
  const answer = renderFrame({
    address: '2001:db8::1',
    mac: MAC,
    to: { mac: OTHER, address: '2001:db8::2' },
  });
  assert.deepEqual(readFrame(answer), {
    kind: 'claimed',
    address: '2001:db8::1',
    mac: MAC,
    from: '2001:db8::1',
  });
  assert.equal(answer.subarray(0, 6).toString('hex'), OTHER.replaceAll(':', ''));
  const all = renderFrame({ address: '2001:db8::1', mac: MAC, to: { mac: OTHER, address: '::' } });
  assert.equal(all.subarray(0, 6).toString('hex'), '333300000001');
  assert.equal(solicitedNodeGroup('2001:db8::12:3456'), 'ff02::1:ff12:3456');
});

it('whatever it hears, it does not fail', () => {
  for (let seed = 1; seed < 2_000; seed += 1) {
    const frame = Buffer.from(
      Array.from({ length: seed % 100 }, (_, index) => (seed * 31 + index * 17) & 0xff),
    );
    if (frame.length > 54) {
      frame.writeUInt16BE(0x86dd, 12);
      frame[20] = 58;
      frame[54] = 135 + (seed % 2);
    }
    readFrame(frame);
  }
});
