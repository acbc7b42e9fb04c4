/** The command line from outside: help everywhere, completion that a shell takes, one sentence for bad input. */
import assert from 'node:assert/strict';
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, it } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');
const COMMANDS = [
  'up',
  'down',
  'status',
  'delete',
  'reset',
  'login',
  'user',
  'user create',
  'user list',
  'user delete',
  'user hash-password',
  'certs',
  'certs list',
  'certs check',
  'certs check-expiration',
  'certs renew',
  'certs rotate-ca',
  'certs generate-csr',
  'certs certificate-key',
  'image',
  'image load',
  'access',
  'access who-can',
  'access explain',
  'test',
  'completion',
  'apiserver',
  'controller-manager',
  'scheduler',
  'node',
  'proxy',
  'dns',
  'balancer',
  'fleet',
  'fleet apply',
  'fleet status',
  'fleet reset',
  'ha',
  'ha keepalived',
  'ha haproxy',
];

function capstan(
  words: readonly string[],
  env: NodeJS.ProcessEnv = { ...process.env, KUBECONFIG: '' },
): SpawnSyncReturns<string> {
  return spawnSync(join(ROOT, 'capstan'), words, { encoding: 'utf8', env, timeout: 60_000 });
}

describe('the command line', () => {
  for (const command of COMMANDS) {
    it(`capstan ${command} --help`, () => {
      const { status, stdout } = capstan([...command.split(' '), '--help']);
      assert.equal(status, 0);
      assert.match(stdout, new RegExp(`^Usage: capstan ${command}`));
    });
  }

  it('lists every command', () => {
    const { stdout } = capstan(['--help']);
    for (const command of COMMANDS) assert.match(stdout, new RegExp(`^\\s+${command.split(' ')[0]}\\b`, 'm'));
  });

  it('completes in bash', { skip: existsSync('/bin/bash') ? false : 'needs bash' }, () => {
    const script = capstan(['completion', 'bash']).stdout;
    const complete = (line: string): string =>
      spawnSync(
        '/bin/bash',
        [
          '-c',
          `${script}\nCOMP_WORDS=(${line}); COMP_CWORD=$((\${#COMP_WORDS[@]}-1)); _capstan; echo "\${COMPREPLY[@]}"`,
        ],
        { encoding: 'utf8' },
      ).stdout.trim();
    assert.equal(complete('capstan sta'), 'status');
    assert.match(complete('capstan up --ru'), /^--runtime$/);
    assert.equal(complete('capstan up --runtime si'), 'simulated');
    assert.equal(complete('capstan image lo'), 'load');
    assert.equal(complete('capstan user cr'), 'create');
    assert.match(complete('capstan login --ker'), /^--kerberos --kerberos-service$/);
    assert.equal(
      complete('capstan up --data-dir /tmp --ru'),
      '--runtime',
      'the value of an option is no command',
    );
    assert.equal(complete('capstan apiserver --storage l'), 'lmdb');
    assert.equal(complete('capstan scheduler --leader-elect f'), 'false');
    assert.equal(complete('capstan completion z'), 'zsh');
    assert.equal(complete(`capstan image load ${join(ROOT, 'package.js')}`), join(ROOT, 'package.json'));
    assert.equal(complete(`capstan up --data-dir ${join(ROOT, 'sr')}`), join(ROOT, 'src'));
  });

  it('help says each default once', () => {
    for (const words of [['user', 'create'], ['scheduler'], ['node'], ['apiserver']]) {
      for (const entry of capstan([...words, '--help']).stdout.split(/\n(?= {2}-)/)) {
        assert.ok((entry.match(/\(default|default: /g) ?? []).length <= 1, entry);
        assert.doesNotMatch(entry, /preset/);
      }
    }
  });

  const refused: readonly { readonly words: readonly string[]; readonly says: RegExp }[] = [
    { words: ['upp'], says: /unknown command 'upp'\n\(Did you mean up\?\)/ },
    {
      words: ['up', '--https-port', '0'],
      says: /--https-port is "0"; it should be a whole number from 1 to 65535/,
    },
    { words: ['up', '--runtime', 'docker'], says: /Allowed choices are auto, cri, simulated/ },
    {
      words: ['up', '--nodes', '3', '--runtime', 'cri', '--data-dir', '/nonexistent/x'],
      says: /--nodes 3 needs --runtime simulated/,
    },
    {
      words: ['up', '--bind-address', 'localhost', '--data-dir', '/nonexistent/x'],
      says: /--bind-address is "localhost"; it should be an IP address/,
    },
    {
      words: ['up', '--bind-address', '192.0.2.1', '--data-dir', '/nonexistent/x'],
      says: /192\.0\.2\.1 is not an address of this machine/,
    },
    { words: ['up', '--data-dir', ''], says: /--data-dir is empty/ },
    { words: ['up', 'now'], says: /too many arguments for 'up'.*\n\(capstan up --help lists its options\)/ },
    {
      words: ['image', 'lod'],
      says: /unknown command 'lod'\n\(Did you mean load\?\)\n\(capstan image --help lists the commands\)/,
    },
    { words: ['down', '--data-dir', '/nonexistent/x'], says: /There is no cluster in \/nonexistent\/x/ },
    {
      words: ['delete', '--yes', '--data-dir', '/nonexistent/x'],
      says: /There is no cluster in \/nonexistent\/x: the directory does not exist/,
    },
    {
      words: ['delete', '--yes', '--data-dir', '/'],
      says: /\/ is not a Capstan data directory .*: nothing was removed/,
    },
    {
      words: ['reset', '--yes'],
      says: /--data-dir DIR \(of capstan node\), or --kubeconfig FILE or --cluster-id ID \(of capstan proxy\) is needed/,
    },
    {
      words: ['reset', '--yes', '--cluster-id', 'x'],
      says: /--cluster-id is "x"; it should be 8 hexadecimal digits/,
    },
    {
      words: ['reset', '--yes', '--kubeconfig', '/nonexistent/k'],
      says: /Cannot read kubeconfig \/nonexistent\/k/,
    },
    {
      words: ['image', 'load', '/nonexistent/i.tar', '--data-dir', '/nonexistent/x'],
      says: /There is no cluster in/,
    },
    { words: ['image', 'load'], says: /missing required argument 'file.tar'/ },
    { words: ['completion', 'tcsh'], says: /Allowed choices are bash, zsh, fish/ },
    {
      words: ['up', '--apiserver-arg', 'no-such-flag=1', '--data-dir', '/nonexistent/x'],
      says: /--apiserver-arg: unknown option '--no-such-flag=1'/,
    },
    {
      words: ['up', '--apiserver-arg', 'secure-port=1', '--data-dir', '/nonexistent/x'],
      says: /--apiserver-arg secure-port is refused: use --https-port of up itself/,
    },
    {
      words: ['user', 'create', 'x', '--data-dir', '/nonexistent/x'],
      says: /There is no cluster in \/nonexistent\/x/,
    },
    { words: ['user', 'create', 'system:x'], says: /names that begin with system: are the cluster's own/ },
    {
      words: ['user', 'create', 'x', '--group', 'system:masters'],
      says: /--group system:masters is refused/,
    },
    { words: ['user', 'create', 'x', '--expires', 'soon'], says: /--expires is "soon"/ },
    { words: ['user', 'list', '--kubeconfig', '/nonexistent/k'], says: /\/nonexistent\/k/ },
    { words: ['user', 'hash-password', 'a:b'], says: /cannot be a user's name here/ },
    { words: ['login', '--server', 'http://x'], says: /it should be https:/ },
    { words: ['login', '--exec-credential'], says: /--exec-credential needs KUBERNETES_EXEC_INFO/ },
    { words: ['apiserver', '--storage', 'memory'], says: /these are needed too: --tls-cert-file/ },
    {
      words: ['apiserver', '--data-dir', '/nonexistent/x', '--secure-port', 'x'],
      says: /--secure-port is "x"/,
    },
    {
      words: ['proxy', '--cluster-cidr', '10.0.0.0', '--kubeconfig', '/nonexistent/k'],
      says: /--cluster-cidr is "10\.0\.0\.0"; "10\.0\.0\.0" must be a valid CIDR value|needs root|nft is missing|needs Linux/,
    },
    { words: ['controller-manager'], says: /--kubeconfig FILE is needed/ },
    {
      words: ['status', '--data-dir', '/nonexistent/x'],
      says: /There is no cluster in \/nonexistent\/x; start one with: capstan up --data-dir/,
    },
    {
      words: ['access', 'who-can', 'get', 'pods', '--kubeconfig', '/nonexistent/k'],
      says: /Cannot read kubeconfig \/nonexistent\/k/,
    },
    {
      words: [
        'apiserver',
        '--data-dir',
        '/nonexistent/x',
        '--authorization-config',
        'c',
        '--authorization-mode',
        'RBAC',
      ],
      says: /--authorization-config can not be specified when --authorization-mode or --authorization-webhook-\* flags are defined/,
    },
    { words: ['scheduler', '--kubeconfig', '/nonexistent/k'], says: /\/nonexistent\/k/ },
    {
      words: ['apiserver', '--storage', 'etcd', '--data-dir', '/nonexistent/x'],
      says: /Allowed choices are lmdb, memory/,
    },
  ];
  for (const { words, says } of refused) {
    it(`refuses: capstan ${words.join(' ')}`, () => {
      const { status, stderr } = capstan(words);
      assert.equal(status, 1);
      assert.match(stderr, says);
      assert.doesNotMatch(stderr, /\n\s+at /, 'no stack trace');
    });
  }

  it('completion scripts are what their shells accept, and leave out what help hides', () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { status, stdout } = capstan(['completion', shell]);
      assert.equal(status, 0);
      assert.match(stdout, /controller-manager/);
      assert.doesNotMatch(stdout, /storage-backend/);
      if (existsSync(`/bin/${shell}`))
        assert.equal(
          spawnSync(`/bin/${shell}`, ['-n'], { input: stdout, encoding: 'utf8' }).stderr,
          '',
          shell,
        );
    }
  });
});

describe('the launcher', () => {
  /** A checkout without installed packages. */
  function copyOfTree(): string {
    const copy = mkdtempSync(join(tmpdir(), 'capstan-launcher-'));
    for (const name of ['capstan', 'package.json', 'package-lock.json'])
      cpSync(join(ROOT, name), join(copy, name));
    return copy;
  }

  it('is plain sh', () => {
    const { status, stderr } = spawnSync('sh', ['-n', join(ROOT, 'capstan')], { encoding: 'utf8' });
    assert.equal(status, 0, stderr);
  });

  it('runs through a symbolic link and from any directory', () => {
    const copy = mkdtempSync(join(tmpdir(), 'capstan-launcher-'));
    try {
      symlinkSync(join(ROOT, 'capstan'), join(copy, 'first'));
      symlinkSync('first', join(copy, 'second'));
      const { status, stdout } = spawnSync('./second', ['--version'], { cwd: copy, encoding: 'utf8' });
      assert.equal(status, 0);
      assert.match(stdout, /Kubernetes v1\.36/);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });

  it('says that npm is missing', () => {
    const copy = copyOfTree();
    try {
      const bin = join(copy, 'bin');
      mkdirSync(bin);
      for (const tool of [
        'sh',
        'dirname',
        'readlink',
        'cksum',
        'cat',
        'mktemp',
        'rm',
        'uname',
        'sed',
        'head',
      ]) {
        const path = ['/usr/bin', '/bin'].map((place) => join(place, tool)).find(existsSync);
        if (path) symlinkSync(path, join(bin, tool));
      }
      const { status, stderr } = spawnSync(join(copy, 'capstan'), ['status'], {
        encoding: 'utf8',
        env: { PATH: bin },
      });
      assert.equal(status, 1);
      assert.match(stderr, /^capstan: npm was not found; install Node\.js 20 or newer with npm/m);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });

  it('passes on why npm failed, and tries again next time', () => {
    const copy = copyOfTree();
    try {
      const bin = join(copy, 'bin');
      mkdirSync(bin);
      writeFileSync(join(bin, 'npm'), '#!/bin/sh\necho "npm error network is down"; exit 7\n', {
        mode: 0o755,
      });
      for (const _ of [1, 2]) {
        const { status, stderr } = spawnSync(join(copy, 'capstan'), ['status'], {
          encoding: 'utf8',
          env: { ...process.env, PATH: `${bin}:${process.env['PATH'] ?? ''}` },
        });
        assert.equal(status, 1);
        assert.match(stderr, /npm error network is down\ncapstan: npm ci failed/);
      }
    } finally {
      rmSync(copy, { recursive: true });
    }
  });

  it('refuses to install over a link to the packages of another checkout', () => {
    const copy = copyOfTree();
    const other = mkdtempSync(join(tmpdir(), 'capstan-launcher-'));
    try {
      writeFileSync(join(other, 'kept'), '');
      symlinkSync(other, join(copy, 'node_modules'));
      const { status, stderr } = spawnSync(join(copy, 'capstan'), ['status'], { encoding: 'utf8' });
      assert.equal(status, 1);
      assert.match(stderr, /node_modules is a link to .*; remove the link and run this again\n$/);
      assert.equal(existsSync(join(other, 'kept')), true);
    } finally {
      rmSync(copy, { recursive: true });
      rmSync(other, { recursive: true });
    }
  });

  it('says what to run where packages are missing and may not be installed', () => {
    const copy = copyOfTree();
    try {
      const { status, stderr } = spawnSync(join(copy, 'capstan'), ['up', '--no-install'], {
        encoding: 'utf8',
      });
      assert.equal(status, 1);
      assert.match(stderr, /--no-install was given; run: \(cd '.*' && npm ci --ignore-scripts\)/);
      assert.equal(existsSync(join(copy, 'node_modules')), false);
    } finally {
      rmSync(copy, { recursive: true });
    }
  });
});
