/** A data directory that cannot be used gives one clear sentence and is left as it is. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import {
  createSettings,
  DATA_FORMAT,
  dataDir,
  prepareDataDir,
  readSettings,
  SettingsError,
  UserError,
  writeSettings,
  type ClusterSettings,
} from './data-dir.ts';

const SETTINGS: ClusterSettings = {
  format: DATA_FORMAT,
  id: '0123abcd',
  httpsPort: 6443,
  bindAddress: '127.0.0.1',
  runtime: 'simulated',
  nodes: 1,
  podCIDR: '10.244.0.0/16',
  serviceCIDR: '10.96.0.0/16',
};

function sentence(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof UserError, String(error));
    return error.message;
  }
  throw new assert.AssertionError({ message: 'nothing was refused' });
}

describe('the data directory', () => {
  let base: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'capstan-dir-'));
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  it('keeps settings', () => {
    const dir = dataDir(base);
    prepareDataDir(dir);
    assert.equal(readSettings(dir), undefined);
    writeSettings(dir, SETTINGS);
    assert.deepEqual(readSettings(dir), SETTINGS);
  });

  const damages: readonly { readonly name: string; readonly text: string; readonly says: RegExp }[] = [
    {
      name: 'is cut off',
      text: JSON.stringify(SETTINGS).slice(0, 40),
      says: /capstan\.json is damaged .*it was left as it is/,
    },
    { name: 'is empty', text: '', says: /is damaged/ },
    { name: 'is another JSON', text: '[1]', says: /is damaged \(no format number\)/ },
    {
      name: 'has a wrong port',
      text: JSON.stringify({ ...SETTINGS, httpsPort: 'x' }),
      says: /"httpsPort" should be a port number/,
    },
    {
      name: 'has no valid range',
      text: JSON.stringify({ ...SETTINGS, podCIDR: '10.244.0.0' }),
      says: /"podCIDR" should be a range, or one of each family/,
    },
    {
      name: 'has no valid address',
      text: JSON.stringify({ ...SETTINGS, bindAddress: 'localhost' }),
      says: /"bindAddress" should be an IP address/,
    },
    {
      name: 'lacks its id',
      text: JSON.stringify({ ...SETTINGS, id: undefined }),
      says: /"id" should be 8 hexadecimal digits/,
    },
    {
      name: 'is of no version',
      text: JSON.stringify({ ...SETTINGS, format: 0 }),
      says: /is damaged \(no format number\)/,
    },
    {
      name: 'is of a newer version',
      text: JSON.stringify({ ...SETTINGS, format: DATA_FORMAT + 1 }),
      says: /was made by a newer Capstan \(format 2; this program reads up to 1\)/,
    },
  ];
  for (const { name, text, says } of damages) {
    it(`refuses a settings file that ${name}, and leaves it`, () => {
      const dir = dataDir(base);
      writeFileSync(dir.settingsFile, text);
      assert.match(
        sentence(() => readSettings(dir)),
        says,
      );
      assert.equal(readFileSync(dir.settingsFile, 'utf8'), text);
    });
  }

  it('does not take a store without settings for a new cluster', () => {
    const dir = dataDir(base);
    mkdirSync(dir.store, { recursive: true });
    assert.match(
      sentence(() => readSettings(dir)),
      /capstan\.json is missing, but .*store holds a cluster's data/,
    );
  });

  it('tells what is damaged or missing from what is newer', () => {
    const dir = dataDir(base);
    const codeOf = (text: string | undefined): string | undefined => {
      if (text !== undefined) writeFileSync(dir.settingsFile, text);
      try {
        readSettings(dir);
        return undefined;
      } catch (error) {
        return error instanceof SettingsError ? error.code : String(error);
      }
    };
    assert.equal(codeOf('{'), 'damaged');
    assert.equal(codeOf(JSON.stringify({ ...SETTINGS, id: 'x' })), 'damaged');
    assert.equal(codeOf(JSON.stringify({ format: DATA_FORMAT + 1 })), 'newer');
    rmSync(dir.settingsFile);
    assert.equal(codeOf(undefined), undefined);
    writeFileSync(dir.kubeconfig, '');
    assert.equal(codeOf(undefined), 'missing');
    assert.match(
      sentence(() => readSettings(dir)),
      /capstan\.json is missing, but .*admin\.kubeconfig says that there was a cluster/,
    );
  });

  it('says that a file is in the way', () => {
    writeFileSync(join(base, 'file'), '');
    assert.match(
      sentence(() => prepareDataDir(dataDir(join(base, 'file')))),
      /a file stands where a directory should be/,
    );
  });

  it('says so from below a file too, and of places where nothing can be made', { timeout: 10_000 }, () => {
    writeFileSync(join(base, 'file'), '');
    assert.match(
      sentence(() => readSettings(dataDir(join(base, 'file')))),
      /file is in the way/,
    );
    assert.match(
      sentence(() => prepareDataDir(dataDir(join(base, 'file/below')))),
      /a file stands where a directory should be/,
    );
    if (process.platform === 'linux')
      assert.match(
        sentence(() => prepareDataDir(dataDir('/proc/capstan'))),
        /\/proc\/capstan/,
      );
  });

  it('is neither empty nor the working directory by mistake', () => {
    assert.match(
      sentence(() => dataDir('')),
      /--data-dir is empty/,
    );
    const before = process.env['CAPSTAN_HOME'];
    try {
      process.env['CAPSTAN_HOME'] = '';
      assert.equal(dataDir(undefined).path, join(homedir(), '.capstan'));
      process.env['CAPSTAN_HOME'] = base;
      assert.equal(dataDir(undefined).path, base);
    } finally {
      if (before === undefined) delete process.env['CAPSTAN_HOME'];
      else process.env['CAPSTAN_HOME'] = before;
    }
  });

  it('gets its settings once: whoever comes second takes those of the first', () => {
    const dir = dataDir(base);
    assert.deepEqual(createSettings(dir, SETTINGS), SETTINGS);
    assert.deepEqual(createSettings(dir, { ...SETTINGS, id: 'ffffffff' }), SETTINGS);
    assert.deepEqual(readSettings(dir), SETTINGS);
    assert.deepEqual(readdirSync(base), ['capstan.json']);
  });

  const mounted = (options: string, work: (path: string) => void): void => {
    const path = join(base, 'disk');
    mkdirSync(path);
    assert.equal(spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', path]).status, 0);
    try {
      if (options !== '') spawnSync('mount', ['-o', `remount,${options}`, path]);
      work(path);
    } finally {
      spawnSync('umount', [path]);
    }
  };
  const root = process.platform === 'linux' && process.getuid?.() === 0;

  it('says that the disk is read-only', { skip: root ? false : 'needs root to mount' }, () => {
    mounted('ro', (path) =>
      assert.match(
        sentence(() => prepareDataDir(dataDir(join(path, 'new')))),
        /is on a read-only file system/,
      ),
    );
  });

  it(
    'says that the disk is full, and keeps the settings that were there',
    { skip: root ? false : 'needs root to mount' },
    () => {
      mounted('', (path) => {
        const dir = dataDir(join(path, 'd'));
        prepareDataDir(dir);
        writeSettings(dir, SETTINGS);
        assert.throws(() => writeFileSync(join(path, 'fill'), Buffer.alloc(2 * 1024 * 1024)), /ENOSPC/);
        assert.match(
          sentence(() => writeSettings(dir, { ...SETTINGS, nodes: 7 })),
          /is full: free some space and run this again; nothing was lost/,
        );
        assert.deepEqual(readSettings(dir), SETTINGS);
        assert.deepEqual(
          readdirSync(dir.path).filter((name) => name.endsWith('.tmp')),
          [],
        );
      });
    },
  );
});
