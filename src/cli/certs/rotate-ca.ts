/** `capstan certs rotate-ca`: new authorities for the cluster, in phases that wait for everybody. Without --yes it prints the plan. */
import { existsSync, readdirSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { createClient } from '#client/create.ts';
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';
import { dataDir, UserError } from '#deploy/data-dir.ts';
import type { Access, RotateOptions } from '#deploy/phases/rotation/options.ts';
import {
  abortRotation,
  DEFAULT_TOKEN_OVERLAP_MS,
  describeRotation,
  rotateAuthorities,
} from '#deploy/phases/rotation/rotate.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { KEY_ALGORITHMS, type KeyAlgorithm } from '#pki/keys.ts';
import { realClock } from '#stdx/clock.ts';
import { errorMessage } from '#stdx/log.ts';
import { acquireProcessLock, LockedError } from '#stdx/process-lock.ts';
import { action, print } from '../context.ts';
import { addLayoutOptions, certificateSet, kubeadmDirs, type LayoutOptions } from './layout.ts';

interface Options extends LayoutOptions {
  readonly yes?: boolean;
  readonly abort?: boolean;
  readonly lead?: boolean;
  readonly kubeconfig?: string;
  readonly nodeName?: string;
  readonly wait: string;
  readonly tokenOverlap?: string;
  readonly certificateKey?: string;
  readonly keyAlgorithm?: string;
}

/** More would be waited for by running it again. */
const EXIT_WAITING = 3;

export function register(certs: Command): void {
  addLayoutOptions(
    certs
      .command('rotate-ca')
      .argument('[authorities...]', 'ca, front-proxy-ca, etcd-ca, sa (default: all that are there)')
      .description('replace authorities and the service account key in phases: overlap, issue, drop'),
  )
    .option('--yes', 'do it; without, the plan is printed')
    .option('--dry-run', 'print the plan (the default)')
    .option('--abort', 'go back, while the new authorities do not sign yet')
    .option('--wait <duration>', 'how long to wait for those who are not there yet', '5m')
    .option('--token-overlap <duration>', 'how long tokens of the old key are accepted (default: 24h)')
    .option('--kubeconfig <file>', "the administrator's (default: admin.conf, or DIR/admin.kubeconfig)")
    .option('--node-name <name>', "this machine's node (default: the host's name)")
    .option('--certificate-key <key>', 'on a further control plane: the key that the leading one printed')
    .option('--lead', 'take the lead from a control plane that is gone')
    .option('--key-algorithm <name>', KEY_ALGORITHMS.join(', '))
    .action(action(rotate));
}

async function rotate(names: readonly string[], options: Options): Promise<void> {
  const rotation = await rotateOptions(names, options);
  if (!options.yes || options.abort) {
    if (options.abort && options.yes) return locked(rotation, () => abortRotation(rotation));
    for (const line of await describeRotation(rotation)) print(line);
    return print(`\nNothing was changed. ${options.abort ? 'Abort' : 'Rotate'} with --yes.`);
  }
  await locked(rotation, async () => {
    if ((await rotateAuthorities(rotation)) === 'done') return;
    print('Run it again to go on.');
    process.exitCode = EXIT_WAITING;
  });
}

/** One at a time on a machine. */
async function locked({ set }: RotateOptions, work: () => Promise<void>): Promise<void> {
  try {
    const lock = acquireProcessLock(join(set.dir, 'rotation.lock'));
    try {
      await work();
    } finally {
      lock.release();
    }
  } catch (error) {
    if (error instanceof LockedError)
      throw new UserError(`Another command rotates here: ${error.message}.`, error);
    throw error;
  }
}

async function rotateOptions(names: readonly string[], options: Options): Promise<RotateOptions> {
  const { dataDir: dir, nodeName, certificateKey, lead, keyAlgorithm } = options;
  const set = await certificateSet(options);
  const kubeconfig = options.kubeconfig ?? adminKubeconfig(options);
  return {
    set,
    connect: () => connect(kubeconfig),
    machineName: (nodeName ?? hostname()).toLowerCase(),
    ownNodes: dir === undefined ? [] : nodesIn(join(set.dir, 'nodes')),
    names,
    algorithm: keyAlgorithm === undefined ? undefined : algorithmOf(keyAlgorithm),
    waitMs: durationOf('wait', options.wait),
    tokenOverlapMs:
      options.tokenOverlap === undefined
        ? DEFAULT_TOKEN_OVERLAP_MS
        : durationOf('token-overlap', options.tokenOverlap),
    certificateKey,
    lead,
    clock: realClock,
    print,
  };
}

function adminKubeconfig(options: Options): string {
  return options.dataDir === undefined
    ? join(kubeadmDirs(options).kubeconfigDir, 'admin.conf')
    : dataDir(options.dataDir).kubeconfig;
}

function nodesIn(dir: string): readonly string[] {
  return existsSync(dir) ? readdirSync(dir) : [];
}

async function connect(path: string): Promise<Access> {
  let connection: Access['connection'];
  try {
    connection = resolveContext(loadKubeconfig({ path })).options;
  } catch (error) {
    throw new UserError(`${errorMessage(error)} (--kubeconfig).`, error);
  }
  const transport = createHttpsTransport(connection);
  const api = createClient(transport, { userAgent: 'capstan-certs' });
  return {
    api,
    connection,
    async close() {
      await api.close();
      await transport.close();
    },
  };
}

function algorithmOf(text: string): KeyAlgorithm {
  const known = KEY_ALGORITHMS.find((name) => name === text);
  if (!known)
    throw new UserError(`--key-algorithm is "${text}"; it should be one of ${KEY_ALGORITHMS.join(', ')}.`);
  return known;
}

function durationOf(flag: string, text: string): number {
  try {
    return goDurationMs(text);
  } catch (error) {
    throw new UserError(`--${flag} is "${text}"; it should be a duration such as 10m.`, error);
  }
}
