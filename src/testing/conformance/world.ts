/**
 * What the tests of conformance behaviours share: a whole cluster in the test's process (simulated nodes, nothing is executed) and a bare HTTPS
 * client of it. One cluster per test file; each test makes namespaces and names of its own.
 */
import { until } from '../cluster.ts';
import {
  startSimulatedCluster,
  type SimulatedCluster,
  type SimulatedClusterOptions,
} from '../simulated-cluster.ts';
import { createBareClient, type BareClient } from './bare-client.ts';

export { until };
export type { Json, SendOptions } from './bare-client.ts';

/** Of a range for documentation: there is no pod that would ask for it. */
const ADVERTISED = '192.0.2.1';

export interface World extends SimulatedCluster, Omit<BareClient, 'disconnect'> {}

export async function startWorld(options: SimulatedClusterOptions = {}): Promise<World> {
  const cluster = await startSimulatedCluster({ advertiseAddress: ADVERTISED, ...options });
  const {
    ca,
    clients: { admin },
  } = cluster.pki;
  const client = createBareClient({
    url: cluster.url,
    caPem: ca.certificatePem,
    ...admin,
    controllers: options.nodes !== 0,
  });
  return {
    ...cluster,
    ...client,
    async stop() {
      client.disconnect();
      await cluster.stop();
    },
  };
}
