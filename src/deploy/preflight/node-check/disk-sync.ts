/**
 * Check DiskSync: how long the disk takes to make a write of etcd's log durable. As etcd's documentation measures it with fio: sequential writes of 2,300 bytes, each followed by
 * fdatasync; the 99th percentile should be below 10 ms.
 */
import { closeSync, existsSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { failure, warning, type Check } from '../check.ts';

const BLOCK_BYTES = 2_300;
const WRITES = 1_000;
/** A slow disk is known as one sooner. */
const LIMIT_MS = 10_000;
const GOOD_MS = 10;
/** Above it, leaders of etcd are lost: its heartbeats come every 100 ms. */
const BAD_MS = 100;

interface DiskSyncOptions {
  /** Replaced in tests: makes one write durable, and returns how long that took. */
  readonly write?: ((fd: number, block: Buffer) => number) | undefined;
}

export function diskSync(path: string, { write = writeDurably }: DiskSyncOptions = {}): Check {
  return {
    name: 'DiskSync',
    run() {
      const there = nearestDirectory(path);
      const times = measure(there, write);
      const p99 = percentile(times, 0.99);
      const evidence = `fdatasync in ${there}: p50 ${shown(percentile(times, 0.5))}, p99 ${shown(p99)}, longest ${shown(times.at(-1)!)} (${times.length} writes of ${BLOCK_BYTES} bytes)`;
      if (p99 <= GOOD_MS) return { evidence };
      const problem = `the disk of ${path} takes ${shown(p99)} to make a write durable (99th percentile), and etcd should have ${GOOD_MS} ms or less`;
      const remedy = 'put its data on an SSD of its own, without other load';
      return { evidence, ...(p99 <= BAD_MS ? warning(problem, remedy) : failure(problem, remedy)) };
    },
  };
}

/** Milliseconds, sorted. The file is removed again. */
function measure(dir: string, write: NonNullable<DiskSyncOptions['write']>): readonly number[] {
  const own = mkdtempSync(join(dir, '.capstan-disk-'));
  const times: number[] = [];
  try {
    const fd = openSync(join(own, 'log'), 'w', 0o600);
    const block = Buffer.alloc(BLOCK_BYTES, 'etcd');
    try {
      for (let spent = 0; times.length < WRITES && spent < LIMIT_MS; spent += times.at(-1)!)
        times.push(write(fd, block));
    } finally {
      closeSync(fd);
    }
  } finally {
    rmSync(own, { recursive: true, force: true });
  }
  return times.toSorted((left, right) => left - right);
}

function writeDurably(fd: number, block: Buffer): number {
  writeSync(fd, block);
  const began = performance.now();
  fdatasyncSync(fd);
  return performance.now() - began;
}

function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)]!;
}

function shown(milliseconds: number): string {
  return `${milliseconds.toFixed(1)} ms`;
}

function nearestDirectory(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : nearestDirectory(dirname(path));
}
