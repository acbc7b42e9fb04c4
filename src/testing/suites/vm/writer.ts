/** Runs inside the machine: creates ConfigMaps one after the other and prints the name of each that was acknowledged, until it is ended or one fails. */
import { createClient } from '#client/create.ts';
import { createKubeconfigTransport } from '#client/kubeconfig.ts';
import { configMaps } from '#client/refs.ts';
import { errorMessage } from '#stdx/log.ts';

const [kubeconfig = '', prefix = 'w', bytes = '100'] = process.argv.slice(2);
const api = createClient(createKubeconfigTransport({ path: kubeconfig }), { userAgent: 'writer' });
const data = { filler: 'x'.repeat(Number(bytes)) };

for (let serial = 0; ; serial += 1) {
  const name = `${prefix}-${serial}`;
  try {
    await api.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name, namespace: 'default' },
      data,
    });
  } catch (error) {
    console.log(`refused ${name}: ${errorMessage(error)}`);
    process.exit(1);
  }
  console.log(name);
}
