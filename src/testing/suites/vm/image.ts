/**
 * The disk of the virtual machine: Debian 12 with systemd, a kernel and the packages that `up` would install. Built by debootstrap (needs root and
 * Debian's packages), kept under a name made from its recipe in $CAPSTAN_VM_CACHE or .cache/vm of the checkout; never part of the repository.
 */
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { runCommand } from '../../cluster.ts';

export interface Image {
  /** An ext4 file system, never written: machines start from a copy. */
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
  /** Private key that logs in as root. */
  readonly key: string;
}

const CHECKOUT = resolve(import.meta.dirname, '../../../..');
const CACHE = process.env['CAPSTAN_VM_CACHE'] ?? join(CHECKOUT, '.cache/vm');
const MIRROR = 'http://deb.debian.org/debian';
const MACHINE =
  'linux-image-cloud-amd64 systemd-sysv dbus udev kmod procps iproute2 openssh-server ca-certificates netbase';
/** What `up` would install. */
const NODE = 'containerd runc containernetworking-plugins nftables iptables';
/** Of a control plane of `init`. */
const ETCD = 'etcd-server';
const TOOLS = 'curl jq iputils-ping wireguard-tools';
const PACKAGES = `${MACHINE} ${NODE} ${ETCD} ${TOOLS}`.split(' ');
const FILES: Readonly<Record<string, string>> = {
  'etc/hostname': 'debian-vm\n',
  'etc/hosts': '127.0.0.1 localhost\n127.0.1.1 debian-vm\n',
  'etc/fstab': 'LABEL=root / ext4 defaults 0 1\nLABEL=checkout /srv ext4 defaults,nofail 0 2\n',
  // qemu's router is named, though it leads nowhere: a machine with a default route.
  'etc/systemd/network/80-uplink.network':
    '[Match]\nName=en*\n[Network]\nDHCP=ipv4\n[Route]\nGateway=10.0.2.2\n',
  'etc/resolv.conf': 'nameserver 10.0.2.3\n',
};
const SERVICES = ['systemd-networkd.service', 'systemd-networkd-wait-online.service'];
/** Debian starts its etcd at boot; a test that wants it starts it. */
const DISABLED_SERVICES = ['etcd.service'];
const DISK_SIZE = '6G';
const BUILD_TIMEOUT_MS = 1_800_000;

/** The cached image; built first where there is none for this recipe (about three minutes). */
export async function ensureImage(): Promise<Image> {
  const recipe = JSON.stringify([PACKAGES, FILES, SERVICES, DISABLED_SERVICES, DISK_SIZE]);
  const dir = join(CACHE, `debian-12-${createHash('sha256').update(recipe).digest('hex').slice(0, 12)}`);
  if (!existsSync(dir)) await build(dir);
  return {
    disk: join(dir, 'root.ext4'),
    kernel: join(dir, 'vmlinuz'),
    initrd: join(dir, 'initrd.img'),
    key: join(dir, 'key'),
  };
}

async function build(dir: string): Promise<void> {
  mkdirSync(CACHE, { recursive: true });
  const work = mkdtempSync(join(CACHE, 'build-'));
  const root = join(work, 'root');
  try {
    console.log(`vm: building the Debian image in ${dir}`);
    await must([
      'debootstrap',
      '--variant=minbase',
      `--include=${PACKAGES.join(',')}`,
      'bookworm',
      root,
      MIRROR,
    ]);
    for (const [path, content] of Object.entries(FILES)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), content);
    }
    await must(['chroot', root, 'systemctl', 'enable', ...SERVICES]);
    await must(['chroot', root, 'systemctl', 'disable', ...DISABLED_SERVICES]);
    rmSync(join(root, 'var/cache/apt/archives'), { recursive: true, force: true });
    await must(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', join(work, 'key')]);
    mkdirSync(join(root, 'root/.ssh'), { recursive: true, mode: 0o700 });
    appendFileSync(join(root, 'root/.ssh/authorized_keys'), readFileSync(join(work, 'key.pub')), {
      mode: 0o600,
    });
    for (const name of ['vmlinuz', 'initrd.img']) {
      const file = readdirSync(join(root, 'boot')).find((one) => one.startsWith(`${name}-`));
      if (file === undefined) throw new Error(`the image has no ${name}`);
      cpSync(join(root, 'boot', file), join(work, name));
    }
    await makeDisk({ from: root, label: 'root', size: DISK_SIZE, to: join(work, 'root.ext4') });
    rmSync(root, { recursive: true });
    renameSync(work, dir);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function makeDisk(of: {
  readonly from: string;
  readonly label: string;
  readonly size: string;
  readonly to: string;
}): Promise<void> {
  await must(['truncate', '-s', of.size, of.to]);
  await must(['mkfs.ext4', '-q', '-F', '-L', of.label, '-d', of.from, of.to]);
}

/** The last commit and the installed packages, as the file system that the machine mounts on /srv. Uncommitted changes are not part of it. */
export async function makeCheckoutDisk(to: string, extra: Readonly<Record<string, string>>): Promise<void> {
  const work = mkdtempSync(join(dirname(to), 'checkout-'));
  try {
    const clone = join(work, 'capstan');
    await must(['git', 'clone', '--quiet', '--depth=1', `file://${CHECKOUT}`, clone]);
    await must(['cp', '-rLp', join(CHECKOUT, 'node_modules'), join(clone, 'node_modules')]);
    for (const [name, path] of Object.entries(extra)) cpSync(path, join(work, name));
    await makeDisk({ from: work, label: 'checkout', size: '2G', to });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function must(command: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runCommand(command, { timeoutMs: BUILD_TIMEOUT_MS });
  if (code !== 0)
    throw new Error(
      `${command[0]} failed (${code}): ${`${stdout}\n${stderr}`.trim().split('\n').slice(-15).join('\n')}`,
    );
}
