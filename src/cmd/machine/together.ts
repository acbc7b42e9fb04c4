/**
 * `capstan together`: several components in one process, each with its own command's arguments, which saves the memory of a process each. The supervisor
 * starts it, and may add components while it runs; when one of them fails the process ends, and all are restarted.
 */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { GROUP_SEPARATOR } from '#supervisor/programs.ts';
import { componentCommand } from '../components.ts';
import { parseWords } from '../flags/words.ts';

/** These start without one. */
const MAKES_KUBECONFIG: ReadonlySet<string> = new Set(['node', 'balancer']);
const KUBECONFIG_FLAG = '--kubeconfig=';
const KUBECONFIG_POLL_MS = 200;

/** words: 'scheduler --kubeconfig=A , dns --kubeconfig=B'. Resolves when all were stopped by a signal; rejects with the first failure. */
export async function runTogether(words: readonly string[]): Promise<void> {
  const running: Promise<void>[] = [];
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  const add = (component: readonly string[]): void => {
    const run = runOne(component);
    run.catch((error: unknown) => failed.reject(error));
    running.push(run);
  };
  for (const component of splitGroup(words)) add(component);
  const onMessage = (message: unknown): void => {
    for (const component of addedBy(message)) add(component);
  };
  process.on('message', onMessage);
  // The channel alone does not keep the process alive.
  process.channel?.unref();
  try {
    let count: number;
    do {
      count = running.length;
      await Promise.race([Promise.all(running), failed.promise]);
    } while (running.length > count);
  } catch (error) {
    // The others run on else: all stop, and the supervisor starts all again.
    process.kill(process.pid, 'SIGTERM');
    await Promise.allSettled(running);
    throw error;
  } finally {
    process.off('message', onMessage);
  }
}

async function runOne([name = '', ...words]: readonly string[]): Promise<void> {
  const component = componentCommand(name);
  if (!MAKES_KUBECONFIG.has(name) && !(await kubeconfigExists(words))) return;
  await component.run(parseWords(await component.flags(), { command: name, words }));
}

/** On a machine that joins, the node agent writes the kubeconfig that the others of its group act by. False: stopped before it was there. */
async function kubeconfigExists(words: readonly string[]): Promise<boolean> {
  const flag = words.find((word) => word.startsWith(KUBECONFIG_FLAG));
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  process.once('SIGTERM', onSignal);
  try {
    while (flag && !existsSync(flag.slice(KUBECONFIG_FLAG.length)) && !stop.signal.aborted)
      await sleep(KUBECONFIG_POLL_MS, undefined, { signal: stop.signal }).catch(() => {});
    return !stop.signal.aborted;
  } finally {
    process.off('SIGTERM', onSignal);
  }
}

function splitGroup(words: readonly string[]): string[][] {
  const groups: string[][] = [[]];
  for (const word of words) {
    if (word === GROUP_SEPARATOR) groups.push([]);
    else groups.at(-1)?.push(word);
  }
  return groups;
}

/** Messages of the supervisor. Others are ignored. */
function addedBy(message: unknown): readonly (readonly string[])[] {
  const { type, words } = (message ?? {}) as { type?: unknown; words?: unknown };
  return type === 'add' && Array.isArray(words) ? (words as readonly (readonly string[])[]) : [];
}
