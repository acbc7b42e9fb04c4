/** RFC 7541 rule by rule, as conformance.test.ts has RFC 9113: what the server makes of header blocks. */
import assert from 'node:assert/strict';
import { ErrorCode, FrameType, Setting, settingsFrame } from './frames.ts';
import { answered, first, goaway, handed, runCases, type Case } from './testing/conformance.ts';
import { GET, headers, integer, remembered } from './testing/raw-client.ts';

const { compressionError } = ErrorCode;
const HEADER_TABLE_SIZE = Setting.headerTableSize;
const hex = (text: string): Buffer => Buffer.from(text, 'hex');

/** Three requests on one connection. */
function example(what: string, blocks: readonly string[]): Case {
  return {
    what,
    send: blocks.map((block, index) => headers(1 + 2 * index, hex(block))),
    expect: first(
      answered(5),
      handed({ path: '/index.html', fields: { host: 'www.example.com', 'custom-key': 'custom-value' } }),
    ),
  };
}

const SECTIONS: Readonly<Record<string, readonly Case[]>> = {
  'RFC 7541 2.3.3: index address space': [
    {
      what: 'an index beyond both tables',
      send: [headers(1, Buffer.from([...GET, 0x80 | 70]))],
      expect: goaway(compressionError),
    },
    {
      what: 'a name by an index beyond both tables',
      send: [headers(1, Buffer.from([...GET, 0x40 | 62, 1, 0x78]))],
      expect: goaway(compressionError),
    },
    {
      what: 'an entry that was evicted',
      send: [
        headers(1, Buffer.concat([GET, remembered('x-old', 'old'), remembered('x-new', 'x'.repeat(4050))])),
        headers(3, Buffer.from([...GET, 0x80 | 63])),
      ],
      expect: goaway(compressionError),
    },
  ],
  'RFC 7541 4.2: maximum table size': [
    {
      what: 'an update at the end of a block',
      send: [headers(1, Buffer.from([...GET, 0x20]))],
      expect: goaway(compressionError),
    },
    {
      what: 'two updates at the start of a block',
      send: [headers(1, Buffer.from([0x20, 0x3f, 0xe1, 0x1f, ...GET]))],
      expect: answered(1),
    },
    {
      what: 'three updates',
      send: [headers(1, Buffer.from([0x20, 0x20, 0x20, ...GET]))],
      expect: goaway(compressionError),
    },
    {
      what: 'an update to nothing evicts all',
      send: [
        headers(1, Buffer.concat([GET, remembered('x-a', 'x')])),
        headers(3, Buffer.from([0x20, ...GET, 0x80 | 62])),
      ],
      expect: goaway(compressionError),
    },
    {
      what: 'a smaller table for our blocks is acknowledged at the start of the next block, and once',
      send: [
        settingsFrame([[HEADER_TABLE_SIZE, 100]]),
        headers(1),
        settingsFrame([[HEADER_TABLE_SIZE, 0]]),
        headers(3),
      ],
      expect: first(answered(1), answered(3), (client) => {
        const blocks = client.frames.filter(({ type }) => type === FrameType.headers);
        assert.deepEqual(
          blocks.map(({ payload }) => payload[0]),
          [0x20, 0x88],
        );
        return Promise.resolve();
      }),
    },
    {
      what: 'a larger table for our blocks needs no acknowledgement',
      send: [settingsFrame([[HEADER_TABLE_SIZE, 65_536]]), headers(1)],
      expect: first(answered(1), (client) => {
        assert.equal(client.frames.find(({ type }) => type === FrameType.headers)?.payload[0], 0x88);
        return Promise.resolve();
      }),
    },
    {
      what: 'an entry larger than the table empties it',
      send: [
        headers(1, Buffer.concat([GET, remembered('x-a', 'x'), remembered('x-b', 'x'.repeat(5000))])),
        headers(3, Buffer.from([...GET, 0x80 | 62])),
      ],
      expect: goaway(compressionError),
    },
  ],
  'RFC 7541 5.1: integers': [
    {
      what: 'in several bytes',
      send: [headers(1, Buffer.concat([GET, remembered('x-a', 'x'.repeat(1337))]))],
      expect: first(answered(1), handed({ fields: { 'x-a': 'x'.repeat(1337) } })),
    },
    {
      what: 'without an end',
      send: [headers(1, Buffer.from([0xff, ...Array.from({ length: 20 }, () => 0xff)]))],
      expect: goaway(compressionError),
    },
    {
      what: 'zeros without an end',
      send: [headers(1, Buffer.from([0xff, ...Array.from({ length: 20 }, () => 0x80), 0]))],
      expect: goaway(compressionError),
    },
    {
      what: 'a string longer than its block',
      send: [headers(1, Buffer.concat([GET, Buffer.from([0x00]), integer(2 ** 27, 127)]))],
      expect: goaway(compressionError),
    },
  ],
  'RFC 7541 5.2: string literals': [
    {
      what: 'padding of more than seven bits',
      send: [headers(1, Buffer.from([...GET, 0x00, 0x82, 0x1f, 0xff, 0x01, 0x78]))],
      expect: goaway(compressionError),
    },
    {
      what: 'padding that is not of the end of the string',
      send: [headers(1, Buffer.from([...GET, 0x00, 0x81, 0x18, 0x01, 0x78]))],
      expect: goaway(compressionError),
    },
    {
      what: 'the end of the string inside it',
      send: [headers(1, Buffer.from([...GET, 0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x01, 0x78]))],
      expect: goaway(compressionError),
    },
  ],
  'RFC 7541 6: representations': [
    {
      what: '6.1: index 0',
      send: [headers(1, Buffer.from([...GET, 0x80]))],
      expect: goaway(compressionError),
    },
    {
      what: '6.1: from both tables',
      send: [
        headers(1, Buffer.concat([GET, remembered('x-a', 'x')])),
        headers(3, Buffer.from([...GET, 0x80 | 62, 0x80 | 16])),
      ],
      expect: first(answered(3), handed({ fields: { 'x-a': 'x', 'accept-encoding': 'gzip, deflate' } })),
    },
    {
      what: '6.2.1: remembered, by an indexed name',
      send: [
        headers(1, Buffer.concat([GET, Buffer.from([0x40 | 58, 1, 0x61])])),
        headers(3, Buffer.from([...GET, 0x80 | 62])),
      ],
      expect: first(answered(3), handed({ fields: { 'user-agent': 'a' } })),
    },
    {
      what: '6.2.2: not remembered, by an indexed name',
      send: [headers(1, Buffer.from([...GET, 0x0f, 58 - 15, 1, 0x61]))],
      expect: first(answered(1), handed({ fields: { 'user-agent': 'a' } })),
    },
    {
      what: '6.2.3: never indexed',
      send: [headers(1, Buffer.concat([GET, Buffer.from([0x10, 3, 0x78, 0x2d, 0x61, 1, 0x62])]))],
      expect: first(answered(1), handed({ fields: { 'x-a': 'b' } })),
    },
    {
      what: '6.3: a table larger than the setting',
      send: [headers(1, Buffer.from([0x3f, 0xe2, 0x1f, ...GET]))],
      expect: goaway(compressionError),
    },
  ],
  'RFC 7541 appendix C: its examples of requests': [
    example('C.3, plain', [
      '828684410f7777772e6578616d706c652e636f6d',
      '828684be58086e6f2d6361636865',
      '828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565',
    ]),
    example('C.4, Huffman coded', [
      '828684418cf1e3c2e5f23a6ba0ab90f4ff',
      '828684be5886a8eb10649cbf',
      '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
    ]),
  ],
};

runCases(SECTIONS);
