/** Checks of programs for containers: versions of containerd and runc. That they are installed is FileExisting. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { warning, type Check } from '../check.ts';

const run = promisify(execFile);

interface Wanted {
  readonly program: string;
  readonly major: number;
  readonly minor: number;
}

const WANTED: readonly Wanted[] = [
  { program: 'containerd', major: 1, minor: 6 },
  { program: 'runc', major: 1, minor: 1 },
];
const TIMEOUT_MS = 10_000;

export function runtimeVersions(): Check {
  return {
    name: 'ContainerRuntime',
    async run() {
      const found = await Promise.all(
        WANTED.map(async (wanted) => ({ ...wanted, version: await version(wanted) })),
      );
      const old = found.filter(
        ({ version: given, major, minor }) => given !== undefined && isOlder(given, { major, minor }),
      );
      return {
        evidence: found
          .map(({ program, version: given }) => `${program} ${given ?? 'is not installed'}`)
          .join(', '),
        warnings: old.flatMap(
          ({ program, version: given, major, minor }) =>
            warning(
              `${program} is of version ${given}, and should be ${major}.${minor} or later`,
              `install a newer one: apt-get install ${program}`,
            ).warnings ?? [],
        ),
      };
    },
  };
}

function isOlder(
  version: string,
  { major, minor }: { readonly major: number; readonly minor: number },
): boolean {
  const [own = 0, ownMinor = 0] = version.split('.').map(Number);
  return own < major || (own === major && ownMinor < minor);
}

/** Undefined: it cannot be run. */
async function version({ program }: Wanted): Promise<string | undefined> {
  try {
    const { stdout } = await run(program, ['--version'], { timeout: TIMEOUT_MS });
    return /\b(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}
