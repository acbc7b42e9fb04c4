/** `capstan user create NAME`: a client certificate with groups, bound to roles, printed as a kubeconfig. Run again it prints a new certificate and leaves the bindings. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { isoTime } from '#stdx/dates.ts';
import type { Client } from '#client/client.ts';
import type { HttpsOptions } from '#client/https.ts';
import { UserError, writeFileAtomic } from '#deploy/data-dir.ts';
import { renderKubeconfig } from '#deploy/pki/kubeconfig.ts';
import { isStatusError } from '#machinery/errors.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import type { KubeObject } from '#machinery/object.ts';
import { action, dataDirOption, print, list } from '../context.ts';
import { certificateFor } from './certificate.ts';
import {
  asAdmin,
  CLUSTER_ROLE_BINDINGS,
  CLUSTER_ROLES,
  formatUserLabel,
  requireUserName,
  ROLE_BINDINGS,
  ROLES,
  USER_ANNOTATION,
  USER_LABEL,
  writeRecord,
  type AdminOptions,
} from './users.ts';

interface CreateOptions extends AdminOptions {
  readonly group?: readonly string[];
  readonly role?: readonly string[];
  readonly namespace?: string;
  readonly expires: number;
  readonly output?: string;
  readonly server?: string;
}

const DAY_MS = 86_400_000;
const SHORTEST_MS = 600_000;
const LONGEST_MS = 3650 * DAY_MS;

export function register(user: Command): void {
  user
    .command('create')
    .description('make a user with a client certificate and print a kubeconfig for him')
    .argument('<name>', "the user's name")
    .addOption(new Option('--group <name>', 'a group he is in; may be given several times').argParser(list))
    .addOption(
      new Option(
        '--role <name>',
        'a Role of the namespace or a ClusterRole he gets; may be given several times',
      ).argParser(list),
    )
    .option(
      '--namespace <name>',
      'give the roles in this namespace only, which becomes the default of his kubeconfig',
    )
    .addOption(
      new Option(
        '--expires <duration>',
        'how long the certificate is valid, for example 12h or 90d (default: 365d)',
      )
        .argParser(duration)
        .default(365 * DAY_MS, '365d'),
    )
    .option('--server <url>', "the API server's address in the kubeconfig, where he reaches it by another")
    .option('--output <file>', 'write the kubeconfig there (mode 0600) instead of printing it')
    .addOption(dataDirOption())
    .option(
      '--kubeconfig <file>',
      "the administrator's way in, where the cluster's data directory is not on this machine",
    )
    .option('--context <name>', 'a context of that kubeconfig')
    .action(action(create));
}

async function create(name: string, options: CreateOptions): Promise<void> {
  requireUserName(name);
  const { group: groups = [], role: roles = [], namespace } = options;
  if (options.server !== undefined && URL.parse(options.server)?.protocol !== 'https:')
    throw new UserError(`--server is "${options.server}"; it should be https://HOST:PORT.`);
  const reserved = groups.find((group) => group === 'system:masters');
  if (reserved)
    throw new UserError(
      `--group ${reserved} is refused: its members can never be shut out. Use --role cluster-admin.`,
    );
  if (groups.length === 0 && roles.length === 0)
    process.stderr.write(
      `capstan: ${name} gets no group and no role: he may do what every authenticated user may, and nothing else.\n`,
    );
  await asAdmin(options, async (admin) => {
    const bindings = await Promise.all(
      roles.map((role) => bindingFor({ client: admin.client, name, role, namespace })),
    );
    const { expiresAt, ...certificate } = await certificateFor(
      { name, groups, lifetimeMs: options.expires },
      { admin, note: (text) => process.stderr.write(`capstan: ${text}\n`) },
    );
    for (const binding of bindings) await ensureBinding(admin.client, binding);
    await writeRecord(admin.client, {
      name,
      record: { name, groups, issuedAt: isoTime(Date.now()), expiresAt },
    });
    const text = renderKubeconfig({
      server: options.server ?? admin.https.server,
      caPem: caOf(admin.https),
      clusterName: 'capstan',
      userName: name,
      namespace,
      credentials: { certificate },
    });
    if (options.output === undefined) return print(text.trimEnd());
    writeFileAtomic(resolve(options.output), text);
    process.stderr.write(`${resolve(options.output)} lets ${name} in until ${expiresAt}.\n`);
  });
}

/** Milliseconds of '12h' or '90d'. */
function duration(text: string): number {
  const [, days] = /^(\d{1,4})d$/.exec(text) ?? [];
  let ms = NaN;
  try {
    ms = days === undefined ? goDurationMs(text) : Number(days) * DAY_MS;
  } catch {
    // Reported below.
  }
  if (!(ms >= SHORTEST_MS && ms <= LONGEST_MS))
    throw new UserError(
      `--expires is "${text}"; it should be a duration from 10m to 3650d, for example 12h or 90d.`,
    );
  return ms;
}

interface Wanted {
  readonly client: Client;
  readonly name: string;
  readonly role: string;
  readonly namespace: string | undefined;
}

/** UserError for a role that does not exist: bound anyway it would give nothing, silently. */
async function bindingFor({ client, name, role, namespace }: Wanted): Promise<KubeObject> {
  const isLocal =
    namespace !== undefined && (await exists(() => client.get(ROLES, { name: role, namespace })));
  if (!isLocal && !(await exists(() => client.get(CLUSTER_ROLES, { name: role })))) {
    throw new UserError(
      namespace === undefined
        ? `There is no ClusterRole "${role}"; a Role needs its --namespace.`
        : `There is neither a Role "${role}" in namespace ${namespace} nor a ClusterRole of that name.`,
    );
  }
  const ref = namespace === undefined ? CLUSTER_ROLE_BINDINGS : ROLE_BINDINGS;
  return {
    apiVersion: `${ref.group}/${ref.version}`,
    kind: ref.kind,
    metadata: {
      name: `capstan:user:${name}:${role}`,
      ...(namespace === undefined ? {} : { namespace }),
      labels: { 'app.kubernetes.io/managed-by': 'capstan', [USER_LABEL]: formatUserLabel(name) },
      annotations: { [USER_ANNOTATION]: name },
    },
    roleRef: { apiGroup: ref.group, kind: isLocal ? 'Role' : 'ClusterRole', name: role },
    subjects: [{ apiGroup: ref.group, kind: 'User', name }],
  };
}

async function exists(get: () => Promise<KubeObject>): Promise<boolean> {
  try {
    await get();
    return true;
  } catch (error) {
    if (isStatusError(error, 'NotFound')) return false;
    throw error;
  }
}

async function ensureBinding(client: Client, binding: KubeObject): Promise<void> {
  const ref = binding.kind === ROLE_BINDINGS.kind ? ROLE_BINDINGS : CLUSTER_ROLE_BINDINGS;
  try {
    await client.create(ref, binding);
  } catch (error) {
    if (!isStatusError(error, 'AlreadyExists')) throw error;
    const { name = '', namespace } = binding.metadata ?? {};
    const present = await client.get(ref, { name, namespace });
    if (
      (present['roleRef'] as { readonly kind?: string }).kind ===
      (binding['roleRef'] as { readonly kind: string }).kind
    )
      return;
    // A binding's roleRef is immutable: a Role of that name was created or deleted since.
    await client.delete(ref, { name, namespace });
    await client.create(ref, binding);
  }
}

function caOf({ ca, caFile }: HttpsOptions): string {
  if (ca !== undefined) return ca.toString();
  if (caFile !== undefined) return readFileSync(caFile, 'utf8');
  throw new UserError(
    "The administrator's kubeconfig names no certificate authority, so the user's cannot either.",
  );
}
