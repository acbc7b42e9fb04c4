import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { dataDir } from './data-dir.ts';
import { claimNetworks } from './networks.ts';
import { findRemains, type Remains } from './remains.ts';

describe("what is left of a cluster's directory", () => {
  let base: string;
  let path: string;
  const claimsDir = (): string => join(base, 'claims');
  const remains = (): Remains | undefined => findRemains(dataDir(path), { claimsDir: claimsDir() });
  const put = (name: string, text = ''): void => {
    mkdirSync(dirname(join(path, name)), { recursive: true });
    writeFileSync(join(path, name), text);
  };
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-remains-'));
    path = join(base, 'cluster');
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  it('is nothing where no file is such that only Capstan makes it', () => {
    assert.equal(remains(), undefined);
    put('capstan.json', 'a file of somebody else');
    put('store/shelf', '');
    assert.equal(remains(), undefined);
  });

  it('has an id where the settings still say it, none where they do not', () => {
    put('store/store.mdb');
    assert.deepEqual(remains(), { id: undefined });
    put('capstan.json', '{ "format": 1, "id": "0123abcd", "httpsP');
    assert.deepEqual(remains(), { id: '0123abcd' });
    put('capstan.json', '{ "format": 1, "id": "0123ab');
    assert.deepEqual(remains(), { id: undefined });
  });

  it('has the id under which address ranges were claimed for it, even when all of it is gone', async () => {
    await claimNetworks({ id: '00000001', dataDir: path, claimsDir: claimsDir(), routed: [] });
    assert.deepEqual(remains(), { id: '00000001' });
  });

  it("never has another cluster's id", async () => {
    await claimNetworks({ id: '0123abcd', dataDir: join(base, 'other'), claimsDir: claimsDir(), routed: [] });
    put('store/store.mdb');
    put('capstan.json', '{ "id": "0123abcd", ');
    assert.deepEqual(remains(), { id: undefined });
  });
});
