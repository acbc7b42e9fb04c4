/** --etcd-*: an etcd cluster in place of the embedded store. */
import { existsSync } from 'node:fs';
import { UserError } from '#deploy/data-dir.ts';
import type { EtcdStoreOptions } from '#storage/drivers/etcd/etcd-store.ts';
import { readFlags, type GivenFlags } from '../../flags/define.ts';
import { ETCD_FLAGS } from '../flags.ts';

/** Prefix of all keys of the API server; --etcd-prefix replaces it. */
export const ROOT = '/registry';

/** Undefined: no etcd is configured. Reads nothing. */
export function etcdFrom(flags: GivenFlags<typeof ETCD_FLAGS>): EtcdStoreOptions | undefined {
  const { etcdServers: endpoints, etcdPrefix: prefix = ROOT } = flags;
  const files = {
    '--etcd-cafile': flags.etcdCafile,
    '--etcd-certfile': flags.etcdCertfile,
    '--etcd-keyfile': flags.etcdKeyfile,
  };
  if (!endpoints) {
    const alone = Object.entries({
      ...files,
      '--etcd-prefix': flags.etcdPrefix,
      '--etcd-compaction-interval': flags.etcdCompactionInterval,
      '--etcd-db-metric-poll-interval': flags.etcdDbMetricPollInterval,
    }).find(([, value]) => value !== undefined);
    if (alone) throw new UserError(`${alone[0]} needs --etcd-servers URL,... too.`);
    return undefined;
  }
  for (const endpoint of endpoints)
    if (!/^https?:\/\/[^/]+$/.test(endpoint))
      throw new UserError(
        `--etcd-servers has ${JSON.stringify(endpoint)}; each should be like https://10.0.0.1:2379.`,
      );
  for (const [flag, file] of Object.entries(files))
    if (file !== undefined && !existsSync(file)) throw new UserError(`${flag} ${file} does not exist.`);
  if ((flags.etcdCertfile === undefined) !== (flags.etcdKeyfile === undefined))
    throw new UserError('--etcd-certfile and --etcd-keyfile go together: give both or neither.');
  if (!/^\/[^/]/.test(prefix) || prefix.endsWith('/'))
    throw new UserError(`--etcd-prefix is ${JSON.stringify(prefix)}; it should be like /registry.`);
  const { etcdCompactionInterval, etcdDbMetricPollInterval } = readFlags(ETCD_FLAGS, flags);
  return {
    endpoints,
    compactionIntervalMs: etcdCompactionInterval,
    monitorIntervalMs: etcdDbMetricPollInterval,
    caFile: flags.etcdCafile,
    certFile: flags.etcdCertfile,
    keyFile: flags.etcdKeyfile,
    keyPrefix: prefix,
    replaces: ROOT,
  };
}
