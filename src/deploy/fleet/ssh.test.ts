/** Quoting against a real shell, and the client against a real sshd on loopback. */
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { until } from '#testing/cluster.ts';
import { asRoot, quote, quoteAll, SshConnections, type SshTarget } from './ssh.ts';

const ATTACKS = [
  "'; touch pwned; '",
  '$(touch pwned)',
  '`touch pwned`',
  '"; touch pwned #',
  '\n touch pwned \n',
  "\\'; touch pwned; \\'",
  '--option',
  '* ? [a] {b,c} ~ ! & | < >',
  '',
  'ünïcode "and" \t tabs\\',
];

test('every word arrives as it was, through both shells', () => {
  const dir = mkdtempSync(join(tmpdir(), 'capstan-quote-'));
  try {
    const script = `printf '%s\\0' ${quoteAll(ATTACKS)}`;
    for (const command of [script, `exec sh -c ${quote(`sh -c ${quote(script)}`)}`]) {
      const { stdout } = spawnSync('sh', ['-c', command], { cwd: dir, encoding: 'utf8' });
      assert.deepEqual(stdout.split('\0').slice(0, -1), ATTACKS);
    }
    assert.ok(!existsSync(join(dir, 'pwned')));
    assert.throws(() => quote('a\0b'), /NUL/);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

const isRoot = process.getuid?.() === 0;
const skip = !isRoot ? 'needs root' : !existsSync('/usr/sbin/sshd') ? 'no sshd' : false;

describe('with a real sshd', { skip }, () => {
  let dir: string;
  let sshd: ChildProcess;
  let port: number;
  let connections: SshConnections;
  const file = (name: string): string => join(dir, name);
  const target = (more: Partial<SshTarget['ssh']> = {}, name = 'one'): SshTarget => ({
    name,
    address: '127.0.0.1',
    ssh: {
      port,
      user: userInfo().username,
      identityFile: file('user'),
      hostKeys: [readFileSync(file('host.pub'), 'utf8').trim()],
      ...more,
    },
  });

  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'capstan-sshd-'));
    for (const name of ['host', 'user', 'other'])
      spawnSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', file(name)]);
    writeFileSync(file('authorized'), readFileSync(file('user.pub')));
    port = await freePort();
    writeFileSync(
      file('ssh_config'),
      'Host *\n  UserKnownHostsFile /dev/null\n  GlobalKnownHostsFile /dev/null\n',
    );
    writeFileSync(
      file('sshd_config'),
      `HostKey ${file('host')}\nListenAddress 127.0.0.1:${port}\nAuthorizedKeysFile ${file('authorized')}\nPermitRootLogin prohibit-password\nUsePAM no\nStrictModes no\nPidFile none\n`,
    );
    const hadPrivsepDir = existsSync('/run/sshd');
    if (!hadPrivsepDir) spawnSync('mkdir', ['-p', '/run/sshd']);
    sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', file('sshd_config')], { stdio: 'ignore' });
    connections = new SshConnections({ configFile: file('ssh_config') });
    await until('sshd to answer', () =>
      connections.run(target(), 'true').then(
        () => true,
        () => false,
      ),
    );
  });
  after(async () => {
    await connections?.close();
    sshd?.kill();
    rmSync(dir, { recursive: true, force: true });
  });

  test('words, standard input, lines and exit codes', async () => {
    assert.deepEqual(
      (await connections.run(target(), `printf '%s\\0' ${quoteAll(ATTACKS)}`)).split('\0').slice(0, -1),
      ATTACKS,
    );
    const lines: string[] = [];
    const output = await connections.run(target(), 'cat; id -u', {
      stdin: 'a\nsecret\n',
      onLine: (line) => lines.push(line),
    });
    assert.equal(output, 'a\nsecret\n0\n');
    assert.deepEqual(lines, ['a', 'secret', '0']);
    await assert.rejects(connections.run(target(), "echo 'capstan: It is wrong.' >&2; exit 3"), {
      name: 'RemoteError',
      message: 'It is wrong',
    });
  });

  test('what is wrong, in a sentence', async () => {
    const says = (to: SshTarget, message: RegExp): Promise<void> =>
      assert.rejects(connections.run(to, 'true'), { name: 'RemoteError', message });
    await says(
      target({ hostKeys: [] }, 'unknown'),
      /its host key is not known: compare it.*ssh-keyscan -H -p \d+ 127/,
    );
    const other = readFileSync(file('other.pub'), 'utf8').trim();
    await says(target({ hostKeys: [other] }, 'changed'), /host key is not the one/);
    await says(target({ identityFile: file('other') }, 'denied'), /Permission denied/);
    await says(target({ port: await freePort() }, 'closed'), /Connection refused/);
  });

  test('time and output are bounded', async () => {
    await assert.rejects(connections.run(target(), 'sleep 60', { timeoutMs: 300 }), /no end within 0.3 s/);
    await assert.rejects(
      connections.run(target(), 'head -c 20000000 /dev/zero | tr "\\0" a'),
      /answers with more than/,
    );
    assert.equal(await connections.run(target(), 'echo still'), 'still\n');
  });

  test('another user than root goes by sudo, which asks nothing', () => {
    assert.match(asRoot('true'), /sudo -n true/);
  });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}
