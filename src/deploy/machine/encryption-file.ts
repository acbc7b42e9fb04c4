/** The EncryptionConfiguration that `capstan config apply` manages: a file beside the certificates of each control plane, named by a flag of its API server. */
import { join } from 'node:path';
import type { Arg } from '../config/types.ts';
import type { MachinePaths } from './paths.ts';

export const ENCRYPTION_FILE = 'encryption-config.yaml';
export const ENCRYPTION_FLAG = 'encryption-provider-config';

/** As a ClusterConfiguration has it: without --rootfs. */
export function managedEncryptionPath(certificatesDir: string): string {
  return join(certificatesDir, ENCRYPTION_FILE);
}

/** Where the machine has the file that a ClusterConfiguration names: the managed one lies below --rootfs, as certificates do. */
export function encryptionPath(
  { pki }: Pick<MachinePaths, 'pki'>,
  { path, certificatesDir }: { readonly path: string; readonly certificatesDir: string },
): string {
  return path === managedEncryptionPath(certificatesDir) ? join(pki, ENCRYPTION_FILE) : path;
}

/** Of a component's extraArgs; the last one counts. */
export function argument(args: readonly Arg[] = [], flag: string): string | undefined {
  return args.findLast(({ name }) => name === flag)?.value;
}
