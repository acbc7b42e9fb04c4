/**
 * Container Device Interface: what a device's name stands for, from the specifications in /etc/cdi and /var/run/cdi, for a runtime that does not resolve
 * names itself (containerd before 2.0, by its defaults). Hooks and group ids cannot be given to such a runtime: a device that needs them is refused by name.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseYaml } from '#machinery/yaml.ts';
import { errorMessage } from '#stdx/log.ts';
import type { ContainerAllocation } from './protocol.ts';

interface ContainerEdits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly {
    readonly path: string;
    readonly hostPath?: string;
    readonly permissions?: string;
  }[];
  readonly mounts?: readonly {
    readonly hostPath: string;
    readonly containerPath: string;
    readonly options?: readonly string[];
  }[];
  readonly hooks?: readonly object[];
  readonly additionalGids?: readonly number[];
}

interface CdiSpec {
  /** 'vendor.com/class' */
  readonly kind: string;
  readonly devices?: readonly { readonly name: string; readonly containerEdits?: ContainerEdits }[];
  readonly containerEdits?: ContainerEdits;
}

/** The later one wins. */
const DIRECTORIES = ['/etc/cdi', '/var/run/cdi'];
/** Files of a directory beyond these are not read. */
const MAX_SPECS = 256;

/** names: 'vendor.com/class=device'. Rejects for a name that is not specified, or that needs what the runtime cannot do. */
export async function resolveCdiDevices(
  names: readonly string[],
  directories: readonly string[] = DIRECTORIES,
): Promise<ContainerAllocation[]> {
  if (names.length === 0) return [];
  const specs = (await Promise.all(directories.map(readSpecs))).flat().toReversed();
  return names.map((name) => {
    for (const spec of specs) {
      const device = spec.devices?.find((one) => `${spec.kind}=${one.name}` === name);
      if (device) return editsOf(name, [spec.containerEdits ?? {}, device.containerEdits ?? {}]);
    }
    throw new Error(`unresolvable CDI devices ${name}`);
  });
}

async function readSpecs(dir: string): Promise<CdiSpec[]> {
  const files = (await readdir(dir).catch((): string[] => []))
    .filter((name) => /\.(json|ya?ml)$/.test(name))
    .sort()
    .slice(0, MAX_SPECS);
  return Promise.all(files.map((name) => readSpec(join(dir, name))));
}

async function readSpec(path: string): Promise<CdiSpec> {
  try {
    return parseYaml(await readFile(path, 'utf8')).value as CdiSpec;
  } catch (error) {
    throw new Error(`CDI specification ${path} cannot be read: ${errorMessage(error)}`, { cause: error });
  }
}

function editsOf(name: string, edits: readonly ContainerEdits[]): ContainerAllocation {
  for (const { hooks = [], additionalGids = [] } of edits)
    if (hooks.length > 0 || additionalGids.length > 0)
      throw new Error(
        `CDI device ${name} has hooks or additional group ids, which this container runtime cannot be given; containerd 2.0 or newer can`,
      );
  return {
    envs: Object.fromEntries(edits.flatMap(({ env = [] }) => env.map(splitVariable))),
    annotations: {},
    devices: edits.flatMap(({ deviceNodes = [] }) =>
      deviceNodes.map(({ path, hostPath = path, permissions = 'rwm' }) => ({
        containerPath: path,
        hostPath,
        permissions,
      })),
    ),
    mounts: edits.flatMap(({ mounts = [] }) =>
      mounts.map(({ hostPath, containerPath, options = [] }) => ({
        hostPath,
        containerPath,
        readOnly: options.includes('ro'),
      })),
    ),
    cdiDevices: [],
  };
}

function splitVariable(text: string): [string, string] {
  const at = text.indexOf('=');
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
