import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { UserError } from './data-dir.ts';
import {
  listClaimants,
  claimedBy,
  claimNetworks,
  completeNetworks,
  DEFAULT_NETWORKS,
  releaseNetworks,
  simulatedPodCIDR,
} from './networks.ts';

const LONG_AGO_SECONDS = 1_600_000_000;

describe('address ranges of clusters side by side', () => {
  let base: string;
  let claimsDir: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-networks-'));
    claimsDir = join(base, 'claims');
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));
  const claim = (id: string, routed: readonly string[] = []): ReturnType<typeof claimNetworks> =>
    claimNetworks({ id, dataDir: base, claimsDir, routed });

  it('tell whose they are, as far as the claims can be read', async () => {
    await claim('00000001');
    writeFileSync(join(claimsDir, 'broken.json'), '{');
    assert.deepEqual(listClaimants(base, claimsDir), ['00000001']);
    assert.deepEqual(listClaimants('/elsewhere', claimsDir), []);
    assert.equal(claimedBy('00000001', claimsDir), base);
    assert.equal(claimedBy('00000002', claimsDir), undefined);
    assert.deepEqual(listClaimants(base, join(base, 'none')), []);
  });

  it('have a share for each simulated node, also when a cluster grows', () => {
    const { podCIDR } = DEFAULT_NETWORKS;
    assert.equal(simulatedPodCIDR({ nodes: 256, podCIDR }), podCIDR);
    assert.equal(simulatedPodCIDR({ nodes: 257, podCIDR }), '10.128.0.0/9');
    assert.equal(simulatedPodCIDR({ nodes: 10_000, podCIDR: '10.128.0.0/9' }), '10.128.0.0/9');
    assert.equal(
      simulatedPodCIDR({ nodes: 1, podCIDR: '10.128.0.0/9' }),
      '10.128.0.0/9',
      'what nodes have stays inside',
    );
  });

  it('are as wide as the user chose them, of either family', () => {
    assert.equal(simulatedPodCIDR({ nodes: 257, podCIDR: 'fd00:10:244::/56' }), 'fd00:10:244::/48');
    assert.equal(
      simulatedPodCIDR({ nodes: 300, podCIDR: '10.244.0.0/16,fd00:9::/48' }),
      '10.128.0.0/9,fd00:9::/48',
    );
    assert.throws(
      () => simulatedPodCIDR({ nodes: 17, podCIDR: '10.9.0.0/20' }),
      /The range 10\.9\.0\.0\/20 of pods has room for 16 nodes, a \/24 each; --nodes is 17\./,
    );
  });

  it('are completed in the same families and without an overlap', () => {
    assert.deepEqual(completeNetworks({}), DEFAULT_NETWORKS);
    assert.deepEqual(completeNetworks({ podCIDR: 'fd01::/48,10.1.0.0/16' }), {
      podCIDR: 'fd01::/48,10.1.0.0/16',
      serviceCIDR: 'fd00:10:96::/112,10.96.0.0/16',
    });
    assert.deepEqual(completeNetworks({ serviceCIDR: '10.240.0.0/12' }), {
      podCIDR: '10.239.0.0/16',
      serviceCIDR: '10.240.0.0/12',
    });
    assert.equal(completeNetworks({ podCIDR: '10.0.0.0/8' }), undefined);
  });

  it('that the user chose are refused where a cluster or a route has them', async () => {
    await claim('00000001');
    const wanting = (
      wanted: Parameters<typeof completeNetworks>[0],
      routed: readonly string[] = [],
    ): ReturnType<typeof claimNetworks> =>
      claimNetworks({ id: '00000002', dataDir: base, claimsDir, routed, wanted });
    await assert.rejects(
      wanting({ podCIDR: '10.244.128.0/17' }),
      new RegExp(
        `--pod-network-cidr has 10\\.244\\.128\\.0/17, which overlaps with 10\\.244\\.0\\.0/16 of the cluster in ${base}: choose another`,
      ),
    );
    await assert.rejects(
      wanting({ serviceCIDR: 'fd00:5::/112' }, ['fd00:5::/32']),
      /--service-cidr has fd00:5::\/112, which overlaps with fd00:5::\/32 of one of this machine's routes/,
    );
    const dual = await wanting({ podCIDR: '10.1.0.0/16,fd00:1::/56' });
    assert.deepEqual(dual, {
      podCIDR: '10.1.0.0/16,fd00:1::/56',
      serviceCIDR: '10.95.0.0/16,fd00:10:95::/112',
    });
    assert.deepEqual(await wanting({}), dual);
  });

  it('differ, stay with their cluster, and are free again after its end', async () => {
    const first = await claim('00000001');
    assert.deepEqual(first, { podCIDR: '10.244.0.0/16', serviceCIDR: '10.96.0.0/16' });
    const second = await claim('00000002');
    assert.deepEqual(second, { podCIDR: '10.243.0.0/16', serviceCIDR: '10.95.0.0/16' });
    assert.deepEqual(await claim('00000001'), first);
    releaseNetworks('00000001', claimsDir);
    releaseNetworks('00000001', claimsDir);
    assert.deepEqual(await claim('00000003'), first);
  });

  it('pass over what the machine uses, be it wider or narrower', async () => {
    assert.deepEqual(await claim('00000001', ['10.244.7.0/24', '10.95.0.0/16', '10.240.0.0/14']), {
      podCIDR: '10.239.0.0/16',
      serviceCIDR: '10.91.0.0/16',
    });
    await assert.rejects(
      claim('00000002', ['10.0.0.0/8']),
      (error) =>
        error instanceof UserError &&
        /No address range is free .*10\.244\.0\.0\/16 … 10\.145\.0\.0\/16/.test(error.message),
    );
  });

  it('are never given twice to processes that claim at the same moment', async () => {
    const module = new URL('./networks.ts', import.meta.url).href;
    const claimInProcess = (id: string): Promise<string> =>
      new Promise((resolve, reject) => {
        const script = `import { claimNetworks } from ${JSON.stringify(module)};
        console.log((await claimNetworks({ id: '${id}', dataDir: '/', claimsDir: ${JSON.stringify(claimsDir)}, routed: [] })).podCIDR);`;
        const child = spawn(
          process.execPath,
          ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', script],
          { stdio: ['ignore', 'pipe', 'inherit'] },
        );
        let text = '';
        child.stdout.setEncoding('utf8').on('data', (piece: string) => {
          text += piece;
        });
        child.on('close', (code) =>
          code === 0 ? resolve(text.trim()) : reject(new Error(`exit code ${code}`)),
        );
      });
    const given = await Promise.all(
      ['00000001', '00000002', '00000003', '00000004', '00000005'].map(claimInProcess),
    );
    assert.equal(new Set(given).size, given.length, given.join());
  });

  it('of a claim that cannot be read are not guessed', async () => {
    await claim('00000001');
    for (const damaged of ['', '{', 'null', '{"id":"00000001"}']) {
      writeFileSync(join(claimsDir, '00000001.json'), damaged);
      await assert.rejects(
        claim('00000002'),
        (error) => error instanceof UserError && /00000001\.json is damaged/.test(error.message),
        damaged,
      );
      assert.equal(readFileSync(join(claimsDir, '00000001.json'), 'utf8'), damaged);
    }
    assert.deepEqual(
      readdirSync(claimsDir).filter((name) => name.startsWith('00000002')),
      [],
    );
  });

  it('of a data directory that was removed by hand are given again when no other is left', async () => {
    const dataDir = join(base, 'cluster');
    mkdirSync(dataDir);
    const first = await claimNetworks({ id: '00000001', dataDir, claimsDir, routed: [] });
    const noOther = ['10.128.0.0/10', '10.192.0.0/11', '10.224.0.0/12', '10.240.0.0/14'];
    utimesSync(join(claimsDir, '00000001.json'), LONG_AGO_SECONDS, LONG_AGO_SECONDS);
    await assert.rejects(claim('00000002', noOther), UserError);
    rmSync(dataDir, { recursive: true });
    assert.notDeepEqual(await claim('00000003'), first);
    assert.deepEqual(await claim('00000004', noOther), first);
  });

  it('cannot be claimed where nothing can be written', async () => {
    writeFileSync(join(base, 'file'), '');
    await assert.rejects(
      claimNetworks({ id: '00000001', dataDir: base, claimsDir: join(base, 'file/claims'), routed: [] }),
      (error) => error instanceof UserError,
    );
  });
});
