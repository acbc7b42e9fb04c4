/**
 * Phases of `capstan init --restore`: this machine becomes the first control plane of the cluster that a backup holds. Its authorities and keys come before new ones would be made,
 * its objects into etcd before an API server runs on it. Nothing without --restore.
 */
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PRIVATE_MODE, PUBLIC_MODE, readIfPresent, writeFileAtomically } from '../../pki/files.ts';
import { UserError } from '../../data-dir.ts';
import { argument, encryptionPath, ENCRYPTION_FLAG } from '../../machine/encryption-file.ts';
import { clientURL } from '../../machine/etcd-service.ts';
import { externalEtcdFiles } from '../../machine/external-etcd.ts';
import { sharedFiles } from '../kubeadm-certs.ts';
import type { Phase } from '../phase.ts';
import type { EtcdConnectionOptions, InitContext } from './context.ts';

const OBJECTS = 'restore-objects';

export const restoreCerts: Phase<InitContext> = {
  name: 'restore-certs',
  short: "Write a backup's authorities and keys (--restore)",
  async run(context) {
    const { restoring, print, paths, dryRun } = context;
    if (!restoring) return;
    print(`[restore-certs] Writing the authorities and keys of ${restoring.name} to "${paths.pki}"`);
    if (dryRun) return;
    for (const file of wantedFiles(context)) await writeOnce(file);
  },
};

export const restoreObjects: Phase<InitContext> = {
  name: OBJECTS,
  short: "Write a backup's objects into etcd (--restore)",
  async run(context) {
    const { restoring, print, machine, program, dryRun, cluster, init } = context;
    if (!restoring) return;
    if (dryRun) return print(`[${OBJECTS}] Would write the objects of ${restoring.name} into etcd`);
    if (machine.read().phases['init']?.includes(OBJECTS))
      return print(`[${OBJECTS}] The objects of a backup are in etcd already`);
    print(`[${OBJECTS}] Writing the objects of ${restoring.name} into etcd`);
    if (cluster.etcd.local) await program.startSupervisor();
    await restoring.write(etcdOf(context), {
      nodeName: init.nodeRegistration.name,
      encryptionFile: encryptionFile(context),
      say: (line) => print(`[${OBJECTS}] ${line}`),
    });
  },
};

interface WantedFile {
  readonly path: string;
  readonly content: Buffer;
}

/** What control planes share; certificates of machines are issued by `certs`. */
function wantedFiles(context: InitContext): WantedFile[] {
  const { restoring, paths, cluster } = context;
  const files = new Map(restoring!.files.map(({ path, content }) => [path, content]));
  const { external } = cluster.etcd;
  const shared = sharedFiles(paths, external && {}).flatMap(({ path }) => {
    const content = files.get(path.replace(`${paths.pki}/`, 'pki/'));
    return content ? [{ path, content }] : [];
  });
  const encryption = encryptionFile(context);
  const isShared = shared.some(({ path }) => path === encryption);
  const { encryption: content } = restoring!;
  return encryption === undefined || isShared || !content
    ? shared
    : [...shared, { path: encryption, content }];
}

/** Where this machine's API server reads the keys of encryption at rest. */
function encryptionFile({ cluster, paths }: InitContext): string | undefined {
  const path = argument(cluster.apiServer?.extraArgs, ENCRYPTION_FLAG);
  return path === undefined
    ? undefined
    : encryptionPath(paths, { path, certificatesDir: cluster.certificatesDir });
}

function etcdOf({ cluster, paths }: InitContext): EtcdConnectionOptions {
  const { external } = cluster.etcd;
  if (external) return { endpoints: external.endpoints ?? [], ...externalEtcdFiles(paths, external) };
  return {
    endpoints: [clientURL('127.0.0.1')],
    caFile: join(paths.etcdPki, 'ca.crt'),
    certFile: join(paths.pki, 'apiserver-etcd-client.crt'),
    keyFile: join(paths.pki, 'apiserver-etcd-client.key'),
  };
}

/** A file of another cluster is refused. */
async function writeOnce({ path, content }: WantedFile): Promise<void> {
  const found = await readIfPresent(path);
  if (found === content.toString()) return;
  if (found !== undefined)
    throw new UserError(
      `${path} is there and is not that of the backup: clean this machine with \`capstan reset\`, or restore on another one`,
    );
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  await writeFileAtomically(path, content.toString(), /\.(crt|pub)$/.test(path) ? PUBLIC_MODE : PRIVATE_MODE);
}
