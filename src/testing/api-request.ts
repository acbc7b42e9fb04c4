/** A program for tests: one request to an API server with a kubeconfig, from wherever it is run. Words: KUBECONFIG SERVER METHOD PATH [BODY]. Prints status and body. */
import { createHttpsTransport } from '#client/https.ts';
import { loadKubeconfig, resolveContext } from '#client/kubeconfig.ts';

const [path = '', server = '', method = 'GET', target = '/', body] = process.argv.slice(2);
const { options } = resolveContext(loadKubeconfig({ path }));
const transport = createHttpsTransport({ ...options, server, timeoutMs: 10_000 });
const response = await transport.request({
  method,
  path: target,
  headers: { 'content-type': 'application/json' },
  body,
});
process.stdout.write(`${response.status} ${(await response.bytes()).toString()}`);
await transport.close();
