/** The command on this machine: its formats and codes, and a cluster to join that is there, or is not. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { diskSync } from '#deploy/preflight/node-check/disk-sync.ts';
import { resolvers } from '#deploy/preflight/node-check/network.ts';
import { gatherOutcomes, type NodeReport } from '#deploy/preflight/node-check/report.ts';
import { timeSync } from '#deploy/preflight/node-check/time-sync.ts';
import { freePort } from '#testing/cluster.ts';
import { startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { runNodeCheck, type NodeCheckFlags } from './node-check.ts';

let api: TestApi;
let port: number;
let dir: string;
before(async () => {
  port = await freePort();
  api = await startTestApi({ port });
  dir = mkdtempSync(join(tmpdir(), 'capstan-node-check-'));
});
after(async () => {
  await api?.stop();
  rmSync(dir, { recursive: true, force: true });
});

interface Run {
  readonly text: string;
  readonly code: number;
}

async function run(flags: Partial<NodeCheckFlags>): Promise<Run> {
  const lines: string[] = [];
  const code = await runNodeCheck({ output: 'text', rootfs: dir, ...flags }, (line) => lines.push(line));
  return { text: lines.join('\n'), code };
}

async function checks(flags: Partial<NodeCheckFlags>): Promise<NodeReport['checks']> {
  const { text } = await run({ ...flags, output: 'json' });
  return (JSON.parse(text) as NodeReport).checks;
}

describe('capstan node check', () => {
  test('every check says what it saw or how to mend it', async () => {
    const all = await checks({ role: 'control-plane', join: `127.0.0.1:${port}` });
    const names = all.map(({ check }) => check);
    for (const name of [
      'KernelConfig',
      'Cgroup2',
      'TimeSync',
      'DiskSync',
      'Port-2379',
      'Resolvers',
      'Peers',
      'Firewalls',
    ])
      assert.ok(names.includes(name), name);
    assert.equal(new Set(names).size, names.length);
    for (const { check, problems } of all)
      for (const { problem, remedy } of problems) assert.ok(problem !== '' && remedy !== '', check);
    assert.ok(!(await checks({ role: 'worker' })).some(({ check }) => check === 'DiskSync'));
  });

  test('a cluster that is reached, and one that is not', async () => {
    const only = ['peers', 'TimeSync', 'resolvers'];
    const [, , reached] = await checks({ join: `127.0.0.1:${port}`, check: only });
    assert.equal(reached?.status, 'ok');
    assert.match(reached.evidence ?? '', new RegExp(`^127.0.0.1:${port} in [\\d.]+ ms$`));
    const away = await freePort();
    const { text, code } = await run({
      join: `127.0.0.1:${port}`,
      peer: [`127.0.0.1:${away}`],
      check: ['Peers'],
    });
    assert.equal(code, 1);
    assert.match(
      text,
      /error    Peers: machine 127\.0\.0\.1:\d+ is not reached \(ECONNREFUSED\)\n +→ let this machine connect/,
    );
    const strange = await run({ join: 'no-such-cluster.invalid', check: ['Resolvers'] });
    assert.match(strange.text, /no-such-cluster\.invalid has no address/);
  });

  test('JUnit, into a file', async () => {
    const file = join(dir, 'report.xml');
    const { text, code } = await run({ check: ['KernelVersion'], output: 'junit', file });
    assert.deepEqual({ text, code }, { text: '', code: 0 });
    assert.match(
      readFileSync(file, 'utf8'),
      /<testcase classname="node" name="KernelVersion" time="0\.\d+"><system-out>Linux /,
    );
  });

  test('words that are none', async () => {
    await assert.rejects(
      run({ check: ['Disk'] }),
      /--check names Disk, which is no check of a worker; there are: IsPriv/,
    );
    await assert.rejects(run({ join: 'a b' }), /--join is "a b"; it should be HOST:PORT/);
    await assert.rejects(run({ peer: ['10.0.0.1'] }), /--peer is "10\.0\.0\.1"; it should be HOST:PORT/);
  });
});

describe('measurements', () => {
  const outcome = async (tookMs: number): Promise<string> => {
    const [found] = await gatherOutcomes([diskSync(join(dir, 'not/there/yet'), { write: () => tookMs })]);
    return `${found!.status}: ${found!.problems[0]?.problem ?? found!.evidence}`;
  };

  test('disks that are fast, slow and far too slow for etcd', async () => {
    assert.match(
      await outcome(2),
      /^ok: fdatasync in .*: p50 2\.0 ms, p99 2\.0 ms, longest 2\.0 ms \(1000 writes of 2300 bytes\)/,
    );
    assert.match(await outcome(40), /^warning: .*takes 40\.0 ms .*99th percentile.* 10 ms or less/);
    assert.match(await outcome(400), /^error: .*takes 400\.0 ms/);
  });

  test('a clock that differs from the API server', async () => {
    const nowMs = Date.now();
    const apart = async (ms: number): Promise<string> => {
      const server = { address: 'm1', dateMs: () => Promise.resolve(nowMs - ms) };
      const [found] = await gatherOutcomes([timeSync({ nowMs, server })]);
      return `${found!.status}: ${found!.problems[0]?.problem}`;
    };
    assert.match(
      await apart(60_000),
      /^error: the clock of this machine is 60 s from that of the API server at m1/,
    );
    assert.doesNotMatch(await apart(500), /^error/);
  });

  test('a resolver that does not answer, and none', async () => {
    const path = join(dir, 'resolv.conf');
    const problem = async (content: string): Promise<string | undefined> => {
      writeFileSync(path, content);
      const [found] = await gatherOutcomes([resolvers({ path })]);
      return found?.problems[0]?.problem;
    };
    assert.match((await problem('# none\n')) ?? '', /names no resolver/);
    assert.match(
      (await problem('nameserver 127.0.0.250\n')) ?? '',
      /the resolver 127\.0\.0\.250 does not answer \((ECONNREFUSED|ETIMEOUT)\)/,
    );
  });
});
