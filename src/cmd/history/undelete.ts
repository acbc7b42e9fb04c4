/** `capstan undelete`: an object that was deleted, written again as history has it. */
import { restoreObjects, type Outcome } from '#backup/restore-objects.ts';
import type { Client } from '#client/client.ts';
import { createClient } from '#client/create.ts';
import type { KubeObject } from '#machinery/object.ts';
import { stringifyYaml } from '#machinery/yaml.ts';
import { UserError } from '#deploy/data-dir.ts';
import type { PlaceFlags } from '../backup/place.ts';
import { CAPSTAN_VERSION } from '../version.ts';
import { askHistory } from './ask.ts';
import { comparable, objectText, warnOfProblems, withServers, type HistoryContext } from './history.ts';
import type { SeenChange } from './wire.ts';

export interface UndeleteFlags extends PlaceFlags {
  readonly resource: string;
  readonly name: string;
  readonly namespace?: string | undefined;
  /** Of the delete to take back; default: the newest. */
  readonly revision?: number | undefined;
  readonly dryRun?: boolean | undefined;
  readonly json?: boolean | undefined;
}

/** Finalizers of the deletion itself. */
const OF_DELETION = new Set(['foregroundDeletion', 'orphan']);

export async function undelete(
  flags: UndeleteFlags,
  context: HistoryContext & { readonly api?: Client },
): Promise<void> {
  await withServers(flags, context, async (servers) => {
    const { resource, name, namespace = 'default', revision, dryRun = false } = flags;
    const history = await askHistory(servers, { resource, name, namespace, values: true });
    warnOfProblems(history, context.warn);
    const deleted = history.changes.findLast(
      (change) => change.operation === 'delete' && (revision === undefined || change.revision === revision),
    );
    if (!deleted)
      throw new UserError(
        `History has no deletion of ${resource} ${name}${revision === undefined ? '' : ` at revision ${revision}`}.`,
      );
    if (!deleted.object)
      throw new UserError(
        `History knows that ${objectText(deleted)} was deleted, but no longer what it was.`,
      );
    const api =
      context.api ??
      createClient(servers[0]!.transport, { userAgent: `capstan-undelete/${CAPSTAN_VERSION}` });
    const outcome = await write(deleted, { api, dryRun });
    show(outcome, { deleted, flags, say: context.say });
  });
}

async function write(
  { key, object }: SeenChange,
  { api, dryRun }: { readonly api: Client; readonly dryRun: boolean },
): Promise<Outcome> {
  const outcomes: Outcome[] = [];
  await restoreObjects([{ key, object: beforeDeletion(object!) }], {
    api,
    conflict: 'fail',
    dryRun,
    onOutcome: (outcome) => void outcomes.push(outcome),
  });
  return outcomes[0]!;
}

function beforeDeletion({ metadata, ...rest }: KubeObject): KubeObject {
  const { deletionTimestamp: _, deletionGracePeriodSeconds: __, finalizers, ...kept } = metadata ?? {};
  const left = finalizers?.filter((one) => !OF_DELETION.has(one)) ?? [];
  return { ...rest, metadata: { ...kept, ...(left.length > 0 ? { finalizers: left } : {}) } };
}

function show(
  { object, action, reason, changes = [] }: Outcome,
  {
    deleted,
    flags,
    say,
  }: { readonly deleted: SeenChange; readonly flags: UndeleteFlags; readonly say: (line: string) => void },
): void {
  const { dryRun = false, json } = flags;
  if (json) say(JSON.stringify({ object, action, reason, changes, revision: deleted.revision, dryRun }));
  else if (action === 'created') {
    say(
      `${object}  ${dryRun ? 'would be created' : 'created'} as it was before revision ${deleted.revision}`,
    );
    if (dryRun) for (const line of newLines(deleted.object!)) say(`  + ${line}`);
  }
  if (action === 'created') return;
  for (const change of changes) if (!json) say(`    ${change}`);
  const why = action === 'unchanged' ? 'it exists, and is as it was' : (reason ?? action);
  throw new UserError(`${object} is not written: ${why}.`);
}

/** Against nothing, which is there now. Values of Secrets are not shown. */
function newLines(object: KubeObject): string[] {
  const { status: _, ...rest } = comparable(beforeDeletion(object));
  const { uid: __, creationTimestamp: ___, ...metadata } = rest.metadata ?? {};
  const shown: Record<string, unknown> = { ...rest, metadata };
  if (object.kind === 'Secret' && shown['data'])
    shown['data'] = Object.fromEntries(Object.keys(shown['data']).map((key) => [key, 'not shown']));
  return stringifyYaml(shown).trimEnd().split('\n');
}
