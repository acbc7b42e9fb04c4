/**
 * A small image from Debian's busybox-static: /bin/busybox with its applets as links, /etc/passwd and the usual empty directories.
 * Tests run real pods with it.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { buildImage, entryOfFile } from './build.ts';
import type { BuiltImage, ImageRunConfig, LayerEntry, LayerSource } from './build.ts';
import { ImageError } from './errors.ts';

interface BusyboxImageOptions {
  /** 'busybox:latest' by default. */
  readonly name?: string;
  /** Path of a static busybox; /bin/busybox by default. */
  readonly busybox?: string;
  readonly config?: ImageRunConfig;
  /** Above busybox's layer. */
  readonly layers?: readonly LayerSource[];
  /** As of buildImage. */
  readonly compress?: boolean;
}

export async function buildBusyboxImage(options: BusyboxImageOptions = {}): Promise<BuiltImage> {
  const busybox = options.busybox ?? '/bin/busybox';
  const applets = await listApplets(busybox);
  const directories: LayerEntry[] = [
    'bin',
    'dev',
    'etc',
    'home',
    'proc',
    'root',
    'sys',
    'tmp',
    'usr',
    'usr/bin',
    'usr/sbin',
    'sbin',
    'var',
    'var/www',
  ].map((path) => ({ path, type: 'directory', mode: path === 'tmp' ? 0o1777 : 0o755 }));
  const entries: LayerEntry[] = [
    ...directories,
    await entryOfFile(busybox, 'bin/busybox'),
    ...applets
      .filter((name) => name !== 'busybox')
      .map((name): LayerEntry => ({ path: `bin/${name}`, type: 'symlink', target: 'busybox' })),
    {
      path: 'etc/passwd',
      content: 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
    },
    { path: 'etc/group', content: 'root:x:0:\nnogroup:x:65534:\n' },
  ];
  return buildImage({
    name: options.name ?? 'busybox:latest',
    compress: options.compress,
    layers: [{ entries }, ...(options.layers ?? [])],
    config: {
      Cmd: ['sh'],
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      ...options.config,
    },
  });
}

async function listApplets(busybox: string): Promise<string[]> {
  try {
    const { stdout } = await promisify(execFile)(busybox, ['--list']);
    return stdout.split('\n').filter((name) => name !== '');
  } catch (error) {
    throw new ImageError(
      'not-readable',
      `cannot run ${busybox}: ${(error as Error).message} (apt-get install busybox-static)`,
      error,
    );
  }
}
