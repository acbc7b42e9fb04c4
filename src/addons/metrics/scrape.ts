/**
 * One round of scrapes: every node is asked once, a bounded number at the same time, all within the round's time. Nodes that did not answer last time come
 * last, so that they cannot keep others from being asked.
 */
import { errorMessage, type Logger } from '#stdx/log.ts';
import { parseResourcePage, type NodeMeasurements } from './resource-page.ts';

/** Asks a node's kubelet for /metrics/resource: bounded in time by the signal, in size by the caller's bound. */
export type ScrapeNode = (node: string, signal: AbortSignal) => Promise<string>;

const MAXIMUM_PARALLEL = 128;
/** metrics-server's --kubelet-request-timeout. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Of the failures of one round in the log. */
const MAXIMUM_LOGGED = 3;

interface RoundOptions {
  readonly scrape: ScrapeNode;
  /** Aborted at the end of the round's time. */
  readonly signal: AbortSignal;
  /** Nodes of the last round that did not answer; those of this one afterwards. */
  readonly failing: Set<string>;
  readonly log: Logger;
}

export async function scrapeNodes(
  names: readonly string[],
  { scrape, signal, failing, log }: RoundOptions,
): Promise<Map<string, NodeMeasurements>> {
  const round = new Map<string, NodeMeasurements>();
  const failed = new Map<string, string>();
  const queue = names
    .toSorted((one, other) => Number(failing.has(one)) - Number(failing.has(other)))
    .values();
  const worker = async (): Promise<void> => {
    for (const name of queue) {
      try {
        const within = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
        within.throwIfAborted();
        round.set(name, parseResourcePage(await scrape(name, within)));
      } catch (error) {
        failed.set(name, errorMessage(error));
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAXIMUM_PARALLEL, names.length) }, worker));
  failing.clear();
  for (const name of failed.keys()) failing.add(name);
  if (failed.size > 0)
    log.warn('error scraping nodes', {
      failed: failed.size,
      errors: Array.from(failed, ([node, error]) => `${node}: ${error}`)
        .slice(0, MAXIMUM_LOGGED)
        .join('; '),
    });
  return round;
}
