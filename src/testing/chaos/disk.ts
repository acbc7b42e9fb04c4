/** A disk of a machine of the chaos tests: a small ext4 file system on a loop device, or a tmpfs where there is no loop device. It can be made slow and full. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, ftruncateSync, openSync, rmSync } from 'node:fs';
import { join } from 'node:path';

const SIZE_BYTES = 768 * 2 ** 20;
/** Of 500 ms, those in which nothing can be written. */
const STALL = 'fsfreeze --freeze "$0" && sleep 0.4; fsfreeze --unfreeze "$0"; sleep 0.1';

export class Disk {
  readonly path: string;
  /** False: it is a tmpfs, which cannot be slow. */
  readonly isDevice: boolean;
  readonly #image: string;
  #slow: ChildProcess | undefined;

  /** path: an empty directory that it is mounted at. */
  constructor(path: string) {
    this.path = path;
    this.#image = `${path}.img`;
    this.isDevice = this.#mountDevice();
    if (!this.isDevice) run('mount', '-t', 'tmpfs', '-o', `size=${SIZE_BYTES}`, 'tmpfs', path);
  }

  #mountDevice(): boolean {
    const file = openSync(this.#image, 'w');
    ftruncateSync(file, SIZE_BYTES);
    closeSync(file);
    const mounted =
      succeeds('mkfs.ext4', '-q', '-m', '0', this.#image) &&
      succeeds('mount', '-o', 'loop,noatime', this.#image, this.path);
    if (!mounted) rmSync(this.#image);
    return mounted;
  }

  /**
   * Each write may have to wait 400 ms, until restore() or the seconds are over. A program of its own does it, so that no end of this
   * process leaves the file system frozen.
   */
  makeSlow(seconds: number): void {
    const loop = `for i in $(seq ${2 * seconds}); do [ -e "$1" ] || break; ${STALL}; done`;
    closeSync(openSync(this.#slowFile, 'w'));
    this.#slow = spawn('sh', ['-c', loop, this.path, this.#slowFile], { stdio: 'ignore', detached: true });
  }

  /** No block is free. */
  fill(): void {
    let offset = 0;
    for (const length of [64 * 2 ** 20, 2 ** 20, 2 ** 16, 4096])
      while (succeeds('fallocate', `--offset=${offset}`, `--length=${length}`, join(this.path, 'ballast')))
        offset += length;
  }

  restore(): void {
    rmSync(this.#slowFile, { force: true });
    // The last stall ends by itself.
    while (this.#slow && isAlive(this.#slow)) spawnSync('sleep', ['0.05']);
    this.#slow = undefined;
    rmSync(join(this.path, 'ballast'), { force: true });
  }

  close(): void {
    this.restore();
    succeeds('umount', '--lazy', this.path);
    rmSync(this.#image, { force: true });
  }

  /** Beside the disk: it is there as long as the disk is slow. */
  get #slowFile(): string {
    return `${this.path}.slow`;
  }
}

function isAlive({ pid = 0 }: ChildProcess): boolean {
  // Not yet waited for, as this thread is busy: a zombie is dead.
  return !/^State:\s+[ZX]/m.test(
    spawnSync('cat', [`/proc/${pid}/status`], { encoding: 'utf8' }).stdout || 'State: X',
  );
}

function succeeds(file: string, ...words: readonly string[]): boolean {
  return spawnSync(file, words, { stdio: 'ignore' }).status === 0;
}

function run(file: string, ...words: readonly string[]): void {
  const { status, stderr } = spawnSync(file, words, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${file} ${words.join(' ')} failed: ${stderr}`);
}
