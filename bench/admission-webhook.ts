/** What a webhook on loopback costs a create: `node bench/admission-webhook.ts`. Server, webhook and client share one process, the store is in memory. */
import { WebhookBench } from '#apiserver/admission/webhooks/testing.ts';

const CREATES = 500;
const bench = await WebhookBench.start();

async function measure(label: string, parallel: number): Promise<void> {
  let next = 0;
  const startedMs = performance.now();
  await Promise.all(Array.from({ length: parallel }, async () => {
    while (next < CREATES) {
      const { status, text } = await bench.createConfigMap(`${label.replaceAll(/[^a-z]+/g, '-')}-${parallel}-${next++}`);
      if (status !== 201) throw new Error(text);
    }
  }));
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
} finally {
  await bench.stop();
}
