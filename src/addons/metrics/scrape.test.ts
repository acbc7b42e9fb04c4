import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '#stdx/log.ts';
import { scrapeNodes } from './scrape.ts';

const PAGE = 'node_cpu_usage_seconds_total 1 5\nnode_memory_working_set_bytes 1 5\n';

test('a bounded number of nodes is asked at the same time, each once', async () => {
  const names = Array.from({ length: 5_000 }, (_, index) => `n${index}`);
  let running = 0,
    most = 0;
  const asked: string[] = [];
  const scrape = async (node: string): Promise<string> => {
    most = Math.max(most, ++running);
    asked.push(node);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return PAGE;
  };
  const round = await scrapeNodes(names, {
    scrape,
    signal: new AbortController().signal,
    failing: new Set(),
    log: silentLogger,
  });
  assert.deepEqual([round.size, asked.length, new Set(asked).size, most], [5_000, 5_000, 5_000, 128]);
});

test('nodes that did not answer come last next time, and cannot make a round longer', async () => {
  const failing = new Set<string>();
  const asked: string[] = [];
  const ending = new AbortController();
  const scrape = (node: string, signal: AbortSignal): Promise<string> => {
    asked.push(node);
    if (node !== 'dead') return Promise.resolve(PAGE);
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)));
  };
  const scraping = scrapeNodes(['dead', 'n1'], { scrape, signal: ending.signal, failing, log: silentLogger });
  await new Promise((resolve) => setImmediate(resolve));
  ending.abort(new Error('the round is over'));
  assert.deepEqual([...(await scraping).keys()], ['n1']);
  assert.deepEqual([...failing], ['dead']);
  const over = AbortSignal.abort(new Error('the round is over'));
  asked.length = 0;
  await scrapeNodes(['dead', 'n1'], { scrape, signal: over, failing, log: silentLogger });
  assert.deepEqual([asked, failing.size], [[], 2], 'nobody is asked after the end of a round');
});
