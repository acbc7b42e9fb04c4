import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { canHaveNamespaces } from '../lan.ts';
import { makeBase, mountsBelow, sweepLeftovers } from './leftovers.ts';

const skip = !canHaveNamespaces() && 'needs root and ip netns';

it(
  'a run that was killed leaves nothing to the next one, and one that goes on is not touched',
  { skip },
  async () => {
    const { pid: dead } = spawnSync('true');
    const base = join(tmpdir(), `capstan-chaos-${dead}-test`);
    const [machine, namespace] = [join(base, 'm1'), `cc${dead}-m1`];
    mkdirSync(machine, { recursive: true });
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', 'tmpfs', machine]).status, 0);
    mkdirSync(join(machine, 'var/lib/capstan/node'), { recursive: true });
    assert.equal(spawnSync('ip', ['netns', 'add', namespace]).status, 0);
    const process = spawn('ip', ['netns', 'exec', namespace, 'sleep', '1000']);
    await once(process, 'spawn');
    const going = makeBase();
    const resets: string[][] = [];
    sweepLeftovers((...words) => resets.push(words));
    // Other runs that were killed may have left machines here too.
    assert.deepEqual(
      resets.filter(([swept]) => swept === namespace),
      [[namespace, machine]],
    );
    if (process.signalCode === null) await once(process, 'exit');
    assert.ok(!existsSync(base) && !existsSync(`/run/netns/${namespace}`));
    assert.deepEqual(mountsBelow(base), []);
    assert.ok(existsSync(going));
    rmSync(going, { recursive: true });
  },
);
