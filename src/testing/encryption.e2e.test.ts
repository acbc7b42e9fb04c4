/** Encryption at rest as a user has it: flags, kubectl, a key that is changed by the book, and a look at the disk. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, describe, it } from 'node:test';
import { freePort, runCommand, until } from './cluster.ts';
import { foreignTools } from './foreign-tools.ts';

const CAPSTAN = resolve(import.meta.dirname, '../../capstan');
const tools = foreignTools(35);
const MARK = 'plain-text-that-nobody-may-read';

describe('encryption at rest', { skip: 'missing' in tools && tools.missing }, () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-encryption-')),
    data = join(dir, 'data'),
    file = join(dir, 'encryption.yaml');
  const keys = { old: randomBytes(32).toString('base64'), new: randomBytes(32).toString('base64') };
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill('SIGKILL');
    rmSync(dir, { recursive: true, force: true });
  });

  function configure(...names: (keyof typeof keys)[]): void {
    const providers = [
      ...names.map((name) => `  - secretbox: {keys: [{name: ${name}, secret: ${keys[name]}}]}`),
      '  - identity: {}',
    ];
    writeFileSync(
      `${file}.new`,
      [
        'apiVersion: apiserver.config.k8s.io/v1',
        'kind: EncryptionConfiguration',
        'resources:',
        '- resources: [secrets]',
        '  providers:',
        ...providers,
        '',
      ].join('\n'),
    );
    renameSync(`${file}.new`, file);
  }

  async function start(port: number): Promise<() => Promise<void>> {
    const child = spawn(
      CAPSTAN,
      [
        'apiserver',
        '--data-dir',
        data,
        '--secure-port',
        String(port),
        '--encryption-provider-config',
        file,
        '--encryption-provider-config-automatic-reload',
      ],
      { stdio: 'ignore' },
    );
    children.push(child);
    const ended = new Promise<void>((done) => child.once('exit', () => done()));
    await until(
      'the API server is ready',
      async () =>
        existsSync(join(data, 'admin.kubeconfig')) &&
        (await kubectl(['get', '--raw', '/readyz'])).stdout === 'ok',
    );
    return async () => {
      child.kill('SIGTERM');
      await ended;
    };
  }

  function kubectl(words: readonly string[], input = ''): ReturnType<typeof runCommand> {
    assert.ok(!('missing' in tools));
    return runCommand([tools.kubectl, '--kubeconfig', join(data, 'admin.kubeconfig'), ...words], {
      input,
      env: { HOME: dir },
    });
  }

  async function ok(words: readonly string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await kubectl(words, input);
    assert.equal(code, 0, stderr);
    return stdout;
  }

  const written = async (name: string): Promise<number> =>
    Number(
      new RegExp(
        `operations_total\\{resource="secrets",status="OK",transformation_type="to_storage",transformer_prefix="k8s:enc:secretbox:v1:${name}:"\\} (\\d+)`,
      ).exec(await ok(['get', '--raw', '/metrics']))?.[1] ?? 0,
    );

  it('a key is changed while the server runs, and the disk shows nothing', { timeout: 120_000 }, async () => {
    configure('old');
    const port = await freePort();
    let stop = await start(port);
    for (const name of ['a', 'b', 'c'])
      await ok(['create', 'secret', 'generic', name, `--from-literal=value=${MARK}-${name}`]);
    assert.equal(await written('old'), 3);
    configure('new', 'old');
    await until('the new file is in use', async () =>
      (await ok(['get', '--raw', '/metrics'])).includes('status="success"} 1'),
    );
    await ok(['replace', '-f', '-'], await ok(['get', 'secrets', '-A', '-o', 'json']));
    assert.equal(await written('new'), 3);
    await ok(['replace', '-f', '-'], await ok(['get', 'secrets', '-A', '-o', 'json']));
    assert.equal(await written('new'), 3, 'nothing is left to be written anew');
    configure('new');
    await stop();
    const disk = readdirSync(join(data, 'store')).map((name) => readFileSync(join(data, 'store', name)));
    assert.ok(disk.some((content) => content.includes('k8s:enc:secretbox:v1:new:')));
    for (const text of [MARK, Buffer.from(MARK).toString('base64').slice(0, 36)])
      assert.ok(disk.every((content) => !content.includes(text)));
    stop = await start(port);
    assert.equal(
      Buffer.from(await ok(['get', 'secret', 'b', '-o', 'jsonpath={.data.value}']), 'base64').toString(),
      `${MARK}-b`,
    );
    await stop();
  });

  it('without the key kubectl says why, and the rest works', { timeout: 60_000 }, async () => {
    configure('old');
    const stop = await start(await freePort());
    assert.match(
      (await kubectl(['get', 'secret', 'a'])).stderr,
      /Internal error occurred: no matching prefix found/,
    );
    assert.match(
      (await kubectl(['get', 'secrets'])).stderr,
      /Internal error occurred: unable to transform key "\/registry\/secrets\/default\/a": no matching prefix found/,
    );
    await ok(['create', 'configmap', 'works', '--from-literal=a=b']);
    await stop();
  });
});
