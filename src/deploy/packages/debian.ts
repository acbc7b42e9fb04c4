/** Programs that a real node needs, their Debian packages, and the installation of missing ones (reported by the caller). */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';

interface RequiredProgram {
  readonly program: string;
  readonly package: string;
  readonly places: readonly string[];
}

const PATH_PLACES = [
  ...(process.env['PATH'] ?? '').split(delimiter),
  '/usr/local/sbin',
  '/usr/local/bin',
  '/usr/sbin',
  '/usr/bin',
  '/sbin',
  '/bin',
];
const CNI_PLACES = ['/usr/lib/cni', '/opt/cni/bin'];

const NODE_PROGRAMS: readonly RequiredProgram[] = [
  { program: 'containerd', package: 'containerd', places: PATH_PLACES },
  { program: 'ctr', package: 'containerd', places: PATH_PLACES },
  { program: 'runc', package: 'runc', places: PATH_PLACES },
  { program: 'bridge', package: 'containernetworking-plugins', places: CNI_PLACES },
  { program: 'host-local', package: 'containernetworking-plugins', places: CNI_PLACES },
  { program: 'portmap', package: 'containernetworking-plugins', places: CNI_PLACES },
  { program: 'nft', package: 'nftables', places: PATH_PLACES },
  { program: 'ip', package: 'iproute2', places: PATH_PLACES },
  { program: 'mount', package: 'mount', places: PATH_PLACES },
];

export function missingPrograms(): readonly RequiredProgram[] {
  return NODE_PROGRAMS.filter(
    ({ program, places }) => !places.some((place) => place !== '' && existsSync(join(place, program))),
  );
}

export function missingPackages(): readonly string[] {
  return [...new Set(missingPrograms().map((missing) => missing.package))];
}

/** undefined when it worked, else apt's complaint in one line. Needs root. */
export function installPackages(packages: readonly string[]): string | undefined {
  const apt = PATH_PLACES.map((place) => join(place, 'apt-get')).find((file) => existsSync(file));
  if (!apt) return 'apt-get was not found';
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = (): ReturnType<typeof spawnSync> =>
    spawnSync(apt, ['install', '-y', '-q', '--no-install-recommends', ...packages], {
      encoding: 'utf8',
      env,
    });
  const first = install();
  if (first.status === 0) return undefined;
  spawnSync(apt, ['update', '-q'], { stdio: 'ignore', env });
  const second = install();
  return second.status === 0
    ? undefined
    : lastLine(`${String(second.stdout)}\n${String(second.stderr)}`) ||
        `apt-get exited with ${second.status}`;
}

function lastLine(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return lines.findLast((line) => line.startsWith('E:')) ?? lines.at(-1) ?? '';
}
