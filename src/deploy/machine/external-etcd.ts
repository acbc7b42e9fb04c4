/** The client's files of an external etcd on one machine: where ClusterConfiguration names them, below --rootfs. Given without TLS they are none. */
import { join } from 'node:path';
import type { ExternalEtcd } from '../config/types.ts';
import type { MachinePaths } from './paths.ts';

interface ExternalEtcdFiles {
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export function externalEtcdFiles(
  { rootfs }: Pick<MachinePaths, 'rootfs'>,
  { caFile, certFile, keyFile }: ExternalEtcd,
): ExternalEtcdFiles {
  const at = (path: string | undefined): string | undefined => (path ? join(rootfs, path) : undefined);
  return { caFile: at(caFile), certFile: at(certFile), keyFile: at(keyFile) };
}
