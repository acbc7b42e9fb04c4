/**
 * One Debian machine under qemu in software emulation: two processors, no network but its own and a forwarded ssh port on loopback. Its disk is a copy,
 * which goes on over reboots and power cuts (qemu is killed; what the guest had not flushed is lost, what it had is in the file).
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, runCommand, until, type CommandResult } from '../../cluster.ts';
import { ensureImage, makeCheckoutDisk, type Image } from './image.ts';

const MEMORY_MB = 2560;
const PROCESSORS = 2;
const LOOK_EVERY_MS = 2_000;
const BOOT_TIMEOUT_MS = 420_000;
const COMMAND_TIMEOUT_MS = 180_000;
const POWEROFF_TIMEOUT_MS = 240_000;

export class VirtualMachine {
  readonly #image: Image;
  readonly #dir: string;
  readonly #port: number;
  #process: ChildProcess | undefined;

  private constructor(of: { readonly image: Image; readonly dir: string; readonly port: number }) {
    this.#image = of.image;
    this.#dir = of.dir;
    this.#port = of.port;
  }

  /** files: further files for /srv, by name. Does not start it. */
  static async create(files: Readonly<Record<string, string>>): Promise<VirtualMachine> {
    const image = await ensureImage();
    const dir = mkdtempSync(join(process.env['CAPSTAN_VM_DIR'] ?? tmpdir(), 'capstan-vm-'));
    await runCommand(['cp', '--sparse=always', image.disk, join(dir, 'root.ext4')], { timeoutMs: 300_000 });
    await makeCheckoutDisk(join(dir, 'checkout.ext4'), files);
    return new VirtualMachine({ image, dir, port: await freePort() });
  }

  /** Resolves when root can log in. */
  async boot(): Promise<void> {
    const disk = (name: string): string[] => ['-drive', `file=${join(this.#dir, name)},format=raw,if=virtio`];
    const options = [
      [
        '-accel',
        'tcg',
        '-machine',
        'q35',
        '-cpu',
        'max',
        '-smp',
        String(PROCESSORS),
        '-m',
        String(MEMORY_MB),
      ],
      ['-kernel', this.#image.kernel, '-initrd', this.#image.initrd],
      ['-append', 'root=/dev/vda rw console=ttyS0 panic=-1'],
      disk('root.ext4'),
      disk('checkout.ext4'),
      ['-netdev', `user,id=uplink,restrict=on,hostfwd=tcp:127.0.0.1:${this.#port}-:22`],
      ['-device', 'virtio-net-pci,netdev=uplink', '-device', 'virtio-rng-pci'],
      ['-display', 'none', '-monitor', 'none', '-serial', `file:${join(this.#dir, 'console.log')}`],
    ].flat();
    this.#process = spawn('nice', ['-n', '5', 'qemu-system-x86_64', ...options], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    await this.waitForLogin();
  }

  async waitForLogin(): Promise<void> {
    await this.until(
      'the machine to let root log in',
      async () => (await this.run('true', 20_000)).code === 0,
      BOOT_TIMEOUT_MS,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.console()}`);
    });
  }

  /** As cluster.ts has it, with time between two looks: each costs the machine more than what it looks at. */
  until<T>(
    what: string,
    check: () => Promise<T | undefined | false> | T | undefined | false,
    timeoutMs?: number,
  ): Promise<T> {
    return until(what, check, timeoutMs, LOOK_EVERY_MS);
  }

  /** A shell's command line, as root. */
  run(command: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<CommandResult> {
    return runCommand([...this.#ssh(), command], { timeoutMs });
  }

  /** Its output; throws with all of it when it fails. */
  async must(command: string, timeoutMs = COMMAND_TIMEOUT_MS): Promise<string> {
    const { code, stdout, stderr } = await this.run(command, timeoutMs);
    if (code !== 0) throw new Error(`${command} (exit code ${code})\n${stdout}${stderr}`);
    return stdout.trim();
  }

  /** Goes on after this returns; what it prints is reported line by line. */
  start(command: string, onLine: (line: string) => void): ChildProcess {
    const [program = '', ...words] = this.#ssh();
    const child = spawn(program, [...words, command], { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) onLine(line);
    });
    return child;
  }

  async reboot(): Promise<void> {
    const before = await this.must('cat /proc/sys/kernel/random/boot_id');
    await this.run('systemctl reboot', 20_000);
    await this.#disconnect();
    await this.until(
      'the next boot',
      async () => {
        const { code, stdout } = await this.run('cat /proc/sys/kernel/random/boot_id', 20_000);
        return code === 0 && stdout.trim() !== before;
      },
      BOOT_TIMEOUT_MS,
    );
  }

  /** Seconds from the command to the machine being off. */
  async powerOff(): Promise<number> {
    const startedAt = performance.now();
    await this.run('systemctl poweroff', 20_000);
    await until('the machine to be off', () => this.#process?.exitCode !== null, POWEROFF_TIMEOUT_MS);
    return (performance.now() - startedAt) / 1000;
  }

  /** The plug is pulled. */
  async cutPower(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await this.#disconnect();
    await until('qemu to be gone', () => child.exitCode !== null || child.signalCode !== null);
  }

  console(): string {
    try {
      return readFileSync(join(this.#dir, 'console.log'), 'utf8').slice(-4_000);
    } catch {
      return '';
    }
  }

  async remove(): Promise<void> {
    await this.cutPower();
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** The shared connection is of the boot before. */
  async #disconnect(): Promise<void> {
    const [program = '', ...words] = this.#ssh();
    await runCommand([program, '-O', 'exit', ...words], { timeoutMs: 20_000 });
  }

  #ssh(): string[] {
    const options = ['BatchMode=yes', 'ConnectTimeout=15', 'ServerAliveInterval=10']
      .concat('StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null')
      // A login takes seconds of the machine's time.
      .concat('ControlMaster=auto', `ControlPath=${join(this.#dir, 'ssh')}`, 'ControlPersist=600')
      .flatMap((option) => ['-o', option]);
    return ['ssh', '-q', '-i', this.#image.key, '-p', String(this.#port), ...options, 'root@127.0.0.1'];
  }
}
