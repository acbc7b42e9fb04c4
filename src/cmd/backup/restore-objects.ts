/** `capstan backup restore NAME --namespace NS` or `--object RESOURCE/NAME`: into the cluster that runs, through its API. */
import { findBackup } from '#backup/stored-backups.ts';
import { BackupError } from '#backup/errors.ts';
import { openBackup } from '#backup/open-backup.ts';
import { restoreObjects, Selector, type ConflictPolicy, type Outcome } from '#backup/restore-objects.ts';
import { namespaces } from '#api/refs.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { UserError } from '#deploy/data-dir.ts';
import { CAPSTAN_VERSION } from '../version.ts';
import { decode } from './codec.ts';
import type { InspectFlags } from './inspect.ts';
import { identitiesFor } from './keys.ts';
import { findPlace } from './place.ts';
import { openTarget } from './target.ts';
import { explained, type Say } from './words.ts';

export interface RestoreObjectsFlags extends InspectFlags {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly object?: string | undefined;
  readonly conflict?: ConflictPolicy | undefined;
  readonly dryRun?: boolean | undefined;
}

/** api: for tests. */
export async function restoreSelected(
  flags: RestoreObjectsFlags,
  { say, api }: { readonly say: Say; readonly api?: Client },
): Promise<void> {
  await explained(async () => {
    if (flags.object !== undefined && !/^[^/]+\/[^/]+$/.test(flags.object))
      throw new UserError(
        `--object is "${flags.object}"; it should be RESOURCE/NAME, for example deployments.apps/web.`,
      );
    const place = findPlace(flags);
    const target = await openTarget(flags, place.location);
    const backup = await findBackup(target, flags.name);
    const client = api ?? clientOf(place.kubeconfig);
    try {
      const { metadata } = await client.get(namespaces, { name: 'kube-system' });
      const selector = new Selector(flags);
      await openBackup({
        target,
        name: backup.name,
        identities: identitiesFor(flags, place.pkiDir),
        decode,
        onHeader({ cluster }) {
          if (cluster !== metadata.uid)
            throw new BackupError('refused', `it is of another cluster (${cluster})`);
        },
        onObject: (record) => selector.take(record),
      });
      if (selector.selected.length === 0)
        throw new UserError(
          `${backup.name} has no ${flags.object ?? 'object'}${flags.namespace ? ` in namespace ${flags.namespace}` : ''}.`,
        );
      await write(selector, { client, flags, say });
    } finally {
      if (!api) await client.close();
    }
  });
}

function clientOf(path: string): Client {
  return createClient(createKubeconfigTransport({ path }), {
    userAgent: `capstan-backup/${CAPSTAN_VERSION}`,
  });
}

async function write(
  { selected }: Selector,
  { client, flags, say }: { readonly client: Client; readonly flags: RestoreObjectsFlags; readonly say: Say },
): Promise<void> {
  const { conflict = 'skip', dryRun = false } = flags;
  const outcomes: Outcome[] = [];
  await restoreObjects(selected, {
    api: client,
    conflict,
    dryRun,
    onOutcome(outcome) {
      outcomes.push(outcome);
      if (!flags.json) show(outcome, { say, dryRun });
    },
  });
  if (flags.json) say(JSON.stringify({ dryRun, outcomes }));
  const failed = outcomes.filter(({ action }) => action === 'failed').length;
  if (failed > 0) throw new UserError(`${failed} of ${outcomes.length} objects could not be restored.`);
}

function show(
  { object, action, reason, changes = [] }: Outcome,
  { say, dryRun }: { readonly say: Say; readonly dryRun: boolean },
): void {
  const would = dryRun && (action === 'created' || action === 'replaced') ? 'would be ' : '';
  say(`${object}  ${would}${action}${reason === undefined ? '' : `: ${reason}`}`);
  for (const change of changes) say(`    ${change}`);
}
