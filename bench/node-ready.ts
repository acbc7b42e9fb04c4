/** Of join-times.ts, in a machine's network: ends when the Node is Ready. Words: KUBECONFIG NODE. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { nodes } from '#client/refs.ts';

const LOOK_EVERY_MS = 50;
const [path = '', name = ''] = process.argv.slice(2);
const api = createClient(createKubeconfigTransport({ path }), { userAgent: 'join-times' });
const isReady = async (): Promise<boolean> =>
  (await api.get(nodes, { name })).status?.conditions?.some(
    ({ type, status }) => type === 'Ready' && status === 'True',
  ) ?? false;
while (!(await isReady())) await sleep(LOOK_EVERY_MS);
await api.close();
