/** How `capstan etcd` reaches etcd: by flags, else as the machine it runs on, whose files are kubeadm's. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '#deploy/data-dir.ts';
import { machinePaths, type MachinePaths } from '#deploy/machine/paths.ts';
import type { EtcdMembership } from '#machinery/etcd-membership.ts';
import { createEtcdMembership } from '#storage/drivers/etcd/membership.ts';

/** etcdctl's names. */
export interface EtcdFlags {
  readonly endpoints?: readonly string[];
  readonly cacert?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly certDir?: string;
  readonly rootfs?: string;
}

interface EtcdTls {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** UserError where neither flags nor the machine say how. */
export function connectEtcd(flags: EtcdFlags): EtcdMembership {
  const { endpoints = ['https://127.0.0.1:2379'] } = flags;
  const given = { caFile: flags.cacert, certFile: flags.cert, keyFile: flags.key };
  const isPlain = endpoints.every((endpoint) => endpoint.startsWith('http://'));
  const paths = machinePaths({ rootfs: flags.rootfs, certificatesDir: flags.certDir });
  const tls = isPlain ? {} : { ...etcdTlsOf(paths), ...definedOf(given) };
  if (!isPlain && !('caFile' in tls))
    throw new UserError(
      `This machine has no certificates of etcd (${paths.etcdPki}): run it on a control plane or witness, or give --endpoints, --cacert, --cert and --key.`,
    );
  try {
    return createEtcdMembership({ endpoints, ...tls });
  } catch (error) {
    throw new UserError(`${(error as Error).message}.`, error);
  }
}

/** A control plane's client of etcd, or that of its health checks, which a witness has too. */
function etcdTlsOf({ pki, etcdPki }: Pick<MachinePaths, 'pki' | 'etcdPki'>): EtcdTls | undefined {
  const caFile = join(etcdPki, 'ca.crt');
  const names = [join(pki, 'apiserver-etcd-client'), join(etcdPki, 'healthcheck-client')];
  const name = names.find((one) => existsSync(`${one}.crt`) && existsSync(`${one}.key`));
  return name !== undefined && existsSync(caFile)
    ? { caFile, certFile: `${name}.crt`, keyFile: `${name}.key` }
    : undefined;
}

function definedOf<T extends object>(values: T): Partial<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Partial<T>;
}
