/** The state alone; pods that wait for it are in node-agent.test.ts. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { NetworkReadiness, networkNotReady } from './network-readiness.ts';

it('has a problem while anybody has one, and tells when it changes', () => {
  const network = new NetworkReadiness();
  const told: (string | undefined)[] = [];
  network.onChange(() => told.push(network.problem));
  network.report('runtime', undefined);
  network.report('pod-range', 'no range');
  network.report('runtime', 'no plugin');
  network.report('runtime', 'no plugin');
  network.report('pod-range', undefined);
  network.report('runtime', undefined);
  assert.deepEqual(told, ['no range', 'no plugin', undefined]);
});

it("says it in upstream's words", () => {
  assert.equal(
    networkNotReady('NetworkPluginNotReady', 'cni plugin not initialized'),
    'container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized',
  );
});
