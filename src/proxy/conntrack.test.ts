import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isStale, readEntry, udpServices } from './conntrack.ts';

const services = {
  addresses: new Map([
    ['10.96.0.10:53', new Set(['10.244.0.5:53'])],
    ['10.96.0.11:53', new Set<string>()],
  ]),
  nodePorts: new Map([[30053, new Set(['10.244.0.5:53'])]]),
};
const isLocal = (ip: string): boolean => ip === '192.0.2.1';

describe('a UDP conntrack entry', () => {
  const cases: readonly [to: string, answeredBy: string, stale: boolean, why: string][] = [
    ['10.96.0.10:53', '10.244.0.5:53', false, 'leads to an endpoint'],
    ['10.96.0.10:53', '10.96.0.10:53', true, 'is not translated'],
    ['10.96.0.10:53', '10.244.0.6:53', true, 'leads to an endpoint that is gone'],
    ['10.96.0.11:53', '10.244.0.5:53', true, 'is of a Service without endpoints'],
    ['10.96.0.10:54', '10.96.0.10:54', false, 'is of no Service'],
    ['192.0.2.1:30053', '192.0.2.1:30053', true, 'is of a node port, not translated'],
    ['192.0.2.1:30053', '10.244.0.5:53', false, 'is of a node port'],
    ['203.0.113.1:30053', '203.0.113.1:30053', false, 'is of that port of another machine'],
  ];
  for (const [to, answeredBy, stale, why] of cases)
    it(`that ${why} is ${stale ? 'stale' : 'kept'}`, () =>
      assert.equal(isStale({ to, answeredBy }, services, isLocal), stale));
});

it('a node port leads to the endpoints of both families', () => {
  const port = { protocol: 'udp', port: 53, nodePort: 30053, externalIPs: [] } as const;
  const at = (ip: string): object => ({ ...port, clusterIPs: [], servingEndpoints: [{ ip, port: 53 }] });
  const { nodePorts } = udpServices([at('10.244.0.5'), at('fd00::5')] as Parameters<typeof udpServices>[0]);
  assert.deepEqual(nodePorts.get(30053), new Set(['10.244.0.5:53', 'fd00::5:53']));
});

describe('an entry as the kernel sends it', () => {
  const attribute = (type: number, ...values: readonly Buffer[]): Buffer => {
    const value = Buffer.concat(values);
    const header = Buffer.alloc(4);
    header.writeUInt16LE(4 + value.length, 0);
    header.writeUInt16LE(type, 2);
    return Buffer.concat([header, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
  };
  const nested = 0x8000;
  const port = (number: number): Buffer => Buffer.from([number >> 8, number & 0xff]);
  /** The attributes of an address's source and destination are 1 and 2, of IPv6 3 and 4. */
  const tuple = (
    type: number,
    source: readonly number[],
    sourcePort: number,
    to: readonly number[],
    toPort: number,
  ): Buffer =>
    attribute(
      type | nested,
      attribute(
        1 | nested,
        attribute(source.length === 16 ? 3 : 1, Buffer.from(source)),
        attribute(to.length === 16 ? 4 : 2, Buffer.from(to)),
      ),
      attribute(
        2 | nested,
        attribute(1, Buffer.from([17])),
        attribute(2, port(sourcePort)),
        attribute(3, port(toPort)),
      ),
    );

  it('is read, with what identifies it', () => {
    const original = tuple(1, [10, 244, 0, 3], 4000, [10, 96, 0, 10], 53);
    const reply = tuple(2, [10, 244, 0, 5], 5353, [10, 244, 0, 3], 4000);
    const id = attribute(12, Buffer.from([1, 2, 3, 4]));
    const entry = readEntry(Buffer.concat([Buffer.from([2, 0, 0, 0]), original, reply, id]));
    assert.deepEqual(entry, { to: '10.96.0.10:53', answeredBy: '10.244.0.5:5353', identity: [original, id] });
  });

  it('is read of IPv6 too', () => {
    const six = (last: number): number[] => [0xfd, ...Array.from({ length: 14 }, () => 0), last];
    const body = Buffer.concat([
      Buffer.from([10, 0, 0, 0]),
      tuple(1, six(3), 4000, six(10), 53),
      tuple(2, six(5), 5353, six(3), 4000),
    ]);
    const { to, answeredBy } = readEntry(body) ?? {};
    assert.deepEqual([to, answeredBy], ['fd00::a:53', 'fd00::5:5353']);
  });

  it('cut off anywhere is left out', () => {
    const whole = Buffer.concat([Buffer.from([2, 0, 0, 0]), tuple(1, [1, 1, 1, 1], 1, [2, 2, 2, 2], 2)]);
    for (let length = 0; length < whole.length; length += 1)
      assert.equal(readEntry(whole.subarray(0, length)), undefined);
  });
});
