/**
 * What a webhook on loopback costs a create, and what one that never answers, or cannot be reached, costs everybody else: `node bench/admission-webhook.ts`. Server,
 * webhook and client share one process, the store is in memory.
 */
import { WebhookBench } from '#apiserver/admission/webhooks/testing/webhook-world.ts';

const CREATES = 500;
/** Creates in the other namespace that wait for a webhook at any moment. */
const STUCK = 100;
const bench = await WebhookBench.start();
const ELSEWHERE = {
  namespaceSelector: { matchLabels: { team: 'red' } },
  timeoutSeconds: 1,
  failurePolicy: 'Fail',
};
const DOWN = {
  'that never answers': bench.webhook('silent'),
  'that nobody serves': { ...bench.webhook('nobody'), clientConfig: { url: 'https://127.0.0.1:1/nobody' } },
};

/** Goes on creating in the other namespace, where every create fails. */
function stuckCreates(name: string): { readonly count: number; end(): Promise<void> } {
  let running = true;
  const workers = Array.from({ length: STUCK }, async (_, worker) => {
    for (let i = 0; running; i++) {
      const { status } = await bench.server.request('POST /api/v1/namespaces/other/configmaps', {
        body: { metadata: { name: `stuck-${worker}-${i}` } },
      });
      if (status === 201) throw new Error(`a create went past the webhook ${name}`);
      // Refused at once, it would be tried as fast as the client can.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  });
  return {
    count: STUCK,
    end: async () => {
      running = false;
      await Promise.all(workers);
    },
  };
}

/** A webhook is asked from a moment after it was made on. */
async function effective(): Promise<void> {
  for (
    let i = 0;
    (
      await bench.server.request('POST /api/v1/namespaces/other/configmaps', {
        body: { metadata: { generateName: 'early-' } },
      })
    ).status === 201;
    i++
  )
    if (i > 1000) throw new Error('the webhook is never asked');
}

async function measure(label: string, parallel: number): Promise<void> {
  let next = 0;
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: parallel }, async () => {
      while (next < CREATES) {
        const { status, text } = await bench.createConfigMap(
          `${label.replaceAll(/[^a-z]+/g, '-')}-${parallel}-${next++}`,
        );
        if (status !== 201) throw new Error(text);
      }
    }),
  );
  const ms = (performance.now() - startedMs) / CREATES;
  console.log(`${label}, ${parallel} at a time: ${ms.toFixed(2)} ms each, ${(1000 / ms).toFixed(0)}/s`);
}

try {
  await measure('warm up', 1);
  for (const parallel of [1, 16]) await measure('no webhook', parallel);
  await bench.validating('one', bench.webhook('one'));
  await measure('warm up again', 1);
  for (const parallel of [1, 16]) await measure('one validating webhook', parallel);
  await bench.mutating('two', bench.webhook('two'));
  for (const parallel of [1, 16]) await measure('and a mutating one', parallel);
  await bench.clean();
  for (const parallel of [1, 16]) await measure('no webhook again', parallel);
  for (const [what, webhook] of Object.entries(DOWN)) {
    bench.decisions['/silent'] = () => new Promise(() => {});
    await bench.validating('down', { ...webhook, ...ELSEWHERE });
    await effective();
    const stuck = stuckCreates(what);
    for (const parallel of [1, 16])
      await measure(`beside ${stuck.count} creates that wait for one ${what}`, parallel);
    await stuck.end();
    await bench.clean();
  }
} finally {
  await bench.stop();
}
