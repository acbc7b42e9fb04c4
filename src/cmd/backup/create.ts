/** `capstan backup create`: one backup now, of a cluster that runs or is off. */
import { generateKeyPair } from '#backup/envelope.ts';
import { makeBackup } from '#backup/make.ts';
import { writeNote } from '#backup/stored-backups.ts';
import type { BackupTarget } from '#backup/targets/target.ts';
import { UserError } from '#deploy/data-dir.ts';
import { shortCluster, type BackupFile } from '#backup/format.ts';
import type { MadeBackup } from '#backup/make.ts';
import { encode, VERSIONS } from './codec.ts';
import { collectFiles } from './files.ts';
import { recipientsFor, type KeyFlags } from './keys.ts';
import { findPlace, type Place, type PlaceFlags } from './place.ts';
import { openSource, type Source, type SourceFlags } from './source.ts';
import { openTarget, type TargetFlags } from './target.ts';
import { countText, explained, sizeText, type Say } from './words.ts';

export interface CreateFlags extends PlaceFlags, TargetFlags, KeyFlags, Omit<SourceFlags, keyof PlaceFlags> {
  readonly json?: boolean | undefined;
  /** False: no drill. */
  readonly drill?: boolean | undefined;
}

export async function createBackup(flags: CreateFlags, say: Say): Promise<MadeBackup> {
  return explained(async () => {
    const place = findPlace(flags);
    const target = await openTarget(flags, place.location);
    const source = await openSource(flags, place);
    try {
      return await source.alone(() => make({ flags, say, place, target, source }));
    } finally {
      await source.close();
    }
  });
}

interface Making {
  readonly flags: CreateFlags;
  readonly say: Say;
  readonly place: Place;
  readonly target: BackupTarget;
  readonly source: Source;
}

async function make({ flags, say, place, target, source }: Making): Promise<MadeBackup> {
  const recipients = await recipientsFor(flags, place.pkiDir);
  const files = collectFiles(place.roots);
  flags.before?.('tidy');
  if (source.isOnly) await target.tidy(shortCluster(await source.cluster()));
  // For the drill alone: it is forgotten with this process.
  const key = await generateKeyPair();
  const made = await makeBackup({
    snapshot() {
      flags.before?.('snapshot');
      return source.snapshot();
    },
    encode,
    files,
    recipients: [...recipients, key.recipient],
    target,
    versions: VERSIONS,
  });
  show(made, { flags, files, location: target.location, say });
  if (flags.drill !== false) await proven(made, { target, identity: key.identity, flags, say });
  return made;
}

async function proven(
  { name, note }: MadeBackup,
  {
    target,
    identity,
    flags,
    say,
  }: {
    readonly target: BackupTarget;
    readonly identity: string;
    readonly flags: CreateFlags;
    readonly say: Say;
  },
): Promise<void> {
  const { runDrill } = await import('./drill.ts');
  const drill = await runDrill({ target, name, identities: [identity], before: flags.before });
  await writeNote(target, name, { ...note, drill });
  if (flags.json) say(JSON.stringify({ name, drill }));
  else if (drill.passed)
    say(
      `drill passed: ${countText(drill.objects)} objects decoded, ${countText(drill.served)} served  ${drill.seconds.toFixed(1)} s`,
    );
  if (!drill.passed) throw new UserError(`${name} is kept, but its drill failed: ${drill.problem}.`);
}

interface Shown {
  readonly flags: CreateFlags;
  readonly files: readonly BackupFile[];
  readonly location: string;
  readonly say: Say;
}

function show({ name, manifest, note }: MadeBackup, { flags, files, location, say }: Shown): void {
  if (flags.json) return say(JSON.stringify({ name, location, ...note }));
  const { objects, resources, revision } = manifest;
  say(
    `revision ${revision}: ${countText(objects)} objects of ${Object.keys(resources).length} resources, ${files.length} files`,
  );
  say(`${name}  ${sizeText(note.bytes)}  ${note.seconds.toFixed(1)} s  in ${location}`);
}
