/** `capstan certs renew NAME…|all`: renews certificates with their names and keys. Running components reload the files. */
import type { Command } from 'commander';
import { UserError } from '#deploy/data-dir.ts';
import { renewAll, renewNamed } from '#deploy/phases/certificates-renew.ts';
import { goDurationMs } from '#machinery/go-duration.ts';
import { action, print } from '../context.ts';
import { addLayoutOptions, certificateSet, type LayoutOptions } from './layout.ts';

interface Options extends LayoutOptions {
  readonly validity?: string;
}

export function register(certs: Command): void {
  addLayoutOptions(
    certs
      .command('renew')
      .argument('<names...>', 'names that `certs list` shows, or all')
      .description('renew certificates, with their names and keys'),
  )
    .option('--validity <duration>', 'how long they live, such as 720h (default: a year)')
    .action(action(renew));
}

async function renew(names: readonly string[], { validity, ...layout }: Options): Promise<void> {
  const isAll = names.includes('all');
  if (isAll && names.length > 1) throw new UserError('Give "all" or names, not both.');
  const set = await certificateSet(layout);
  const options = {
    nowMs: Date.now(),
    lifetimeMs: validity === undefined ? undefined : lifetimeOf(validity),
  };
  const { renewed, skipped } = isAll
    ? await renewAll(set, options)
    : await renewNamed(set, { ...options, names });
  for (const name of renewed) print(`certificate ${name} renewed`);
  for (const reason of skipped) print(`skipped: ${reason}`);
  if (renewed.length === 0) throw new UserError('Nothing was renewed.');
  print('Running components of Capstan and etcd follow these files; others must be restarted.');
}

function lifetimeOf(text: string): number {
  let ms = Number.NaN;
  try {
    ms = goDurationMs(text);
  } catch {
    // Refused below.
  }
  if (!(ms >= 60_000))
    throw new UserError(
      `--validity is "${text}"; it should be a duration of a minute or more, such as 720h.`,
    );
  return ms;
}
