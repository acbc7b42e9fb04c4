/** Addresses with a fixed place in the services' range: the API server's is the first, the DNS server's the tenth. */
import { BlockList, isIP } from 'node:net';
import { assert } from '#stdx/assert.ts';

/** 'a.b.c.d/n' or its IPv6 counterpart; of several ranges the first. */
export function serviceAddress(ranges: string, index: number): string {
  const [range = ''] = ranges.split(',');
  const [base = '', bits = ''] = range.split('/');
  const family = isIP(base);
  assert(family !== 0, `${range} is a range of addresses`);
  const size = family === 4 ? 32n : 128n;
  const mask = ((1n << BigInt(bits)) - 1n) << (size - BigInt(bits));
  const value = (parseFlagNumber(base, family) & mask) + BigInt(index);
  return family === 4 ? textOf4(value) : textOf6(value);
}

function parseFlagNumber(address: string, family: number): bigint {
  if (family === 4) return address.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0');
  const groups = tail === undefined ? left : [...left, ...zeros, ...right];
  return groups.reduce((sum, part) => (sum << 16n) | BigInt(`0x${part}`), 0n);
}

function textOf4(value: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
}

/** In the canonical spelling. */
function textOf6(value: bigint): string {
  const groups = Array.from({ length: 8 }, (_, index) =>
    ((value >> BigInt((7 - index) * 16)) & 0xffffn).toString(16),
  );
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}

export function isInRanges(address: string, ranges: string): boolean {
  return ranges.split(',').some((range) => {
    const [base = '', bits = ''] = range.split('/');
    const list = new BlockList();
    const family = isIP(base) === 6 ? 'ipv6' : 'ipv4';
    list.addSubnet(base, Number(bits), family);
    return (isIP(address) === 6) === (family === 'ipv6') && list.check(address, family);
  });
}
