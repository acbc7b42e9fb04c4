/** Where a command finds the cluster of this machine: the data directory of `up` and `apiserver`, or kubeadm's layout that `init` and `join` make. Changes nothing. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { dataDir, readSettings, type ClusterSettings, type DataDir } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import type { FileRoot } from './files.ts';

export interface PlaceFlags {
  readonly dataDir?: string | undefined;
  readonly rootfs?: string | undefined;
  readonly kubeconfig?: string | undefined;
  readonly encryptionProviderConfig?: string | undefined;
}

export interface Place {
  /** Of `up` and `apiserver`; undefined on a machine of `init` or `join`. */
  readonly dir?: DataDir | undefined;
  readonly pkiDir: string;
  /** An administrator's; it may not exist. */
  readonly kubeconfig: string;
  /** Where backups are by default. */
  readonly location: string;
  readonly roots: readonly FileRoot[];
}

export function findPlace(flags: PlaceFlags): Place {
  const machine = machinePaths({ rootfs: flags.rootfs });
  if (flags.dataDir === undefined && existsSync(machine.machineFile)) return machinePlace(machine, flags);
  const dir = dataDir(flags.dataDir);
  return {
    dir,
    pkiDir: dir.pki,
    kubeconfig: flags.kubeconfig ?? dir.kubeconfig,
    location: dataDirLocation(dir),
    roots: dataDirRoots(dir, flags.encryptionProviderConfig ?? encryptionFileOf(readSettings(dir))),
  };
}

function machinePlace(machine: MachinePaths, flags: PlaceFlags): Place {
  return {
    pkiDir: machine.pki,
    kubeconfig: flags.kubeconfig ?? machine.kubeconfig('admin'),
    location: machine.backups,
    roots: [
      { from: machine.pki, to: 'pki' },
      { from: machine.machineFile, to: 'machine.json' },
      ...encryptionRoot(flags.encryptionProviderConfig),
    ],
  };
}

export function dataDirLocation(dir: DataDir): string {
  return join(dir.path, 'backups');
}

export function dataDirRoots(dir: DataDir, encryptionFile: string | undefined): readonly FileRoot[] {
  return [
    { from: dir.pki, to: 'pki' },
    { from: dir.settingsFile, to: 'capstan.json' },
    ...encryptionRoot(encryptionFile),
  ];
}

export function encryptionRoot(file: string | undefined): readonly FileRoot[] {
  return file === undefined ? [] : [{ from: file, to: 'encryption-provider-config.yaml' }];
}

function encryptionFileOf(settings: ClusterSettings | undefined): string | undefined {
  const name = 'encryption-provider-config=';
  return settings?.apiServerArgs?.find((arg) => arg.startsWith(name))?.slice(name.length);
}
