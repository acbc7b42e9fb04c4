import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { createSettings, DATA_FORMAT, dataDir, prepareDataDir } from './data-dir.ts';
import { claimNetworks } from './networks.ts';
import { findOriginal, refuseCopy } from './original.ts';

const id = '0123abcd';
let base: string;
const at = (name: string): string => join(base, name);

before(async () => {
  base = mkdtempSync(join(tmpdir(), 'capstan-original-'));
  const dir = dataDir(at('cluster'));
  prepareDataDir(dir);
  const networks = await claimNetworks({ id, dataDir: dir.path, claimsDir: at('claims'), routed: [] });
  createSettings(dir, {
    format: DATA_FORMAT,
    id,
    httpsPort: 6443,
    bindAddress: '127.0.0.1',
    runtime: 'cri',
    nodes: 1,
    ...networks,
  });
});
after(() => rmSync(base, { recursive: true, force: true }));

it('knows a copy while the original is there, damaged or whole, and the original by any path', () => {
  const options = { id, claimsDir: at('claims') };
  cpSync(at('cluster'), at('copy'), { recursive: true });
  symlinkSync(at('cluster'), at('link'));
  assert.equal(findOriginal(dataDir(at('copy')), options), at('cluster'));
  assert.throws(() => refuseCopy(dataDir(at('copy')), options), {
    name: 'UserError',
    message: new RegExp(`${at('copy')} is a copy of the cluster in ${at('cluster')}, and both would use`),
  });
  for (const own of ['cluster', 'link'])
    assert.equal(findOriginal(dataDir(at(own)), options), undefined, own);
  writeFileSync(at('cluster/capstan.json'), '{');
  assert.equal(findOriginal(dataDir(at('copy')), options), at('cluster'));
});

it('takes a moved directory, and one whose place another cluster has, for no copy', () => {
  const options = { id, claimsDir: at('claims') };
  renameSync(at('cluster'), at('moved'));
  assert.equal(findOriginal(dataDir(at('moved')), options), undefined);
  mkdirSync(at('cluster'));
  cpSync(at('copy/capstan.json'), at('cluster/capstan.json'));
  assert.equal(findOriginal(dataDir(at('moved')), options), at('cluster'));
  assert.equal(findOriginal(dataDir(at('moved')), { ...options, id: 'ffffffff' }), undefined);
});
